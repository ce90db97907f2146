/** The YAML that docs/access-log.md shows loads without a finding and means what the text says. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { loadConfiguration } from '../config/load.ts'
import { checkAccessLogFormat } from './access-log/format.ts'
import { renderAccessLogDoc } from './access-log-doc.ts'

test('the examples load, and the Telemetry sends errors to one file and everything to stdout', (t) => {
  const dir = mkdtempSync(path.join(tmpdir(), 'sallyport-doc-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const [bootstrap = '', telemetry = ''] = [...renderAccessLogDoc().matchAll(/```yaml\n([\s\S]*?)```/g)].map(
    ([, text = '']) => text,
  )
  const head = `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: { name: g, namespace: istio-system, labels: { istio: egressgateway } }
`
  writeFileSync(path.join(dir, 'gateway.yaml'), `${head}${bootstrap}  resources: [telemetry.yaml]\n`)
  writeFileSync(path.join(dir, 'telemetry.yaml'), telemetry)
  const { diagnostics, model } = loadConfiguration(path.join(dir, 'gateway.yaml'), { checkAccessLogFormat })
  assert.deepEqual(diagnostics, [])
  assert.deepEqual(
    model?.telemetry.accessLogs.map(({ path: file, encoding, omitEmptyValues, filter }) => [
      file,
      encoding,
      omitEmptyValues,
      filter,
    ]),
    [
      ['/dev/stdout', 'JSON', false, null],
      ['/var/log/sallyport/errors.log', 'JSON', true, "response.code >= 400 || xds.cluster_name == 'BlackHoleCluster'"],
    ],
  )
})
