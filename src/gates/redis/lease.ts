/**
 * Units of one count that this process has taken in advance, so that a busy caller costs one question per lease and not
 * one per request. What is leased is gone from the shared count: leases never let more through than it holds. A lease
 * grows with what was really used of the last ones; what is not used in time is given back.
 */
import type { RedisSettings } from '../../model/redis.ts'
import type { Answer, Verdict } from '../limits/store.ts'
import { assertUnanswered, type CountReply, type SharedCount, verdictOf } from './count.ts'

/** A lease should last about this long. */
const TARGET_MS = 200
/** A refusal is repeated without asking at most this long: the store may have been emptied. */
const MAX_REPEAT_MS = 1000

type Waiting = { readonly cost: number; readonly resolve: (verdict: Verdict | null) => void }

export class Lease {
  readonly #count: SharedCount
  readonly #ttlMs: number
  /** Units taken in advance at most: a lease without the one that is needed at once. */
  readonly #cap: number
  readonly #waiting: Waiting[] = []
  #units = 0
  #period = 0
  #expiresAt = 0
  #askedAt = Number.NEGATIVE_INFINITY
  #used = 0
  #asking = false
  #remaining = 0
  #fullAt = 0
  #refusedUntil = 0
  #retryAt = 0
  #touchedAt = 0

  constructor(count: SharedCount, { max, share, ttlMs }: RedisSettings['leases']) {
    this.#count = count
    this.#ttlMs = ttlMs
    this.#cap = Math.max(0, Math.min(max, Math.floor((count.burst * share) / 100)) - 1)
  }

  /** @param now performance.now() */
  take(cost: number, now: number): Answer {
    this.#touchedAt = now
    if (this.#waiting.length === 0 && this.#units >= cost && now < this.#expiresAt) return this.#spend(cost, now)
    if (this.#waiting.length === 0 && now < this.#refusedUntil) return this.#refusal(now)
    const { promise, resolve } = Promise.withResolvers<Verdict | null>()
    this.#waiting.push({ cost, resolve })
    this.#ask(now)
    return promise
  }

  /** Gives back what nobody used in time. */
  sweep(now: number): void {
    if (this.#units > 0 && now >= this.#expiresAt) this.giveBack()
  }

  /** Nothing is lost with it, and nobody has asked for it lately. */
  idle(now: number, forMs: number): boolean {
    return this.#units === 0 && this.#waiting.length === 0 && now - this.#touchedAt > forMs
  }

  giveBack(): void {
    const units = this.#units
    this.#units = 0
    // Lost if it cannot be told: too little is let through then, never too much.
    if (units > 0) this.#count.charge(-units, this.#period, () => undefined).catch(assertUnanswered)
  }

  #spend(cost: number, now: number): Verdict {
    this.#units -= cost
    this.#used += cost
    return {
      allowed: true,
      remaining: this.#remaining + this.#units,
      retryAfterMs: 0,
      resetMs: Math.max(0, Math.ceil(this.#fullAt - now)),
    }
  }

  #refusal(now: number): Verdict {
    return {
      allowed: false,
      remaining: 0,
      retryAfterMs: Math.max(1, Math.ceil(this.#retryAt - now)),
      resetMs: Math.max(0, Math.ceil(this.#fullAt - now)),
    }
  }

  /** How much more than what is needed now: what was used since the last question, by the time a lease should last. */
  #advance(now: number): number {
    const elapsed = Math.max(1, now - this.#askedAt)
    return Math.min(this.#cap, Math.floor((this.#used / elapsed) * TARGET_MS))
  }

  #ask(now: number): void {
    const [first] = this.#waiting
    if (this.#asking || first === undefined) return
    this.#asking = true
    // What is left of a lease that has run out goes back with the next sweep, not into the new one.
    this.giveBack()
    const needed = this.#waiting.reduce((sum, { cost }) => sum + cost, 0)
    const want = Math.max(first.cost, needed + this.#advance(now))
    this.#askedAt = now
    this.#used = 0
    this.#count
      .take(first.cost, want, (reply) => this.#late(reply))
      .then(
        (reply) => this.#answered(reply, want),
        (error: unknown) => this.#unanswered(error),
      )
  }

  #answered(reply: CountReply, want: number): void {
    const now = performance.now()
    this.#asking = false
    this.#note(reply, now)
    while (this.#waiting[0] !== undefined && this.#waiting[0].cost <= this.#units) {
      const { cost, resolve } = this.#waiting.shift() as Waiting
      resolve(this.#spend(cost, now))
    }
    // Less than was wanted is all there was.
    if (!reply.ok || reply.granted < want) {
      this.#retryAt = now + Math.max(1, reply.retryAfterMs)
      this.#refusedUntil = now + Math.min(Math.max(1, reply.retryAfterMs), MAX_REPEAT_MS)
      for (const { resolve } of this.#waiting.splice(0)) resolve(reply.ok ? this.#refusal(now) : verdictOf(reply))
    }
    this.#ask(now)
  }

  #note(reply: CountReply, now: number): void {
    this.#units += reply.granted
    this.#period = reply.period
    this.#expiresAt = now + this.#ttlMs
    this.#remaining = reply.remaining
    this.#fullAt = now + reply.resetMs
  }

  /** Nobody waits for it any more; what it granted is there all the same. */
  #late(reply: CountReply): void {
    if (reply.granted === 0) return
    this.giveBack()
    this.#note(reply, performance.now())
  }

  #unanswered(error: unknown): void {
    this.#asking = false
    for (const { resolve } of this.#waiting.splice(0)) resolve(null)
    assertUnanswered(error)
  }
}
