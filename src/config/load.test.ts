/** The whole way from a bootstrap file to a model, over real files. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test, { type TestContext } from 'node:test'
import { formatDiagnostic } from './diagnostics.ts'
import { loadConfiguration, validateFiles } from './load.ts'

const BOOTSTRAP = `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: istio-egressgateway, namespace: istio-system, labels: {istio: egressgateway}}
spec:
  resources: [resources]
  identity: {certificateChain: certs/a.pem, privateKey: certs/b.pem, trustBundle: certs/c.pem}
  secretsDirectory: secrets
  ports: {443: 0}
`
const RESOURCES = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: istio-system}
spec:
  hosts: [a.example.com]
  ports: [{number: 443, name: https, protocol: HTTPS}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: istio-system}
spec:
  host: a.example.com
  trafficPolicy: {tls: {mode: SIMPLE, sni: a.example.com, caCertificates: /ca/a.pem}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: egress, namespace: istio-system}
spec:
  selector: {istio: egressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: ["*"]
    tls: {mode: MUTUAL, credentialName: outer}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: istio-system}
spec:
  hosts: [a.example.com]
  gateways: [egress]
  http:
  - route: [{destination: {host: a.example.com, port: {number: 443}}}]
`

function write(t: TestContext, resources: string, bootstrap = BOOTSTRAP): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'sallyport-load-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  mkdirSync(path.join(directory, 'resources'))
  writeFileSync(path.join(directory, 'gateway.yaml'), bootstrap)
  writeFileSync(path.join(directory, 'resources', 'a.yaml'), resources)
  return directory
}

function load(directory: string) {
  const display = (file: string) => path.relative(directory, file)
  const result = loadConfiguration(path.join(directory, 'gateway.yaml'), { display })
  return { ...result, findings: result.diagnostics.map(formatDiagnostic) }
}

test('a model, and every file whose change matters', (t) => {
  const directory = write(t, RESOURCES)
  const { model, settings, files, findings } = load(directory)
  assert.ok(model !== null, findings.join('\n'))
  assert.equal(model.settings, settings)
  assert.deepEqual([...files].sort(), [
    '/ca/a.pem',
    ...[
      'certs/a.pem',
      'certs/b.pem',
      'certs/c.pem',
      'gateway.yaml',
      'resources',
      'secrets',
      'secrets/outer/ca.crt',
      'secrets/outer/tls.crt',
      'secrets/outer/tls.key',
    ].map((each) => path.join(directory, each)),
  ])
})

test('the same files give the same version, another policy another', (t) => {
  const directory = write(t, RESOURCES)
  const first = load(directory).model?.version
  assert.equal(load(directory).model?.version, first)
  writeFileSync(
    path.join(directory, 'resources', 'a.yaml'),
    RESOURCES.replace('hosts: ["*"]', 'hosts: [a.example.com]'),
  )
  assert.notEqual(load(directory).model?.version, first)
})

test('one error anywhere: no model, settings still known, all findings', (t) => {
  const directory = write(t, `${RESOURCES}---\n${RESOURCES.replace('hosts: [a.example.com]', 'hosts: []')}`)
  const { model, settings, findings } = load(directory)
  assert.equal(model, null)
  assert.equal(settings?.namespace, 'istio-system')
  assert.ok(findings.length >= 4)
  assert.equal(findings.filter((each) => each.includes('SP1026')).length, 4)
})

test('a bootstrap with errors does not hide the errors of its resources', (t) => {
  const directory = write(t, 'kind: ServiceEntry\n', BOOTSTRAP.replace('ports: {443: 0}', 'ports: {443: -1}'))
  const { model, settings, findings } = load(directory)
  assert.equal(model, null)
  assert.equal(settings, null)
  assert.deepEqual(findings, [
    'gateway.yaml:8:16 error SP1000 spec.ports.443: must be at least 0, found -1',
    'resources/a.yaml:1:1 error SP1020 apiVersion missing: not a resource',
  ])
})

test('no bootstrap file at all', () => {
  const { model, settings, diagnostics, files } = loadConfiguration('/nowhere/gateway.yaml')
  assert.equal(model, null)
  assert.equal(settings, null)
  assert.deepEqual(diagnostics.map(formatDiagnostic), ['/nowhere/gateway.yaml:1:1 error SP1001 does not exist'])
  assert.deepEqual(files, ['/nowhere/gateway.yaml'])
})

const CRL = RESOURCES.replace('credentialName: outer', 'credentialName: outer, caCrl: /crl.pem')

test('a field that is not implemented: an error where it applies, a warning elsewhere and without a bootstrap', (t) => {
  const directory = write(t, CRL)
  const findings = load(directory).findings.filter((each) => each.includes('SP1034'))
  assert.equal(findings.length, 1)
  assert.match(findings[0] ?? '', /^resources\/a\.yaml:24:\d+ error SP1034 .*caCrl is not implemented/)
  const alone = validateFiles([path.join(directory, 'resources')], { display: (file) => path.basename(file) })
  assert.deepEqual(
    alone.filter((each) => each.code === 'SP1034').map((each) => each.severity),
    ['warning'],
  )
  const other = CRL.replace('selector: {istio: egressgateway}', 'selector: {istio: other}')
  const elsewhere = load(write(t, other)).diagnostics.filter((each) => each.code === 'SP1034')
  assert.deepEqual(
    elsewhere.map((each) => each.severity),
    ['warning'],
  )
})
