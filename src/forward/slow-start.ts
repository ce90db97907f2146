/** Slow start (Envoy SlowStartConfig, `applySlowStartFactor`): an endpoint that has just appeared gets a growing share of its weight. */
import type { WarmupModel } from '../model/cluster.ts'

/** Of its weight, 0 < factor ≤ 1. `ageMs`: since it appeared or came back. */
export function warmupFactor({ durationMs, minimumPercent, aggression }: WarmupModel, ageMs: number): number {
  if (ageMs >= durationMs) return 1
  const time = Math.max(ageMs, 1) / durationMs
  const grown = aggression === 1 ? time : time ** (1 / aggression)
  return Math.min(1, Math.max(grown, minimumPercent / 100))
}
