/** Walk-through 002, HTTP, besides its rows (rows-002.ts): the lines of the page in Istio's text format, and the gateway's certificate. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { h2Request, meshH2 } from '../../src/testing/h2-client.ts'
import { meshConnect, request } from '../../src/testing/mesh-client.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { askControl } from '../integration/operator.ts'
import { asText, endWith, startScenario, textLines } from './scenario.ts'

const HOST = 'edition.cnn.com'
const FILES = ['service-entry.yaml', 'added.yaml', 'gateway.yaml', 'virtual-service.yaml']
const CURL = { path: '/politics', headers: { 'user-agent': 'curl/7.64.0' } }
const MOVED = `HTTP/1.1 301 Moved Permanently\r\nlocation: https://${HOST}/politics\r\ncontent-length: 0\r\n\r\n`

/** edition.cnn.com as the page met it: everything moved to https. */
const startCnn = () => startRawOrigin({ onRequest: ({ socket }) => socket.write(MOVED) })

test('002: HTTP over mTLS, HTTP/2 from the sidecar, logged as on the page', async (t) => {
  const pki = await createTestPki()
  const cnn = await startCnn()
  t.after(() => cnn.close())
  const outside = { httpPort: cnn.port, httpsPort: cnn.port }
  const harness = endWith(t, await startScenario('seed-002-http-mtls', FILES, outside, pki, asText))
  const svid = await pki.svid('default/sleep')

  // The DestinationRule of the page: `sni: edition.cnn.com`; the gateway's port is called http2 there.
  const session = await meshH2({ port: harness.gateway.port(80), svid, ca: pki.root, servername: HOST })
  const answer = await h2Request(session, HOST, CURL)
  session.destroy()
  assert.deepEqual([answer.status, answer.headers['location']], [301, `https://${HOST}/politics`])

  const [line = ''] = await textLines(harness, 1)
  // The page's line, and since Istio 1.9 the code's details and the connection's end after the flags (behaviour §8.3).
  const parts = [
    /\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\]/,
    /"GET \/politics HTTP\/2" 301 - via_upstream - "-" 0 0 \d+ \d+/,
    /"127\.0\.0\.1" "curl\/7\.64\.0" "[0-9a-f]{8}-[0-9a-f-]{27}" "edition\.cnn\.com" "127\.0\.0\.1:UPSTREAM"/,
    /outbound\|80\|\|edition\.cnn\.com 127\.0\.0\.1:\d+ 127\.0\.0\.1:GATEWAY 127\.0\.0\.1:\d+ edition\.cnn\.com -/,
  ].map(({ source }) => source)
  const expected = parts
    .join(' ')
    .replace('UPSTREAM', `${cnn.port}`)
    .replace('GATEWAY', `${harness.gateway.port(80)}`)
  assert.match(line, new RegExp(`^${expected}$`))

  await t.test('another Host on that server: 502, and its line', async () => {
    const socket = await meshConnect({ port: harness.gateway.port(80), svid, ca: pki.root, servername: HOST })
    const other = await request(socket, 'www.cnn.com', CURL)
    socket.destroy()
    assert.deepEqual([other.status, other.body], [502, ''])
    assert.match(
      (await textLines(harness, 2))[1] ?? '',
      /"GET \/politics HTTP\/1\.1" 502 - direct_response - "-" 0 0 .* "-" BlackHoleCluster - .* block_all$/,
    )
  })

  await t.test('a sidecar without that DestinationRule finds no server', async () => {
    const unnamed = meshConnect({ port: harness.gateway.port(80), svid, ca: pki.root })
    await assert.rejects(unnamed, { code: 'ECONNRESET' })
    assert.match(
      (await textLines(harness, 3))[2] ?? '',
      /"- - -" 0 NR filter_chain_not_found - "-" 0 0 \d+ - "-" "-" "-" "-" "-" - - .* outbound_\.80_\._\.istio-egress\S+ -$/,
    )
  })

  await t.test('a caller without a certificate is not served', async () => {
    const socket = await meshConnect({ port: harness.gateway.port(80), svid: null, ca: pki.root, servername: HOST })
    await assert.rejects(request(socket, HOST, CURL))
    assert.match((await textLines(harness, 4))[3] ?? '', /"- - -" 0 .* edition\.cnn\.com -$/)
  })
  assert.equal(cnn.connections.length, 1)
  await harness.stop(4)
})

test('002: the gateway’s own certificate has the page’s SPIFFE URI', async (t) => {
  const pki = await createTestPki()
  const harness = endWith(t, await startScenario('seed-002-http-mtls', FILES, { httpPort: 9, httpsPort: 9 }, pki))
  const uri = 'spiffe://cluster.local/ns/istio-system/sa/istio-egressgateway-service-account'
  type Certs = { certificates: { cert_chain: { path: string; subject_alt_names: { uri?: string }[] }[] }[] }
  const { certificates } = JSON.parse((await askControl(harness, 'admin', '/certs')).body) as Certs
  const own = certificates.flatMap(({ cert_chain }) => cert_chain).filter(({ path }) => path.endsWith('cert-chain.pem'))
  assert.ok(own.length > 0)
  for (const { subject_alt_names } of own) assert.ok(subject_alt_names.some((san) => san.uri === uri))
  // And the sidecar is shown it.
  const socket = await meshConnect({
    port: harness.gateway.port(80),
    svid: await pki.svid('default/sleep'),
    ca: pki.root,
    servername: HOST,
  })
  assert.match(socket.getPeerCertificate().subjectaltname ?? '', new RegExp(`URI:${uri}(,|$)`))
  assert.equal((await request(socket, 'www.cnn.com')).status, 502)
  socket.destroy()
  await harness.stop(1)
})
