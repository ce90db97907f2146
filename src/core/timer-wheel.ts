/**
 * Coarse timers for very many owners: one wheel of slots instead of a timer each. Arming again for later, or disarming,
 * is a write to a field; a timer is looked at when its slot comes round, and moved on if it is not due. Has no clock: `now`
 * is passed in.
 */

/** One owner's timer. At most one deadline at a time. */
export class WheelTimer<Owner> {
  readonly owner: Owner
  /** Infinity: not armed. */
  deadline = Number.POSITIVE_INFINITY
  /** Tick at which it will be looked at; -1: it is in no slot. */
  tick = -1
  next: WheelTimer<Owner> | null = null
  previous: WheelTimer<Owner> | null = null

  constructor(owner: Owner) {
    this.owner = owner
  }
}

export class TimerWheel<Owner> {
  readonly #tickMs: number
  readonly #slots: (WheelTimer<Owner> | null)[]
  readonly #expired: (owner: Owner) => void
  #now: number
  /** The last tick whose slot has been emptied. */
  #tick: number
  #size = 0

  /**
   * @param tickMs how coarse it is: timers expire up to two ticks late, never early
   * @param slots ticks that it sees ahead; longer times are looked at once per round
   * @param now same clock as `advance`, milliseconds
   * @param expired called from `advance`; may arm and remove any timer
   */
  constructor(tickMs: number, slots: number, now: number, expired: (owner: Owner) => void) {
    this.#tickMs = tickMs
    this.#slots = Array.from({ length: slots }, () => null)
    this.#expired = expired
    this.#now = now
    this.#tick = Math.floor(now / tickMs)
  }

  /** Timers that are in a slot, armed or not: while it is 0, nothing is lost by not calling `advance`. */
  get size(): number {
    return this.#size
  }

  /** Expires `ms` from now (or up to two ticks later), in place of what it was armed for. */
  arm(timer: WheelTimer<Owner>, ms: number): void {
    // A tick more: the clock may have run on by nearly as much since `advance`.
    timer.deadline = this.#now + ms + this.#tickMs
    const tick = this.#tickOf(timer.deadline)
    if (timer.tick !== -1 && timer.tick <= tick) return
    if (timer.tick !== -1) this.#unlink(timer)
    this.#link(timer, tick)
  }

  /** It will not expire. It may stay in its slot until that comes round: an owner that goes for good is removed. */
  disarm(timer: WheelTimer<Owner>): void {
    timer.deadline = Number.POSITIVE_INFINITY
  }

  /** Disarms it and lets go of its owner. */
  remove(timer: WheelTimer<Owner>): void {
    timer.deadline = Number.POSITIVE_INFINITY
    if (timer.tick !== -1) this.#unlink(timer)
  }

  /** Expires what is due at `now`. Call it about once a tick; after a pause it catches up. */
  advance(now: number): void {
    if (now <= this.#now) return
    this.#now = now
    const until = Math.floor(now / this.#tickMs)
    // After a long pause every slot is due, but only once.
    let tick = Math.max(this.#tick + 1, until - this.#slots.length + 1)
    for (; tick <= until; tick++) {
      this.#tick = tick
      this.#empty(tick)
    }
  }

  #empty(tick: number): void {
    const slot = tick % this.#slots.length
    // What is put back goes to later slots, so that this ends.
    for (let timer = this.#slots[slot] ?? null; timer !== null; timer = this.#slots[slot] ?? null) {
      this.#unlink(timer)
      if (timer.deadline <= this.#now) {
        timer.deadline = Number.POSITIVE_INFINITY
        this.#expired(timer.owner)
      } else if (timer.deadline !== Number.POSITIVE_INFINITY) this.#link(timer, this.#tickOf(timer.deadline))
    }
  }

  /** The tick at whose end the deadline has passed, or the last one in sight. Never the one being emptied. */
  #tickOf(deadline: number): number {
    const tick = Math.ceil(deadline / this.#tickMs)
    return Math.min(Math.max(tick, this.#tick + 1), this.#tick + this.#slots.length - 1)
  }

  #link(timer: WheelTimer<Owner>, tick: number): void {
    const slot = tick % this.#slots.length
    const head = this.#slots[slot] ?? null
    timer.tick = tick
    timer.previous = null
    timer.next = head
    if (head !== null) head.previous = timer
    this.#slots[slot] = timer
    this.#size += 1
  }

  #unlink(timer: WheelTimer<Owner>): void {
    const { next, previous } = timer
    if (next !== null) next.previous = previous
    if (previous === null) this.#slots[timer.tick % this.#slots.length] = next
    else previous.next = next
    timer.next = null
    timer.previous = null
    timer.tick = -1
    this.#size -= 1
  }
}
