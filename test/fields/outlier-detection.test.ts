/** outlierDetection (behaviour §5.5): which failing endpoints are left alone, when, for how long. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { startRawOrigin } from '../../src/testing/origin.ts'
import { askControl } from '../integration/operator.ts'
import { type BalancedSite, balancedSite, count, type Member, startMember } from './balanced-site.ts'

const policy = (outlierDetection: object) => ({ loadBalancer: { simple: 'ROUND_ROBIN' }, outlierDetection })
/** Everybody may be ejected, for long. */
const WIDE = { maxEjectionPercent: 100, baseEjectionTime: '60s' }
const ENFORCED = 'outlier_detection.ejections_enforced'

type Ejected = { readonly seen: number; readonly enforced: number | null }

/** How many of 24 requests in turns an endpoint that answers `status` gets beside a good one, and ejections for `cause`. */
async function badOnes(
  t: TestContext,
  status: number | ((nth: number) => number),
  outlierDetection: object,
  cause: string,
): Promise<Ejected> {
  await using good = await startMember(2)
  await using bad = await startMember(3)
  bad.reaction = () => (typeof status === 'number' ? status : status(bad.seen))
  await using site = await balancedSite(t, [good, bad], policy(outlierDetection))
  assert.equal(count(await site.names(24), good), 24 - bad.seen)
  const active = await site.stat('outlier_detection.ejections_active')
  assert.equal(active, bad.seen === 12 ? 0 : 1)
  assert.equal(await site.stat('membership_healthy'), 2 - (active ?? 0))
  return { seen: bad.seen, enforced: await site.stat(`${ENFORCED}_${cause}`) }
}

test('field DestinationRule.trafficPolicy.outlierDetection.consecutive5xxErrors: so many in a row; 0 is off, the default 5', async (t) => {
  for (const [outlierDetection, expected] of [
    [{}, 5],
    [{ consecutive5xxErrors: 2 }, 2],
    [{ consecutive5xxErrors: 7 }, 7],
    [{ consecutive5xxErrors: 0 }, 12],
  ] as const) {
    const found = await badOnes(t, 500, { ...WIDE, ...outlierDetection }, 'consecutive_5xx')
    assert.deepEqual(found, { seen: expected, enforced: expected === 12 ? 0 : 1 }, JSON.stringify(outlierDetection))
  }
  // Not in a row.
  const settings = { ...WIDE, consecutive5xxErrors: 2 }
  assert.equal((await badOnes(t, (nth) => (nth % 2 === 0 ? 200 : 500), settings, 'total')).seen, 12)
})

test('field DestinationRule.trafficPolicy.outlierDetection: without it nobody is ejected', async (t) => {
  await using good = await startMember(2)
  await using bad = await startMember(3, () => 500)
  await using site = await balancedSite(t, [good, bad], { loadBalancer: { simple: 'ROUND_ROBIN' } })
  assert.equal(count(await site.names(24), bad), 12)
})

test('field DestinationRule.trafficPolicy.outlierDetection.consecutiveGatewayErrors, DestinationRule.trafficPolicy.outlierDetection.consecutiveErrors: 502, 503 and 504 only', async (t) => {
  for (const field of ['consecutiveGatewayErrors', 'consecutiveErrors']) {
    const settings = { ...WIDE, consecutive5xxErrors: 0, [field]: 3 }
    const cause = 'consecutive_gateway_failure'
    assert.deepEqual(await badOnes(t, (nth) => 502 + (nth % 3), settings, cause), { seen: 3, enforced: 1 }, field)
    assert.deepEqual(await badOnes(t, 500, settings, cause), { seen: 12, enforced: 0 }, field)
  }
})

test('field DestinationRule.trafficPolicy.outlierDetection.splitExternalLocalOriginErrors, DestinationRule.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures: failures to connect are counted apart', async (t) => {
  const dead = await startRawOrigin({ host: '127.0.0.3' })
  await dead.close()
  for (const [settings, attempts, cause] of [
    [{ consecutive5xxErrors: 2 }, 2, 'consecutive_5xx'],
    [
      { splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3, consecutive5xxErrors: 2 },
      3,
      'consecutive_local_origin_failure',
    ],
    [{ splitExternalLocalOriginErrors: true, consecutive5xxErrors: 2 }, 5, 'consecutive_local_origin_failure'],
  ] as const) {
    await using good = await startMember(2)
    const places = [good, { address: '127.0.0.3', port: dead.port }]
    await using site = await balancedSite(t, places, policy({ ...WIDE, ...settings }))
    await site.names(24)
    assert.equal(good.seen, 24 - attempts, JSON.stringify(settings))
    assert.equal(await site.stat('upstream_cx_connect_fail'), attempts)
    assert.equal(await site.stat(`${ENFORCED}_${cause}`), 1)
  }
})

/** Milliseconds from the ejection of the failing one of two to its next request. */
async function timeOut(t: TestContext, times: object): Promise<number> {
  await using good = await startMember(2)
  let failedAt = 0
  await using bad = await startMember(3, () => {
    failedAt ||= performance.now()
    return 500
  })
  const settings = { consecutive5xxErrors: 1, maxEjectionPercent: 100, ...times }
  await using site = await balancedSite(t, [good, bad], policy(settings))
  await site.names(2)
  assert.equal(bad.seen, 1)
  while (bad.seen === 1) {
    await site.names(2)
    if (performance.now() - failedAt > 40_000) throw new Error('it never comes back')
  }
  return performance.now() - failedAt
}

test('field DestinationRule.trafficPolicy.outlierDetection.baseEjectionTime: how long it is out', async (t) => {
  const time = await timeOut(t, { baseEjectionTime: '1s', interval: '10ms' })
  assert.ok(time > 980 && time < 20_000, String(time))
})

test('field DestinationRule.trafficPolicy.outlierDetection.interval: it comes back with the next sweep', async (t) => {
  const time = await timeOut(t, { baseEjectionTime: '1ms', interval: '4s' })
  assert.ok(time > 1_000 && time < 9_000, String(time))
})

async function allBad(
  t: TestContext,
  outlierDetection: object,
  check: (site: BalancedSite, all: Member[]) => Promise<void>,
) {
  await using stack = new AsyncDisposableStack()
  const all: Member[] = []
  for (const nth of [2, 3, 4, 5]) all.push(stack.use(await startMember(nth, () => 500)))
  await using site = await balancedSite(t, all, policy({ ...WIDE, consecutive5xxErrors: 1, ...outlierDetection }))
  await check(site, all)
}

test('field DestinationRule.trafficPolicy.outlierDetection.maxEjectionPercent: so many and no more; all of them is UH', async (t) => {
  await allBad(t, { maxEjectionPercent: 50 }, async (site) => {
    const names = new Set((await site.names(40)).slice(20))
    assert.equal(names.size, 2)
    assert.equal(await site.stat('outlier_detection.ejections_active'), 2)
    assert.ok(((await site.stat('outlier_detection.ejections_overflow')) ?? 0) > 0)
  })
  // The default is 10 %, and one may always be.
  await allBad(t, { maxEjectionPercent: undefined }, async (site) => {
    await site.names(20)
    assert.equal(await site.stat('outlier_detection.ejections_active'), 1)
  })
  await allBad(t, {}, async (site, all) => {
    const answers = await site.names(5)
    assert.deepEqual(
      answers.slice(0, 4).toSorted(),
      all.map(({ name }) => name),
    )
    assert.equal(answers[4], 'no healthy upstream')
    const answer = await site.ask()
    assert.equal(answer.status, 503)
    const line = await site.line(5)
    assert.deepEqual(
      [line?.['response_code'], line?.['response_flags'], line?.['response_code_details'], line?.['upstream_host']],
      [503, 'UH', 'no_healthy_upstream', null],
    )
    const { body } = await askControl(site.harness, 'admin', '/clusters')
    assert.equal(body.match(/::health_flags::\/failed_outlier_check\n/g)?.length, 4)
    assert.equal(
      all.reduce((sum, { seen }) => sum + seen, 0),
      4,
    )
  })
})

test('field DestinationRule.trafficPolicy.outlierDetection.minHealthPercent: with fewer healthy ones all are used', async (t) => {
  await allBad(t, { minHealthPercent: 60 }, async (site, all) => {
    const names = await site.names(40)
    assert.equal(names.includes('no healthy upstream'), false)
    for (const each of all) assert.ok(each.seen >= 5, String(each.seen))
    assert.ok(((await site.stat(`${ENFORCED}_total`)) ?? 0) >= 3)
  })
})

test('field DestinationRule.trafficPolicy.outlierDetection: an ejection outlives a reload', async (t) => {
  await using good = await startMember(2)
  await using bad = await startMember(3, () => 500)
  await using site = await balancedSite(t, [good, bad], policy({ ...WIDE, consecutive5xxErrors: 1 }))
  await site.names(4)
  assert.equal(bad.seen, 1)
  await site.reload([good, bad], policy({ ...WIDE, consecutive5xxErrors: 3 }))
  assert.equal(count(await site.names(10), good), 10)
  await site.reload([good, bad], { loadBalancer: { simple: 'ROUND_ROBIN' } })
  assert.equal(count(await site.names(10), good), 5)
})
