/** `connectionPool.http`: how many requests, on how many connections, and for how long (behaviour §5.4). */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { heldOrigin } from './held-origin.ts'
import { outcome, type RetrySite, retrySite } from './retry-site.ts'

const POOL = 'DestinationRule.trafficPolicy.connectionPool'

const site = (t: TestContext, port: number, connectionPool: object): Promise<RetrySite> =>
  retrySite(t, { endpoints: [{ port }], retries: { attempts: 0 }, policy: { connectionPool } })

const OVERFLOW = [503, 'UO', 'upstream_reset_before_response_started{overflow}']

async function assertOverflow(to: RetrySite, line: number): Promise<void> {
  const { status, headers, body } = await to.get()
  assert.equal(status, 503)
  assert.equal(headers['x-envoy-overloaded'], 'true')
  assert.equal(body, 'upstream connect error or disconnect/reset before headers. reset reason: overflow')
  assert.deepEqual(await outcome(to, line), OVERFLOW)
}

test(`field ${POOL}.http.http1MaxPendingRequests: so many wait for a connection, the next is refused`, async (t) => {
  const outside = await heldOrigin(t)
  const to = await site(t, outside.origin.port, { tcp: { maxConnections: 1 }, http: { http1MaxPendingRequests: 2 } })
  const answers = [to.get()]
  await outside.asked(1)
  answers.push(to.get(), to.get())
  await eventually('two wait', async () => (await to.stat('upstream_rq_pending_active')) === 2)
  assert.equal(await to.stat('circuit_breakers.default.rq_pending_open'), 1)
  await assertOverflow(to, 0)
  assert.equal(await to.stat('upstream_rq_pending_overflow'), 1)
  outside.answerAll()
  for (const { status } of await Promise.all(answers)) assert.equal(status, 200)
  assert.equal(outside.origin.connections.length, 1)
  assert.equal(await to.stat('circuit_breakers.default.rq_pending_open'), 0)
  await to.harness.stop(4)
})

test(`field ${POOL}.http.http1MaxPendingRequests: without it, or with 0, all of them wait`, async (t) => {
  for (const http of [{}, { http1MaxPendingRequests: 0 }]) {
    const outside = await heldOrigin(t)
    const to = await site(t, outside.origin.port, { tcp: { maxConnections: 1 }, http: { ...http, maxRetries: 1 } })
    const answers = Array.from({ length: 6 }, () => to.get())
    await eventually('five wait', async () => (await to.stat('upstream_rq_pending_active')) === 5)
    outside.answerAll()
    for (const { status } of await Promise.all(answers)) assert.equal(status, 200)
    await to.harness.stop(6)
  }
})

test(`field ${POOL}.http.http2MaxRequests: so many under way, the next is refused`, async (t) => {
  const outside = await heldOrigin(t)
  const to = await site(t, outside.origin.port, { http: { http2MaxRequests: 2 } })
  const answers = [to.get(), to.get()]
  await outside.asked(2)
  assert.equal(await to.stat('circuit_breakers.default.rq_open'), 1)
  await assertOverflow(to, 0)
  assert.equal(await to.stat('upstream_rq_pending_overflow'), 1)
  await outside.answer()
  await eventually('one is answered', async () => (await to.stat('circuit_breakers.default.rq_open')) === 0)
  answers.push(to.get())
  await outside.asked(2)
  outside.answerAll()
  for (const { status } of await Promise.all(answers)) assert.equal(status, 200)
  await to.harness.stop(4)
})

test(`field ${POOL}.http.http2MaxRequests: requests of an earlier configuration count`, async (t) => {
  const outside = await heldOrigin(t)
  const to = await site(t, outside.origin.port, { http: { http2MaxRequests: 1 } })
  const answer = to.get()
  await outside.asked(1)
  assert.equal((await to.harness.gateway.reload()).ok, true)
  await assertOverflow(to, 0)
  outside.answerAll()
  assert.equal((await answer).status, 200)
  await to.harness.stop(2)
})

test(`field ${POOL}.http.maxRequestsPerConnection: so many on one connection; 1: no keep-alive; 0: any number`, async (t) => {
  for (const [maxRequestsPerConnection, connections, closed] of [
    [1, 4, 4],
    [2, 2, 2],
    [0, 1, 0],
  ] as const) {
    const outside = await heldOrigin(t)
    outside.answerAll()
    const to = await site(t, outside.origin.port, { http: { maxRequestsPerConnection, maxRetries: 1 } })
    for (let i = 0; i < 4; i++) {
      assert.equal((await to.get()).status, 200)
      await eventually('it has its connection back', async () => (await to.stat('upstream_rq_active')) === 0)
    }
    assert.equal(outside.origin.connections.length, connections)
    assert.equal(await to.stat('upstream_cx_max_requests'), closed)
    await to.harness.stop(4)
  }
})

test(`field ${POOL}.http.idleTimeout, ${POOL}.tcp.idleTimeout: an idle connection is closed; for requests the one of http counts`, async (t) => {
  const used = async (connectionPool: object) => {
    const outside = await heldOrigin(t)
    outside.answerAll()
    const to = await site(t, outside.origin.port, connectionPool)
    assert.equal((await to.get()).status, 200)
    return { to, connections: outside.origin.connections, first: await outside.origin.connection(0) }
  }
  // Idle for longer than any of those below, which close.
  const kept = [
    await used({ tcp: { idleTimeout: '60ms' }, http: { idleTimeout: '1h' } }),
    await used({ tcp: { idleTimeout: '0s' } }),
  ]
  for (const connectionPool of [
    { http: { idleTimeout: '60ms' } },
    // As in Istio: HTTP falls back on TCP.
    { tcp: { idleTimeout: '60ms' } },
    { tcp: { idleTimeout: '1h' }, http: { idleTimeout: '60ms' } },
  ]) {
    const { to, first } = await used(connectionPool)
    await first.closed
    await eventually('it is counted', async () => (await to.stat('upstream_cx_idle_timeout')) === 1)
    await to.harness.stop(1)
  }
  for (const { to, connections } of kept) {
    assert.equal((await to.get()).status, 200)
    assert.equal(connections.length, 1)
    await to.harness.stop(2)
  }
})

test(`field ${POOL}.tcp.maxConnections, VirtualService.http[].timeout: waiting for a connection is part of the time a route has`, async (t) => {
  const outside = await heldOrigin(t)
  const to = await retrySite(t, {
    endpoints: [{ port: outside.origin.port }],
    retries: { attempts: 0 },
    rule: { timeout: '1s' },
    policy: { connectionPool: { tcp: { maxConnections: 1 } } },
  })
  // One of them is on the connection, without an answer; neither a request without a body nor one with waits longer.
  const answers = await Promise.all([to.get(), to.get(), to.get({ method: 'POST', body: 'x' })])
  for (const { status, body } of answers) assert.deepEqual([status, body], [504, 'upstream request timeout'])
  await eventually('nothing is left', async () => (await to.stat('upstream_rq_pending_active')) === 0)
  // Another may have had it between their two ends.
  assert.ok(outside.unanswered.length >= 1 && outside.unanswered.length < 3, `${outside.unanswered.length}`)
  await to.harness.stop(3)
})
