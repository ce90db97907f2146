/**
 * What callers are told: RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10, structured fields),
 * the warning of a budget, and the answer to a request that a limit refuses (Envoy's words, behaviour §10.3).
 */
import type { HeaderList } from '../../core/attributes.ts'
import type { Refusal } from '../../core/refusal.ts'
import type { LimitModel } from '../../model/limits.ts'
import type { Verdict } from './store.ts'

/** `q` quota, `w` window in seconds, `qu` unit. A limit of what is open at a time has no window; nor has a month. */
export function policyField({ name, unit, quota }: LimitModel): string {
  const parts = [`"${name}"`, `q=${quota.count}`]
  if (quota.kind === 'rate') parts.push(`w=${quota.periodMs / 1000}`)
  if (quota.kind === 'budget' && quota.per === 'day') parts.push('w=86400')
  if (unit === 'bytes') parts.push('qu="content-bytes"')
  if (unit === 'tunnels') parts.push('qu="concurrent-requests"')
  return parts.join(';')
}

/** `r` units left, `t` seconds until all of it is there again. */
export function limitField({ name }: LimitModel, { remaining, resetMs }: Verdict): string {
  return `"${name}";r=${remaining};t=${Math.ceil(resetMs / 1000)}`
}

/** null: not yet. */
export function budgetWarning({ name, quota }: LimitModel, { remaining }: Verdict): string | null {
  if (quota.kind !== 'budget' || (quota.count - remaining) * 100 < quota.count * quota.warnAt) return null
  return `${name}; remaining=${remaining}`
}

/** `retryAfterMs`: until it is worth asking again; at least a second is said. */
export function overLimit({ id, scope }: LimitModel, retryAfterMs: number): Refusal {
  const headers = limitedFields(retryAfterMs)
  // Envoy's local filter answers with a body, its global one without.
  return scope === 'local'
    ? { kind: 'rate_limited', details: `local_rate_limited{${id}}`, headers }
    : { kind: 'rate_limited', details: `request_rate_limited{${id}}`, body: '', headers }
}

/** `onStoreFailure: closed` */
export function storeFailed({ id }: LimitModel): Refusal {
  return { kind: 'rate_limited', details: `rate_limiter_error{${id}}`, body: '', headers: limitedFields(1000) }
}

function limitedFields(retryAfterMs: number): HeaderList {
  return ['x-envoy-ratelimited', 'true', 'retry-after', String(Math.max(1, Math.ceil(retryAfterMs / 1000)))]
}
