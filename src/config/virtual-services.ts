/**
 * VirtualServices → virtual hosts of each route table (behaviour §4.1–4.3; Istio buildGatewayHTTPRouteConfig). Who may
 * use a host (egress policies) is added in virtual-hosts.ts: nothing here can open a host to a caller that a `from`
 * leaves out.
 */
import type { SourceRef } from '../core/attributes.ts'
import { canonicalHostPattern, hostCovers, intersectHosts } from '../core/host-pattern.ts'
import type { RouteModel } from '../model/route.ts'
import type { Settings } from '../model/settings.ts'
import type { BoundGateways, GatewayServer } from './gateways.ts'
import { qualify } from './hostname.ts'
import { virtualService } from './kinds/virtual-service.ts'
import type { VirtualServiceSpec } from './kinds/virtual-service-schema.ts'
import { ofKind } from './of-kind.ts'
import type { Report, Resource } from './resource.ts'
import type { Services } from './services.ts'
import { gatewayName } from './virtual-service-match.ts'
import { lowerRules, type OrderedRoute } from './virtual-service-routes.ts'
import { isExportedTo } from './visibility.ts'

/** What VirtualServices and `httpsRedirect` say about one host of one table. */
export type HostRoutes = {
  readonly host: string
  readonly source: SourceRef
  /** null: no VirtualService, the host is here for its redirect only. */
  readonly routes: readonly RouteModel[] | null
  readonly httpsRedirect: boolean
}

type VirtualServiceResource = Resource<VirtualServiceSpec>
type Draft = { readonly source: SourceRef; readonly routes: OrderedRoute[]; bound: boolean; httpsRedirect: boolean }

/** By name of the route table, then by host. */
export type TableHosts = ReadonlyMap<string, ReadonlyMap<string, HostRoutes>>

export function bindVirtualServices(
  settings: Settings,
  resources: readonly Resource[],
  gateways: BoundGateways,
  services: Services,
  report: Report,
): TableHosts {
  const visible = visibleVirtualServices(settings, resources, report)
  const tables = new Map<string, Map<string, Draft>>()
  const effective = new Set<string>()
  const attached = new Set<string>()
  for (const server of gateways.servers) {
    if (server.model.application !== 'http') continue
    const drafts = tables.get(server.model.routeTable) ?? new Map<string, Draft>()
    tables.set(server.model.routeTable, drafts)
    if (server.httpsRedirect)
      for (const { host } of server.hosts) draftFor(drafts, host, server.source).httpsRedirect = true
    for (const resource of visible) {
      if (!namesGateway(resource, server.gateway)) continue
      const bound = commonHosts(resource, server)
      if (bound.length === 0) continue
      effective.add(key(resource, server.gateway))
      const routes = lowerRules(resource, {
        settings,
        namespace: resource.namespace,
        gateway: server.gateway,
        gatewayPort: server.gatewayPort,
        services,
        report,
      })
      for (const host of bound) {
        const draft = draftFor(drafts, host, resource.at('spec', 'hosts'))
        draft.bound = true
        if (server.httpsRedirect) draft.httpsRedirect = true
        // Two servers of one Gateway may share this table; the rules go in once.
        const once = `${server.model.routeTable} ${host} ${key(resource, server.gateway)}`
        if (!attached.has(once)) draft.routes.push(...routes)
        attached.add(once)
      }
    }
  }
  reportUnbound(visible, gateways, effective, report)
  return new Map([...tables].map(([name, drafts]) => [name, finish(drafts)]))
}

function draftFor(drafts: Map<string, Draft>, host: string, source: SourceRef): Draft {
  const draft = drafts.get(host) ?? { source, routes: [], bound: false, httpsRedirect: false }
  drafts.set(host, draft)
  return draft
}

/**
 * Catch-all routes go last, everything else keeps its order. A host none of whose rules concern the server leaves the
 * table when a wider one covers it, as in Istio; else it stays, so that it counts as registered (contract §4) and
 * answers 404.
 */
function finish(drafts: ReadonlyMap<string, Draft>): ReadonlyMap<string, HostRoutes> {
  const hosts = new Map<string, HostRoutes>()
  for (const [host, { source, routes, bound, httpsRedirect }] of drafts) {
    const idle = routes.length === 0 && !httpsRedirect
    if (idle && [...drafts].some(([other, wider]) => wider.routes.length > 0 && hostCovers(other, host))) continue
    const ordered = [...routes.filter(({ catchAll }) => !catchAll), ...routes.filter(({ catchAll }) => catchAll)]
    hosts.set(host, { host, source, routes: bound ? ordered.map(({ route }) => route) : null, httpsRedirect })
  }
  return hosts
}

/**
 * Those exported to our namespace, in the order their routes are joined: private ones of our namespace, then those
 * exported to it by name, then public ones; each group by name, then namespace (behaviour §4.3).
 */
function visibleVirtualServices(
  settings: Settings,
  resources: readonly Resource[],
  report: Report,
): readonly VirtualServiceResource[] {
  const groups: [VirtualServiceResource[], VirtualServiceResource[], VirtualServiceResource[]] = [[], [], []]
  for (const resource of ofKind(resources, virtualService)) {
    const { exportTo } = resource.spec
    if (isExportedTo(exportTo, resource.namespace, settings.namespace)) {
      const isPublic = exportTo === undefined || exportTo.length === 0 || exportTo.includes('*')
      groups[isPublic ? 2 : resource.namespace === settings.namespace ? 0 : 1].push(resource)
    } else if (gatewaysOf(resource).some((entry) => entry !== 'mesh')) {
      const message = `VirtualService ${resource.namespace}/${resource.name} is not exported to ${settings.namespace}`
      report('SP4031', resource.at('spec', 'exportTo'), message)
    }
  }
  return groups.flat()
}

/** Only the top-level list binds; `match.gateways` can narrow, never add (Istio indexes by the top-level list). */
function gatewaysOf(resource: VirtualServiceResource): readonly string[] {
  const { gateways } = resource.spec
  return gateways === undefined || gateways.length === 0 ? ['mesh'] : gateways
}

function namesGateway(resource: VirtualServiceResource, gateway: string): boolean {
  return gatewaysOf(resource).some((entry) => gatewayName(entry, resource.namespace) === gateway)
}

/** The narrower of each pair of a host of the VirtualService and one of the server that admits its namespace. */
function commonHosts(resource: VirtualServiceResource, server: GatewayServer): readonly string[] {
  const found = new Set<string>()
  for (const text of resource.spec.hosts ?? []) {
    const own = canonicalHostPattern(qualify(text, resource.namespace))
    if (own === null) continue
    for (const { namespace, host } of server.hosts) {
      if (namespace !== '*' && namespace !== resource.namespace) continue
      const common = intersectHosts(own, host)
      if (common !== null) found.add(common)
    }
  }
  return [...found]
}

function key(resource: VirtualServiceResource, gateway: string): string {
  return `${resource.namespace}/${resource.name} ${gateway}`
}

/** A Gateway that was not loaded is a warning; one of ours without a common host too; other workloads' are their own affair. */
function reportUnbound(
  visible: readonly VirtualServiceResource[],
  gateways: BoundGateways,
  effective: ReadonlySet<string>,
  report: Report,
): void {
  for (const resource of visible) {
    const label = `VirtualService ${resource.namespace}/${resource.name}`
    for (const [index, entry] of gatewaysOf(resource).entries()) {
      if (entry === 'mesh') continue
      const name = gatewayName(entry, resource.namespace)
      const at = resource.at('spec', 'gateways', index)
      const servers = gateways.servers.filter(
        (server) => server.gateway === name && server.model.application === 'http',
      )
      if (!gateways.known.has(name)) report('SP4020', at, `${label} names Gateway ${name}, which was not loaded`)
      else if (servers.length > 0 && resource.spec.http !== undefined && !effective.has(key(resource, name))) {
        const hosts = [...new Set(servers.flatMap((server) => server.model.sniHosts))].join(', ')
        report('SP4021', at, `${label} has no host that Gateway ${name} (${hosts}) admits from its namespace`)
      }
    }
  }
}
