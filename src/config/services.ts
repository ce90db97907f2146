/** The registry of hosts, and the clusters that routes and egress policies ask for (behaviour §2, §4.5; contract §3). */
import type { SourceRef } from '../core/attributes.ts'
import type { ClusterModel } from '../model/cluster.ts'
import type { ProviderService } from '../model/extension-providers.ts'
import type { RegisteredHost } from '../model/route.ts'
import type { Settings } from '../model/settings.ts'
import { indexDestinationRules } from './destination-rules.ts'
import { qualify } from './hostname.ts'
import { ownCluster, unregistered } from './own-cluster.ts'
import type { Report, Resource } from './resource.ts'
import { createCatalogue } from './service-catalogue.ts'
import { buildCluster, clusterName, type Missing } from './service-cluster.ts'
import { indexWorkloadEntries } from './workload-entries.ts'

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
  /**
   * For the bytes of a VirtualService's `tls` (application TLS, with an SNI) or `tcp` rule (anything). As in Istio the TLS
   * of a DestinationRule goes around them. Reported: TLS around TLS, and `tcp` bytes to a name nobody asked for.
   */
  streamClusterFor(destination: Destination, bytes: 'tls' | 'tcp'): string
  /**
   * A service of the operator's own (an extension provider), which no caller's request is led to: what the registry says of
   * it, else its name in DNS, in plain text. `http2`: it speaks nothing else.
   */
  ownClusterFor(service: ProviderService, http2: boolean, at: SourceRef): string
  /** True when the endpoints of a cluster that was asked for are chosen by a hash of the request. */
  isHashed(name: string): boolean
  /** All that were asked for, by name. */
  clusters(): readonly ClusterModel[]
}

export function buildServices(settings: Settings, resources: readonly Resource[], report: Report): Services {
  const catalogue = createCatalogue(settings, resources, report)
  const rules = indexDestinationRules(settings, resources, report)
  const workloads = indexWorkloadEntries(resources)
  const built = new Map<string, ClusterModel | Missing>()
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
    const known =
      built.get(name) ?? buildCluster({ settings, catalogue, rules, workloads, report }, { host, port, subset })
    built.set(name, known)
    // The cluster's own text, not an equal one: thousands of routes are kept.
    if (!('missing' in known)) return { name: known.name, cluster: known }
    const until = 'until then this route answers 503 (NC)'
    tellOnce(`${name} unknown ${place(destination.at)}`, () =>
      known.missing === 'service'
        ? report('SP7001', destination.at, catalogue.whyUnknown(host, port), {
            fix: `add a ServiceEntry with this host and port; ${until}`,
          })
        : report('SP7020', destination.at, whyNoSubset(subset, host, known.known), {
            fix: `define it in a DestinationRule for ${host}; ${until}`,
          }),
    )
    return { name, cluster: null }
  }

  /** Never a name that `clusterFor` returns: a route of requests must not reach the cluster without TLS. */
  const withoutTls = (cluster: ClusterModel): string => {
    const bare = cluster.name.replace(/^outbound/, 'tunnel')
    built.set(bare, { ...cluster, name: bare, statName: cluster.name, tls: null })
    return bare
  }

  const upgraded = ({ host, port }: ClusterModel) => catalogue.targetsFor(host, port).some((target) => target.upgrade)

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
      // TLS of a rule that names a proxy to tunnel through is for the way to that proxy.
      return cluster.tunnel !== null && !upgraded(cluster) ? name : withoutTls(cluster)
    },
    streamClusterFor(destination, bytes) {
      const { name, cluster } = resolve(destination)
      if (cluster === null) return name
      const { host, port, tls } = cluster
      if (bytes === 'tcp' && cluster.discovery === 'dynamic')
        report('SP7005', destination.at, `a tcp rule leads to ${host}: its bytes name no host to resolve`, {
          fix: 'route by tls and sniHosts, or name one host',
        })
      if (tls === null || bytes === 'tcp') return name
      // `httpsUpgrade` speaks for requests; there is no wish to wrap what is TLS already.
      if (upgraded(cluster)) return withoutTls(cluster)
      // On the way to a proxy that is tunnelled through.
      if (cluster.tunnel !== null) return name
      report(
        'SP7019',
        destination.at,
        `port ${port} of ${host} is reached with TLS of the gateway's own (mode ${tls.mode}), around the TLS of the application`,
        { fix: 'take the port out of the DestinationRule, unless a proxy that takes TLS off stands there' },
      )
      return name
    },
    ownClusterFor({ host, port }, http2, at) {
      const name = clusterName(port, '', host)
      const context = { settings, catalogue, rules, workloads, report }
      const known = built.get(name) ?? buildCluster(context, { host, port, subset: '' })
      const own = ownCluster('missing' in known ? unregistered(name, host, port, settings, at) : known, http2)
      built.set(own.name, own)
      return own.name
    },
    isHashed(name) {
      const found = built.get(name)
      if (found === undefined || 'missing' in found) return false
      return found.loadBalancer.kind === 'RING_HASH' || found.loadBalancer.kind === 'MAGLEV'
    },
    clusters: () =>
      [...built.values()]
        .filter((found): found is ClusterModel => !('missing' in found))
        .sort((a, b) => (a.name < b.name ? -1 : 1)),
  }
}

function whyNoSubset(subset: string, host: string, known: readonly string[]): string {
  const others = known.length === 0 ? 'it has no subsets' : `it has ${known.join(', ')}`
  return `no DestinationRule defines a subset "${subset}" of ${host} (${others})`
}

function place(at: SourceRef): string {
  return `${at.file}:${at.line}:${at.col}`
}
