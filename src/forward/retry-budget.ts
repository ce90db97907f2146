/**
 * The circuit breaker for retries (DestinationRule `maxRetries`, `retryBudget`): how many may be under way for a cluster
 * at once, from the decision to retry until the try has ended, back-off included (Envoy's resource manager).
 */
import type { ClusterStats } from '../core/stats.ts'
import type { ConnectionPoolModel } from '../model/cluster.ts'

/** By counters, since those outlive a reload as the retries do. */
const underWay = new WeakMap<ClusterStats, number>()

export function retriesUnderWay(stats: ClusterStats): number {
  return underWay.get(stats) ?? 0
}

/** Takes one place if there is one; it must be given back. */
export function takeRetry(stats: ClusterStats, pool: ConnectionPoolModel): boolean {
  const now = retriesUnderWay(stats)
  if (now >= limit(stats, pool)) return false
  underWay.set(stats, now + 1)
  return true
}

/** True while no retry may begin. */
export function retriesExhausted(stats: ClusterStats, pool: ConnectionPoolModel): boolean {
  return retriesUnderWay(stats) >= limit(stats, pool)
}

export function giveRetryBack(stats: ClusterStats): void {
  underWay.set(stats, retriesUnderWay(stats) - 1)
}

/** A budget takes the place of `maxRetries`. Requests under way are those carried and those waiting for a connection. */
function limit(stats: ClusterStats, { maxRetries, retryBudget }: ConnectionPoolModel): number {
  if (retryBudget === null) return maxRetries ?? Number.POSITIVE_INFINITY
  const active = stats.upstream_rq_active + stats.upstream_rq_pending_active
  return Math.max(Math.floor((retryBudget.percent / 100) * active), retryBudget.minConcurrency)
}
