/** How many retries may be under way at once, and what is left when a caller leaves; for every engine. */
import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import fc from 'fast-check'
import { UNLIMITED_POOL } from '../model/cluster.ts'
import { eventually } from '../testing/eventually.ts'
import { deadPort, failingOrigin, OK, UNAVAILABLE } from '../testing/failing-origin.ts'
import { clusterModel, ENGINES, failureOf, responseOf, retryModel, testUpstream } from '../testing/forwarding.ts'
import { type RecordedConnection, startRawOrigin } from '../testing/origin.ts'
import { retriesUnderWay } from './retry-budget.ts'

const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length

for (const [engine, create] of Object.entries(ENGINES)) {
  test(`${engine}: a caller who leaves ends the back-off, its timer and its place in the budget`, async (t) => {
    const dead = await deadPort()
    const pool = { ...UNLIMITED_POOL, maxRetries: 1 }
    using upstream = testUpstream(clusterModel(dead, { pool }), undefined, { forwarder: create() })
    const { stats } = upstream.cluster
    const before = timers()
    const waiting = upstream.send({}, retryModel({ backoffMs: 100_000_000 }))
    t.after(() => waiting.handle.abort())
    await eventually('it waits', () => stats.upstream_rq_retry === 1)
    assert.deepEqual([retriesUnderWay(stats), timers()], [1, before + 1])
    // The one place is taken: nobody else retries.
    const other = upstream.send({}, retryModel())
    assert.equal(failureOf(await other.outcome).kind, 'connect_failure')
    assert.deepEqual(other.notes, ['overflow'])
    assert.deepEqual([stats.upstream_rq_retry_overflow, stats.upstream_rq_retry], [1, 1])
    waiting.handle.abort()
    waiting.handle.abort()
    assert.deepEqual([retriesUnderWay(stats), timers()], [0, before])
    assert.deepEqual(waiting.notes, [])
    // Also when it is the body that says so.
    const body = new PassThrough()
    await using failing = await failingOrigin(1, ({ socket }) => socket.write(UNAVAILABLE))
    using uphill = testUpstream(clusterModel(failing.origin.port, { pool }), undefined, { forwarder: create() })
    const uploading = uphill.send({ method: 'POST', body }, retryModel({ on: ['5xx'], backoffMs: 100_000_000 }))
    t.after(() => uploading.handle.abort())
    body.write('half')
    await eventually('it waits', () => uphill.cluster.stats.upstream_rq_retry === 1)
    body.destroy()
    await eventually('its place is free', () => retriesUnderWay(uphill.cluster.stats) === 0)
    assert.equal(timers(), before)
    await eventually('nothing is left', () => uphill.cluster.stats.upstream_rq_active === 0)
  })

  test(`${engine}: retries under way never exceed maxRetries, whatever the interleaving`, async () => {
    const plans = fc.array(fc.nat(3), { minLength: 1, maxLength: 10 })
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 3 }),
        plans,
        fc.array(fc.nat(9), { maxLength: 40 }),
        async (maxRetries, fails, order) => {
          const waiting: { readonly connection: RecordedConnection; readonly id: number; readonly again: boolean }[] =
            []
          const seen = new Map<number, number>()
          let most = 0
          await using origin = await startRawOrigin({
            onRequest: (connection, head) => {
              const id = Number(/^GET \/(\d+)/.exec(head)?.[1])
              const times = (seen.get(id) ?? 0) + 1
              seen.set(id, times)
              waiting.push({ connection, id, again: times > 1 })
              most = Math.max(most, waiting.filter(({ again }) => again).length)
            },
          })
          const pool = { ...UNLIMITED_POOL, maxRetries }
          using upstream = testUpstream(clusterModel(origin.port, { pool }), undefined, { forwarder: create() })
          const { stats } = upstream.cluster
          let open = fails.length
          const sent = fails.map((_, id) =>
            upstream.send({ target: `/${id}` }, retryModel({ on: ['5xx'], attempts: 3 })),
          )
          const ends = sent.map(async ({ outcome }) => {
            const { status, body } = responseOf(await outcome)
            await body()
            open--
            return status
          })
          for (let step = 0; open > 0; step++) {
            await eventually('a request, or the end', () => waiting.length > 0 || open === 0)
            const [next] = waiting.splice((order[step] ?? 0) % Math.max(1, waiting.length), 1)
            if (next === undefined) continue
            const bad = (seen.get(next.id) ?? 0) <= (fails[next.id] ?? 0)
            next.connection.socket.write(bad ? UNAVAILABLE : OK)
            assert.ok(retriesUnderWay(stats) <= maxRetries)
          }
          const statuses = await Promise.all(ends)
          assert.ok(most <= maxRetries, `${most} at once, ${maxRetries} allowed`)
          assert.equal(retriesUnderWay(stats), 0)
          const times = [...seen.values()].reduce((sum, each) => sum + each, 0)
          assert.equal(times, fails.length + stats.upstream_rq_retry, 'every retry was sent')
          statuses.forEach((status, id) => {
            const { notes = [] } = sent[id] ?? {}
            assert.equal(status, notes.includes('overflow') || notes.includes('exhausted') ? 503 : 200)
          })
        },
      ),
      { numRuns: 15 },
    )
  })
}
