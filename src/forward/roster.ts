/**
 * The clusters of one configuration by name. What can fail is checked when the configuration is loaded; the machinery of
 * a cluster (endpoints, balancer, counters) is made when it is first asked for. A mesh knows thousands of hosts of which
 * one gateway is asked for a few, and every object that merely exists costs each request: a major garbage collection
 * goes through all of them, and with 10,000 idle clusters it took three times as long.
 */
import { isIP } from 'node:net'
import type { ClusterModel, ConnectionPoolModel } from '../model/cluster.ts'
import type { AddressGuard } from './address-guard.ts'
import { keepsHealth, UpstreamCluster } from './cluster.ts'

export class Roster {
  readonly #entries: Map<string, ClusterModel | UpstreamCluster>
  /** Of variants, which share the counters and limits of a cluster under its name. */
  readonly #variants: ReadonlyMap<string, ClusterModel>
  readonly #make: (model: ClusterModel) => UpstreamCluster

  /** `models`: each name once. `make` must not throw. */
  constructor(models: readonly ClusterModel[], make: (model: ClusterModel) => UpstreamCluster) {
    this.#entries = new Map(models.map((model) => [model.name, model]))
    this.#variants = new Map(
      models.filter(({ name, statName }) => name !== statName).map((model) => [model.statName, model]),
    )
    this.#make = make
  }

  /** null: there is none of that name. The same object for every call. */
  get(name: string): UpstreamCluster | null {
    const entry = this.#entries.get(name)
    if (entry instanceof UpstreamCluster) return entry
    return entry === undefined ? null : this.#wake(entry)
  }

  #wake(model: ClusterModel): UpstreamCluster {
    const cluster = this.#make(model)
    this.#entries.set(model.name, cluster)
    return cluster
  }

  /** What holds for whatever is counted under this name; null: nothing is. */
  limitsOf(statName: string): ConnectionPoolModel | null {
    const entry = this.#entries.get(statName) ?? this.#variants.get(statName)
    if (entry === undefined) return null
    return entry instanceof UpstreamCluster ? entry.model.pool : entry.pool
  }
}

/**
 * True for a cluster that cannot wait until it is asked for: an endpoint's age (slow start) and the sweeps of outlier
 * detection count from the load, and a refused address is counted when it is read.
 */
export function wakesAtOnce(model: ClusterModel, guard: AddressGuard): boolean {
  if (keepsHealth(model)) return true
  return literalEndpoints(model).some(({ address }) => guard.judge(address, 'static') !== null)
}

/** The endpoints that are known without asking anybody. */
export function literalEndpoints({ discovery, endpoints }: ClusterModel): ClusterModel['endpoints'] {
  return discovery === 'dynamic' ? [] : endpoints.filter(({ address }) => isIP(address) !== 0)
}
