/**
 * A token bucket (the same limit as GCRA, kept as what is left instead of as a time): `burst` units, refilled at a steady
 * rate. What passes in any time t is never more than burst + rate × t. Pure; the clock is the caller's and monotonic.
 */

export type BucketShape = {
  /** Units it holds, and is created with. */
  readonly burst: number
  /** Units that come back each millisecond. */
  readonly perMs: number
}

/** `left` is below 0 when more was charged than was there. `at`: milliseconds, when `left` was true. */
export type Bucket = { left: number; at: number }

/** A full bucket. */
export function newBucket(shape: BucketShape, now: number): Bucket {
  return { left: shape.burst, at: now }
}

/** Brings `left` up to date. A clock that went back refills nothing. */
export function refill(bucket: Bucket, { burst, perMs }: BucketShape, now: number): void {
  if (now <= bucket.at) return
  const left = bucket.left + (now - bucket.at) * perMs
  bucket.left = left > burst ? burst : left
  bucket.at = now
}

/** Whether `cost` may be taken from what is `left`: all of it; of 0, whether anything is left at all. */
export function covers(left: number, cost: number): boolean {
  return cost === 0 ? left > 0 : left >= cost
}

/** Milliseconds, rounded up, until `cost` could be taken if nobody else did. More than `burst` never can: what a full bucket takes. */
export function waitFor(left: number, cost: number, { burst, perMs }: BucketShape): number {
  if (covers(left, cost)) return 0
  // Of 0, any unit at all will do: the first millisecond above nothing.
  const missing = Math.min(cost, burst) - left
  return Math.max(1, Math.ceil(missing / perMs))
}
