/** What may arrive on which port (contract §4, table): everything else is closed with one line and a reason. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import type { TestContext } from 'node:test'
import tls from 'node:tls'
import { gatewayYaml, MESH_SERVER, siteYaml, type TestServer } from '../../src/testing/egress-resources.ts'
import { h2Over, h2Request } from '../../src/testing/h2-client.ts'
import { type Harness, startHarness } from '../../src/testing/harness.ts'
import { meshConnect, plainConnect, rawExchange, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin } from '../../src/testing/origin.ts'
import type { TestCertificate } from '../../src/testing/pki.ts'
import { test } from './engines.ts'

const HOST = 'site.example'
const GET = `GET / HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`

async function start(
  t: TestContext,
  servers: readonly TestServer[],
  spec: Readonly<Record<string, unknown>> = {},
): Promise<{ harness: Harness; origin: EchoOrigin; svid: TestCertificate }> {
  const origin = await startEchoOrigin()
  const resources = { 'all.yaml': `${gatewayYaml(servers)}---\n${siteYaml(HOST, origin.port)}` }
  const harness = await startHarness({ resources, spec })
  t.after(async () => {
    await harness.gateway.destroy()
    await origin.close()
  })
  return { harness, origin, svid: await harness.pki.svid('apps/sleep') }
}

/** The ClientHello of a second TLS layer, as bytes. */
async function innerHello(): Promise<Buffer> {
  const wire = new Duplex({ read() {}, write: (chunk: Buffer, _encoding, done) => (wire.emit('hello', chunk), done()) })
  const sent = once(wire, 'hello') as Promise<[Buffer]>
  const socket = tls.connect({ socket: wire, servername: HOST })
  socket.on('error', () => {})
  const [hello] = await sent
  socket.destroy()
  return hello
}

test('the application’s own TLS inside mTLS on an HTTP server: protocol_mismatch, whatever was negotiated', async (t) => {
  const { harness, origin, svid } = await start(t, [MESH_SERVER])
  const hello = await innerHello()
  const lists = [['istio-peer-exchange', 'istio'], [], ['istio-http/1.1', 'istio', 'http/1.1'], ['http/1.1'], ['h2']]
  for (const alpn of lists) {
    const socket = await meshConnect({ port: harness.gateway.port(80), svid, ca: harness.pki.root, alpn })
    assert.doesNotMatch(await rawExchange(socket, hello), /HTTP\/1\.1 (?!400)/, alpn.join())
  }
  const lines = await harness.lines(lists.length)
  assert.deepEqual(
    lines.slice(0, 2).map((line) => [line['reason'], line['response_code']]),
    [
      ['protocol_mismatch', 0],
      ['protocol_mismatch', 0],
    ],
  )
  // Where HTTP was negotiated in so many words, it is a malformed request or session.
  for (const line of lines.slice(2)) assert.ok(['protocol_mismatch', 'bad_request'].includes(String(line['reason'])))
  assert.equal(origin.accepted(), 0)
  await harness.stop(lists.length)
})

test('TLS to a port of plaintext HTTP: one line, and no plaintext answer', async (t) => {
  const { harness } = await start(t, [{ port: 80, name: 'http', protocol: 'HTTP' }])
  const socket = await plainConnect(harness.gateway.port(80))
  assert.equal(await rawExchange(socket, await innerHello()), '')
  const [line] = await harness.lines(1)
  assert.deepEqual([line?.['reason'], line?.['response_code']], ['protocol_mismatch', 0])
  await harness.stop(1)
})

test('a port nobody speaks for takes mTLS and answers 502 over either version; nothing else gets that far', async (t) => {
  const { harness, origin, svid } = await start(t, [MESH_SERVER])
  const port = harness.gateway.port(443)
  const mesh = { port, svid, ca: harness.pki.root }
  const socket = await meshConnect(mesh)
  const answer = await request(socket, HOST)
  assert.deepEqual([answer.status, answer.body, answer.headers['x-sallyport-reason']], [502, '', 'not_registered'])
  socket.destroy()
  const session = h2Over(await meshConnect({ ...mesh, alpn: ['h2'] }))
  assert.equal((await h2Request(session, HOST)).status, 502)
  session.close()
  assert.equal(await rawExchange(await plainConnect(port), GET), '')
  const nobody = await meshConnect({ ...mesh, svid: null })
  assert.equal(await rawExchange(nobody, GET), '')
  const lines = await harness.lines(4)
  assert.deepEqual(
    lines.map((line) => [line['response_code'], line['reason'], line['route_name'], line['upstream_cluster']]),
    [
      [502, 'not_registered', 'block_all', 'BlackHoleCluster'],
      [502, 'not_registered', 'block_all', 'BlackHoleCluster'],
      [0, 'protocol_mismatch', null, null],
      [0, 'no_client_certificate', null, null],
    ],
  )
  assert.equal(origin.accepted(), 0)
  await harness.stop(4)
})

test('servers of opaque bytes without a route: closed, nothing dialled, one line each', async (t) => {
  const servers: TestServer[] = [
    { port: 443, name: 'mtls', protocol: 'TLS', tls: { mode: 'ISTIO_MUTUAL' } },
    { port: 444, name: 'through', protocol: 'TLS', tls: { mode: 'PASSTHROUGH' } },
    { port: 445, name: 'bytes', protocol: 'TCP' },
  ]
  const { harness, origin, svid } = await start(t, servers, { ports: { 80: 0, 443: 0, 444: 0, 445: 0 } })
  const hello = await innerHello()
  const mtls = await meshConnect({
    port: harness.gateway.port(443),
    svid,
    ca: harness.pki.root,
    alpn: ['istio-peer-exchange', 'istio'],
  })
  const sockets: readonly (readonly [Socket, Buffer])[] = [
    [mtls, hello],
    [await plainConnect(harness.gateway.port(444)), hello],
  ]
  for (const [socket, bytes] of sockets) assert.equal(await rawExchange(socket, bytes), '')
  // Judged before it has said a word.
  const silent = connect({ host: '127.0.0.1', port: harness.gateway.port(445) })
  silent.on('data', () => assert.fail('nothing is answered'))
  await new Promise<void>((resolve) => void silent.once('close', () => resolve()).on('error', () => {}))
  const lines = await harness.lines(3)
  for (const line of lines) {
    assert.deepEqual([line['response_code'], line['method'], line['upstream_host']], [0, null, null])
    assert.equal(typeof line['reason'], 'string')
  }
  assert.equal(origin.accepted(), 0)
  await harness.stop(3)
})
