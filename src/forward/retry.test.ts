/** Retries over real sockets, for every engine (behaviour §4.6, §10.6): what is tried again, how often, and where. */
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { deadPort, failingOrigin, loopbackEndpoints, OK, UNAVAILABLE } from '../testing/failing-origin.ts'
import {
  clusterEnvironment,
  clusterModel,
  ENGINES,
  failureOf,
  responseOf,
  retryModel,
  testUpstream,
  upstreamTls,
} from '../testing/forwarding.ts'
import { MISBEHAVIOURS, type RecordedConnection, startRawOrigin } from '../testing/origin.ts'
import { retriesUnderWay } from './retry-budget.ts'

const ALL = ['5xx', 'gateway-error', 'reset']

const ENDINGS: readonly (readonly [string, (connection: RecordedConnection) => void, readonly string[]])[] = [
  ['500', ({ socket }) => socket.write('HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n'), ['5xx']],
  ['503', ({ socket }) => socket.write(UNAVAILABLE), ['5xx', 'gateway-error', '503']],
  ['409', ({ socket }) => socket.write('HTTP/1.1 409 X\r\ncontent-length: 0\r\n\r\n'), ['retriable-4xx']],
  ['closed', ({ socket }) => socket.end(), ALL],
  ['reset', (connection) => connection.reset(), ALL],
  ['cut in the head', ({ socket }) => socket.end('HTTP/1.1 200 OK\r\ncont'), ALL],
  ['no HTTP', ({ socket }) => socket.write(MISBEHAVIOURS.notHttp), ALL],
  [
    'trailers-only UNAVAILABLE',
    ({ socket }) => socket.write('HTTP/1.1 200 OK\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n'),
    ['unavailable'],
  ],
  [
    'rate limited',
    ({ socket }) => socket.write('HTTP/1.1 503 X\r\nx-envoy-ratelimited: true\r\ncontent-length: 0\r\n\r\n'),
    ['envoy-ratelimited'],
  ],
]
const TOKENS = [...ALL, '503', 'retriable-4xx', 'unavailable', 'envoy-ratelimited', 'connect-failure', 'refused-stream']
const only = (token: string) =>
  /^\d+$/.test(token) ? { on: ['retriable-status-codes'], statusCodes: [Number(token)] } : { on: [token] }

for (const [engine, create] of Object.entries(ENGINES)) {
  for (const [name, misbehave, retried] of ENDINGS) {
    test(`${engine}: ${name}: tried again for ${retried.join(', ')} and nothing else`, async () => {
      for (const token of TOKENS) {
        await using failing = await failingOrigin(1, misbehave)
        using upstream = testUpstream(clusterModel(failing.origin.port), undefined, { forwarder: create() })
        const sent = upstream.send({}, retryModel(only(token)))
        const outcome = await sent.outcome
        const again = retried.includes(token)
        assert.equal(outcome.kind === 'response' && outcome.status === 200 && failing.seen() === 2, again, token)
        if (!again) assert.equal(failing.seen(), 1, token)
        assert.deepEqual(sent.notes, again ? ['retry 2'] : [], token)
        assert.equal(sent.connected.length, again ? 2 : 1, token)
        assert.deepEqual(sent.surplus, [])
        const { stats } = upstream.cluster
        assert.deepEqual(
          [stats.upstream_rq_retry, stats.upstream_rq_retry_success, stats.upstream_rq_retry_backoff_exponential],
          again ? [1, 1, 1] : [0, 0, 0],
        )
        assert.deepEqual([stats.upstream_rq_completed, retriesUnderWay(stats)], [1, 0], 'one answer is counted')
      }
    })
  }

  test(`${engine}: by default only a failure to connect is tried again, elsewhere, and for every method and body`, async () => {
    const dead = await deadPort()
    await using origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(OK) })
    const endpoints = loopbackEndpoints(dead, origin.port)
    using upstream = testUpstream(clusterModel(0, { endpoints }), undefined, { forwarder: create() })
    for (let i = 0; i < 6; i++) {
      const body = Readable.from([Buffer.alloc(300_000, 'x')])
      const sent = upstream.send(
        { method: 'POST', body, headers: ['host', 'a', 'content-length', '300000'] },
        retryModel(),
      )
      assert.equal(responseOf(await sent.outcome).status, 200)
      await (await origin.connection(i)).until((text) => text.length > 300_000)
      sent.handle.abort()
    }
    const { stats } = upstream.cluster
    assert.equal(stats.upstream_rq_retry, stats.upstream_cx_connect_fail)
    assert.ok(stats.upstream_cx_connect_fail >= 3)
    assert.equal(stats.upstream_rq.get(503), undefined, 'failures that were made good are nobody’s answer')
    // What the upstream has read may have been acted on.
    await using failing = await failingOrigin(1, ({ socket }) => socket.destroy())
    using other = testUpstream(clusterModel(failing.origin.port), undefined, { forwarder: create() })
    assert.equal(failureOf(await other.request({}, retryModel())).kind, 'upstream_closed')
    assert.equal(failing.seen(), 1)
  })

  test(`${engine}: as often as \`attempts\` says, then the last failure in Envoy's words`, async () => {
    const dead = await deadPort()
    for (const attempts of [1, 2, 5]) {
      using upstream = testUpstream(clusterModel(dead), undefined, { forwarder: create() })
      const sent = upstream.send({}, retryModel({ attempts }))
      const failure = failureOf(await sent.outcome)
      assert.equal(
        failure.body,
        'upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure, transport failure reason: delayed connect error: Connection refused',
      )
      const { stats } = upstream.cluster
      assert.deepEqual(
        [stats.upstream_cx_connect_fail, stats.upstream_rq_retry, stats.upstream_rq_retry_limit_exceeded],
        [attempts + 1, attempts, 1],
      )
      assert.deepEqual([stats.upstream_rq_retry_success, stats.upstream_rq.get(503)], [0, 1])
      assert.deepEqual(sent.notes.at(-1), 'exhausted')
      assert.equal(sent.notes.length, attempts + 1)
    }
    // A response that is still bad is passed on as it is.
    await using failing = await failingOrigin(9, ({ socket }) => socket.write(UNAVAILABLE))
    using upstream = testUpstream(clusterModel(failing.origin.port), undefined, { forwarder: create() })
    const sent = upstream.send({}, retryModel({ on: ['5xx'] }))
    const outcome = responseOf(await sent.outcome)
    assert.deepEqual([outcome.status, (await outcome.body()).toString(), failing.seen()], [503, 'bad', 3])
    assert.deepEqual(sent.notes, ['retry 2', 'retry 3', 'exhausted'])
  })

  test(`${engine}: no retries: exactly one try`, async () => {
    const dead = await deadPort()
    using upstream = testUpstream(clusterModel(0, { endpoints: loopbackEndpoints(dead, dead, dead) }), undefined, {
      forwarder: create(),
    })
    const sent = upstream.send()
    assert.doesNotMatch(failureOf(await sent.outcome).body ?? '', /retried/)
    assert.deepEqual(sent.notes, [])
    assert.equal(upstream.cluster.stats.upstream_cx_total, 1)
  })

  test(`${engine}: a server that fails verification is a failure to connect; a forbidden address is the last word`, async () => {
    const plain = await startRawOrigin({ onConnection: ({ socket }) => socket.end('no TLS\r\n') })
    await using _plain = plain
    using tls = testUpstream(
      clusterModel(plain.port, { tls: upstreamTls({ insecureSkipVerify: true }) }),
      clusterEnvironment(),
      { forwarder: create() },
    )
    assert.equal(failureOf(await tls.request({}, retryModel())).kind, 'connect_failure')
    assert.equal(tls.cluster.stats.upstream_cx_connect_fail, 3)
    using denied = testUpstream(
      clusterModel(80, { endpoints: loopbackEndpoints(80) }),
      clusterEnvironment({ isSelf: () => true }),
      { forwarder: create() },
    )
    const sent = denied.send({}, retryModel({ on: [...ALL, 'connect-failure'], statusCodes: [403] }))
    assert.equal(failureOf(await sent.outcome).kind, 'address_denied')
    assert.deepEqual(sent.notes, [])
  })

  test(`${engine}: previous endpoints are avoided while there are others, then used again`, async (t) => {
    const heads: number[] = []
    const origins = await Promise.all(
      [0, 1, 2].map((index) =>
        startRawOrigin({
          onRequest: ({ socket }) => {
            heads.push(index)
            socket.write(UNAVAILABLE)
          },
        }),
      ),
    )
    t.after(() => Promise.all(origins.map((origin) => origin.close())))
    const model = clusterModel(0, {
      endpoints: loopbackEndpoints(...origins.map(({ port }) => port)),
      loadBalancer: { kind: 'RANDOM', warmup: null },
    })
    using upstream = testUpstream(model, undefined, { forwarder: create() })
    for (let i = 0; i < 20; i++) {
      heads.length = 0
      await upstream.request({}, retryModel({ on: ['5xx'], attempts: 5 }))
      assert.equal(heads.length, 6)
      assert.deepEqual(
        heads.slice(0, 3).toSorted((a, b) => a - b),
        [0, 1, 2],
      )
    }
    // Without the wish, the same one comes up sooner or later.
    let repeated = false
    for (let i = 0; i < 40 && !repeated; i++) {
      heads.length = 0
      await upstream.request({}, retryModel({ on: ['5xx'], ignorePreviousHosts: false }))
      repeated = new Set(heads).size < 3
    }
    assert.equal(repeated, true)
  })

  test(`${engine}: with remoteLocalities every second try leaves the priorities tried so far`, async () => {
    const near = await deadPort()
    await using far = await startRawOrigin({ onRequest: ({ socket }) => socket.write(OK) })
    const endpoints = loopbackEndpoints(near, far.port).map((each, priority) => ({ ...each, priority }))
    for (const [options, status] of [
      [{ remoteLocalities: true }, 200],
      [{ remoteLocalities: true, ignorePreviousHosts: false }, 200],
      [{ remoteLocalities: true, attempts: 1 }, 503],
      [{}, 503],
    ] as const) {
      using upstream = testUpstream(clusterModel(0, { endpoints }), undefined, { forwarder: create() })
      const outcome = await upstream.request({}, retryModel(options))
      assert.equal(outcome.kind === 'response' ? outcome.status : 503, status, JSON.stringify(options))
      const tries = status === 200 ? 2 : 'attempts' in options ? 2 : 3
      assert.equal(upstream.cluster.stats.upstream_cx_connect_fail, tries)
    }
  })
}
