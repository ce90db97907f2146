/**
 * All upstreams of one configuration. Pools, counters and DNS answers outlive it: the next configuration takes them
 * over, so that a reload costs no connection that is still wanted.
 */
import { createSecureContext, type SecureContext } from 'node:tls'
import type { ClusterStats } from '../core/stats.ts'
import { type ClusterModel, UNLIMITED_POOL, type UpstreamTlsModel } from '../model/cluster.ts'
import type { Settings } from '../model/settings.ts'
import { createAddressGuard } from './address-guard.ts'
import { type ClusterParts, type ClusterTls, UpstreamCluster } from './cluster.ts'
import {
  applyLimits,
  breakersOf,
  type ClusterFamily,
  forgetUnused,
  type Living,
  newFamily,
  newResolver,
  now,
  statsOf,
  sweep,
} from './cluster-family.ts'
import {
  type ClusterDescription,
  type ClusterGroup,
  describeGroup,
  describeUnused,
  groupModels,
  type ModelGroup,
  measureGroup,
  measureUnused,
} from './cluster-group.ts'
import { UpstreamPool } from './pool.ts'
import { poolKey } from './pool-identity.ts'
import { proxyHeader } from './proxy-protocol.ts'
import type { DnsCounters } from './resolve.ts'
import { Roster, wakesAtOnce } from './roster.ts'

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

const families = new WeakMap<ClusterSet, ClusterFamily>()

/**
 * Checks and reads everything that requests will use; a cluster itself is made when it is first asked for (roster.ts).
 * Throws when material cannot be used (bad PEM, verification without a CA) or a DNS server or CIDR cannot be parsed;
 * `previous` and its pools are then untouched.
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
  const parts = ({ statName, pool: limits }: ClusterModel, tls: ClusterTls | null): ClusterParts => ({
    breakers: breakersOf(shared, statName, limits),
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
      const pool = new UpstreamPool(
        key,
        identity,
        { ...identity, preface, tls: dialTls },
        breakersOf(shared, statName, limits),
      )
      if (retired) {
        // A request that began under this configuration goes on, but leaves nothing behind.
        pool.retire()
        return pool
      }
      forgetUnused(shared.pools)
      shared.pools.set(key, pool)
      return pool
    },
  })

  const tls = new Map<string, ClusterTls>()
  for (const model of models) {
    const ready = clusterTls(model, environment, shared.contexts, contexts)
    if (ready !== null) tls.set(model.name, ready)
  }
  const roster = new Roster(models, (model) => new UpstreamCluster(model, parts(model, tls.get(model.name) ?? null)))
  for (const model of models) if (wakesAtOnce(model, guard)) roster.get(model.name)
  const passing = passthroughModel(settings.mesh.connectTimeoutMs)
  const passthrough = new UpstreamCluster(passing, parts(passing, null))
  const living: Living = {
    get: (name) => (name === PASSTHROUGH_CLUSTER ? passthrough : roster.get(name)),
    limitsOf: (statName) => (statName === PASSTHROUGH_CLUSTER ? passing.pool : roster.limitsOf(statName)),
    contexts,
  }
  let grouped: readonly ModelGroup[] | null = null
  const groups = () => (grouped ??= groupModels([...models, passing]))

  const set: ClusterSet = {
    get: (name) => roster.get(name),
    passthrough,
    *stats() {
      for (const group of groups()) {
        const stats = statsOf(shared, group[0].statName)
        const used = usedGroup(shared, living, group)
        if (used === null) measureUnused(group, stats)
        else measureGroup(used)
        yield stats
      }
    },
    describe: () =>
      groups().map((group) => {
        const used = usedGroup(shared, living, group)
        return used === null ? describeUnused(group) : describeGroup(used)
      }),
    dns: dns.value.counters,
    retire: () => {
      retired = true
      shared.living.delete(living)
      const newest = [...shared.living].at(-1)
      if (newest !== undefined) applyLimits(shared, newest)
      sweep(shared)
    },
  }
  shared.resolver = dns
  shared.living.add(living)
  applyLimits(shared, living)
  families.set(set, shared)
  return set
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

/** null: nobody has asked for any of them, in this configuration or an earlier one, so that there is nothing to measure. */
function usedGroup(shared: ClusterFamily, { get }: Living, [first, ...variants]: ModelGroup): ClusterGroup | null {
  if (!shared.breakers.has(first.statName)) return null
  const main = get(first.name)
  if (main === null) return null
  return [main, ...variants.map(({ name }) => get(name)).filter((each) => each !== null)]
}
