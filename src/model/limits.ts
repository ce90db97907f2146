/** EgressRateLimits that apply to this gateway, one entry per limit, reduced to conditions, a key and a quota. */
import type { SourceRef } from '../core/attributes.ts'
import type { ConditionModel } from './policy.ts'

/** TABLE of what a limit may be counted by. Several: one count for each combination; none: one for all that match. */
export const LIMIT_KEYS = ['principal', 'namespace', 'serviceAccount', 'host'] as const
export type LimitKey = (typeof LIMIT_KEYS)[number]

/** What is counted. A tunnel (WebSockets included) is one request when it is opened, and its bytes count as they flow. */
export type LimitUnit = 'requests' | 'bytes' | 'tunnels'

/** Of `bytes`: `egress` to the outside, `ingress` to the caller. */
export type LimitDirection = 'egress' | 'ingress' | 'both'

export type LimitQuota =
  /** A bucket of `burst` that fills at `count` in `periodMs`: never more than burst + count/periodMs × t pass in any t. */
  | { readonly kind: 'rate'; readonly count: number; readonly periodMs: number; readonly burst: number }
  /** At most `count` open at a time. Only for `tunnels`. */
  | { readonly kind: 'concurrent'; readonly count: number }
  /** `count` in a calendar day or month, UTC. `warnAt`: per cent that are used up when callers are warned. */
  | { readonly kind: 'budget'; readonly count: number; readonly per: 'day' | 'month'; readonly warnAt: number }

export type LimitModel = {
  /** `NAMESPACE/RESOURCE/NAME`: unique, and the same after a reload. In metrics, logs and store keys. */
  readonly id: string
  /** What the RateLimit header fields call it. */
  readonly name: string
  readonly source: SourceRef
  /** As in an AuthorizationPolicy rule: alternatives, each a conjunction; null: not restricted. */
  readonly from: readonly (readonly ConditionModel[])[] | null
  readonly to: readonly (readonly ConditionModel[])[] | null
  readonly key: readonly LimitKey[]
  readonly unit: LimitUnit
  /** `both` unless `unit` is bytes. */
  readonly direction: LimitDirection
  readonly quota: LimitQuota
  readonly scope: 'local' | 'global'
  /** `shadow`: counted, logged and shown, never enforced. */
  readonly mode: 'enforce' | 'shadow'
  /** Of `global`: what holds while the store cannot be asked. `local`: this process counts for itself. */
  readonly onStoreFailure: 'open' | 'closed' | 'local'
}
