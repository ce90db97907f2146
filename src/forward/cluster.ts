/**
 * One upstream: who answers, which of them is next, and how to speak to it. Resolves by name, has every candidate
 * judged, picks one. Engines get an endpoint whose pool dials exactly that address, or the failure to report.
 */
import { isIP } from 'node:net'
import type { SecureContext } from 'node:tls'
import { canonicalHost } from '../core/authority.ts'
import { hostCovers, isInsideName } from '../core/host-pattern.ts'
import type { ClusterStats } from '../core/stats.ts'
import type { ClusterModel } from '../model/cluster.ts'
import type { AddressGuard } from './address-guard.ts'
import type { Breakers } from './breakers.ts'
import type { DialTls } from './dial.ts'
import type { HealthGroup } from './endpoint-health.ts'
import { EndpointSet, type EndpointSource, type UpstreamEndpoint } from './endpoints.ts'
import type { ConnectTarget, UpstreamFailure } from './forwarder.ts'
import type { HashTables } from './hash-table.ts'
import type { UpstreamPool } from './pool.ts'
import { connectionSettings, type PoolIdentity, sameSettings, speaksOn } from './pool-identity.ts'
import type { NameResolver } from './resolve.ts'
import { addressDenied, DNS_FAILURE, NO_HEALTHY_UPSTREAM } from './transport-failure.ts'

/** TLS of a cluster, ready to use: contexts are built at reload. */
export type ClusterTls = {
  readonly mode: string
  readonly context: SecureContext
  readonly materialHash: string
  /** null: the cluster's host, for wildcard clusters the requested name. */
  readonly sni: string | null
  readonly subjectAltNames: readonly string[]
  readonly skipVerify: boolean
}

/** Limits on what an upstream may answer. */
export type ResponseLimits = { readonly maxHeaderBytes: number; readonly maxHeaders: number }

export type ClusterParts = {
  readonly breakers: Breakers
  readonly tls: ClusterTls | null
  readonly guard: AddressGuard
  readonly resolver: NameResolver
  readonly openPool: (identity: PoolIdentity, tls: DialTls | null) => UpstreamPool
  /** Of this cluster or, with a name, of the endpoints that this requested name leads to; survives reloads. */
  readonly health: (requested: string | null) => HealthGroup
  readonly tables: HashTables
  readonly idleTimeoutMs: number
  readonly limits: ResponseLimits
  readonly random: () => number
  /** Monotonic, milliseconds. */
  readonly now: () => number
}

/** Sets kept for names that callers asked for. */
const MAX_REQUESTED = 10_000
const NONE: readonly UpstreamEndpoint[] = []

export class UpstreamCluster {
  readonly name: string
  readonly model: ClusterModel
  readonly stats: ClusterStats
  readonly breakers: Breakers
  readonly limits: ResponseLimits
  readonly #parts: ClusterParts
  /** The set that serves every request; null: it depends on the requested host. */
  readonly #only: EndpointSet | null
  readonly #requested = new Map<string, EndpointSet>()

  constructor(model: ClusterModel, parts: ClusterParts) {
    this.name = model.name
    this.model = model
    this.breakers = parts.breakers
    this.stats = parts.breakers.stats
    this.limits = parts.limits
    this.#parts = parts
    // With a wildcard host and no SNI of its own, what is verified depends on the requested name too.
    const perHost =
      model.discovery === 'dynamic' || (parts.tls !== null && parts.tls.sni === null && model.host.startsWith('*'))
    this.#only = perHost ? null : this.#createSet(model.host, null, null)
  }

  /**
   * An endpoint for the next attempt, or why there is none. `tried`: endpoints to leave out now. `spill`: when all of
   * the chosen priority are left out, one of another will do (retryRemoteLocalities).
   * Synchronous unless a name has to be looked up; the promise never rejects.
   */
  pick(
    target: ConnectTarget,
    tried: readonly UpstreamEndpoint[] = NONE,
    spill = false,
  ): UpstreamEndpoint | UpstreamFailure | Promise<UpstreamEndpoint | UpstreamFailure> {
    const set = this.#only ?? this.#setFor(target.requestedHost, target.portOverride)
    if (!(set instanceof EndpointSet)) return set
    const resolved = set.resolve(this.#parts.resolver)
    return resolved === null
      ? this.#choose(set, target.hash, tried, spill)
      : resolved.then(() => this.#choose(set, target.hash, tried, spill))
  }

  #choose(
    set: EndpointSet,
    hash: number | null,
    tried: readonly UpstreamEndpoint[],
    spill: boolean,
  ): UpstreamEndpoint | UpstreamFailure {
    const { guard, random } = this.#parts
    const chosen = set.choice.pick(hash, random, null, false)
    if (chosen !== null && !guard.isSelf(chosen.address, chosen.port) && !tried.includes(chosen)) return chosen
    // Off the common path: something must be left out.
    let self = false
    const skip = (endpoint: UpstreamEndpoint): boolean => {
      if (!guard.isSelf(endpoint.address, endpoint.port)) return tried.includes(endpoint)
      self = true
      return true
    }
    const other = set.choice.pick(hash, random, skip, spill)
    if (other !== null) return other
    const spare = set.spare.filter((endpoint) => !endpoint.ejected && !skip(endpoint))
    const [first] = spare
    if (first !== undefined) return spare[Math.floor(random() * spare.length)] ?? first
    if (!self) return set.failure
    this.stats.address_denied++
    return addressDenied('self')
  }

  /** The set for a requested name, made on first use. */
  #setFor(requestedHost: string, portOverride: number | null): EndpointSet | UpstreamFailure {
    const key = portOverride === null ? requestedHost : `${requestedHost}|${portOverride}`
    const known = this.#requested.get(key)
    if (known !== undefined) return known
    // A route may lead any host here; only names the entry speaks for are looked up on a caller's word.
    if (!hostCovers(this.model.host, requestedHost)) return NO_HEALTHY_UPSTREAM
    if (isIP(requestedHost) === 0 && canonicalHost(requestedHost)?.host !== requestedHost)
      return addressDenied('non_canonical')
    // A wildcard (or ALLOW_ANY) opens the outside; a name of the inside has to be meant: the entry's own suffix says so.
    if (
      isIP(requestedHost) === 0 &&
      isInsideName(requestedHost) &&
      !isInsideName(this.model.host.replace(/^\*\.?/, 'x.'))
    )
      return addressDenied('inside_name')
    const set = this.#createSet(requestedHost, portOverride, key)
    if (this.#requested.size >= MAX_REQUESTED) {
      const oldest = this.#requested.keys().next()
      if (!oldest.done) this.#requested.delete(oldest.value)
    }
    this.#requested.set(key, set)
    return set
  }

  /** `host`: what SNI and the verified name are, unless configuration says otherwise. `requested`: null for the only set. */
  #createSet(host: string, portOverride: number | null, requested: string | null): EndpointSet {
    const { model } = this
    const { guard, openPool, idleTimeoutMs, health, tables, now } = this.#parts
    const tls = this.#dialTls(host)
    const identityTls =
      tls === null || this.#parts.tls === null
        ? null
        : {
            mode: this.#parts.tls.mode,
            serverName: tls.serverName,
            names: tls.names,
            skipVerify: tls.skipVerify,
            alpn: null,
            materialHash: this.#parts.tls.materialHash,
          }
    const shared = { cluster: model.name, ...connectionSettings(model, idleTimeoutMs) }
    const version = model.proxyProtocol
    // By whether HTTP/2 is spoken.
    const alpn = ['h2']
    const identities = [identityTls, identityTls === null ? null : { ...identityTls, alpn }] as const
    const profiles = [tls, tls === null ? null : { ...tls, alpn }] as const
    const versions = [null, { keepAlive: model.pool.http2KeepAlive }] as const
    return new EndpointSet(this.#sources(host, portOverride), {
      guard,
      openPool: (address, port, caller, http2) => {
        const which = http2 ? 1 : 0
        const proxy = version === null ? null : { version, ...caller }
        const identity = { ...shared, address, port, proxy, http2: versions[which], tls: identities[which] }
        return openPool(identity, profiles[which])
      },
      onDenied: (count) => {
        this.stats.address_denied += count
      },
      unresolved: model.discovery === 'dynamic' ? DNS_FAILURE : NO_HEALTHY_UPSTREAM,
      balancer: model.loadBalancer,
      outlierDetection: model.outlierDetection,
      health: keepsHealth(model) ? health(requested) : null,
      tables,
      stats: this.stats,
      now,
    })
  }

  #sources(host: string, portOverride: number | null): EndpointSource[] {
    const { model } = this
    if (model.discovery === 'dynamic') {
      const port = portOverride ?? model.dynamicPort
      const origin = model.own === true ? 'static' : 'resolved'
      return [{ address: host, port, weight: 1, priority: 0, origin, firstOnly: false }]
    }
    return model.endpoints.map(({ address, port, weight, priority }) => ({
      address,
      port,
      weight,
      priority,
      // An address that the operator wrote down is meant; a name's answers are anybody's, unless the service is the operator's.
      origin: isIP(address) === 0 && model.own !== true ? 'resolved' : 'static',
      firstOnly: model.discovery === 'dns-first',
    }))
  }

  /** SNI and names to verify, from configuration (or the requested name of a wildcard), never from the Host header. */
  #dialTls(host: string): DialTls | null {
    const { tls } = this.#parts
    if (tls === null) return null
    const name = tls.sni ?? host
    return {
      context: tls.context,
      serverName: isIP(name) === 0 ? name : null,
      names: tls.subjectAltNames.length > 0 ? tls.subjectAltNames : [name],
      skipVerify: tls.skipVerify,
      alpn: null,
    }
  }

  /** True when a pool of this cluster's earlier incarnation is one that this one would use. */
  wants(pool: UpstreamPool): boolean {
    const { identity } = pool
    const { tls } = this.#parts
    const { model } = this
    if (identity.cluster !== model.name || (identity.proxy?.version ?? null) !== model.proxyProtocol) return false
    if (!sameSettings(identity, connectionSettings(model, this.#parts.idleTimeoutMs))) return false
    if (!speaksOn(model, identity)) return false
    if (model.discovery === 'static') {
      if (!model.endpoints.some(({ address, port }) => address === identity.address && port === identity.port))
        return false
    }
    if (tls === null || identity.tls === null) return tls === null && identity.tls === null
    if (identity.tls.mode !== tls.mode || identity.tls.materialHash !== tls.materialHash) return false
    // Without a fixed SNI a wildcard's pools differ by requested name, and any name may be asked for again.
    const host = this.#only === null && tls.sni === null ? (identity.tls.serverName ?? identity.address) : model.host
    const now = this.#dialTls(host)
    return (
      now !== null &&
      now.skipVerify === identity.tls.skipVerify &&
      now.serverName === identity.tls.serverName &&
      JSON.stringify(now.names) === JSON.stringify(identity.tls.names)
    )
  }

  /** Everything known at present, denied addresses included; ejections that are over have ended. */
  *endpoints(): Iterable<UpstreamEndpoint> {
    for (const set of this.#only === null ? this.#requested.values() : [this.#only]) {
      set.choice.refresh()
      yield* set.all()
    }
  }
}

/** Outlier detection and slow start go by what happened to an endpoint before. */
export function keepsHealth({ outlierDetection, loadBalancer }: ClusterModel): boolean {
  return outlierDetection !== null || ('warmup' in loadBalancer && loadBalancer.warmup !== null)
}
