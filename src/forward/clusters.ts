/**
 * All upstreams of one configuration. Pools, counters and DNS answers outlive it: the next configuration takes them
 * over, so that a reload costs no connection that is still wanted.
 */
import { createSecureContext, type SecureContext } from 'node:tls'
import { type ClusterStats, newClusterStats } from '../core/stats.ts'
import { type ClusterModel, UNLIMITED_POOL, type UpstreamTlsModel } from '../model/cluster.ts'
import type { Settings } from '../model/settings.ts'
import { createAddressGuard } from './address-guard.ts'
import { Breakers } from './breakers.ts'
import { type ClusterParts, type ClusterTls, UpstreamCluster } from './cluster.ts'
import { type ClusterDescription, describeGroup, groupClusters, measureGroup } from './cluster-group.ts'
import { HealthGroups } from './endpoint-health.ts'
import { HashTables } from './hash-table.ts'
import { UpstreamPool } from './pool.ts'
import { poolKey } from './pool-identity.ts'
import { proxyHeader } from './proxy-protocol.ts'
import { createNameResolver, type DnsCounters, type NameResolver } from './resolve.ts'

/** PEM texts (identity/credentials.ts `upstream()`). Equal hashes mean interchangeable material. */
export type UpstreamMaterial = {
  /** null only when nothing is to be verified. */
  readonly ca: readonly string[] | null
  /** Revocation lists, one text each; null: none is checked. */
  readonly crl: readonly string[] | null
  readonly cert: string | null
  readonly key: string | null
  readonly hash: string
}

export type ClusterEnvironment = {
  readonly material: (tls: UpstreamTlsModel) => UpstreamMaterial
  readonly settings: Pick<Settings, 'dns' | 'addressGuard'> & {
    readonly http: Pick<Settings['http'], 'idleTimeoutMs' | 'maxHeaderBytes' | 'maxHeaders'>
    readonly mesh: Pick<Settings['mesh'], 'connectTimeoutMs'>
  }
  /** True for the gateway's own listeners (forward/self.ts); asked for every pick. */
  readonly isSelf: (address: string, port: number) => boolean
}

export type ClusterSet = {
  get(name: string): UpstreamCluster | null
  /** ALLOW_ANY: resolves the requested name, dials `portOverride` (else 80) in plain HTTP. */
  readonly passthrough: UpstreamCluster
  /** Of the present clusters, with the membership gauges brought up to date. */
  stats(): Iterable<ClusterStats>
  describe(): readonly ClusterDescription[]
  readonly dns: DnsCounters
  /**
   * This configuration is no longer in force (or never came into force). Idle connections that no other living set
   * wants close now, those in use when their exchange ends.
   */
  retire(): void
}

export const PASSTHROUGH_CLUSTER = 'PassthroughCluster'

/** What a family of sets, each made from the one before, has in common. */
type Shared = {
  readonly pools: Map<string, UpstreamPool>
  readonly breakers: Map<string, Breakers>
  readonly contexts: Map<string, SecureContext>
  readonly health: HealthGroups
  readonly tables: HashTables
  resolver: { readonly key: string; readonly value: NameResolver }
  readonly living: Set<Living>
}

type Living = { readonly clusters: ReadonlyMap<string, UpstreamCluster>; readonly contexts: ReadonlySet<string> }

const now = (): number => performance.now()

const families = new WeakMap<ClusterSet, Shared>()

/** Pools without connections are forgotten beyond this many (names asked for under wildcards come and go). */
const MAX_POOLS = 4_096

/**
 * Builds everything that requests will use. Throws when material cannot be used (bad PEM, verification without a CA)
 * or a DNS server or CIDR cannot be parsed; `previous` and its pools are then untouched.
 */
export function createClusters(
  models: readonly ClusterModel[],
  environment: ClusterEnvironment,
  previous: ClusterSet | null,
): ClusterSet {
  const { settings } = environment
  const guard = createAddressGuard(settings.addressGuard.allow, environment.isSelf)
  const shared = (previous === null ? undefined : families.get(previous)) ?? newFamily(settings.dns)
  const dnsKey = JSON.stringify(settings.dns)
  const dns = shared.resolver.key === dnsKey ? shared.resolver : { key: dnsKey, value: newResolver(settings.dns) }

  let retired = false
  const contexts = new Set<string>()
  // Variants of one cluster (for tunnels) are one to whoever counts, and fail together.
  const parts = (statName: string, tls: ClusterTls | null): ClusterParts => ({
    breakers: breakersOf(shared, statName),
    tls,
    guard,
    resolver: dns.value,
    tables: shared.tables,
    idleTimeoutMs: settings.http.idleTimeoutMs,
    limits: settings.http,
    random: Math.random,
    now,
    health: (requested) => shared.health.of(statName, requested, now()),
    openPool: (identity, dialTls) => {
      const key = poolKey(identity)
      const known = shared.pools.get(key)
      if (known !== undefined) return known
      const { proxy } = identity
      const preface = proxy === null ? null : proxyHeader(proxy.version, proxy)
      const pool = new UpstreamPool(key, identity, { ...identity, preface, tls: dialTls }, breakersOf(shared, statName))
      if (retired) {
        // A request that began under this configuration goes on, but leaves nothing behind.
        pool.retire()
        return pool
      }
      if (shared.pools.size >= MAX_POOLS) forgetUnused(shared.pools)
      shared.pools.set(key, pool)
      return pool
    },
  })

  const clusters = models.map(
    (model) =>
      new UpstreamCluster(model, parts(model.statName, clusterTls(model, environment, shared.contexts, contexts))),
  )
  const passthrough = new UpstreamCluster(
    passthroughModel(settings.mesh.connectTimeoutMs),
    parts(PASSTHROUGH_CLUSTER, null),
  )
  const all = [...clusters, passthrough]
  const groups = groupClusters(all)
  const byName = new Map(clusters.map((cluster) => [cluster.name, cluster]))
  const living: Living = { clusters: new Map(all.map((cluster) => [cluster.name, cluster])), contexts }

  const set: ClusterSet = {
    get: (name) => byName.get(name) ?? null,
    passthrough,
    *stats() {
      for (const group of groups) {
        measureGroup(group)
        yield group[0].stats
      }
    },
    describe: () => groups.map(describeGroup),
    dns: dns.value.counters,
    retire: () => {
      retired = true
      shared.living.delete(living)
      const newest = [...shared.living].at(-1)
      if (newest !== undefined) limit(newest)
      sweep(shared)
    },
  }
  shared.resolver = dns
  shared.living.add(living)
  limit(living)
  families.set(set, shared)
  return set
}

function newFamily(dns: Settings['dns']): Shared {
  return {
    pools: new Map(),
    breakers: new Map(),
    contexts: new Map(),
    health: new HealthGroups(),
    tables: new HashTables(),
    resolver: { key: JSON.stringify(dns), value: newResolver(dns) },
    living: new Set(),
  }
}

function newResolver(dns: Settings['dns']): NameResolver {
  return createNameResolver(dns, now)
}

/** Counters of a cluster that is gone are kept: they must not start again at 0 when it comes back. */
function breakersOf(shared: Shared, name: string): Breakers {
  const known = shared.breakers.get(name)
  if (known !== undefined) return known
  const breakers = new Breakers(newClusterStats(name))
  shared.breakers.set(name, breakers)
  return breakers
}

/** Its limits are the ones that hold, for requests of earlier configurations too. */
function limit({ clusters }: Living): void {
  for (const { breakers, model } of clusters.values()) breakers.limits = model.pool
}

function clusterTls(
  { name, tls }: ClusterModel,
  environment: ClusterEnvironment,
  contexts: Map<string, SecureContext>,
  used: Set<string>,
): ClusterTls | null {
  if (tls === null) return null
  const { ca, crl, cert, key, hash } = environment.material(tls)
  // Without `ca` Node would trust every public CA, which nobody asked for.
  if (ca === null && !tls.insecureSkipVerify) throw new Error(`cluster ${name}: verification needs a CA bundle`)
  used.add(hash)
  let context = contexts.get(hash)
  if (context === undefined) {
    context = createSecureContext({
      ca: ca === null ? [] : [...ca],
      // With any list OpenSSL wants one of every CA in the chain: an unknown status is a refusal.
      ...(crl === null ? {} : { crl: [...crl] }),
      ...(cert === null || key === null ? {} : { cert, key }),
      minVersion: 'TLSv1.2',
      maxVersion: 'TLSv1.3',
    })
    contexts.set(hash, context)
  }
  return {
    mode: tls.mode,
    context,
    materialHash: hash,
    sni: tls.sni,
    subjectAltNames: tls.subjectAltNames,
    skipVerify: tls.insecureSkipVerify,
  }
}

function passthroughModel(connectTimeoutMs: number): ClusterModel {
  return {
    name: PASSTHROUGH_CLUSTER,
    statName: PASSTHROUGH_CLUSTER,
    host: '*',
    port: 80,
    discovery: 'dynamic',
    endpoints: [],
    dynamicPort: 80,
    external: true,
    tls: null,
    protocol: 'http1',
    loadBalancer: { kind: 'LEAST_REQUEST', warmup: null },
    connectTimeoutMs,
    pool: UNLIMITED_POOL,
    outlierDetection: null,
    proxyProtocol: null,
    tunnel: null,
    source: { file: '', line: 0, col: 0 },
  }
}

/** Retires every pool that no living set would use; without any living set, all of them. */
function sweep(shared: Shared): void {
  const living = [...shared.living]
  for (const [key, pool] of shared.pools) {
    if (living.some(({ clusters }) => clusters.get(pool.identity.cluster)?.wants(pool) === true)) continue
    shared.pools.delete(key)
    pool.retire()
  }
  const named = new Set(living.flatMap(({ clusters }) => [...clusters.values()].map(({ model }) => model.statName)))
  shared.health.keep((name) => named.has(name))
  for (const hash of shared.contexts.keys()) {
    if (!living.some(({ contexts }) => contexts.has(hash))) shared.contexts.delete(hash)
  }
}

function forgetUnused(pools: Map<string, UpstreamPool>): void {
  for (const [key, pool] of pools) {
    if (!pool.unused) continue
    pools.delete(key)
    // So that an endpoint which still refers to it asks for a new one.
    pool.retire()
  }
}
