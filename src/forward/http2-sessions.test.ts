/** Connections that several requests share: how many, for how long, and what becomes of requests when they end. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { test } from 'node:test'
import { createServer as createTlsServer } from 'node:tls'
import { type ClusterModel, UNLIMITED_POOL } from '../model/cluster.ts'
import { eventually } from '../testing/eventually.ts'
import { deadPort } from '../testing/failing-origin.ts'
import {
  clusterEnvironment,
  clusterModel,
  type EnvironmentOptions,
  failureOf,
  responseOf,
  type SentRequest,
  type TestUpstream,
  testUpstream,
  upstreamTls,
} from '../testing/forwarding.ts'
import { ACK, FRAME, type FrameServer, frame, SETTING, setting } from '../testing/h2-frames.ts'
import { startFrameOrigin, startH2Origin } from '../testing/h2-origin.ts'
import { startRawOrigin } from '../testing/origin.ts'
import { createTestPki } from '../testing/pki.ts'
import { createHttp2Forwarder } from './http2.ts'

function h2Upstream(
  port: number,
  options: { readonly pool?: Partial<ClusterModel['pool']>; readonly model?: Partial<ClusterModel> } = {},
  environment: EnvironmentOptions = {},
): TestUpstream {
  const pool = { ...UNLIMITED_POOL, ...options.pool }
  return testUpstream(
    clusterModel(port, { protocol: 'http2', pool, ...options.model }),
    clusterEnvironment(environment),
    {
      forwarder: createHttp2Forwarder(),
    },
  )
}

const send = (upstream: TestUpstream, count: number): SentRequest[] =>
  Array.from({ length: count }, () => upstream.send())

/** Answers the requests that have come on this connection and have not been answered. */
function answerAll(server: FrameServer, answered: Set<number>): void {
  for (const stream of server.requests) {
    if (answered.has(stream)) continue
    answered.add(stream)
    server.respond(stream, [], { end: true })
  }
}

test('requests that come at once share one connection, and the wait for it', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port)
  const all = send(upstream, 60)
  all[0]?.handle.abort()
  const server = await origin.connection(0)
  await server.request(58)
  answerAll(server, new Set())
  for (const sent of all.slice(1)) {
    assert.equal(responseOf(await sent.outcome).status, 200)
    assert.equal(sent.connected.length, 1)
  }
  const { stats } = upstream.cluster
  assert.deepEqual([origin.connections.length, stats.upstream_cx_total, stats.upstream_cx_http2_total], [1, 1, 1])
  assert.deepEqual([stats.upstream_cx_http1_total, stats.upstream_rq_total], [0, 59])
  await eventually('all is over', () => stats.upstream_rq_active + stats.upstream_rq_pending_active === 0)
})

for (const [who, theirs, ours, connections] of [
  ['the other side', 2, null, 3],
  ['maxConcurrentStreams', 100, 2, 3],
  ['both', 3, 2, 3],
] as const) {
  test(`more connections when one may carry no more: ${who}`, async () => {
    await using origin = await startFrameOrigin(setting(SETTING.maxConcurrentStreams, theirs))
    using upstream = h2Upstream(origin.port, { pool: { maxConcurrentStreams: ours } })
    // So that their limit is known.
    const first = upstream.send()
    const server = await origin.connection(0)
    server.respond(await server.request(0), [], { end: true })
    responseOf(await first.outcome)
    await eventually('its place is free', () => upstream.cluster.stats.upstream_rq_active === 0)
    const all = send(upstream, 6)
    const answered = new Set<number>()
    await origin.connection(connections - 1)
    await eventually(
      'all have come',
      () => origin.connections.reduce((sum, { requests }) => sum + requests.length, 0) === 7,
    )
    for (const [index, each] of origin.connections.entries()) {
      assert.equal(each.requests.length - (index === 0 ? 1 : 0), 2)
      answerAll(each, index === 0 ? new Set([1]) : new Set(answered))
    }
    for (const sent of all) responseOf(await sent.outcome)
    assert.equal(origin.connections.length, connections)
  })
}

test('with as many connections as there may be, requests wait for room and are served in order', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port, { pool: { maxConnections: 1, maxConcurrentStreams: 2 } })
  const all = send(upstream, 5)
  const server = await origin.connection(0)
  for (const index of [0, 1, 2, 3, 4]) {
    const stream = await server.request(index)
    assert.ok(server.requests.length <= index + 2, 'two at once')
    server.respond(stream, [], { end: true })
    responseOf(await (all[index] as SentRequest).outcome)
  }
  assert.equal(origin.connections.length, 1)
  await eventually('nothing is left', () => upstream.cluster.stats.upstream_rq_pending_active === 0)
})

test('a connection at rest makes way for one that leads elsewhere', async () => {
  await using one = await startFrameOrigin()
  await using two = await startFrameOrigin()
  const endpoints = [one.port, two.port].map((port) => ({
    address: '127.0.0.1',
    port,
    weight: 1,
    locality: '',
    priority: 0,
  }))
  using upstream = h2Upstream(0, { pool: { maxConnections: 1 }, model: { endpoints } })
  for (const origin of [one, two]) {
    const sent = upstream.send()
    const server = await origin.connection(0)
    server.respond(await server.request(0), [], { end: true })
    responseOf(await sent.outcome)
  }
  const [first] = one.connections
  await first?.until((frames) => frames.some(({ type }) => type === FRAME.goaway))
  assert.ok(upstream.cluster.stats.upstream_cx_active <= 1)
})

test('maxRequestsPerConnection: then another one, and the old one goes when it carries nothing more', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port, { pool: { maxRequestsPerConnection: 2 } })
  for (const index of [0, 1, 2]) {
    const all = send(upstream, 2)
    const server = await origin.connection(index)
    await server.request(1)
    answerAll(server, new Set())
    for (const sent of all) responseOf(await sent.outcome)
    await server.until((frames) => frames.some(({ type }) => type === FRAME.goaway))
  }
  await eventually('they are counted', () => upstream.cluster.stats.upstream_cx_max_requests === 3)
  await eventually('they are gone', () => upstream.cluster.stats.upstream_cx_active === 0)
})

test('GOAWAY: what the other side has seen goes on, what it has not may be tried again, what comes goes elsewhere', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port)
  const [seen, unseen] = [upstream.send(), upstream.send()]
  const server = await origin.connection(0)
  const [first] = [await server.request(0), await server.request(1)]
  server.goaway(first)
  const failure = failureOf(await unseen.outcome)
  assert.deepEqual([failure.kind, failure.refused], ['upstream_reset', true])
  const later = upstream.send()
  const other = await origin.connection(1)
  other.respond(await other.request(0), [], { end: true })
  assert.equal(responseOf(await later.outcome).status, 200)
  server.respond(first)
  server.data(first, 'still', { end: true })
  assert.equal((await responseOf(await seen.outcome).body()).toString(), 'still')
  // Nothing more can come of it.
  await eventually('the connection is closed', () => server.closed)
})

test('GOAWAY with an error ends what the other side has seen, too', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port)
  const [seen, unseen] = [upstream.send(), upstream.send()]
  const server = await origin.connection(0)
  const [first] = [await server.request(0), await server.request(1)]
  server.goaway(first, 2)
  const [one, two] = [failureOf(await seen.outcome), failureOf(await unseen.outcome)]
  assert.deepEqual([one.kind, one.refused, two.refused], ['upstream_closed', undefined, true])
})

test('a connection that dies without a word under the next request: GET is sent again, POST is not', async () => {
  for (const method of ['GET', 'POST']) {
    await using origin = await startFrameOrigin()
    using upstream = h2Upstream(origin.port)
    const first = upstream.send()
    const server = await origin.connection(0)
    server.respond(await server.request(0), [], { end: true })
    responseOf(await first.outcome)
    await eventually('it is at rest', () => upstream.cluster.stats.upstream_rq_active === 0)
    const second = upstream.send({ method })
    await server.request(1)
    server.socket.destroy()
    if (method === 'POST') {
      assert.equal(failureOf(await second.outcome).kind, 'upstream_closed')
      assert.equal(origin.connections.length, 1)
      continue
    }
    const other = await origin.connection(1)
    other.respond(await other.request(0), [], { end: true })
    assert.equal(responseOf(await second.outcome).status, 200)
    assert.deepEqual(
      second.connected.map(({ reused }) => reused),
      [true, false],
    )
  }
})

test('idle timeout: a connection that carries something stays, one at rest goes', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port, {}, { http: { idleTimeoutMs: 60 } })
  const busy = upstream.send()
  const server = await origin.connection(0)
  const stream = await server.request(0)
  await new Promise((resolve) => setTimeout(resolve, 200))
  assert.equal(server.closed, false)
  server.respond(stream, [], { end: true })
  responseOf(await busy.outcome)
  await server.until((frames) => frames.some(({ type }) => type === FRAME.goaway))
  await eventually('it is closed', () => upstream.cluster.stats.upstream_cx_active === 0)
  assert.equal(upstream.cluster.stats.upstream_cx_idle_timeout, 1)
})

test('http2KeepAlive: PINGs at rest and at work; one without an answer ends the connection', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port, { pool: { http2KeepAlive: { intervalMs: 30, timeoutMs: 1_000 } } })
  const sent = upstream.send()
  const server = await origin.connection(0)
  await server.request(0)
  const pings = () => server.frames.filter(({ type, flags }) => type === FRAME.ping && (flags & ACK) === 0)
  for (const index of [0, 1, 2]) {
    await server.until(() => pings().length > index)
    server.pong(pings()[index]?.payload ?? Buffer.alloc(8))
  }
  assert.equal(server.closed, false)
  // The fourth is not answered.
  const failure = failureOf(await sent.outcome)
  assert.equal(failure.kind, 'upstream_closed')
  assert.equal(upstream.cluster.stats.http2_keepalive_timeout, 1)
  assert.ok(pings().length >= 4)
})

test('a reload keeps a connection that is still wanted; one that is not goes when it carries nothing more', async () => {
  await using origin = await startFrameOrigin()
  const model = clusterModel(origin.port, { protocol: 'http2' })
  const forwarder = createHttp2Forwarder()
  const before = testUpstream(model, undefined, { forwarder })
  const busy = before.send()
  const server = await origin.connection(0)
  const stream = await server.request(0)
  const same = testUpstream(model, undefined, { forwarder, previous: before.set })
  before.close()
  const shared = same.send()
  server.respond(await server.request(1), [], { end: true })
  responseOf(await shared.outcome)
  const other = testUpstream({ ...model, protocol: 'http1' }, undefined, { previous: same.set })
  same.close()
  assert.equal(server.closed, false)
  server.respond(stream, [], { end: true })
  responseOf(await busy.outcome)
  await server.until((frames) => frames.some(({ type }) => type === FRAME.goaway))
  other.close()
  assert.equal(origin.connections.length, 1)
})

test('a connection that cannot be made fails everybody who waits for it, once', async () => {
  using upstream = h2Upstream(await deadPort())
  const all = send(upstream, 10)
  for (const sent of all) {
    assert.equal(failureOf(await sent.outcome).kind, 'connect_failure')
    assert.deepEqual(sent.surplus, [])
  }
  assert.equal(upstream.cluster.stats.upstream_cx_connect_fail, 1)
})

test('all who wait leave: nothing is dialled for nobody', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  // It accepts, and never speaks TLS.
  using upstream = h2Upstream((server.address() as AddressInfo).port, {
    model: { tls: upstreamTls({ insecureSkipVerify: true }) },
  })
  const all = send(upstream, 3)
  await once(server, 'connection')
  for (const { handle } of all) handle.abort()
  const { stats } = upstream.cluster
  await eventually('the dial is given up', () => stats.upstream_cx_active === 0)
  assert.deepEqual([stats.upstream_rq_pending_active, stats.upstream_rq_cancelled], [0, 3])
  server.close()
})

test('TLS: h2 is negotiated, on the name that was configured', async () => {
  const pki = await createTestPki()
  const { cert, key } = await pki.serverCert('site.example')
  await using origin = await startH2Origin(({ stream }) => stream.respond({}, { endStream: true }), {
    tls: { cert, key },
  })
  using upstream = h2Upstream(origin.port, { model: { tls: upstreamTls() } }, { ca: pki.root })
  for (let i = 0; i < 3; i++) assert.equal(responseOf(await upstream.request()).status, 200)
  assert.deepEqual([origin.sessions.length, origin.sessions[0]?.alpnProtocol], [1, 'h2'])
  assert.equal(origin.streams[0]?.headers[':scheme'], 'https')
})

test('TLS without h2: refused before a byte of a request is sent', async () => {
  const pki = await createTestPki()
  const { cert, key } = await pki.serverCert('site.example')
  for (const [options, kind] of [
    // Knows nothing of ALPN.
    [{}, 'upstream_protocol'],
    // Knows something else: says so by an alert.
    [{ ALPNProtocols: ['http/1.1'] }, 'connect_failure'],
    [{ ALPNCallback: () => 'http/1.1' }, 'connect_failure'],
  ] as const) {
    let received = 0
    const server = createTlsServer({ cert, key, ...options }, (socket) => {
      socket.on('error', () => {})
      socket.on('data', ({ length }: Buffer) => (received += length))
    })
    server.on('tlsClientError', () => {})
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    using upstream = h2Upstream(
      (server.address() as AddressInfo).port,
      { model: { tls: upstreamTls() } },
      { ca: pki.root },
    )
    assert.equal(failureOf(await upstream.request()).kind, kind)
    assert.equal(received, 0)
    server.close()
  }
})

test('plain text that is no HTTP/2 is a protocol error, and the connection is not used again', async () => {
  await using origin = await startRawOrigin({
    onConnection: ({ socket }) => socket.once('data', () => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n')),
  })
  using upstream = h2Upstream(origin.port)
  for (let i = 1; i <= 2; i++) {
    const failure = failureOf(await upstream.request())
    assert.deepEqual([failure.kind, origin.connections.length], ['upstream_protocol', i])
  }
})

test('floods of control frames end the connection instead of filling memory', async () => {
  for (const flood of ['settings', 'ping'] as const) {
    await using origin = await startFrameOrigin()
    using upstream = h2Upstream(origin.port)
    const sent = upstream.send()
    const server = await origin.connection(0)
    await server.request(0)
    // Answers to them are not read.
    server.socket.pause()
    const block = Buffer.concat(
      Array.from({ length: 1_000 }, () =>
        flood === 'ping' ? frame(FRAME.ping, 0, 0, Buffer.alloc(8)) : frame(FRAME.settings, 0, 0),
      ),
    )
    const pump = (): void => {
      while (!server.socket.destroyed && server.socket.write(block));
    }
    server.socket.on('drain', pump)
    pump()
    const failure = failureOf(await sent.outcome)
    assert.ok(['upstream_protocol', 'upstream_closed'].includes(failure.kind), failure.kind)
  }
})
