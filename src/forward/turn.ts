/**
 * One turn of the event loop in stages. Node hands over one socket after the other; doing each from reading to writing by
 * itself evicts the code of every step from the processor's caches once per request. Here what has arrived on all
 * connections is looked at together, then what is to begin begins, then all that is to be said is written: the same work
 * takes a third less time (docs/decisions/0017). Nothing waits for longer than the turn that is under way.
 *
 * `poll` (Node reads, nothing else) → `setImmediate`: answers of sites are heard → requests of callers are heard → they
 * are judged → begin → requests are written to sites → answers are written to callers → what has ended is written down.
 */

/** Bytes of it have arrived. It is asked even when it has dealt with them meanwhile. */
export type Hearer = { hear(): void }
/** A request of it has been read. It is asked even when it has seen to that meanwhile. */
export type Asker = { ask(): void }
/** Has something to begin. */
export type Starter = { begin(): void }
/** Has something to write. */
export type Speaker = { speak(): void }
/** Has something to write down. */
export type Scribe = { settle(): void }

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
  readonly #sites = new Stage<Hearer>((one) => one.hear())
  readonly #callers = new Stage<Hearer>((one) => one.hear())
  readonly #askers = new Stage<Asker>((one) => one.ask())
  readonly #starters = new Stage<Starter>((one) => one.begin())
  readonly #requests = new Stage<Speaker>((one) => one.speak())
  readonly #answers = new Stage<Speaker>((one) => one.speak())
  readonly #scribes = new Stage<Scribe>((one) => one.settle())
  readonly #stages = [
    this.#sites,
    this.#callers,
    this.#askers,
    this.#starters,
    this.#requests,
    this.#answers,
    this.#scribes,
  ] as const
  #scheduled = false
  /** The stages are being gone through: what comes up meanwhile has a place in one of them, or in the next round. */
  #running = false

  /** Hears what a site has sent at the end of this turn. It may ask again only when it has been heard. */
  hearSite(hearer: Hearer): void {
    this.#hear(this.#sites, hearer)
  }

  /** The same for what a caller has sent. */
  hearCaller(hearer: Hearer): void {
    this.#hear(this.#callers, hearer)
  }

  /** Lets it have its request judged at the end of this turn. It may ask again only when it has. */
  ask(asker: Asker): void {
    this.#askers.waiting.push(asker)
    if (!this.#running) this.#schedule()
  }

  /** Begins it in this turn, but not before whoever asks has returned. */
  begin(starter: Starter): void {
    if (this.#starters.waiting.push(starter) === 1 && !this.#running) process.nextTick(this.#onTick)
  }

  /** Lets it write to a site at the end of this turn. It may ask again only when it has. */
  speakToSite(speaker: Speaker): void {
    this.#requests.waiting.push(speaker)
    if (!this.#running) this.#schedule()
  }

  /** The same for a caller. */
  speakToCaller(speaker: Speaker): void {
    this.#answers.waiting.push(speaker)
    if (!this.#running) this.#schedule()
  }

  /** Lets it write down what has ended, at the end of this turn. It may ask again only when it has. */
  settle(scribe: Scribe): void {
    this.#scribes.waiting.push(scribe)
    if (!this.#running) this.#schedule()
  }

  #hear(stage: Stage<Hearer>, hearer: Hearer): void {
    if (stage.waiting.push(hearer) >= MOST && !this.#running) this.#run()
    else this.#schedule()
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
    try {
      this.#starters.run()
    } finally {
      if (this.#starters.waiting.length > 0) this.#schedule()
    }
  }

  #run(): void {
    this.#running = true
    try {
      for (const stage of this.#stages) stage.run()
    } finally {
      this.#running = false
      // Who came up too late for its stage, and those behind one whose mistake has ended the round.
      if (this.#stages.some((stage) => stage.waiting.length > 0)) this.#schedule()
    }
  }
}

/** The one of this process: there is one event loop. */
export const turn = new Turn()
