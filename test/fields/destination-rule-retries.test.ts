/** How many retries a DestinationRule lets be under way at once (behaviour §5.4, §5.6). */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { OK, UNAVAILABLE } from '../../src/testing/failing-origin.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import { outcome, type RetrySite, retrySite } from './retry-site.ts'

/** Beyond the number of requests of any test. */
const CALLERS = 6

/**
 * `CALLERS` requests at once, all answered 503; then all their retries at once, which are held until no more come, and
 * answered 200. How many retries there were, and the statuses.
 */
async function retriesAtOnce(
  t: TestContext,
  policy: object,
): Promise<{ readonly site: RetrySite; readonly retries: number }> {
  const first: (() => void)[] = []
  const again: (() => void)[] = []
  const seen = new Set<string>()
  const origin = await startRawOrigin({
    onRequest: ({ socket }, head) => {
      const [line = ''] = head.split('\r\n')
      if (seen.has(line)) again.push(() => socket.write(OK))
      else first.push(() => socket.write(UNAVAILABLE))
      seen.add(line)
    },
  })
  t.after(() => origin.close())
  const site = await retrySite(t, {
    endpoints: [{ port: origin.port }],
    retries: { attempts: 1, retryOn: '5xx', backoff: '1ms' },
    policy,
  })
  const answers = Array.from({ length: CALLERS }, (_, i) => site.get({ path: `/${i}` }))
  await eventually('all are asked', () => first.length === CALLERS)
  for (const answer of first) answer()
  await eventually('all are decided', async () => {
    const refused = await site.stat('upstream_rq_retry_overflow')
    return again.length + refused === CALLERS
  })
  const retries = again.length
  for (const answer of again) answer()
  const statuses = (await Promise.all(answers)).map(({ status }) => status)
  assert.equal(statuses.filter((status) => status === 200).length, retries)
  assert.equal(statuses.filter((status) => status === 503).length, CALLERS - retries)
  assert.equal(await site.stat('upstream_rq_retry'), retries)
  return { site, retries }
}

test('field DestinationRule.trafficPolicy.connectionPool.http.maxRetries: so many at once, the others get their failure', async (t) => {
  for (const [maxRetries, expected] of [
    [2, 2],
    [CALLERS, CALLERS],
    // As in Istio: not set, so no limit.
    [0, CALLERS],
  ] as const) {
    const { site, retries } = await retriesAtOnce(t, { connectionPool: { http: { maxRetries } } })
    assert.equal(retries, expected, String(maxRetries))
    if (expected < CALLERS) {
      const lines = await site.harness.lines(CALLERS)
      assert.equal(lines.filter((line) => line['response_flags'] === 'UO').length, CALLERS - expected)
    } else assert.deepEqual(await outcome(site), [200, '-', 'via_upstream'])
    await site.harness.stop(CALLERS)
  }
})

test('field DestinationRule.trafficPolicy.retryBudget.percent, DestinationRule.trafficPolicy.retryBudget.minRetryConcurrency: a share of the requests under way, and never less than the floor', async (t) => {
  for (const [retryBudget, least, most] of [
    [{ percent: 100, minRetryConcurrency: 1 }, 2, CALLERS],
    [{ percent: 1, minRetryConcurrency: 1 }, 1, 1],
    [{ percent: 1, minRetryConcurrency: 4 }, 4, 4],
    // Istio's defaults: 20 and 3.
    [{}, 3, 3],
  ] as const) {
    // It takes the place of maxRetries.
    const { site, retries } = await retriesAtOnce(t, { retryBudget, connectionPool: { http: { maxRetries: 1 } } })
    assert.ok(retries >= least && retries <= most, `${JSON.stringify(retryBudget)}: ${retries}`)
    await site.harness.stop(CALLERS)
  }
})
