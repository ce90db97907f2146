/** The registry of hosts, and the clusters that routes and egress policies ask for (behaviour §2, §4.5; contract §3). */
import type { SourceRef } from '../core/attributes.ts'
import type { ClusterModel } from '../model/cluster.ts'
import type { RegisteredHost } from '../model/route.ts'
import type { Settings } from '../model/settings.ts'
import { indexDestinationRules } from './destination-rules.ts'
import { qualify } from './hostname.ts'
import type { Report, Resource } from './resource.ts'
import { createCatalogue } from './service-catalogue.ts'
import { buildCluster, clusterName } from './service-cluster.ts'

export type Destination = {
  readonly host: string
  readonly port: number | null
  readonly subset: string | null
  /** Of the resource that names the destination: short names resolve in it. */
  readonly namespace: string
  readonly listenerPort: number
  readonly at: SourceRef
}

export type Services = {
  readonly registry: readonly RegisteredHost[]
  /**
   * Name of the cluster for a route destination; creates its ClusterModel when the registry has host and port, else
   * returns the name of a cluster that does not exist (503 NC at run time) after a warning. `port` null: the service's
   * only port, else `listenerPort`.
   */
  clusterFor(destination: Destination): string
  /** The same endpoints without TLS of ours, for bytes that are the application's own TLS already. */
  tunnelClusterFor(destination: Destination): string
  /** All that were asked for, by name. */
  clusters(): readonly ClusterModel[]
}

export function buildServices(settings: Settings, resources: readonly Resource[], report: Report): Services {
  const catalogue = createCatalogue(settings, resources, report)
  const rules = indexDestinationRules(settings, resources, report)
  const built = new Map<string, ClusterModel | null>()
  const told = new Set<string>()
  const tellOnce = (key: string, tell: () => void) => {
    if (!told.has(key)) tell()
    told.add(key)
  }

  const resolve = (destination: Destination): { readonly name: string; readonly cluster: ClusterModel | null } => {
    const host = qualify(destination.host, destination.namespace)
    const ports = catalogue.portsOf(host)
    const [only] = ports
    const port = destination.port ?? (ports.length === 1 && only !== undefined ? only : destination.listenerPort)
    const subset = destination.subset ?? ''
    const name = clusterName(port, subset, host)
    if (subset !== '') {
      // Sending to all endpoints instead would reach some that the route leaves out.
      tellOnce(`${name} subset ${place(destination.at)}`, () =>
        report('SP7002', destination.at, `subset "${subset}" of ${host}: subsets are not supported yet`, {
          fix: 'leave subset out; until then this route answers 503 (NC)',
        }),
      )
      return { name, cluster: null }
    }
    let cluster = built.get(name)
    if (cluster === undefined) {
      cluster = buildCluster({ settings, catalogue, rules, report }, host, port)
      built.set(name, cluster)
    }
    if (cluster === null)
      tellOnce(`${name} unknown ${place(destination.at)}`, () =>
        report('SP7001', destination.at, catalogue.whyUnknown(host, port), {
          fix: 'add a ServiceEntry with this host and port; until then this route answers 503 (NC)',
        }),
      )
    return { name, cluster }
  }

  return {
    registry: catalogue.registry,
    clusterFor(destination) {
      const { name, cluster } = resolve(destination)
      if (cluster !== null && cluster.tls === null && catalogue.speaksTls(cluster.host, cluster.port))
        tellOnce(`${name} plain`, () =>
          report(
            'SP7003',
            destination.at,
            `requests to port ${cluster.port} of ${cluster.host} leave in plain text, but a server there expects TLS`,
            {
              fix: `add a DestinationRule for ${cluster.host} with portLevelSettings ${cluster.port}: tls mode SIMPLE`,
            },
          ),
        )
      return name
    },
    tunnelClusterFor(destination) {
      const { name, cluster } = resolve(destination)
      if (cluster === null || cluster.tls === null) return name
      // Never a name that `clusterFor` returns: a route of requests must not reach the cluster without TLS.
      const bare = `tunnel|${cluster.port}||${cluster.host}`
      built.set(bare, { ...cluster, name: bare, tls: null })
      return bare
    },
    clusters: () =>
      [...built.values()].filter((cluster) => cluster !== null).sort((a, b) => (a.name < b.name ? -1 : 1)),
  }
}

function place(at: SourceRef): string {
  return `${at.file}:${at.line}:${at.col}`
}
