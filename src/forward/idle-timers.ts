/** When connections have rested long enough: one coarse wheel for all of the process (core/timer-wheel.ts). */
import { TimerWheel, WheelTimer } from '../core/timer-wheel.ts'

/** How coarse it is, milliseconds: connections are let go up to two of them late, which the margin below a site's own limit covers. */
const TICK_MS = 100
/** The wheel sees 51 s ahead; who rests longer is looked at once per round. */
const SLOTS = 512

export type Resting = {
  /** Its time is over. */
  tire(): void
}

export type IdleTimer = WheelTimer<Resting>

let ticking: NodeJS.Timeout | null = null

const wheel = new TimerWheel<Resting>(TICK_MS, SLOTS, performance.now(), (owner) => owner.tire())

export function newIdleTimer(owner: Resting): IdleTimer {
  return new WheelTimer(owner)
}

/** `tire` is called `ms` from now, a little later at most, unless it is armed anew or disarmed. */
export function armIdle(timer: IdleTimer, ms: number): void {
  if (ticking === null) {
    wheel.advance(performance.now())
    ticking = setInterval(tick, TICK_MS)
    // Who has nothing else to do does not wait for it.
    ticking.unref()
  }
  wheel.arm(timer, ms)
}

export function disarmIdle(timer: IdleTimer): void {
  wheel.disarm(timer)
}

/** The owner has gone for good. */
export function removeIdle(timer: IdleTimer): void {
  wheel.remove(timer)
}

function tick(): void {
  wheel.advance(performance.now())
  if (wheel.size > 0 || ticking === null) return
  clearInterval(ticking)
  ticking = null
}
