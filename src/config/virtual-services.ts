/**
 * VirtualServices → virtual hosts of each route table (behaviour §4.1–4.3; Istio buildGatewayHTTPRouteConfig). Who may
 * use a host (egress policies) is added in virtual-hosts.ts: nothing here can open a host to a caller that a `from`
 * leaves out.
 */
import type { SourceRef } from '../core/attributes.ts'
import { hostCovers } from '../core/host-pattern.ts'
import type { RouteModel } from '../model/route.ts'
import type { Settings } from '../model/settings.ts'
import type { BoundGateways } from './gateways.ts'
import type { Report, Resource } from './resource.ts'
import type { Services } from './services.ts'
import {
  commonHosts,
  namesGateway,
  reportUnbound,
  type VirtualServiceResource,
  visibleVirtualServices,
} from './virtual-service-binding.ts'
import { indexDelegates } from './virtual-service-delegates.ts'
import { lowerRules, type OrderedRoute } from './virtual-service-routes.ts'

/** What VirtualServices and `httpsRedirect` say about one host of one table. */
export type HostRoutes = {
  readonly host: string
  readonly source: SourceRef
  /** null: no VirtualService, the host is here for its redirect only. */
  readonly routes: readonly RouteModel[] | null
  readonly httpsRedirect: boolean
}

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
  const visible = visibleVirtualServices(settings, resources)
  const delegates = indexDelegates(resources)
  const tables = new Map<string, Map<string, Draft>>()
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
      const routes = lowerRules(resource, delegates, {
        settings,
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
  reportUnbound(settings, resources, gateways, report)
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

function key(resource: VirtualServiceResource, gateway: string): string {
  return `${resource.namespace}/${resource.name} ${gateway}`
}
