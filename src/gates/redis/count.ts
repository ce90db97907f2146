/** One count of one limit as Redis keeps it: its key, its script, and what an answer means. */
import { createHash } from 'node:crypto'
import type { LimitModel } from '../../model/limits.ts'
import type { Verdict } from '../limits/store.ts'
import { type RedisLink, Unanswered } from './link.ts'
import { BUCKET, BUDGET, type Script } from './scripts.ts'

/** What a script of BUCKET's shape answered. */
export type CountReply = {
  readonly ok: boolean
  readonly granted: number
  readonly remaining: number
  readonly retryAfterMs: number
  readonly resetMs: number
  /** Of a budget: which day or month. */
  readonly period: number
}

/**
 * `PREFIX:limit:ID:{HASH}`: the hash of what is counted decides the node of a Cluster, and keeps what callers send out of
 * keys.
 */
export function countKey(prefix: string, { id, quota, unit }: LimitModel, key: string): string {
  const hash = createHash('sha256').update(`${quota.kind}\n${unit}\n${id}\n${key}`).digest('base64url')
  return `${prefix}:limit:${id.replaceAll(/[^A-Za-z0-9/._-]/g, '_')}:{${hash.slice(0, 22)}}`
}

export function verdictOf({ ok, remaining, retryAfterMs, resetMs }: CountReply): Verdict {
  return { allowed: ok, remaining, retryAfterMs: ok ? 0 : Math.max(1, retryAfterMs), resetMs }
}

export class SharedCount {
  readonly #link: RedisLink
  readonly #key: string
  readonly #script: Script
  readonly #head: readonly [string, string]
  /** Units that are there at most. */
  readonly burst: number

  /** @throws a TypeError for a quota that is no count (`concurrent`) */
  constructor(link: RedisLink, prefix: string, limit: LimitModel, key: string) {
    const { quota } = limit
    if (quota.kind === 'concurrent') throw new TypeError(`${limit.id}: places are not counted here`)
    this.#link = link
    this.#key = countKey(prefix, limit, key)
    this.burst = quota.kind === 'rate' ? quota.burst : quota.count
    this.#script = quota.kind === 'rate' ? BUCKET : BUDGET
    this.#head =
      quota.kind === 'rate'
        ? [String((quota.periodMs * 1000) / quota.count), String(quota.burst)]
        : [quota.per, String(quota.count)]
  }

  /** Grants `need` to `want` units, or none. Rejects with Unanswered. */
  async take(need: number, want: number, late: (reply: CountReply) => void): Promise<CountReply> {
    return this.#ask(need, want, 'take', '0', late)
  }

  /** Takes it whether it is there or not; less than 0 gives back what was granted in `period`. Rejects with Unanswered. */
  async charge(units: number, period: number, late: (reply: CountReply) => void): Promise<CountReply> {
    return this.#ask(0, units, 'charge', String(period), late)
  }

  async #ask(
    need: number,
    want: number,
    mode: 'take' | 'charge',
    period: string,
    late: (reply: CountReply) => void,
  ): Promise<CountReply> {
    const args = [...this.#head, String(need), String(want), mode, period]
    const answer = await this.#link.ask(this.#script, this.#key, args, (reply) => {
      const read = readReply(reply)
      if (read !== null) late(read)
    })
    const reply = readReply(answer)
    if (reply === null) throw this.#link.garbage('the store answered something else than a count')
    return reply
  }
}

function readReply(reply: unknown): CountReply | null {
  if (!Array.isArray(reply) || reply.length !== 6 || !reply.every((part) => Number.isSafeInteger(part))) return null
  const [ok, granted, remaining, retryAfterMs, resetMs, period] = reply as [
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  if ((ok !== 0 && ok !== 1) || remaining < 0 || retryAfterMs < 0) return null
  return { ok: ok === 1, granted, remaining, retryAfterMs, resetMs, period }
}

/** What a rejection of a question is: anything but Unanswered is a mistake of ours. */
export function assertUnanswered(error: unknown): asserts error is Unanswered {
  if (!(error instanceof Unanswered)) throw error
}
