/** The token buckets of one limit, by key: how many there may be, and which can be forgotten without anybody gaining. */
import { type Bucket, type BucketShape, covers, newBucket, refill, waitFor } from '../../core/token-bucket.ts'
import type { Verdict } from './store.ts'

/** Keys of one limit that are counted apart. Past it, further ones share a bucket: they are limited more, never less. */
export const MAX_KEYS = 10_000

/** Of keys that are looked at whenever a new one comes: more than one, so that what is idle goes faster than it comes. */
const LOOKED_AT = 2

export class RateTable {
  readonly #shape: BucketShape
  readonly #now: () => number
  readonly #maxKeys: number
  readonly #buckets = new Map<string, Bucket>()
  #overflow: Bucket | null = null

  /** `now`: monotonic milliseconds. */
  constructor(shape: BucketShape, now: () => number, maxKeys = MAX_KEYS) {
    this.#shape = shape
    this.#now = now
    this.#maxKeys = maxKeys
  }

  get size(): number {
    return this.#buckets.size
  }

  peek(key: string, cost: number): Verdict {
    const bucket = this.#bucket(key)
    return this.#verdict(bucket, cost, covers(bucket.left, cost))
  }

  take(key: string, cost: number): Verdict {
    const bucket = this.#bucket(key)
    const allowed = covers(bucket.left, cost)
    if (allowed) bucket.left -= cost
    return this.#verdict(bucket, cost, allowed)
  }

  charge(key: string, cost: number): Verdict {
    const bucket = this.#bucket(key)
    bucket.left -= cost
    return this.#verdict(bucket, 0, bucket.left > 0)
  }

  /** Up to date. */
  #bucket(key: string): Bucket {
    const now = this.#now()
    let bucket = this.#buckets.get(key)
    if (bucket === undefined) {
      this.#forgetIdle(now)
      const shared = this.#sharedNow(now)
      bucket = newBucket(this.#shape, now)
      // Whoever has been counted with others so far does not start anew by being counted alone.
      if (shared !== null) bucket.left = shared.left
      if (this.#buckets.size < this.#maxKeys) this.#buckets.set(key, bucket)
      else bucket = this.#overflow = shared ?? bucket
    }
    refill(bucket, this.#shape, now)
    return bucket
  }

  /** The bucket of those there is no room for; null: it is full, so that nobody owes anything to it. */
  #sharedNow(now: number): Bucket | null {
    if (this.#overflow === null) return null
    refill(this.#overflow, this.#shape, now)
    if (this.#overflow.left >= this.#shape.burst) this.#overflow = null
    return this.#overflow
  }

  /** A full bucket is as good as none; one that is not is put behind the others. */
  #forgetIdle(now: number): void {
    let left = LOOKED_AT
    for (const [key, bucket] of this.#buckets) {
      refill(bucket, this.#shape, now)
      this.#buckets.delete(key)
      if (bucket.left < this.#shape.burst) this.#buckets.set(key, bucket)
      left -= 1
      if (left === 0) return
    }
  }

  #verdict({ left }: Bucket, cost: number, allowed: boolean): Verdict {
    const { burst, perMs } = this.#shape
    return {
      allowed,
      remaining: Math.max(0, Math.floor(left)),
      retryAfterMs: allowed ? 0 : waitFor(left, cost, this.#shape),
      // Less what is only there because fractions are not exact.
      resetMs: Math.ceil((burst - left) / perMs - 1e-6),
    }
  }
}
