/**
 * A cluster and its variants (tunnels that leave out our TLS) as operators see them: one name, one set of counters, each
 * address once.
 */
import type { ClusterStats } from '../core/stats.ts'
import type { ClusterModel } from '../model/cluster.ts'
import type { UpstreamCluster } from './cluster.ts'
import type { UpstreamEndpoint } from './endpoints.ts'
import { literalEndpoints } from './roster.ts'

/** What `/clusters` shows. `denied`: why the address guard keeps this address from being dialled. */
export type ClusterDescription = {
  readonly name: string
  readonly host: string
  readonly discovery: ClusterModel['discovery']
  /** null: plain text. */
  readonly tls: string | null
  readonly endpoints: readonly {
    readonly address: string
    readonly port: number
    readonly weight: number
    readonly cxActive: number
    readonly rqActive: number
    readonly denied: string | null
    /** Outlier detection leaves it alone at present. */
    readonly ejected: boolean
    readonly priority: number
  }[]
}

/** The cluster itself first, then its variants; never empty. */
export type ClusterGroup = readonly [UpstreamCluster, ...UpstreamCluster[]]

/** A cluster's model and those of its variants, in the same order. */
export type ModelGroup = readonly [ClusterModel, ...ClusterModel[]]

/** Clusters that share their `statName`, in the order given. */
export function groupModels(models: readonly ClusterModel[]): readonly ModelGroup[] {
  const groups = new Map<string, [ClusterModel, ...ClusterModel[]]>()
  for (const model of models) {
    const { name, statName } = model
    const group = groups.get(statName)
    if (group === undefined) groups.set(statName, [model])
    else if (name === statName) group.unshift(model)
    else group.push(model)
  }
  return [...groups.values()]
}

/** Brings the gauges of membership and circuit breakers up to date. */
export function measureGroup(group: ClusterGroup): void {
  const { stats, breakers } = group[0]
  breakers.measure()
  stats.membership_total = 0
  stats.membership_healthy = 0
  stats.membership_excluded = 0
  stats.outlier_ejections_active = 0
  for (const [{ denied, ejected }] of byAddress(group)) {
    stats.membership_total++
    if (denied !== null) stats.membership_excluded++
    else if (ejected) stats.outlier_ejections_active++
    else stats.membership_healthy++
  }
}

/** The same for a cluster that nobody has asked for: nothing is open, all it knows are its literal addresses. */
export function measureUnused([model]: ModelGroup, stats: ClusterStats): void {
  // Variants have the same endpoints, which count once.
  stats.membership_total = literalEndpoints(model).length
  stats.membership_healthy = stats.membership_total
}

export function describeGroup(group: ClusterGroup): ClusterDescription {
  const { breakers } = group[0]
  const endpoints = byAddress(group).map((same) => ({
    address: same[0].address,
    port: same[0].port,
    weight: same[0].configuredWeight,
    cxActive: breakers.openAt(same[0].address, same[0].port),
    rqActive: same.reduce((sum, { active }) => sum + active, 0),
    denied: same[0].denied,
    ejected: same[0].ejected,
    priority: same[0].priority,
  }))
  return describe(group[0].model, endpoints)
}

export function describeUnused([model]: ModelGroup): ClusterDescription {
  const idle = { cxActive: 0, rqActive: 0, denied: null, ejected: false }
  const endpoints = literalEndpoints(model).map(({ address, port, weight, priority }) => ({
    address,
    port,
    weight,
    ...idle,
    priority,
  }))
  return describe(model, endpoints)
}

function describe(
  { statName, host, discovery, tls }: ClusterModel,
  endpoints: ClusterDescription['endpoints'],
): ClusterDescription {
  return {
    name: statName,
    host,
    discovery,
    tls: tls === null ? null : tls.insecureSkipVerify ? `${tls.mode} (not verified)` : tls.mode,
    endpoints,
  }
}

type SameAddress = [UpstreamEndpoint, ...UpstreamEndpoint[]]

/** Several clusters reach one address through endpoints of their own; inside one cluster each stands for itself. */
function byAddress(group: ClusterGroup): readonly SameAddress[] {
  const [main, ...variants] = group
  const found: SameAddress[] = [...main.endpoints()].map((endpoint) => [endpoint])
  for (const variant of variants)
    for (const endpoint of variant.endpoints()) {
      const same = found.find(([{ text }, ...others]) => text === endpoint.text && !others.some((o) => o === endpoint))
      if (same === undefined) found.push([endpoint])
      else same.push(endpoint)
    }
  return found
}
