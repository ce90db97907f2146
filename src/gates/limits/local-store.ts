/**
 * The counts of this process: every limit of `scope: local`, and global ones while their store cannot be asked. They
 * outlive reloads; a limit whose quota has changed starts anew, but a budget goes on with what has been used of it.
 */
import type { LimitModel } from '../../model/limits.ts'
import { type BudgetState, BudgetTable, isCurrent } from './budget-table.ts'
import { HoldTable } from './hold-table.ts'
import { RateTable } from './rate-table.ts'
import type { LimitStore, Verdict } from './store.ts'

type Table = RateTable | BudgetTable | HoldTable
type Entry = { readonly model: LimitModel; readonly table: Table }

export type Clocks = {
  /** Monotonic milliseconds. */
  readonly now: () => number
  /** Milliseconds since the epoch. */
  readonly time: () => number
}

export class LocalStore implements LimitStore {
  readonly #clocks: Clocks
  readonly #entries = new Map<string, Entry>()
  /** Of budgets that nobody has asked for since the start, or whose limits are gone. */
  readonly #restored = new Map<string, BudgetState>()
  /** Some budget of `scope: local` has been used since this was last set to false. */
  dirty = false

  constructor(clocks: Clocks) {
    this.#clocks = clocks
  }

  /** What an earlier process has used; before its limits are asked for. */
  restore(budgets: Iterable<readonly [string, BudgetState]>): void {
    for (const [id, state] of budgets) this.#restored.set(id, state)
  }

  /** As `take`, without taking; of `concurrent`, as `hold`. */
  peek(limit: LimitModel, key: string, cost: number): Verdict {
    return this.#table(limit).peek(key, cost)
  }

  take(limit: LimitModel, key: string, cost: number): Verdict {
    const table = this.#table(limit)
    if (table instanceof HoldTable) return table.peek(key)
    if (cost > 0) this.#used(limit)
    return table.take(key, cost)
  }

  charge(limit: LimitModel, key: string, cost: number): Verdict {
    const table = this.#table(limit)
    if (table instanceof HoldTable) return table.peek(key)
    this.#used(limit)
    return table.charge(key, cost)
  }

  hold(limit: LimitModel, key: string, holder: string): Verdict {
    const table = this.#table(limit)
    return table instanceof HoldTable ? table.hold(key, holder) : table.peek(key, 0)
  }

  release(limit: LimitModel, key: string, holder: string): void {
    const table = this.#entries.get(limit.id)?.table
    if (table instanceof HoldTable) table.release(key, holder)
  }

  /** Lets go of the counts of limits that are gone, but for budgets: taking one away and back does not renew it. */
  keepOnly(limits: readonly LimitModel[]): void {
    const ids = new Set(limits.map(({ id }) => id))
    for (const [id, { model, table }] of this.#entries) {
      if (ids.has(id)) continue
      if (table instanceof BudgetTable && model.scope === 'local') this.#restored.set(id, table.state())
      this.#entries.delete(id)
    }
  }

  /** What has to outlive a restart: the local budgets, by limit. */
  *budgets(): Iterable<readonly [string, BudgetState]> {
    for (const [id, { model, table }] of this.#entries)
      if (table instanceof BudgetTable && model.scope === 'local') yield [id, table.state()]
    for (const [id, state] of this.#restored) {
      if (!isCurrent(state, this.#clocks.time())) this.#restored.delete(id)
      else if (!this.#entries.has(id)) yield [id, state]
    }
  }

  #used({ quota, scope }: LimitModel): void {
    if (quota.kind === 'budget' && scope === 'local') this.dirty = true
  }

  #table(limit: LimitModel): Table {
    const known = this.#entries.get(limit.id)
    if (known?.model === limit) return known.table
    const table =
      known !== undefined && sameQuota(known.model, limit)
        ? known.table
        : this.#create(limit, known !== undefined && countedAs(known.model) === countedAs(limit) ? known.table : null)
    this.#entries.set(limit.id, { model: limit, table })
    return table
  }

  #create(limit: LimitModel, previous: Table | null): Table {
    const { quota } = limit
    const { now, time } = this.#clocks
    switch (quota.kind) {
      case 'rate':
        return new RateTable({ burst: quota.burst, perMs: quota.count / quota.periodMs }, now)
      case 'concurrent':
        return new HoldTable(quota.count, previous instanceof HoldTable ? previous : null)
      case 'budget': {
        const used = previous instanceof BudgetTable ? previous.state() : (this.#restored.get(limit.id) ?? null)
        return new BudgetTable({ of: countedAs(limit), count: quota.count, per: quota.per }, time, used)
      }
    }
  }
}

/** What is counted, by what: only then do the counts of two limits mean the same. */
function countedAs({ unit, direction, key }: LimitModel): string {
  return [unit, direction, ...key].join(' ')
}

function sameQuota(a: LimitModel, b: LimitModel): boolean {
  return countedAs(a) === countedAs(b) && JSON.stringify(a.quota) === JSON.stringify(b.quota)
}
