/** What has been used of one budget, by key, in the calendar window that runs. It is what a state file holds. */
import { calendarWindow } from '../../core/calendar.ts'
import { MAX_KEYS } from './rate-table.ts'
import type { Verdict } from './store.ts'

/** As it is written down. `of`: what was counted by what; of another thing it is worth nothing. */
export type BudgetState = {
  readonly of: string
  readonly window: string
  readonly used: Readonly<Record<string, number>>
}

export type BudgetShape = { readonly of: string; readonly count: number; readonly per: 'day' | 'month' }

/** Whether there is still something to be had from it. */
export function isCurrent({ window }: BudgetState, time: number): boolean {
  return calendarWindow(window.length > 7 ? 'day' : 'month', time).id === window
}

/** Past `MAX_KEYS`, further keys share this one: within a window none can be forgotten. No key is a single space. */
const OVERFLOW = ' '

export class BudgetTable {
  readonly #shape: BudgetShape
  readonly #count: number
  readonly #time: () => number
  readonly #maxKeys: number
  #used = new Map<string, number>()
  #window = ''
  #endsAt = Number.NEGATIVE_INFINITY

  /** `time`: milliseconds since the epoch. `state` of another window is over and done with. */
  constructor(shape: BudgetShape, time: () => number, state: BudgetState | null = null, maxKeys = MAX_KEYS) {
    this.#shape = shape
    this.#count = shape.count
    this.#time = time
    this.#maxKeys = maxKeys
    this.#turn()
    if (state?.window === this.#window && state.of === shape.of) this.#used = new Map(Object.entries(state.used))
  }

  /** Of the window that runs. */
  state(): BudgetState {
    this.#turn()
    return { of: this.#shape.of, window: this.#window, used: Object.fromEntries(this.#used) }
  }

  peek(key: string, cost: number): Verdict {
    const now = this.#turn()
    const used = this.#used.get(this.#slot(key)) ?? 0
    return this.#verdict(used, this.#covers(used, cost), now)
  }

  take(key: string, cost: number): Verdict {
    const now = this.#turn()
    const slot = this.#slot(key)
    const used = this.#used.get(slot) ?? 0
    const allowed = this.#covers(used, cost)
    if (allowed && cost > 0) this.#used.set(slot, used + cost)
    return this.#verdict(allowed ? used + cost : used, allowed, now)
  }

  charge(key: string, cost: number): Verdict {
    const now = this.#turn()
    const slot = this.#slot(key)
    const used = (this.#used.get(slot) ?? 0) + cost
    this.#used.set(slot, used)
    return this.#verdict(used, used < this.#count, now)
  }

  #covers(used: number, cost: number): boolean {
    return cost === 0 ? used < this.#count : used + cost <= this.#count
  }

  #slot(key: string): string {
    return this.#used.size < this.#maxKeys || this.#used.has(key) ? key : OVERFLOW
  }

  /** A clock that goes back stays in the window it was in: what has been used is not given back. */
  #turn(): number {
    const now = this.#time()
    if (now >= this.#endsAt) {
      const { id, endsAt } = calendarWindow(this.#shape.per, now)
      this.#window = id
      this.#endsAt = endsAt
      this.#used = new Map()
    }
    return now
  }

  #verdict(used: number, allowed: boolean, now: number): Verdict {
    const resetMs = this.#endsAt - now
    return { allowed, remaining: Math.max(0, this.#count - used), retryAfterMs: allowed ? 0 : resetMs, resetMs }
  }
}
