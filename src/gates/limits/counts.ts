/** What the limits have decided, and what is left of budgets: for metrics, and for the log of what shadow limits would do. */

import type { Attributes } from '../../core/attributes.ts'
import type { LimitModel } from '../../model/limits.ts'
import type { Log } from '../../observe/log.ts'
import type { BudgetLeft, LimitDecision } from '../../observe/metrics/limits.ts'
import { keyValue } from '../../policy/limits.ts'
import type { Verdict } from './store.ts'

type Tally = Record<LimitDecision, number> & { unsaid: number; saidAt: number }

/** Callers and hosts whose budgets are shown. Past it, further ones count but are not shown. */
const MAX_SHOWN = 1000

/** Of one limit, at most one line a time about what it would have refused. */
const SAY_EVERY_MS = 1000

export class LimitCounts {
  readonly #log: Log
  readonly #tallies = new Map<string, Tally>()
  readonly #budgets = new Map<string, BudgetLeft & { remaining: number; endsAt: number }>()

  constructor(log: Log) {
    this.#log = log
  }

  /** From here on there is a series of it. */
  add({ id }: LimitModel): void {
    this.#tally(id)
  }

  count({ id }: LimitModel, decision: LimitDecision): void {
    this.#tally(id)[decision] += 1
  }

  /** One that a shadow limit would have refused. */
  shadowed({ id }: LimitModel, key: string): void {
    const tally = this.#tally(id)
    tally.shadow_deny += 1
    tally.unsaid += 1
    const now = performance.now()
    if (now - tally.saidAt < SAY_EVERY_MS) return
    this.#log.info('a shadow limit would have refused', { limit: id, key, times: tally.unsaid })
    tally.unsaid = 0
    tally.saidAt = now
  }

  /** Of a budget: what is left of it by now. */
  left({ id, key }: LimitModel, counted: string, attributes: Attributes, host: string, verdict: Verdict): void {
    const slot = `${id} ${counted}`
    const endsAt = Date.now() + verdict.resetMs
    const known = this.#budgets.get(slot)
    if (known !== undefined) {
      known.remaining = verdict.remaining
      known.endsAt = endsAt
      return
    }
    if (this.#budgets.size >= MAX_SHOWN) this.#forgetOver()
    if (this.#budgets.size >= MAX_SHOWN) return
    // A budget by namespace is shown under the namespace's name, in the place of a principal.
    const caller = key.filter((each) => each !== 'host').map((each) => keyValue(each, attributes, host))
    const principal = caller.join(' ')
    this.#budgets.set(slot, {
      limit: id,
      principal,
      host: key.includes('host') ? host : '',
      remaining: verdict.remaining,
      endsAt,
    })
  }

  /** For a scrape. */
  *decisions(): Iterable<readonly [string, Readonly<Record<LimitDecision, number>>]> {
    yield* this.#tallies
  }

  /** For a scrape; a window that is over is nobody's any more. */
  budgets(): Iterable<BudgetLeft> {
    this.#forgetOver()
    return this.#budgets.values()
  }

  #forgetOver(): void {
    const now = Date.now()
    for (const [slot, { endsAt }] of this.#budgets) if (endsAt <= now) this.#budgets.delete(slot)
  }

  #tally(id: string): Tally {
    const known = this.#tallies.get(id)
    if (known !== undefined) return known
    const tally = { allow: 0, deny: 0, shadow_deny: 0, error: 0, unsaid: 0, saidAt: Number.NEGATIVE_INFINITY }
    this.#tallies.set(id, tally)
    return tally
  }
}
