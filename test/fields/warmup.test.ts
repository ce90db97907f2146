/** loadBalancer.warmup (Envoy slow start): the share of an endpoint that has just been added, beside an old one. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { balancedSite, count, startMember } from './balanced-site.ts'

const WINDOW_MS = 10_000
const ROUNDS = 40

test('field DestinationRule.trafficPolicy.loadBalancer.warmup.duration, DestinationRule.trafficPolicy.loadBalancer.warmup.minimumPercent, DestinationRule.trafficPolicy.loadBalancer.warmup.aggression, DestinationRule.trafficPolicy.loadBalancer.warmupDurationSecs: a new endpoint starts small and grows', async (t) => {
  await using old = await startMember(2)
  const policy = (loadBalancer: object) => ({ loadBalancer: { simple: 'ROUND_ROBIN', ...loadBalancer } })
  const duration = `${WINDOW_MS / 1000}s`
  await using site = await balancedSite(t, [old], policy({ warmup: { duration } }))
  const started = performance.now()
  await site.names(1)
  await eventually('the first endpoint has warmed up', () => performance.now() - started > WINDOW_MS)

  /** Even turns would give a new one half. Bounds leave a quarter of the window for a slow machine. */
  const cases = [
    [{ warmup: { duration } }, 0.05, 0.25],
    [{ warmup: { duration, minimumPercent: 60 } }, 0.3, 0.45],
    [{ warmup: { duration, aggression: 100 } }, 0.46, 0.51],
    [{ warmupDurationSecs: duration }, 0.05, 0.25],
    // In no time at all.
    [{ warmup: { duration: '1ms' } }, 0.49, 0.51],
    [{}, 0.49, 0.51],
  ] as const
  for (const [index, [loadBalancer, least, most]] of cases.entries()) {
    await using young = await startMember(10 + index)
    await site.reload([old, young], policy(loadBalancer))
    const share = count(await site.names(ROUNDS), young) / ROUNDS
    assert.ok(share >= least && share <= most, `${JSON.stringify(loadBalancer)}: ${share}`)
    if (index === 0) {
      // It goes on growing, through a reload too.
      await site.reload([old, young], policy({ warmup: { duration, minimumPercent: 11 } }))
      await eventually('both have the same share', async () => {
        const names = await site.names(20)
        return count(names, young) === 10
      })
    }
    await site.reload([old], policy(loadBalancer))
  }
})
