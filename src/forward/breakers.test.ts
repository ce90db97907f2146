import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type ClusterModel, type ConnectionPoolModel, UNLIMITED_POOL } from '../model/cluster.ts'
import { eventually } from '../testing/eventually.ts'
import { CALLER, clusterModel, type SentRequest, type TestUpstream, testUpstream } from '../testing/forwarding.ts'
import { type RecordedConnection, startRawOrigin } from '../testing/origin.ts'
import { connectUpstream } from './connect.ts'
import type { PooledConnection } from './pooled-connection.ts'

const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'

/** Two endpoints that answer when they are told to. */
async function twoEndpoints() {
  const unanswered: RecordedConnection[] = []
  const onRequest = (connection: RecordedConnection) => void unanswered.push(connection)
  const origins = [
    await startRawOrigin({ onRequest, host: '127.0.0.1' }),
    await startRawOrigin({ onRequest, host: '127.0.0.2' }),
  ]
  const endpoints = origins.map(({ port }, i) => ({
    address: `127.0.0.${i + 1}`,
    port,
    weight: 1,
    locality: '',
    priority: 0,
  }))
  return {
    model: (pool: Partial<ConnectionPoolModel>): ClusterModel =>
      clusterModel(0, { endpoints, pool: { ...UNLIMITED_POOL, ...pool } }),
    unanswered,
    connections: () => origins.reduce((sum, { connections }) => sum + connections.length, 0),
    [Symbol.asyncDispose]: async () => {
      for (const origin of origins) await origin.close()
    },
  }
}

function assertFree({ cluster }: TestUpstream): void {
  const { stats, breakers } = cluster
  const { upstream_cx_active, upstream_rq_active, upstream_rq_pending_active } = stats
  assert.deepEqual([upstream_cx_active, upstream_rq_active, upstream_rq_pending_active, breakers.waiting], [0, 0, 0, 0])
  for (const endpoint of cluster.endpoints()) assert.equal(endpoint.active, 0)
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

const LIMIT = fc.option(fc.integer({ min: 1, max: 4 }), { nil: null })
const STEP = fc.record({
  kind: fc.constantFrom('send', 'send', 'send', 'answer', 'answer', 'abort', 'cut', 'turn', 'turn'),
  which: fc.nat(50),
})

test('whatever happens in whatever order, limits hold, nobody waits for ever, and everything is given back', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        maxConnections: LIMIT,
        maxPendingRequests: LIMIT,
        maxRequests: LIMIT,
        maxRequestsPerConnection: LIMIT,
      }),
      fc.array(STEP, { maxLength: 60 }),
      async (limits, steps) => {
        await using outside = await twoEndpoints()
        using upstream = testUpstream(outside.model(limits))
        const { stats } = upstream.cluster
        const holds = () => {
          assert.ok(stats.upstream_cx_active <= (limits.maxConnections ?? 1_000))
          assert.ok(stats.upstream_rq_pending_active <= (limits.maxPendingRequests ?? 1_000))
          assert.ok(stats.upstream_rq_active <= (limits.maxRequests ?? 1_000))
        }
        const sent: SentRequest[] = []
        const aborted = new Set<SentRequest>()
        const kinds: string[] = []
        const { unanswered } = outside
        for (const { kind, which } of steps) {
          const request = sent[which % sent.length]
          if (kind === 'turn') await turn()
          else if (kind === 'abort' && request !== undefined) {
            request.handle.abort()
            aborted.add(request)
          } else if (kind === 'answer') unanswered.shift()?.socket.write(OK)
          else if (kind === 'cut') unanswered.splice(which % unanswered.length, 1)[0]?.reset()
          else if (kind === 'send') {
            const next = upstream.send()
            sent.push(next)
            void next.outcome.then(async (outcome) => {
              kinds.push(outcome.kind === 'failure' ? outcome.failure.kind : String(outcome.status))
              if (outcome.kind === 'response') await outcome.body().catch(() => undefined)
            })
          }
          holds()
        }
        const left = sent.filter((each) => !aborted.has(each))
        let settled = 0
        for (const { outcome } of left) void outcome.then(() => settled++)
        await eventually('all are answered', () => {
          for (const { socket } of unanswered.splice(0)) socket.write(OK)
          holds()
          return settled === left.length
        })
        for (const kind of kinds) assert.ok(['200', 'upstream_overflow', 'upstream_closed'].includes(kind), kind)
        for (const { surplus } of sent) assert.deepEqual(surplus, [])
        upstream.close()
        await eventually('all are closed', () => {
          for (const { socket } of unanswered.splice(0)) socket.write(OK)
          return stats.upstream_cx_active === 0
        })
        assertFree(upstream)
      },
    ),
    { numRuns: 60 },
  )
})

test('requests beyond maxConnections wait, first come, first served', async () => {
  await using outside = await twoEndpoints()
  using upstream = testUpstream(outside.model({ maxConnections: 2 }))
  const { stats, breakers } = upstream.cluster
  const answered: number[] = []
  for (let i = 0; i < 10; i++) {
    const sent = upstream.send({ target: `/${i}` })
    void sent.outcome.then(async (outcome) => {
      answered.push(i)
      if (outcome.kind === 'response') await outcome.body()
    })
    await turn()
  }
  await eventually('two are asked', () => outside.unanswered.length === 2)
  assert.deepEqual([breakers.waiting, stats.upstream_rq_pending_active], [8, 8])
  assert.equal(stats.upstream_cx_overflow, 8)
  while (answered.length < 10) {
    await eventually('one is asked', () => outside.unanswered.length > 0)
    outside.unanswered.shift()?.socket.write(OK)
    const before = answered.length
    await eventually('it is answered', () => answered.length > before)
  }
  assert.deepEqual(answered, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  // Both endpoints have a connection, so that nobody's has to make way.
  assert.equal(outside.connections(), 2)
})

test('an idle connection to another endpoint makes way', async () => {
  await using outside = await twoEndpoints()
  using upstream = testUpstream(outside.model({ maxConnections: 1 }))
  for (let i = 0; i < 4; i++) {
    const got = upstream.get()
    await eventually('it is asked', () => outside.unanswered.length > 0)
    outside.unanswered.shift()?.socket.write(OK)
    assert.equal((await got).text, 'ok')
    await turn()
  }
  // They take turns.
  assert.equal(outside.connections(), 4)
  assert.equal(upstream.cluster.stats.upstream_cx_active, 1)
})

test('a request that is given up leaves the queue', async () => {
  await using outside = await twoEndpoints()
  using upstream = testUpstream(outside.model({ maxConnections: 1 }))
  const { breakers, stats } = upstream.cluster
  const first = upstream.send()
  await eventually('it is asked', () => outside.unanswered.length === 1)
  const second = upstream.send()
  const third = upstream.send()
  await eventually('both wait', () => breakers.waiting === 2)
  second.handle.abort()
  assert.deepEqual([breakers.waiting, stats.upstream_rq_cancelled], [1, 1])
  first.handle.abort()
  await eventually('the third is asked', () => outside.unanswered.length === 2)
  outside.unanswered[1]?.socket.write(OK)
  assert.equal((await third.outcome).kind, 'response')
})

test('a reload changes the limits for those who wait', async () => {
  await using outside = await twoEndpoints()
  using upstream = testUpstream(outside.model({ maxConnections: 1 }))
  const waiting = [upstream.send(), upstream.send(), upstream.send()]
  await eventually('two wait', () => upstream.cluster.breakers.waiting === 2)
  using next = testUpstream(outside.model({ maxConnections: 2 }), undefined, { previous: upstream.set })
  assert.equal(next.cluster.breakers, upstream.cluster.breakers)
  await eventually('another one is asked', () => outside.unanswered.length === 2)
  // It never came into force.
  next.close()
  assert.equal(upstream.cluster.breakers.limits.maxConnections, 1)
  assert.equal(upstream.cluster.breakers.waiting, 1)
  for (const { handle } of waiting) handle.abort()
})

test('a tunnel does not wait for a connection, and counts as pending on its way', async () => {
  await using outside = await twoEndpoints()
  using upstream = testUpstream(outside.model({ maxConnections: 1, maxPendingRequests: 1 }))
  const target = { requestedHost: 'site.example', portOverride: null, hash: null, caller: CALLER }
  const connect = () =>
    new Promise<PooledConnection | string>((resolve) => {
      connectUpstream(upstream.cluster, target, {
        bulk: true,
        onConnected: (connection, _endpoint, released) => {
          released()
          resolve(connection)
        },
        onFailed: ({ kind }) => resolve(kind),
      })
    })
  const { stats } = upstream.cluster
  const [first, second] = await Promise.all([connect(), connect()])
  assert.ok(typeof first !== 'string')
  assert.deepEqual(
    [second, stats.upstream_rq_pending_overflow, stats.upstream_cx_overflow],
    ['upstream_overflow', 1, 0],
  )
  assert.deepEqual([await connect(), stats.upstream_cx_overflow], ['upstream_overflow', 1])
  first.destroy()
  await eventually('it is gone', () => stats.upstream_cx_active === 0)
  const third = await connect()
  assert.ok(typeof third !== 'string')
  third.destroy()
  await eventually('it is gone too', () => stats.upstream_cx_active === 0)
  assertFree(upstream)
})

test('the gauges say which limit is reached', async () => {
  await using outside = await twoEndpoints()
  using upstream = testUpstream(
    outside.model({ maxConnections: 1, maxPendingRequests: 1, maxRequests: 1, maxRetries: 1 }),
  )
  const { stats } = upstream.cluster
  const open = () => {
    const [measured] = [...upstream.set.stats()]
    assert.equal(measured, stats)
    const { circuit_breakers_cx_open: cx, circuit_breakers_rq_pending_open: pending } = stats
    return [cx, pending, stats.circuit_breakers_rq_open, stats.circuit_breakers_rq_retry_open]
  }
  assert.deepEqual(open(), [0, 0, 0, 0])
  const first = upstream.send()
  await eventually('it is asked', () => outside.unanswered.length === 1)
  assert.deepEqual(open(), [1, 0, 1, 0])
  const second = upstream.send()
  await eventually('it waits', () => upstream.cluster.breakers.waiting === 1)
  assert.deepEqual(open(), [1, 1, 1, 0])
  for (const { handle } of [first, second]) handle.abort()
  await eventually('all is free', () => stats.upstream_cx_active === 0)
  assert.deepEqual(open(), [0, 0, 0, 0])
})
