/**
 * Limits of `scope: global`, counted in Redis for all gateways together. What this process keeps of a count is a lease, a
 * ledger or its places; keys are bounded, and what nobody asks for is let go.
 */
import type { LimitModel } from '../../model/limits.ts'
import type { RedisSettings } from '../../model/redis.ts'
import type { Answer, LimitStore } from '../limits/store.ts'
import { SharedCount } from './count.ts'
import { Lease } from './lease.ts'
import { Ledger } from './ledger.ts'
import type { RedisLink } from './link.ts'
import { Places } from './places.ts'

const SWEEP_MS = 100
const IDLE_MS = 10_000
/** Counts that this process remembers something of; beyond it the oldest is let go, which costs questions, not safety. */
const MAX_KEYS = 10_000
/** How long the end of the process waits to give back what it has leased. */
const FAREWELL_MS = 250

/** A map that lets the oldest go. */
class Kept<T> {
  readonly #kept = new Map<string, T>()
  readonly #release: (value: T) => void

  constructor(release: (value: T) => void) {
    this.#release = release
  }

  get(name: string, make: () => T): T {
    const known = this.#kept.get(name)
    if (known !== undefined) return known
    const fresh = make()
    this.#kept.set(name, fresh)
    if (this.#kept.size > MAX_KEYS) this.#dropOldest()
    return fresh
  }

  find(name: string): T | undefined {
    return this.#kept.get(name)
  }

  values(): IterableIterator<T> {
    return this.#kept.values()
  }

  sweep(visit: (value: T) => void, idle: (value: T) => boolean): void {
    for (const [name, value] of this.#kept) {
      visit(value)
      if (idle(value)) this.#kept.delete(name)
    }
  }

  #dropOldest(): void {
    const oldest = this.#kept.entries().next().value
    if (oldest === undefined) return
    this.#kept.delete(oldest[0])
    this.#release(oldest[1])
  }
}

export class RedisLimitStore implements LimitStore {
  readonly #settings: RedisSettings
  readonly #link: RedisLink
  readonly #leases = new Kept<Lease>((lease) => lease.giveBack())
  readonly #ledgers = new Kept<Ledger>((ledger) => ledger.flush())
  /** Bounded by what is open. */
  readonly #places = new Map<string, Places>()
  readonly #sweeper: NodeJS.Timeout

  /** The link stays the caller's: close it after this. */
  constructor(settings: RedisSettings, link: RedisLink) {
    this.#settings = settings
    this.#link = link
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_MS)
    this.#sweeper.unref()
  }

  take(limit: LimitModel, key: string, cost: number): Answer {
    const now = performance.now()
    if (cost === 0) return this.#ledger(limit, key).look(now)
    const lease = this.#leases.get(nameOf(limit, key), () => new Lease(this.#count(limit, key), this.#settings.leases))
    return lease.take(cost, now)
  }

  charge(limit: LimitModel, key: string, cost: number): Answer {
    return this.#ledger(limit, key).charge(cost, performance.now())
  }

  hold(limit: LimitModel, key: string, holder: string): Answer {
    const name = nameOf(limit, key)
    const places = this.#places.get(name) ?? new Places(this.#link, this.#settings.keyPrefix, limit, key)
    this.#places.set(name, places)
    return places.hold(holder)
  }

  release(limit: LimitModel, key: string, holder: string): void {
    const places = this.#places.get(nameOf(limit, key)) ?? new Places(this.#link, this.#settings.keyPrefix, limit, key)
    places.release(holder)
  }

  /** Gives back what is leased and charges what is due, as far as the store answers. */
  async close(): Promise<void> {
    clearInterval(this.#sweeper)
    if (!this.#link.up) return
    for (const lease of this.#leases.values()) lease.giveBack()
    for (const ledger of this.#ledgers.values()) ledger.flush()
    await this.#link.quiet(FAREWELL_MS)
  }

  #count(limit: LimitModel, key: string): SharedCount {
    return new SharedCount(this.#link, this.#settings.keyPrefix, limit, key)
  }

  #ledger(limit: LimitModel, key: string): Ledger {
    return this.#ledgers.get(nameOf(limit, key), () => new Ledger(this.#count(limit, key)))
  }

  #sweep(): void {
    const now = performance.now()
    this.#leases.sweep(
      (lease) => lease.sweep(now),
      (lease) => lease.idle(now, IDLE_MS),
    )
    this.#ledgers.sweep(
      (ledger) => ledger.sweep(now),
      (ledger) => ledger.idle(now, IDLE_MS),
    )
    for (const [name, places] of this.#places) {
      places.sweep(now)
      if (places.idle()) this.#places.delete(name)
    }
  }
}

/** Of this process: another quota under the same id is another count here. */
function nameOf({ id, quota }: LimitModel, key: string): string {
  const shape =
    quota.kind === 'rate' ? `${quota.count}/${quota.periodMs}/${quota.burst}` : `${quota.kind}${quota.count}`
  return `${id}\n${shape}\n${key}`
}
