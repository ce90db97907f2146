/**
 * Walk-through 002, HTTPS: TLS of the application through port 443, inside the sidecar's mTLS with a `tcp` route, and passed
 * through by `sni_hosts`. Its NetworkPolicy steps are the cluster's: a caller without a sidecar never reaches the gateway.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import type { Harness } from '../../src/testing/harness.ts'
import { meshConnect, plainConnect, rawExchange } from '../../src/testing/mesh-client.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { stat } from '../integration/operator.ts'
import { httpsDirect, httpsInMesh, SIDECAR_TCP_ALPN } from './application-tls.ts'
import { asText, endWith, fields, startOutside, startScenario, textLines } from './scenario.ts'

const HOST = 'edition.cnn.com'
const FILES = ['service-entry.yaml', 'added.yaml', 'egress.yaml']
const CUT = { code: 'ECONNRESET' }
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

test('002: TLS in mTLS: what is not edition.cnn.com, or nobody, goes nowhere', async (t) => {
  const { harness, outside, pki } = await start(t, 'seed-002-tls-mtls')
  // The inner name must be the outer one, and covered by the server's hosts (contract §4, Names).
  await assert.rejects(httpsInMesh(harness, 'default/sleep', 'www.cnn.com', { gatewayPort: 443, outerSni: HOST }), CUT)
  // Without the page's DestinationRule the sidecar's SNI is `outbound_…`, which no server claims.
  await assert.rejects(httpsInMesh(harness, 'default/sleep', HOST, { gatewayPort: 443 }), CUT)
  const anonymous = await meshConnect({
    port: harness.gateway.port(443),
    svid: null,
    ca: pki.root,
    servername: HOST,
    alpn: SIDECAR_TCP_ALPN,
  })
  // Closed with no byte of ours read: an application behind it sees its connection end.
  if (!anonymous.destroyed) await once(anonymous, 'close')
  // The application's TLS without any mTLS: the gateway terminates that SNI itself, with a certificate that is not the site's.
  await assert.rejects(httpsDirect(harness, HOST, { gatewayPort: 443 }), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' })
  const lines = await harness.lines(4)
  assert.deepEqual(
    lines.map((line) => fields(line, ['response_code', 'response_flags', 'response_code_details', 'reason'])),
    [
      [0, '-', 'sni_mismatch', 'sni_mismatch'],
      [0, 'NR', 'filter_chain_not_found', 'no_server_for_sni'],
      [0, '-', null, 'no_client_certificate'],
      [0, 'DC', null, null],
    ],
  )
  assert.equal(outside.secure.accepted(), 0)
  assert.equal((await stat(harness, CX_TOTAL)) ?? 0, 0)
  await harness.stop(4)
})

test('002: bytes that are no TLS take the `tcp` route too', async (t) => {
  const { harness, outside, pki } = await start(t, 'seed-002-tls-mtls')
  const socket = await meshConnect({
    port: harness.gateway.port(443),
    svid: await pki.svid('default/sleep'),
    ca: pki.root,
    servername: HOST,
    alpn: SIDECAR_TCP_ALPN,
  })
  // The site speaks TLS: it answers such bytes with an alert, or hangs up. That it was reached is the point.
  await rawExchange(socket, 'GET /politics HTTP/1.1\r\n\r\n')
  const [line] = await harness.lines(1)
  assert.deepEqual(
    fields(line, ['upstream_host', 'upstream_cluster', 'bytes_received', 'inner_server_name', 'reason']),
    [`127.0.0.1:${outside.httpsPort}`, 'outbound|443||edition.cnn.com', 26, null, null],
  )
  await harness.stop(1)
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

test('002: PASSTHROUGH: a name that is not in sni_hosts, no name, and no TLS: closed', async (t) => {
  const { harness, outside } = await start(t, 'seed-002-tls-passthrough')
  await assert.rejects(httpsDirect(harness, 'www.cnn.com', { gatewayPort: 443 }), CUT)
  await assert.rejects(httpsDirect(harness, '', { gatewayPort: 443 }), CUT)
  assert.equal(await rawExchange(await plainConnect(harness.gateway.port(443)), 'GET / HTTP/1.1\r\n\r\n'), '')
  const lines = await harness.lines(3)
  assert.deepEqual(
    lines.map((line) => fields(line, ['response_code', 'response_flags', 'response_code_details', 'reason'])),
    [
      [0, 'NR', 'filter_chain_not_found', 'no_server_for_sni'],
      [0, 'NR', 'filter_chain_not_found', 'no_sni'],
      [0, 'NR', null, 'protocol_mismatch'],
    ],
  )
  assert.equal(outside.secure.accepted(), 0)
  await harness.stop(3)
})
