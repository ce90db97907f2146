/**
 * Which VirtualServices reach which Gateway server (behaviour §4.1): visibility, the top-level `gateways`, common hosts.
 * Shared by requests (virtual-services.ts) and tunnels (virtual-service-tunnels.ts).
 */
import { canonicalHostPattern, intersectHosts } from '../core/host-pattern.ts'
import type { Settings } from '../model/settings.ts'
import type { BoundGateways, GatewayServer } from './gateways.ts'
import { qualify } from './hostname.ts'
import { virtualService } from './kinds/virtual-service.ts'
import type { VirtualServiceSpec } from './kinds/virtual-service-schema.ts'
import { ofKind } from './of-kind.ts'
import type { Report, Resource } from './resource.ts'
import { isRoot } from './virtual-service-delegates.ts'
import { gatewayName } from './virtual-service-match.ts'
import { isExportedTo } from './visibility.ts'

export type VirtualServiceResource = Resource<VirtualServiceSpec>

/**
 * Those exported to our namespace, in the order their routes are joined: private ones of our namespace, then those
 * exported to it by name, then public ones; each group by name, then namespace (behaviour §4.3), those that delegate last
 * (Istio mergeVirtualServicesIfNeeded).
 */
export function visibleVirtualServices(
  settings: Settings,
  resources: readonly Resource[],
): readonly VirtualServiceResource[] {
  const groups: [VirtualServiceResource[], VirtualServiceResource[], VirtualServiceResource[]] = [[], [], []]
  const all = ofKind(resources, virtualService)
  const ordered = [...all.filter(({ spec }) => !isRoot(spec)), ...all.filter(({ spec }) => isRoot(spec))]
  for (const resource of ordered) {
    const { exportTo } = resource.spec
    if (!isExportedTo(exportTo, resource.namespace, settings.namespace)) continue
    const isPublic = exportTo === undefined || exportTo.length === 0 || exportTo.includes('*')
    groups[isPublic ? 2 : resource.namespace === settings.namespace ? 0 : 1].push(resource)
  }
  return groups.flat()
}

/** Only the top-level list binds; `match.gateways` can narrow, never add (Istio indexes by the top-level list). */
function gatewaysOf(resource: VirtualServiceResource): readonly string[] {
  const { gateways } = resource.spec
  return gateways === undefined || gateways.length === 0 ? ['mesh'] : gateways
}

/** `gateway`: `NS/NAME`. */
export function namesGateway(resource: VirtualServiceResource, gateway: string): boolean {
  return gatewaysOf(resource).some((entry) => gatewayName(entry, resource.namespace) === gateway)
}

/** The hosts of a server that admit VirtualServices of a namespace. */
export function admittedHosts(server: GatewayServer, namespace: string): readonly string[] {
  return server.hosts.filter((each) => each.namespace === '*' || each.namespace === namespace).map(({ host }) => host)
}

/** The narrower of each pair of a host of the VirtualService and one of the server that admits its namespace. */
export function commonHosts(resource: VirtualServiceResource, server: GatewayServer): readonly string[] {
  const found = new Set<string>()
  for (const text of resource.spec.hosts ?? []) {
    const own = canonicalHostPattern(qualify(text, resource.namespace))
    if (own === null) continue
    for (const host of admittedHosts(server, resource.namespace)) {
      const common = intersectHosts(own, host)
      if (common !== null) found.add(common)
    }
  }
  return [...found]
}

/**
 * A VirtualService that names a Gateway and is not exported to us is told; so is a Gateway that was not loaded, and one
 * of ours without a common host. Other workloads' Gateways are their own affair.
 */
export function reportUnbound(
  settings: Settings,
  resources: readonly Resource[],
  gateways: BoundGateways,
  report: Report,
): void {
  for (const resource of ofKind(resources, virtualService)) {
    const label = `VirtualService ${resource.namespace}/${resource.name}`
    if (!isExportedTo(resource.spec.exportTo, resource.namespace, settings.namespace)) {
      if (gatewaysOf(resource).some((entry) => entry !== 'mesh'))
        report('SP4031', resource.at('spec', 'exportTo'), `${label} is not exported to ${settings.namespace}`)
      continue
    }
    for (const [index, entry] of gatewaysOf(resource).entries()) {
      if (entry === 'mesh') continue
      const name = gatewayName(entry, resource.namespace)
      const at = resource.at('spec', 'gateways', index)
      const { http, tls, tcp } = resource.spec
      const servers = gateways.servers.filter(
        ({ gateway, model }) => gateway === name && (model.application === 'http' ? http : (tls ?? tcp)) !== undefined,
      )
      if (!gateways.known.has(name)) report('SP4020', at, `${label} names Gateway ${name}, which was not loaded`)
      else if (servers.length > 0 && servers.every((server) => commonHosts(resource, server).length === 0)) {
        const hosts = [...new Set(servers.flatMap((server) => server.model.sniHosts))].join(', ')
        report('SP4021', at, `${label} has no host that Gateway ${name} (${hosts}) admits from its namespace`)
      }
    }
  }
}
