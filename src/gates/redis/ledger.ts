/**
 * One count that is charged for what has already flowed (bytes): what this process has to charge is added up and sent
 * about ten times a second, and whether anything is left is answered from the last answer and what has been added since.
 */
import type { Answer, Verdict } from '../limits/store.ts'
import { assertUnanswered, type CountReply, type SharedCount, verdictOf } from './count.ts'

/** Age up to which the last answer stands. */
const FRESH_MS = 100

export class Ledger {
  readonly #count: SharedCount
  #pending = 0
  #last: CountReply | null = null
  #lastAt = Number.NEGATIVE_INFINITY
  #asking: Promise<Verdict | null> | null = null
  #touchedAt = 0

  constructor(count: SharedCount) {
    this.#count = count
  }

  /** Is anything left? */
  look(now: number): Answer {
    this.#touchedAt = now
    return this.#known(now) ?? this.#settle()
  }

  charge(units: number, now: number): Answer {
    this.#touchedAt = now
    this.#pending += units
    return this.#known(now) ?? this.#settle()
  }

  sweep(now: number): void {
    if (this.#pending > 0 && now - this.#lastAt >= FRESH_MS) void this.#settle()
  }

  idle(now: number, forMs: number): boolean {
    return this.#pending === 0 && this.#asking === null && now - this.#touchedAt > forMs
  }

  /** Sends what is left to be charged. */
  flush(): void {
    if (this.#pending > 0) void this.#settle()
  }

  #known(now: number): Verdict | null {
    if (this.#last === null || now - this.#lastAt >= FRESH_MS) return null
    const remaining = Math.max(0, this.#last.remaining - this.#pending)
    // What has been used up since is asked about: only the store knows when it will be there again.
    if (this.#last.ok && remaining === 0) return null
    return { ...verdictOf(this.#last), remaining }
  }

  /** One question at a time: what is charged meanwhile goes with the next. */
  #settle(): Promise<Verdict | null> {
    this.#asking ??= this.#send().finally(() => {
      this.#asking = null
    })
    return this.#asking
  }

  async #send(): Promise<Verdict | null> {
    const sent = this.#pending
    this.#pending = 0
    let due = sent
    try {
      const late = () => {
        // It has been charged after all.
        this.#pending = Math.max(0, this.#pending - due)
        due = 0
      }
      const reply = await (sent === 0 ? this.#count.take(0, 0, late) : this.#count.charge(sent, 0, late))
      this.#last = reply
      this.#lastAt = performance.now()
      return verdictOf(reply)
    } catch (error) {
      assertUnanswered(error)
      this.#last = null
      this.#lastAt = performance.now()
      // It may have been done all the same, and is charged again: too much is safer than nothing.
      this.#pending += due
      return null
    }
  }
}
