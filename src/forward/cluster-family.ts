/**
 * What the cluster sets of one gateway, each made from the one before, have in common: pools, counters, breakers, TLS
 * contexts, health and the resolver outlive a configuration, so that a reload costs nothing that is still wanted.
 */
import type { SecureContext } from 'node:tls'
import { type ClusterStats, newClusterStats } from '../core/stats.ts'
import type { ConnectionPoolModel } from '../model/cluster.ts'
import type { Settings } from '../model/settings.ts'
import { Breakers } from './breakers.ts'
import type { UpstreamCluster } from './cluster.ts'
import { HealthGroups } from './endpoint-health.ts'
import { HashTables } from './hash-table.ts'
import type { UpstreamPool } from './pool.ts'
import { createNameResolver, type NameResolver } from './resolve.ts'

/** Pools without connections are forgotten beyond this many (names asked for under wildcards come and go). */
const MAX_POOLS = 4_096

/** Monotonic, milliseconds. */
export const now = (): number => performance.now()

export type ClusterFamily = {
  readonly pools: Map<string, UpstreamPool>
  /** Of the clusters that somebody has asked for. */
  readonly breakers: Map<string, Breakers>
  /** Of those, and of the ones that somebody has read the counters of. */
  readonly stats: Map<string, ClusterStats>
  readonly contexts: Map<string, SecureContext>
  readonly health: HealthGroups
  readonly tables: HashTables
  resolver: { readonly key: string; readonly value: NameResolver }
  readonly living: Set<Living>
}

/** A configuration that has not been retired: the one in force, and a candidate. */
export type Living = {
  /** PASSTHROUGH_CLUSTER too. */
  readonly get: (name: string) => UpstreamCluster | null
  readonly limitsOf: (statName: string) => ConnectionPoolModel | null
  readonly contexts: ReadonlySet<string>
}

export function newFamily(dns: Settings['dns']): ClusterFamily {
  return {
    pools: new Map(),
    breakers: new Map(),
    stats: new Map(),
    contexts: new Map(),
    health: new HealthGroups(),
    tables: new HashTables(),
    resolver: { key: JSON.stringify(dns), value: newResolver(dns) },
    living: new Set(),
  }
}

export function newResolver(dns: Settings['dns']): NameResolver {
  return createNameResolver(dns, now)
}

/** Counters of a cluster that is gone are kept: they must not start again at 0 when it comes back. */
export function statsOf(shared: ClusterFamily, name: string): ClusterStats {
  const known = shared.stats.get(name)
  if (known !== undefined) return known
  const stats = newClusterStats(name)
  shared.stats.set(name, stats)
  return stats
}

/** `limits`: of the asking configuration, which hold unless a later one has others. */
export function breakersOf(shared: ClusterFamily, name: string, limits: ConnectionPoolModel): Breakers {
  const known = shared.breakers.get(name)
  if (known !== undefined) return known
  const breakers = new Breakers(statsOf(shared, name))
  breakers.limits = [...shared.living].at(-1)?.limitsOf(name) ?? limits
  shared.breakers.set(name, breakers)
  return breakers
}

/** The limits of one configuration are the ones that hold, for requests of earlier ones too. */
export function applyLimits(shared: ClusterFamily, { limitsOf }: Living): void {
  for (const [name, breakers] of shared.breakers) {
    const limits = limitsOf(name)
    if (limits !== null) breakers.limits = limits
  }
}

/** Retires every pool that no living set would use; without any living set, all of them. */
export function sweep(shared: ClusterFamily): void {
  const living = [...shared.living]
  for (const [key, pool] of shared.pools) {
    if (living.some(({ get }) => get(pool.identity.cluster)?.wants(pool) === true)) continue
    shared.pools.delete(key)
    pool.retire()
  }
  shared.health.keep((name) => living.some(({ limitsOf }) => limitsOf(name) !== null))
  for (const hash of shared.contexts.keys()) {
    if (!living.some(({ contexts }) => contexts.has(hash))) shared.contexts.delete(hash)
  }
}

/** Room for another pool: when there are very many, those without connections go. */
export function forgetUnused(pools: Map<string, UpstreamPool>): void {
  if (pools.size < MAX_POOLS) return
  for (const [key, pool] of pools) {
    if (!pool.unused) continue
    pools.delete(key)
    // So that an endpoint which still refers to it asks for a new one.
    pool.retire()
  }
}
