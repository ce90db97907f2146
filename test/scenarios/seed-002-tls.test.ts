/**
 * Walk-through 002, HTTPS, besides its rows (rows-002.ts): the lines of the page in Istio's text format. Its NetworkPolicy
 * steps are the cluster's: a caller without a sidecar never reaches the gateway.
 */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Harness } from '../../src/testing/harness.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { stat } from '../integration/operator.ts'
import { httpsDirect, httpsInMesh } from './application-tls.ts'
import { asText, endWith, startOutside, startScenario, textLines } from './scenario.ts'

const HOST = 'edition.cnn.com'
const FILES = ['service-entry.yaml', 'added.yaml', 'egress.yaml']
const CX_TOTAL = 'cluster.outbound|443||edition.cnn.com.upstream_cx_total'

async function start(t: TestContext, seed: string, edit?: (bootstrap: string) => string) {
  const pki = await createTestPki()
  const outside = await startOutside(pki, [HOST])
  t.after(() => outside.close())
  const harness = endWith(t, await startScenario(seed, FILES, outside, pki, edit))
  return { pki, outside, harness }
}

/** The page's line, and since Istio 1.9 the code's details and the connection's end after the flags (behaviour §8.3). */
function pageLine(harness: Harness, httpsPort: number, routeName = '-'): RegExp {
  const gateway = `127\\.0\\.0\\.1:${harness.gateway.port(443)}`
  const upstream = `"127\\.0\\.0\\.1:${httpsPort}" outbound\\|443\\|\\|edition\\.cnn\\.com 127\\.0\\.0\\.1:\\d+`
  const peers = `${gateway} 127\\.0\\.0\\.1:\\d+ edition\\.cnn\\.com ${routeName}`
  return new RegExp(
    `^\\[\\S+Z\\] "- - -" 0 - - - "-" ([1-9]\\d+) ([1-9]\\d{2,}) \\d+ - "-" "-" "-" "-" ${upstream} ${peers}$`,
  )
}

test('002: TLS in mTLS, `tcp` route and the sidecar’s sni: logged and counted as on the page', async (t) => {
  const { harness, outside } = await start(t, 'seed-002-tls-mtls', asText)
  const options = { gatewayPort: 443, outerSni: HOST }
  const answer = await httpsInMesh(harness, 'default/sleep', HOST, { ...options, request: { path: '/bytes/151654' } })
  assert.deepEqual(
    [answer.status, answer.body.length, answer.certificate.subjectaltname],
    [200, 151654, `DNS:${HOST}`],
    'the application talks to the site itself',
  )
  const [line = ''] = await textLines(harness, 1)
  const [, received, sent] = pageLine(harness, outside.httpsPort).exec(line) ?? assert.fail(line)
  assert.ok(Number(received) < 10_000, `received ${received}`)
  assert.ok(Number(sent) > 151_654, `sent ${sent}`)

  // The page asks twice, by curl and by openssl; so do the tests of test/sidecars with the real ones.
  assert.equal((await httpsInMesh(harness, 'test-egress/sleep', HOST, options)).status, 200)
  assert.equal(await stat(harness, CX_TOTAL), 2)
  await textLines(harness, 2)
  await harness.stop(2)
})

test('002: PASSTHROUGH with sni_hosts: logged and counted as on the page', async (t) => {
  const { harness, outside } = await start(t, 'seed-002-tls-passthrough', asText)
  const answer = await httpsDirect(harness, HOST, { gatewayPort: 443, request: { path: '/bytes/151654' } })
  assert.deepEqual([answer.status, answer.body.length, answer.certificate.subjectaltname], [200, 151654, `DNS:${HOST}`])
  assert.match((await textLines(harness, 1))[0] ?? '', pageLine(harness, outside.httpsPort))
  assert.equal((await httpsDirect(harness, HOST, { gatewayPort: 443 })).status, 200)
  assert.equal(await stat(harness, CX_TOTAL), 2)
  await textLines(harness, 2)
  await harness.stop(2)
})
