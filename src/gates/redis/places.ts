/** Places among those that may be open at a time, of one limit and key, held by this process: renewed until given up. */
import type { LimitModel } from '../../model/limits.ts'
import type { Answer, Verdict } from '../limits/store.ts'
import { assertUnanswered, countKey } from './count.ts'
import type { RedisLink } from './link.ts'
import { PLACES } from './scripts.ts'

/** What a process held that died is free again after this long. */
const HELD_MS = 30_000
const RENEW_MS = 10_000

export class Places {
  readonly #link: RedisLink
  readonly #key: string
  readonly #count: number
  readonly #held = new Set<string>()
  #renewedAt = performance.now()

  constructor(link: RedisLink, prefix: string, limit: LimitModel, key: string) {
    this.#link = link
    this.#key = countKey(prefix, limit, key)
    this.#count = limit.quota.count
  }

  hold(holder: string): Answer {
    return this.#ask('hold', [holder], (verdict) => {
      // Nobody waited for it; whoever went on without it gives it up like any other.
      if (verdict.allowed) this.#held.add(holder)
    })
  }

  release(holder: string): void {
    this.#held.delete(holder)
    void this.#ask('release', [holder], () => undefined)
  }

  /** What the store has forgotten meanwhile is held again. */
  sweep(now: number): void {
    if (this.#held.size === 0 || now - this.#renewedAt < RENEW_MS) return
    this.#renewedAt = now
    void this.#ask('renew', [...this.#held], () => undefined)
  }

  idle(): boolean {
    return this.#held.size === 0
  }

  async #ask(
    mode: 'hold' | 'renew' | 'release',
    holders: readonly string[],
    late: (verdict: Verdict) => void,
  ): Promise<Verdict | null> {
    const args = [mode, String(this.#count), String(HELD_MS), ...holders]
    try {
      const reply = await this.#link.ask(PLACES, this.#key, args, (answer) => {
        const verdict = readVerdict(answer)
        if (verdict !== null) late(verdict)
      })
      const verdict = readVerdict(reply)
      if (verdict === null) throw this.#link.garbage('the store answered something else than places')
      if (mode === 'hold' && verdict.allowed) for (const holder of holders) this.#held.add(holder)
      return verdict
    } catch (error) {
      assertUnanswered(error)
      return null
    }
  }
}

/** When a place will be free nobody knows; a second is soon enough to ask. */
function readVerdict(reply: unknown): Verdict | null {
  if (!Array.isArray(reply) || reply.length !== 2) return null
  const [ok, remaining] = reply as [unknown, unknown]
  if ((ok !== 0 && ok !== 1) || !Number.isSafeInteger(remaining)) return null
  return { allowed: ok === 1, remaining: remaining as number, retryAfterMs: ok === 1 ? 0 : 1000, resetMs: 0 }
}
