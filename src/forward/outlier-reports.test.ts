/** What outlier detection is told about real exchanges, by every engine and by tunnels. */
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { REFUSALS } from '../core/refusal.ts'
import type { ClusterModel, OutlierDetectionModel } from '../model/cluster.ts'
import { eventually } from '../testing/eventually.ts'
import {
  CALLER,
  clusterEnvironment,
  clusterModel,
  ENGINES,
  failureOf,
  responseOf,
  testUpstream,
} from '../testing/forwarding.ts'
import { type RawOriginOptions, startRawOrigin } from '../testing/origin.ts'
import { connectUpstream } from './connect.ts'

const COUNTING: OutlierDetectionModel = {
  consecutive5xx: 1_000,
  consecutiveGatewayErrors: 1_000,
  splitLocalOriginErrors: true,
  consecutiveLocalOriginFailures: 1_000,
  intervalMs: 10_000,
  baseEjectionMs: 30_000,
  maxEjectionPercent: 100,
  minHealthPercent: 0,
}

const head = (status: number, fields = '') => `HTTP/1.1 ${status} X\r\n${fields}content-length: 0\r\n\r\n`

for (const [engine, create] of Object.entries(ENGINES)) {
  const upstreamTo = (port: number, options: Partial<ClusterModel> = {}) => {
    const upstream = testUpstream(
      clusterModel(port, { outlierDetection: COUNTING, ...options }),
      clusterEnvironment(),
      { forwarder: create() },
    )
    /** 5xx, gateway errors, local failures in a row. */
    const counted = () => {
      const [endpoint] = upstream.cluster.endpoints()
      const health = endpoint?.health ?? null
      if (health === null) throw new Error('nobody counts')
      return [health.consecutive5xx, health.consecutiveGatewayErrors, health.consecutiveLocalFailures]
    }
    return { upstream, counted, [Symbol.dispose]: () => upstream.close() }
  }

  /** What the origin does with the request → counts afterwards. TABLE. */
  const cases: Readonly<Record<string, readonly [RawOriginOptions['onRequest'], readonly number[]]>> = {
    'a 200': [({ socket }) => socket.write(head(200)), [0, 0, 0]],
    'a 500': [({ socket }) => socket.write(head(500)), [1, 0, 0]],
    'a 503': [({ socket }) => socket.write(head(503)), [1, 1, 0]],
    'a gRPC answer UNAVAILABLE': [({ socket }) => socket.write(head(200, 'grpc-status: 14\r\n')), [1, 1, 0]],
    'a gRPC answer INTERNAL': [({ socket }) => socket.write(head(200, 'grpc-status: 13\r\n')), [1, 0, 0]],
    'a gRPC answer NOT_FOUND': [({ socket }) => socket.write(head(200, 'grpc-status: 5\r\n')), [0, 0, 0]],
    'a reset before the answer': [(connection) => connection.reset(), [0, 0, 1]],
    'a close before the answer': [({ socket }) => socket.end(), [0, 0, 1]],
    'no HTTP': [({ socket }) => socket.write('SSH-2.0-x\r\n'), [0, 0, 1]],
    'an answer that breaks off': [
      ({ socket }) => socket.end('HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nhal'),
      [0, 0, 1],
    ],
  }
  for (const [what, [onRequest, expected]] of Object.entries(cases)) {
    test(`${engine}: ${what}`, async () => {
      await using origin = await startRawOrigin({ ...(onRequest === undefined ? {} : { onRequest }) })
      using to = upstreamTo(origin.port)
      const outcome = await to.upstream.request()
      if (outcome.kind === 'response') await outcome.body().catch(() => undefined)
      // The connection may close after the body has broken off.
      await eventually('the exchange is over', () => to.upstream.cluster.stats.upstream_rq_active === 0)
      assert.deepEqual(to.counted(), expected)
    })
  }

  test(`${engine}: a refused connection; and what is not the endpoint's fault`, async () => {
    const origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(head(200)) })
    using to = upstreamTo(origin.port)
    assert.equal(responseOf(await to.upstream.request()).status, 200)
    // Framing that contradicts itself never leaves.
    assert.equal(
      REFUSALS[failureOf(await to.upstream.request({ headers: ['host', 'a', 'content-length', '5'] })).kind].status,
      400,
    )
    assert.deepEqual(to.counted(), [0, 0, 0])
    await origin.close()
    await to.upstream.request()
    assert.deepEqual(to.counted(), [0, 0, 1])
  })

  test(`${engine}: a timeout counts, a caller who hangs up does not`, async () => {
    await using origin = await startRawOrigin()
    using to = upstreamTo(origin.port)
    for (const [index, why] of ([undefined, 'timeout'] as const).entries()) {
      const sent = to.upstream.send({
        method: 'POST',
        body: Readable.from(['x']),
        headers: ['host', 'a', 'content-length', '1'],
      })
      await (await origin.connection(index)).until((text) => text.endsWith('x'))
      sent.handle.abort(why)
      assert.deepEqual(to.counted(), [0, 0, index])
    }
  })

  test(`${engine}: an idle connection that has died is no failure; one that works ends a row of them`, async () => {
    let answers = 0
    await using origin = await startRawOrigin({
      onRequest: ({ socket }) => {
        if (answers++ < 2) socket.write(head(200))
        else socket.destroy()
      },
    })
    using to = upstreamTo(origin.port)
    await to.upstream.get()
    await new Promise((resolve) => setImmediate(resolve))
    const [endpoint] = to.upstream.cluster.endpoints()
    endpoint?.failed()
    assert.deepEqual(to.counted(), [0, 0, 1])
    assert.equal((await to.upstream.get()).reused, true)
    assert.deepEqual(to.counted(), [0, 0, 0])
    await new Promise((resolve) => setImmediate(resolve))
    // Repeated on a fresh connection, which fails for good.
    assert.equal(failureOf(await to.upstream.request()).kind, 'upstream_closed')
    assert.deepEqual(to.counted(), [0, 0, 1])
  })

  test(`${engine}: all ejected: no healthy upstream`, async () => {
    await using origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(head(500)) })
    using to = upstreamTo(origin.port, { outlierDetection: { ...COUNTING, consecutive5xx: 2 } })
    await to.upstream.request()
    assert.equal(responseOf(await to.upstream.request()).status, 500)
    assert.equal(failureOf(await to.upstream.request()).kind, 'no_healthy_upstream')
  })
}

test('tunnels: connections that fail', async () => {
  const origin = await startRawOrigin()
  await origin.close()
  using upstream = testUpstream(
    clusterModel(origin.port, { outlierDetection: { ...COUNTING, splitLocalOriginErrors: false, consecutive5xx: 2 } }),
  )
  const target = { requestedHost: 'site.example', portOverride: null, hash: null, caller: CALLER }
  const connect = async () =>
    new Promise<string>((resolve) => {
      connectUpstream(upstream.cluster, target, {
        onConnected: () => resolve('connected'),
        onFailed: ({ kind }) => resolve(kind),
      })
    })
  assert.deepEqual(
    [await connect(), await connect(), await connect()],
    ['connect_failure', 'connect_failure', 'no_healthy_upstream'],
  )
})
