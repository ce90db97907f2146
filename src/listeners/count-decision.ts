/** Envoy's `rbac.*` statistics: what policies decided, and what dry-run policies would have. */
import type { Decision } from '../core/decision.ts'
import type { ListenerStats } from '../core/stats.ts'

/** Counts one decision. Nothing is counted as `shadow_allowed` where there are dry-run DENYs only and none matched. */
export function countDecision(stats: ListenerStats, { allow, shadow }: Decision): void {
  if (allow) stats.rbac_allowed += 1
  else stats.rbac_denied += 1
  if (shadow === null) return
  if (shadow.startsWith('deny')) stats.rbac_shadow_denied += 1
  else stats.rbac_shadow_allowed += 1
}
