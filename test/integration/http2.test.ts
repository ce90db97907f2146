/** HTTP/2 from callers, whole gateway: every ALPN list a sidecar may send, bodies, streams, and what the log says. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { gatewayYaml, MESH_SERVER, siteYaml } from '../../src/testing/egress-resources.ts'
import { h2Answer, h2Over, h2Request, h2Stream, meshH2 } from '../../src/testing/h2-client.ts'
import { type Harness, startHarness } from '../../src/testing/harness.ts'
import { meshConnect, plainConnect, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import type { TestCertificate } from '../../src/testing/pki.ts'
import { test } from './engines.ts'

const HOST = 'site.example'

type World = { readonly harness: Harness; readonly origin: EchoOrigin; readonly svid: TestCertificate }

async function start(t: TestContext): Promise<World> {
  const origin = await startEchoOrigin()
  const servers = [MESH_SERVER, { port: 443, name: 'plain', protocol: 'HTTP2' }]
  const harness = await startHarness({
    resources: { 'all.yaml': `${gatewayYaml(servers)}---\n${siteYaml(HOST, origin.port)}` },
  })
  t.after(async () => {
    await harness.gateway.destroy()
    await origin.close()
  })
  return { harness, origin, svid: await harness.pki.svid('apps/sleep') }
}

const mesh = ({ harness, svid }: World) => ({ port: harness.gateway.port(80), svid, ca: harness.pki.root })

test('threat 36: every ALPN list of a sidecar, and none, is served in the version it then speaks', async (t) => {
  const world = await start(t)
  const cases: readonly (readonly [alpn: readonly string[], chosen: string | false, speaks: 'h1' | 'h2'])[] = [
    [['istio-h2', 'istio', 'h2'], 'h2', 'h2'],
    [['h2'], 'h2', 'h2'],
    [['h2', 'http/1.1'], 'h2', 'h2'],
    [[], false, 'h2'],
    [[], false, 'h1'],
    [['istio-http/1.1', 'istio', 'http/1.1'], 'http/1.1', 'h1'],
    [['istio-peer-exchange', 'istio'], 'istio', 'h1'],
    [['istio-peer-exchange', 'istio'], 'istio', 'h2'],
    [['istio-peer-exchange', 'istio', 'h2'], 'h2', 'h2'],
    [['istio-http/1.0', 'istio', 'http/1.0'], 'istio', 'h1'],
    [['istio-h2'], 'istio-h2', 'h2'],
    [['istio-http/1.1'], 'istio-http/1.1', 'h1'],
  ]
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    for (const [alpn, chosen, speaks] of cases) {
      const socket = await meshConnect({ ...mesh(world), alpn, maxVersion })
      assert.equal(socket.alpnProtocol, chosen, alpn.join())
      if (speaks === 'h1') assert.equal((await request(socket, HOST)).status, 200, alpn.join())
      else assert.equal((await h2Request(h2Over(socket), HOST)).status, 200, alpn.join())
      socket.destroy()
    }
  }
  const lines = await world.harness.lines(cases.length * 2)
  assert.deepEqual(
    lines.map((line) => line['protocol']),
    [...cases, ...cases].map(([, , speaks]) => (speaks === 'h1' ? 'HTTP/1.1' : 'HTTP/2')),
  )
  for (const line of lines) assert.equal(line['downstream_peer_uri_san'], 'spiffe://cluster.local/ns/apps/sa/sleep')
  await world.harness.stop(cases.length * 2)
})

test('threat 19: a request over mTLS carries its body, is logged as HTTP/2, and reaches the origin as one HTTP/1.1 request', async (t) => {
  const world = await start(t)
  const session = await meshH2(mesh(world))
  const headers = { cookie: ['a=1', 'b=2'], te: 'trailers', 'x-envoy-max-retries': '9', 'content-type': 'text/plain' }
  const answer = await h2Request(session, HOST, { method: 'POST', path: '/anything?q=1', headers, body: 'hello' })
  assert.deepEqual([answer.status, answer.rstCode, answer.trailers], [200, 0, null])
  const seen = JSON.parse(answer.body.toString()) as { headers: Record<string, string>; data: string; url: string }
  assert.deepEqual([seen.data, seen.url, seen.headers['Cookie']], ['hello', `http://${HOST}/anything?q=1`, 'a=1; b=2'])
  for (const name of ['Te', 'X-Envoy-Max-Retries', 'X-Forwarded-For', 'X-Forwarded-Proto'])
    assert.equal(seen.headers[name], undefined, name)
  assert.equal(answer.headers['server'], 'sallyport')
  assert.match(String(answer.headers['x-envoy-upstream-service-time']), /^\d+$/)
  const [line] = await world.harness.lines(1)
  const facts = [
    'method',
    'path',
    'protocol',
    'authority',
    'response_code',
    'response_flags',
    'response_code_details',
    'bytes_received',
    'bytes_sent',
    'authz_decision',
  ]
  assert.deepEqual(
    facts.map((name) => line?.[name]),
    ['POST', '/anything?q=1', 'HTTP/2', HOST, 200, '-', 'via_upstream', 5, answer.body.length, 'none'],
  )
  session.close()
  await world.harness.stop(1)
})

test('HEAD, 204, 304, refusals and bodies of a refused request end their streams cleanly', async (t) => {
  const world = await start(t)
  const session = await meshH2(mesh(world))
  const cases = [
    [HOST, { method: 'HEAD' }, 200],
    [HOST, { path: '/status/204' }, 204],
    [HOST, { path: '/status/304' }, 304],
    [HOST, { method: 'OPTIONS', path: '*' }, 200],
    ['unknown.example', {}, 502],
    ['unknown.example', { method: 'HEAD' }, 502],
    ['unknown.example', { method: 'POST', body: Buffer.alloc(300_000) }, 502],
    [HOST, { method: 'TRACE' }, 405],
    [HOST, { headers: { expect: '100-continue' }, method: 'PUT', path: '/upload', body: 'x' }, 200],
  ] as const
  for (const [authority, options, status] of cases) {
    const answer = await h2Request(session, authority, options)
    assert.deepEqual([answer.status, answer.rstCode], [status, 0], JSON.stringify([authority, options]).slice(0, 99))
    if (status !== 200) assert.equal(answer.body.length, 0)
    if (status === 502) assert.equal(answer.headers['x-sallyport-reason'], 'not_registered')
  }
  assert.equal(session.closed, false)
  const lines = await world.harness.lines(cases.length)
  assert.deepEqual(
    lines.map((line) => line['response_flags']),
    cases.map(() => '-'),
  )
  session.close()
  await world.harness.stop(cases.length)
})

test('300 concurrent requests on one session are all answered, each with its own answer', async (t) => {
  const world = await start(t)
  const session = await meshH2(mesh(world))
  const answers = await Promise.all(
    Array.from({ length: 300 }, async (_, i) =>
      h2Request(session, HOST, { method: 'POST', path: `/anything/${i}`, body: String(i) }),
    ),
  )
  for (const [i, answer] of answers.entries()) {
    assert.equal(answer.status, 200)
    const { data, url } = JSON.parse(answer.body.toString()) as { data: string; url: string }
    assert.deepEqual([data, url], [String(i), `http://${HOST}/anything/${i}`])
  }
  session.close()
  await world.harness.stop(300)
})

test('a large download that is not read at first, and a large upload, arrive whole beside a small request', async (t) => {
  const world = await start(t)
  const session = await meshH2(mesh(world))
  const size = 24 * 1024 * 1024
  const down = h2Stream(session, HOST, { path: `/bytes/${size}` })
  down.end()
  // Not read yet: flow control stops this stream, and only this one.
  await once(down, 'response')
  const small = await h2Request(session, HOST)
  assert.equal(small.status, 200)
  const answer = await h2Answer(down)
  assert.deepEqual([answer.body.length, answer.rstCode], [size, 0])
  const up = await h2Request(session, HOST, { method: 'POST', path: '/upload', body: Buffer.alloc(size, 'y') })
  assert.deepEqual(JSON.parse(up.body.toString()), { bytes: size })
  const lines = await world.harness.lines(3)
  const total = lines.map((line) => [line['bytes_received'], line['bytes_sent']])
  assert.deepEqual(total, [
    [0, small.body.length],
    [0, size],
    [size, up.body.length],
  ])
  session.close()
  await world.harness.stop(3)
})

test('request and response trailers are dropped, and the messages stay whole', async (t) => {
  const origin = await startRawOrigin({
    onRequest: ({ socket }) =>
      socket.write(
        'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n5\r\nhello\r\n0\r\nx-end: 1\r\n\r\n',
      ),
  })
  const harness = await startHarness({
    resources: { 'all.yaml': `${gatewayYaml()}---\n${siteYaml(HOST, origin.port)}` },
  })
  t.after(async () => {
    await harness.gateway.destroy()
    await origin.close()
  })
  const session = await meshH2(mesh({ harness, svid: await harness.pki.svid('apps/sleep') } as World))
  const stream = session.request({ ':method': 'POST', ':path': '/', ':authority': HOST }, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers({ 'x-smuggled': 'yes' }))
  stream.end('body')
  const answer = await h2Answer(stream)
  assert.deepEqual(
    [answer.status, answer.body.toString(), answer.trailers, answer.headers['trailer']],
    [200, 'hello', null, undefined],
  )
  const text = await (await origin.connection(0)).until((seen) => seen.endsWith('0\r\n\r\n'))
  assert.ok(text.endsWith('\r\n\r\n4\r\nbody\r\n0\r\n\r\n'), text)
  assert.ok(!text.includes('smuggled'))
  session.close()
  await harness.stop(1)
})

test('threat 19: a plaintext HTTP2 server takes prior knowledge and HTTP/1.1, without identity', async (t) => {
  const world = await start(t)
  const port = world.harness.gateway.port(443)
  const session = h2Over(await plainConnect(port))
  assert.equal((await h2Request(session, HOST, { path: '/anything' })).status, 200)
  session.close()
  const plain = await plainConnect(port)
  assert.equal((await request(plain, HOST)).status, 200)
  plain.destroy()
  const lines = await world.harness.lines(2)
  assert.deepEqual(
    lines.map((line) => [line['protocol'], line['downstream_peer_uri_san'], line['requested_server_name']]),
    [
      ['HTTP/2', null, null],
      ['HTTP/1.1', null, null],
    ],
  )
  await world.harness.stop(2)
})
