/**
 * One turn of the event loop in stages: what has arrived on all connections is looked at together, then everything that
 * begins is begun, then everything that is to be said is written. Node hands over one socket after the other, and doing
 * each from reading to writing by itself evicts the code of every step from the processor's caches once per request: done
 * step by step for all of them, the same work takes a third less time (docs/performance.md). Nothing waits for longer than
 * the turn that is under way.
 *
 * In short: `poll` (Node reads; `hear` collects) → `setImmediate` (hear all, begin all, speak all).
 */

/** Bytes of it have arrived. It is asked even when it has dealt with them meanwhile. */
export type Hearer = { hear(): void }
/** Has something to begin. */
export type Starter = { begin(): void }
/** Has something to write. */
export type Speaker = { speak(): void }

/** So many are heard at once; a turn with more of them has several rounds, so that the first need not wait for the last. */
const MOST = 128

/** What waits for one stage. */
class Stage<T> {
  waiting: T[] = []
  readonly #step: (one: T) => void

  constructor(step: (one: T) => void) {
    this.#step = step
  }

  /** All that wait now; who is added meanwhile waits for the next time. Those behind one that throws stay. */
  run(): void {
    const all = this.waiting
    this.waiting = []
    let at = 0
    try {
      while (at < all.length) this.#step(all[at++] as T)
    } finally {
      if (at < all.length) this.waiting = [...all.slice(at), ...this.waiting]
    }
  }
}

export class Turn {
  readonly #hearers = new Stage<Hearer>((one) => one.hear())
  readonly #starters = new Stage<Starter>((one) => one.begin())
  readonly #speakers = new Stage<Speaker>((one) => one.speak())
  #scheduled = false
  /** The stages are being gone through: what comes up meanwhile has a place in one of them, or in the next round. */
  #running = false

  /** Hears it at the end of this turn. It may ask again only when it has been heard. */
  hear(hearer: Hearer): void {
    if (this.#hearers.waiting.push(hearer) >= MOST && !this.#running) this.#run()
    else this.#schedule()
  }

  /** Begins it in this turn, but not before whoever asks has returned. */
  begin(starter: Starter): void {
    if (this.#starters.waiting.push(starter) === 1 && !this.#running) process.nextTick(this.#onTick)
  }

  /** Lets it write at the end of this turn. It may ask again only when it has. */
  speak(speaker: Speaker): void {
    this.#speakers.waiting.push(speaker)
    if (!this.#running) this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#onImmediate)
  }

  readonly #onImmediate = (): void => {
    this.#scheduled = false
    this.#run()
  }

  readonly #onTick = (): void => {
    this.#starters.run()
  }

  #run(): void {
    this.#running = true
    try {
      this.#hearers.run()
      this.#starters.run()
      this.#speakers.run()
    } finally {
      this.#running = false
      // Who came up too late for its stage, and those behind one whose mistake has ended the round.
      if (this.#starters.waiting.length > 0) process.nextTick(this.#onTick)
      if (this.#hearers.waiting.length + this.#speakers.waiting.length > 0) this.#schedule()
    }
  }
}

/** The one of this process: there is one event loop. */
export const turn = new Turn()
