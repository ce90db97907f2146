/**
 * The `tls` and `tcp` rules of VirtualServices → what each Gateway server does with opaque bytes (behaviour §3.4, 4.7;
 * Istio buildGatewayNetworkFiltersFrom{TLS,TCP}Routes). Who may use a host (egress policies) is added in tunnel-tables.ts.
 *
 * Where this differs from Istio: a server that terminates TLS routes by the inner SNI first, and an SNI beyond the hosts of
 * the server is not carried (Istio lets `sniHosts` reach further than the server).
 */
import type { SourceRef } from '../core/attributes.ts'
import { canonicalHostPattern, hostCovers, intersectHosts } from '../core/host-pattern.ts'
import type { Settings } from '../model/settings.ts'
import type { TunnelRouteModel, TunnelTableModel } from '../model/tunnel.ts'
import type { EgressHost } from './egress-policies.ts'
import type { BoundGateways, GatewayServer } from './gateways.ts'
import type { L4Match, L4Route } from './kinds/virtual-service-schema.ts'
import type { Report, Resource } from './resource.ts'
import type { Services } from './services.ts'
import type { VirtualServiceResource } from './virtual-service-binding.ts'
import { admittedHosts, commonHosts, namesGateway, visibleVirtualServices } from './virtual-service-binding.ts'
import { carries, concerns, tellIgnored, tellUnused } from './virtual-service-l4.ts'

/** One SNI of one server, as VirtualServices speak of it. */
export type NamedTunnel = {
  readonly host: string
  readonly source: SourceRef
  /** null: a VirtualService is bound for the host, but none of its `tls` rules concerns this server. */
  readonly route: TunnelRouteModel | null
}
export type TunnelRoutes = {
  readonly hosts: ReadonlyMap<string, NamedTunnel>
  readonly tcp: TunnelTableModel['tcp']
}
/** By name of the server's route table. Servers without an entry carry no tunnels of VirtualServices. */
export type ServerTunnels = ReadonlyMap<string, TunnelRoutes>

type Context = {
  readonly services: Services
  readonly report: Report
  /** Egress hosts that are tunnels. */
  readonly tunnels: readonly EgressHost[]
}
type Draft = { readonly hosts: Map<string, NamedTunnel>; tcp: TunnelTableModel['tcp'] }

/** `egress`: only for HTTPS servers, whose `tls` rules count for the hosts of an egress policy's tunnels. */
export function bindTunnels(
  settings: Settings,
  resources: readonly Resource[],
  gateways: BoundGateways,
  egress: readonly EgressHost[],
  services: Services,
  report: Report,
): ServerTunnels {
  const visible = visibleVirtualServices(settings, resources)
  const tunnels = egress.filter(({ application }) => application === 'tunnel')
  const context: Context = { services, report, tunnels }
  const bound = new Map<string, TunnelRoutes>()
  for (const resource of visible) {
    const servers = gateways.servers.filter(
      (server) => namesGateway(resource, server.gateway) && commonHosts(resource, server).length > 0,
    )
    tellUnused(resource, servers, tunnels, report)
  }
  for (const server of gateways.servers) {
    const draft: Draft = { hosts: new Map(), tcp: null }
    const idle = new Map<string, NamedTunnel>()
    for (const resource of visible) {
      if (!namesGateway(resource, server.gateway)) continue
      const common = commonHosts(resource, server)
      if (common.length === 0) continue
      bindOne(resource, server, common, draft, context)
      const source = resource.at('spec', 'hosts')
      for (const host of common) if (!idle.has(host)) idle.set(host, { host, source, route: null })
    }
    if (server.model.application === 'tunnel' && server.model.tls !== null) keepIdle(draft.hosts, idle)
    if (draft.hosts.size > 0 || draft.tcp !== null) bound.set(server.model.routeTable, draft)
  }
  return bound
}

/** Bound hosts count as registered (contract §4) even without a rule; not where that would hide a wider rule. */
function keepIdle(hosts: Map<string, NamedTunnel>, idle: ReadonlyMap<string, NamedTunnel>): void {
  const routed = [...hosts.keys()]
  for (const [host, named] of idle) if (!routed.some((pattern) => hostCovers(pattern, host))) hosts.set(host, named)
}

function bindOne(
  resource: VirtualServiceResource,
  server: GatewayServer,
  common: readonly string[],
  draft: Draft,
  context: Context,
): void {
  const what = carries(server.model)
  if (what !== 'plain bytes') bindTls(resource, server, draft.hosts, context)
  if (draft.tcp !== null || (what !== 'inner TLS or bytes' && what !== 'plain bytes')) return
  const tcp = tcpRule(resource, server)
  if (tcp === null) return
  const at: At = (...path) => resource.at('spec', 'tcp', tcp.index, ...path)
  tellIgnored(tcp.match, tcp.matchIndex, at, context.report)
  const route = lowerRoute(tcp.route, 'tcp', resource, server, at, context)
  if (route !== null) draft.tcp = { ...route, hosts: common }
}

type At = (...path: readonly (string | number)[]) => SourceRef

function bindTls(
  resource: VirtualServiceResource,
  server: GatewayServer,
  hosts: Map<string, NamedTunnel>,
  context: Context,
): void {
  const { report } = context
  for (const [index, rule] of (resource.spec.tls ?? []).entries()) {
    const at: At = (...path) => resource.at('spec', 'tls', index, ...path)
    let route: TunnelRouteModel | null = null
    for (const [matchIndex, match] of rule.match.entries()) {
      if (!concerns(match, resource, server)) continue
      const snis = sniHosts(match.sniHosts, matchIndex, at, resource, server, context)
      if (snis === null) continue
      tellIgnored(match, matchIndex, at, report)
      const source = at('match', matchIndex, 'sniHosts')
      const taken = snis.find((sni) => hosts.has(sni))
      if (taken !== undefined) {
        // As in Istio the whole match goes, its other names included.
        const { file, line } = (hosts.get(taken) as NamedTunnel).source
        const message = `SNI ${taken} is already routed on port ${server.gatewayPort} (${file}:${line}); this match is left out`
        report('SP4036', source, message, { fix: 'name each SNI in one rule' })
        continue
      }
      route ??= lowerRoute(rule.route, 'tls', resource, server, at, context)
      if (route === null) continue
      for (const sni of snis) {
        hosts.set(sni, { host: sni, source, route })
        tellUncovered(sni, rule.route, resource, at, report)
      }
      if (carries(server.model) === 'inner TLS or bytes')
        report('SP4034', source, `${server.model.name} terminates TLS: Istio would look at tcp rules only`)
    }
  }
}

/** The SNIs of a match that this server may carry. null: none of them is any business of it. */
function sniHosts(
  texts: readonly string[],
  matchIndex: number,
  at: At,
  resource: VirtualServiceResource,
  server: GatewayServer,
  { tunnels, report }: Context,
): readonly string[] | null {
  const admitted = admittedHosts(server, resource.namespace)
  const found = new Set<string>()
  for (const [index, text] of texts.entries()) {
    const sni = canonicalHostPattern(text)
    // Reported by the check of the kind.
    if (sni === null) continue
    for (const host of admitted) {
      const both = intersectHosts(sni, host)
      if (both !== null) found.add(both)
    }
    if (!admitted.some((host) => hostCovers(host, sni)) && carries(server.model) !== 'requests') {
      const message = `SNI ${sni} reaches beyond the hosts of ${server.model.name} (${admitted.join(', ')})`
      report('SP4035', at('match', matchIndex, 'sniHosts', index), message, {
        fix: 'add the name to the hosts of the Gateway server',
      })
    }
  }
  const ours = [...found].filter(
    (sni) =>
      carries(server.model) !== 'requests' ||
      tunnels.some((each) => each.gatewayPort === server.gatewayPort && hostCovers(each.host, sni)),
  )
  return ours.length === 0 ? null : ours
}

type TcpRule = {
  readonly index: number
  readonly match: L4Match
  readonly matchIndex: number
  readonly route: readonly L4Route[] | undefined
}

/** The first `tcp` rule that concerns the server: there is exactly one route for bytes without a name. */
function tcpRule(resource: VirtualServiceResource, server: GatewayServer): TcpRule | null {
  for (const [index, { match = [], route }] of (resource.spec.tcp ?? []).entries()) {
    if (match.length === 0) return { index, match: {}, matchIndex: 0, route }
    const matchIndex = match.findIndex((each) => concerns(each, resource, server))
    const found = match[matchIndex]
    if (found !== undefined) return { index, match: found, matchIndex, route }
  }
  return null
}

/** null: without destinations, which the check of the kind has reported. */
function lowerRoute(
  route: readonly L4Route[] | undefined,
  bytes: 'tls' | 'tcp',
  resource: VirtualServiceResource,
  server: GatewayServer,
  at: At,
  { services }: Context,
): TunnelRouteModel | null {
  const routes = [...(route ?? []).entries()]
  const destinations = routes
    // The weight of an only destination means nothing; of several, 0 is never chosen.
    .filter(([, { weight = 0 }]) => routes.length === 1 || weight > 0)
    .map(([index, { destination, weight }]) => ({
      cluster: services.streamClusterFor(
        {
          host: destination.host,
          port: destination.port?.number ?? null,
          subset: destination.subset === undefined || destination.subset === '' ? null : destination.subset,
          namespace: resource.namespace,
          listenerPort: server.gatewayPort,
          at: at('route', index, 'destination'),
        },
        bytes,
      ),
      weight: routes.length === 1 ? 1 : (weight ?? 0),
    }))
  return destinations.length === 0 ? null : { name: null, source: at(), destinations }
}

/** A wildcard destination resolves the SNI itself, and only names that it covers. */
function tellUncovered(
  sni: string,
  route: readonly L4Route[] | undefined,
  resource: VirtualServiceResource,
  at: At,
  report: Report,
): void {
  for (const [index, { destination }] of (route ?? []).entries()) {
    const host = canonicalHostPattern(destination.host)
    if (host === null || !host.startsWith('*') || hostCovers(host, sni)) continue
    const message = `${host} does not cover SNI ${sni} of VirtualService ${resource.name}: other names are not resolved`
    report('SP4038', at('route', index, 'destination', 'host'), message)
  }
}
