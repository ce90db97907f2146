/**
 * The addresses behind a cluster at one moment, each judged once when it appears. Resolution hands in answers;
 * picking only reads. Nothing here resolves, dials or waits.
 */
import { isIP } from 'node:net'
import type { AddressDenial, AddressGuard, AddressOrigin } from './address-guard.ts'
import type { UpstreamFailure } from './forwarder.ts'
import { hostPort, type UpstreamPool } from './pool.ts'
import type { DnsAnswer } from './resolve.ts'
import { addressDenied, NO_HEALTHY_UPSTREAM } from './transport-failure.ts'

/** One address and port that may be dialled, or the reason why it may not. */
export class UpstreamEndpoint {
  readonly address: string
  readonly port: number
  readonly weight: number
  /** `ip:port`. */
  readonly text: string
  readonly denied: AddressDenial | null
  /** Requests under way: what LEAST_REQUEST compares. */
  active = 0
  readonly #openPool: (address: string, port: number) => UpstreamPool
  #pool: UpstreamPool | null = null

  constructor(
    spec: { readonly address: string; readonly port: number; readonly weight: number },
    denied: AddressDenial | null,
    openPool: (address: string, port: number) => UpstreamPool,
  ) {
    this.address = spec.address
    this.port = spec.port
    this.weight = spec.weight
    this.text = hostPort(spec.address, spec.port)
    this.denied = denied
    this.#openPool = openPool
  }

  get pool(): UpstreamPool {
    if (this.#pool === null || this.#pool.retired) this.#pool = this.#openPool(this.address, this.port)
    return this.#pool
  }
  /** Without opening one. */
  get openConnections(): number {
    return this.#pool?.open ?? 0
  }
}

/** What an EndpointSet is made of: a literal address, or a name whose answers come and go. */
export type EndpointSource = {
  readonly address: string
  readonly port: number
  readonly weight: number
  readonly origin: AddressOrigin
  /** Only the first permitted address of the current answer (DNS_ROUND_ROBIN, LOGICAL_DNS in Envoy). */
  readonly firstOnly: boolean
}

type Group = { readonly source: EndpointSource; answer: DnsAnswer | null; endpoints: readonly UpstreamEndpoint[] }

export class EndpointSet {
  /** To balance over: the permitted ones; of resolved names the IPv4 addresses while there are any (Istio's default family). */
  usable: readonly UpstreamEndpoint[] = []
  /** Tried when every usable one has failed to connect. */
  spare: readonly UpstreamEndpoint[] = []
  /** What to answer when there is nothing to dial. */
  failure: UpstreamFailure
  /** To be resolved; `update` wants one answer for each, in this order. Empty: nothing here ever changes. */
  readonly names: readonly string[]
  readonly #named: readonly Group[]
  readonly #groups: readonly Group[]
  readonly #guard: AddressGuard
  readonly #openPool: (address: string, port: number) => UpstreamPool
  readonly #onDenied: (count: number) => void
  readonly #unresolved: UpstreamFailure

  /** `unresolved`: the failure while no name has an answer. `onDenied`: addresses newly refused by the guard. */
  constructor(
    sources: readonly EndpointSource[],
    guard: AddressGuard,
    openPool: (address: string, port: number) => UpstreamPool,
    onDenied: (count: number) => void,
    unresolved: UpstreamFailure,
  ) {
    this.#guard = guard
    this.#openPool = openPool
    this.#onDenied = onDenied
    this.#unresolved = unresolved
    this.failure = NO_HEALTHY_UPSTREAM
    this.#groups = sources.map((source) => ({ source, answer: null, endpoints: [] }))
    this.#named = this.#groups.filter(({ source }) => isIP(source.address) === 0)
    this.names = this.#named.map(({ source }) => source.address)
    for (const group of this.#groups) {
      if (!this.#named.includes(group)) group.endpoints = this.#build(group, [group.source.address])
    }
    this.#arrange()
  }

  /** Everything known, denied ones included, for `/clusters` and the membership gauges. */
  *all(): Iterable<UpstreamEndpoint> {
    for (const group of this.#groups) yield* group.endpoints
  }

  /** Takes the current answers, in the order of `names`. Cheap when they are the same objects as last time. */
  update(answers: readonly DnsAnswer[]): void {
    let changed = false
    for (let i = 0; i < answers.length; i++) {
      const group = this.#named[i]
      const answer = answers[i]
      if (group === undefined || answer === undefined || answer === group.answer) continue
      group.answer = answer
      group.endpoints = this.#build(group, answer.addresses)
      changed = true
    }
    if (changed) this.#arrange()
  }

  /** Endpoints that are still there stay the same objects, with their counts and pools. */
  #build(group: Group, addresses: readonly string[]): UpstreamEndpoint[] {
    const { source } = group
    let denials = 0
    const endpoints = addresses.map((address) => {
      const known = group.endpoints.find((endpoint) => endpoint.address === address)
      if (known !== undefined) return known
      const denied = this.#guard.judge(address, source.origin)
      if (denied !== null) denials++
      return new UpstreamEndpoint({ address, port: source.port, weight: source.weight }, denied, this.#openPool)
    })
    if (denials > 0) this.#onDenied(denials)
    if (!source.firstOnly) return endpoints
    const first = endpoints.find(({ denied }) => denied === null) ?? endpoints[0]
    return first === undefined ? [] : [first]
  }

  #arrange(): void {
    const all = [...this.all()]
    const permitted = all.filter(({ denied }) => denied === null)
    const resolved = this.#groups.some(({ answer }) => answer !== null)
    const preferred = resolved ? permitted.filter(({ address }) => !address.includes(':')) : permitted
    this.usable = preferred.length > 0 ? preferred : permitted
    this.spare = preferred.length > 0 ? permitted.filter((endpoint) => !preferred.includes(endpoint)) : []
    const denied = all.find((endpoint) => endpoint.denied !== null)
    if (denied?.denied) this.failure = addressDenied(denied.denied)
    else this.failure = resolved ? this.#unresolved : NO_HEALTHY_UPSTREAM
  }
}
