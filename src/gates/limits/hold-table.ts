/** Who holds a place of one limit on what is open at a time, by key. Keys nobody holds a place of are not kept. */
import type { Verdict } from './store.ts'

export class HoldTable {
  readonly #count: number
  readonly #held = new Map<string, Set<string>>()

  /** `previous`: the same places under another number; what is held of them stays held, also beyond it. */
  constructor(count: number, previous: HoldTable | null = null) {
    this.#count = count
    for (const [key, holders] of previous === null ? [] : previous.#held) this.#held.set(key, holders)
  }

  get size(): number {
    return this.#held.size
  }

  peek(key: string): Verdict {
    const open = this.#held.get(key)?.size ?? 0
    return verdict(open < this.#count, this.#count - open)
  }

  hold(key: string, holder: string): Verdict {
    const holders = this.#held.get(key) ?? new Set()
    const allowed = holders.has(holder) || holders.size < this.#count
    if (allowed) this.#held.set(key, holders.add(holder))
    return verdict(allowed, this.#count - holders.size)
  }

  release(key: string, holder: string): void {
    const holders = this.#held.get(key)
    holders?.delete(holder)
    if (holders?.size === 0) this.#held.delete(key)
  }
}

/** When a place will be free again nobody knows; a second is soon enough to ask. */
function verdict(allowed: boolean, remaining: number): Verdict {
  return { allowed, remaining: Math.max(0, remaining), retryAfterMs: allowed ? 0 : 1000, resetMs: 0 }
}
