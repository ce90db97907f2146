/**
 * Which of a set's endpoints is next: priorities, health and age first, then the balancer. What depends on membership is
 * arranged when that changes, what depends on health when an endpoint is ejected or comes back; a pick reads.
 */
import type { LoadBalancerModel, WarmupModel } from '../model/cluster.ts'
import { type Balancer, type Candidates, candidatesOf, createBalancer } from './balancer.ts'
import type { HealthGroup } from './endpoint-health.ts'
import type { UpstreamEndpoint } from './endpoints.ts'
import type { HashingModel, HashTable, HashTables } from './hash-table.ts'
import type { OutlierDetector } from './outlier.ts'
import { shareLoad } from './priorities.ts'
import { warmupFactor } from './slow-start.ts'

/** While endpoints warm up, their weights are brought up to date this often within the window. */
const WARMUP_STEPS = 500

type Level = {
  readonly members: readonly UpstreamEndpoint[]
  /** Of those, the ones to use now. */
  candidates: Candidates<UpstreamEndpoint>
  /** Percent. */
  load: number
  /** Ejections are disregarded. */
  panic: boolean
  /** Where the request's hash does not decide. */
  readonly balancer: Balancer | null
  /** Where it does: built when first asked for, since a large one must not make a reload slow. */
  table: HashTable | null
}

/** Endpoints not to be chosen, whatever their health. */
export type Skip = (endpoint: UpstreamEndpoint) => boolean

export type ChoiceOptions = {
  readonly balancer: LoadBalancerModel
  /** minHealthPercent of outlier detection, Envoy's panic threshold; 0: off. */
  readonly panicPercent: number
  readonly health: { readonly group: HealthGroup; readonly detector: OutlierDetector | null } | null
  readonly tables: HashTables
  readonly now: () => number
}

export class EndpointChoice {
  readonly #options: ChoiceOptions
  readonly #hashing: HashingModel | null
  readonly #warmup: WarmupModel | null
  readonly #detector: OutlierDetector | null
  /** By level, so that each goes on where it was when the endpoints change. */
  readonly #balancers: Balancer[] = []
  #levels: readonly Level[] = []
  /** The one level that gets everything; null: none, or several. */
  #sole: Level | null = null
  /** Of the health group, which the candidates reflect. */
  #version = 0
  #warmAgainAt = Number.POSITIVE_INFINITY

  constructor(options: ChoiceOptions) {
    this.#options = options
    const { balancer } = options
    this.#hashing = balancer.kind === 'RING_HASH' || balancer.kind === 'MAGLEV' ? balancer : null
    this.#warmup = 'warmup' in balancer ? balancer.warmup : null
    this.#detector = options.health?.detector ?? null
  }

  /** The endpoints have changed. Every one of them may be dialled. */
  setMembers(endpoints: readonly UpstreamEndpoint[]): void {
    const priorities = [...new Set(endpoints.map(({ priority }) => priority))].sort((a, b) => a - b)
    this.#levels = priorities.map((priority, index) => {
      const members = endpoints.filter((endpoint) => endpoint.priority === priority)
      const balancer = this.#balancerAt(index)
      return { members, candidates: candidatesOf(members), load: 0, panic: false, balancer, table: null }
    })
    this.#detector?.membersChanged()
    this.#arrange()
  }

  /**
   * null: nothing that may be used. `hash`: of the request, 32 bits unsigned; null: where it matters, random.
   * `random` yields numbers in [0, 1). `spill`: another priority may do when everything in the chosen one is skipped.
   */
  pick(hash: number | null, random: () => number, skip: Skip | null, spill: boolean): UpstreamEndpoint | null {
    this.refresh()
    const level = this.#sole ?? this.#draw(hash, random)
    if (level === null) return null
    const chosen = this.#pickFrom(level, hash, random, skip)
    if (chosen !== null || !spill) return chosen
    for (const other of this.#levels) {
      const instead = other === level ? null : this.#pickFrom(other, hash, random, skip)
      if (instead !== null) return instead
    }
    return null
  }

  /** Ends ejections and raises weights whose time has come. */
  refresh(): void {
    if (this.#detector !== null) {
      this.#detector.sweep()
      if (this.#version !== this.#options.health?.group.version) this.#arrange()
    }
    if (this.#warmAgainAt !== Number.POSITIVE_INFINITY && this.#options.now() >= this.#warmAgainAt) this.#warm()
  }

  #arrange(): void {
    this.#version = this.#options.health?.group.version ?? 0
    const healthy = this.#levels.map(({ members }) =>
      this.#detector === null ? members : members.filter(({ ejected }) => !ejected),
    )
    const loads = shareLoad(
      this.#levels.map(({ members }, index) => ({ total: members.length, healthy: healthy[index]?.length ?? 0 })),
      this.#detector === null ? 0 : this.#options.panicPercent,
    )
    for (const [index, level] of this.#levels.entries()) {
      const { load, panic } = loads[index] ?? { load: 0, panic: false }
      level.load = load
      level.panic = panic
      level.candidates = candidatesOf(panic ? level.members : (healthy[index] ?? []))
    }
    const loaded = this.#levels.filter(({ load }) => load > 0)
    this.#sole = loaded.length === 1 ? (loaded[0] ?? null) : null
    if (this.#warmup !== null) this.#warm()
  }

  #warm(): void {
    if (this.#warmup === null) return
    const now = this.#options.now()
    let warming = false
    for (const level of this.#levels) {
      for (const endpoint of level.members) {
        const factor = warmupFactor(this.#warmup, now - (endpoint.health?.since ?? now))
        endpoint.weight = endpoint.configuredWeight * factor
        if (factor < 1) warming = true
      }
      level.candidates = candidatesOf(level.candidates.list)
    }
    this.#warmAgainAt = warming ? now + this.#warmup.durationMs / WARMUP_STEPS : Number.POSITIVE_INFINITY
  }

  /** A level by its load: by the request's hash where that decides, so that a key stays with its level. */
  #draw(hash: number | null, random: () => number): Level | null {
    const share = hash === null || this.#hashing === null ? random() : (Math.imul(hash, 0x9e3779b1) >>> 0) / 2 ** 32
    let left = share * 100
    let last: Level | null = null
    for (const level of this.#levels) {
      if (level.load <= 0) continue
      last = level
      left -= level.load
      if (left < 0) return level
    }
    return last
  }

  #balancerAt(index: number): Balancer | null {
    const { kind } = this.#options.balancer
    if (kind === 'RING_HASH' || kind === 'MAGLEV') return null
    const balancer = this.#balancers[index] ?? createBalancer(kind)
    this.#balancers[index] = balancer
    return balancer
  }

  #pickFrom(level: Level, hash: number | null, random: () => number, skip: Skip | null): UpstreamEndpoint | null {
    if (level.candidates.list.length === 0) return null
    if (this.#hashing !== null) {
      level.table ??= this.#options.tables.get(this.#hashing, level.members)
      return this.#walk(level, level.table, hash ?? Math.floor(random() * 2 ** 32), skip)
    }
    const candidates = skip === null ? level.candidates : without(level.candidates, skip)
    return candidates.list.length === 0 ? null : (level.balancer?.pick(candidates, random) ?? null)
  }

  /** From the key's place on to the first one whose owner may be used. */
  #walk(level: Level, table: HashTable, hash: number, skip: Skip | null): UpstreamEndpoint | null {
    const start = table.place(hash)
    const owner = level.members[table.owner(start)]
    if (owner !== undefined && skip === null && (level.panic || this.#detector === null || !owner.ejected)) return owner
    const { list } = skip === null ? level.candidates : without(level.candidates, skip)
    const usable = new Set(list)
    for (let step = 0; step < table.size && usable.size > 0; step++) {
      const next = level.members[table.owner((start + step) % table.size)]
      if (next !== undefined && usable.has(next)) return next
    }
    // So light that it owns no place.
    return list[0] ?? null
  }
}

function without(candidates: Candidates<UpstreamEndpoint>, skip: Skip): Candidates<UpstreamEndpoint> {
  return candidatesOf(candidates.list.filter((endpoint) => !skip(endpoint)))
}
