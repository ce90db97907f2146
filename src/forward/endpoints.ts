/**
 * The addresses behind a cluster at one moment, each judged once when it appears. The resolver (resolve.ts) is asked for
 * the current answers; picking only reads. Nothing here dials.
 */
import { isIP } from 'node:net'
import type { ClusterStats } from '../core/stats.ts'
import type { LoadBalancerModel, OutlierDetectionModel } from '../model/cluster.ts'
import type { AddressDenial, AddressGuard, AddressOrigin } from './address-guard.ts'
import { EndpointChoice } from './endpoint-choice.ts'
import type { EndpointHealth, HealthGroup } from './endpoint-health.ts'
import type { CallerAddresses, UpstreamFailure } from './forwarder.ts'
import type { HashTables } from './hash-table.ts'
import { OutlierDetector } from './outlier.ts'
import type { UpstreamPool } from './pool.ts'
import { hostPort } from './pooled-connection.ts'
import type { DnsAnswer, NameResolver } from './resolve.ts'
import { addressDenied, NO_HEALTHY_UPSTREAM } from './transport-failure.ts'

export type OpenPool = (address: string, port: number, caller: CallerAddresses, http2: boolean) => UpstreamPool

/** One address and port that may be dialled, or the reason why it may not. */
export class UpstreamEndpoint {
  readonly address: string
  readonly port: number
  readonly configuredWeight: number
  /** What it is balanced by at present: less while it warms up. */
  weight: number
  readonly priority: number
  /** `ip:port`. */
  readonly text: string
  readonly denied: AddressDenial | null
  /** null: nobody keeps it. */
  readonly health: EndpointHealth | null
  /** Requests under way: what LEAST_REQUEST compares. */
  active = 0
  readonly #detector: OutlierDetector | null
  readonly #openPool: OpenPool
  #pool: UpstreamPool | null = null
  #http2Pool: UpstreamPool | null = null

  constructor(
    spec: Pick<EndpointSource, 'address' | 'port' | 'weight' | 'priority'>,
    denied: AddressDenial | null,
    openPool: OpenPool,
    health: EndpointHealth | null,
    detector: OutlierDetector | null,
  ) {
    this.address = spec.address
    this.port = spec.port
    this.configuredWeight = spec.weight
    this.weight = spec.weight
    this.priority = spec.priority
    this.text = hostPort(spec.address, spec.port)
    this.denied = denied
    this.health = health
    this.#detector = detector
    this.#openPool = openPool
  }

  /** True: outlier detection leaves it alone for a while. */
  get ejected(): boolean {
    return this.#detector !== null && this.health !== null && this.health.ejectedAt !== null
  }

  /** For outlier detection: it answered, with this status (for gRPC the one its own status means). */
  answered(status: number): void {
    if (this.#detector !== null && this.health !== null) this.#detector.answered(this.health, status)
  }
  /** No connection, no answer in time, or an exchange that broke off: not what an overloaded gateway or a caller did. */
  failed(): void {
    if (this.#detector !== null && this.health !== null) this.#detector.failed(this.health)
  }
  /** A connection to it is in use. `final`: a tunnel, whose outcome nobody can judge. */
  connected(final: boolean): void {
    if (this.#detector !== null && this.health !== null) this.#detector.connected(this.health, final)
  }

  /** One pool for all callers, unless connections tell of theirs (PROXY protocol); another where HTTP/2 is spoken. */
  poolFor(caller: CallerAddresses, http2 = false): UpstreamPool {
    const known = http2 ? this.#http2Pool : this.#pool
    if (known !== null && !known.retired) return known
    const pool = this.#openPool(this.address, this.port, caller, http2)
    if (pool.identity.proxy !== null) return pool
    if (http2) this.#http2Pool = pool
    else this.#pool = pool
    return pool
  }
}

/** What an EndpointSet is made of: a literal address, or a name whose answers come and go. */
export type EndpointSource = {
  readonly address: string
  readonly port: number
  readonly weight: number
  readonly priority: number
  readonly origin: AddressOrigin
  /** Only the first permitted address of the current answer (DNS_ROUND_ROBIN, LOGICAL_DNS in Envoy). */
  readonly firstOnly: boolean
}

type Group = { readonly source: EndpointSource; answer: DnsAnswer | null; endpoints: readonly UpstreamEndpoint[] }

export type EndpointSetParts = {
  readonly guard: AddressGuard
  readonly openPool: OpenPool
  /** Addresses newly refused by the guard. */
  readonly onDenied: (count: number) => void
  /** The failure while no name has an answer. */
  readonly unresolved: UpstreamFailure
  readonly balancer: LoadBalancerModel
  readonly outlierDetection: OutlierDetectionModel | null
  /** null: neither outlier detection nor slow start. */
  readonly health: HealthGroup | null
  readonly tables: HashTables
  readonly stats: ClusterStats
  /** Monotonic, milliseconds. */
  readonly now: () => number
}

export class EndpointSet {
  /** Over the permitted endpoints; of resolved names the IPv4 addresses while there are any (Istio's default family). */
  readonly choice: EndpointChoice
  /** Tried when every other one has failed to connect or is ejected. */
  spare: readonly UpstreamEndpoint[] = []
  /** What to answer when there is nothing to dial. */
  failure: UpstreamFailure
  /** Of names, which are to be resolved. Empty: nothing here ever changes. */
  readonly #named: readonly Group[]
  readonly #groups: readonly Group[]
  readonly #parts: EndpointSetParts
  readonly #detector: OutlierDetector | null
  /** Permitted ones. */
  #members: readonly UpstreamEndpoint[] = []
  /** An answer has been taken that `#arrange` has not seen. */
  #changed = false

  constructor(sources: readonly EndpointSource[], parts: EndpointSetParts) {
    this.#parts = parts
    const { health, outlierDetection, stats, balancer, tables, now } = parts
    this.#detector =
      outlierDetection === null || health === null
        ? null
        : new OutlierDetector(outlierDetection, health, stats, now, () => this.#healths())
    this.choice = new EndpointChoice({
      balancer,
      panicPercent: outlierDetection?.minHealthPercent ?? 0,
      health: health === null ? null : { group: health, detector: this.#detector },
      tables,
      now,
    })
    this.failure = NO_HEALTHY_UPSTREAM
    this.#groups = sources.map((source) => ({ source, answer: null, endpoints: [] }))
    this.#named = this.#groups.filter(({ source }) => isIP(source.address) === 0)
    for (const group of this.#groups) {
      if (!this.#named.includes(group)) group.endpoints = this.#build(group, [group.source.address])
    }
    this.#arrange()
  }

  *#healths(): Iterable<EndpointHealth> {
    for (const { health } of this.#members) if (health !== null) yield health
  }

  /** Everything known, denied ones included, for `/clusters` and the membership gauges. */
  *all(): Iterable<UpstreamEndpoint> {
    for (const group of this.#groups) yield* group.endpoints
  }

  /**
   * Takes the current answers to its names. null: they are all there, and nothing was made where none has changed (on the
   * way of every request); else it resolves when they are. Never rejects.
   */
  resolve(resolver: Pick<NameResolver, 'lookup'>): Promise<void> | null {
    const named = this.#named
    for (let i = 0; i < named.length; i++) {
      const group = named[i] as Group
      const answer = resolver.lookup(group.source.address)
      if (answer instanceof Promise) {
        // What has been taken counts now: it may be another by the time that the rest is there.
        if (this.#changed) this.#arrange()
        return this.#await(resolver, i, answer)
      }
      this.#take(group, answer)
    }
    if (this.#changed) this.#arrange()
    return null
  }

  /** `first`: the answer for the name at `from`; those behind it are still to be asked for. */
  async #await(resolver: Pick<NameResolver, 'lookup'>, from: number, first: Promise<DnsAnswer>): Promise<void> {
    const groups = this.#named.slice(from)
    const others = groups.slice(1).map(({ source }) => resolver.lookup(source.address))
    const answers = await Promise.all([first, ...others])
    for (const [i, group] of groups.entries()) this.#take(group, answers[i] as DnsAnswer)
    if (this.#changed) this.#arrange()
  }

  #take(group: Group, answer: DnsAnswer): void {
    if (answer === group.answer) return
    group.answer = answer
    group.endpoints = this.#build(group, answer.addresses)
    this.#changed = true
  }

  /** Endpoints that are still there stay the same objects, with their counts and pools. */
  #build(group: Group, addresses: readonly string[]): UpstreamEndpoint[] {
    const { source } = group
    const { guard, openPool, onDenied, health, now } = this.#parts
    let denials = 0
    const endpoints = addresses.map((address) => {
      const known = group.endpoints.find((endpoint) => endpoint.address === address)
      if (known !== undefined) return known
      const denied = guard.judge(address, source.origin)
      if (denied !== null) denials++
      const state = health === null || denied !== null ? null : health.at(hostPort(address, source.port), now())
      return new UpstreamEndpoint({ ...source, address }, denied, openPool, state, this.#detector)
    })
    if (denials > 0) onDenied(denials)
    if (!source.firstOnly) return endpoints
    const first = endpoints.find(({ denied }) => denied === null) ?? endpoints[0]
    return first === undefined ? [] : [first]
  }

  #arrange(): void {
    this.#changed = false
    const all = [...this.all()]
    const permitted = all.filter(({ denied }) => denied === null)
    if (this.#parts.health !== null) {
      const present = new Set(permitted.map(({ text }) => text))
      for (const { text } of this.#members) if (!present.has(text)) this.#parts.health.left(text)
    }
    this.#members = permitted
    const resolved = this.#groups.some(({ answer }) => answer !== null)
    const preferred = resolved ? permitted.filter(({ address }) => !address.includes(':')) : permitted
    this.choice.setMembers(preferred.length > 0 ? preferred : permitted)
    this.spare = preferred.length > 0 ? permitted.filter((endpoint) => !preferred.includes(endpoint)) : []
    const denied = all.find((endpoint) => endpoint.denied !== null)
    if (permitted.length > 0) this.failure = NO_HEALTHY_UPSTREAM
    else if (denied?.denied) this.failure = addressDenied(denied.denied)
    else this.failure = resolved ? this.#parts.unresolved : NO_HEALTHY_UPSTREAM
  }
}
