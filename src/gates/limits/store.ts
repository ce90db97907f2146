/**
 * Where the counts of limits are kept: in this process (gates/limits/local-store.ts) or shared (gates/redis). The gate
 * (gates/limits/gate.ts) decides what to ask and what a store that cannot answer means (`onStoreFailure`).
 */
import type { LimitModel } from '../../model/limits.ts'

export type Verdict = {
  readonly allowed: boolean
  /** Units left, whole, 0 or more. */
  readonly remaining: number
  /** Milliseconds until the same question could be answered with yes; 0: it is. */
  readonly retryAfterMs: number
  /** Milliseconds until all of it is there again: the bucket is full, the window over. 0: it is, or nobody knows (`hold`). */
  readonly resetMs: number
}

/**
 * null: it could not be asked (deadline, breaker, error). Never throws, never rejects, settles within the store's own
 * deadline. An answer that is known without asking (a lease that is not used up) is no Promise.
 */
export type Answer = Verdict | null | Promise<Verdict | null>

/**
 * `key` is the value of the limit's keys (principal, host …) in one string, of bounded length but otherwise as callers
 * made it; with `limit.id` it names one count. Which methods are used follows from the limit:
 *
 * - requests: `take` of 1 (quota `rate`, `budget`).
 * - bytes: `take` of 0 before, `charge` as they have flowed, so that a count may go below nothing (quota `rate`, `budget`).
 * - tunnels: `hold` and `release` (quota `concurrent`).
 */
export type LimitStore = {
  /** Takes `cost` if that much is there. Of 0: allowed if anything is left at all (more than 0 units). Takes nothing when it refuses. */
  take(limit: LimitModel, key: string, cost: number): Answer
  /** Takes `cost` whether it is there or not. `allowed`: something is left after it. */
  charge(limit: LimitModel, key: string, cost: number): Answer
  /**
   * One place among `quota.count`, until `release`. `holder` is unique among processes. What a process held that died
   * must be free again by itself (a shared store renews its own and lets others' expire).
   */
  hold(limit: LimitModel, key: string, holder: string): Answer
  /** Idempotent; also for what was refused or never answered. */
  release(limit: LimitModel, key: string, holder: string): void
}
