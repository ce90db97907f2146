/**
 * The tunnel table of one server: what VirtualServices route, joined with what egress policies grant. The rule is that of
 * virtual-hosts.ts: on a gateway port, every host that an egress policy covers carries that policy's grants, whoever
 * routes it. Routes may replace a grant's route, never its `from` (contract §3).
 */
import type { SourceRef } from '../core/attributes.ts'
import { compareSpecificity, hostCovers, intersectHosts } from '../core/host-pattern.ts'
import type { ServerModel } from '../model/listener.ts'
import type { GrantModel } from '../model/route.ts'
import type { TunnelGrantModel, TunnelHostModel, TunnelRouteModel, TunnelTableModel } from '../model/tunnel.ts'
import type { EgressHost } from './egress-policies.ts'
import type { Report } from './resource.ts'
import type { NamedTunnel, TunnelRoutes } from './virtual-service-tunnels.ts'

/** `egress`: of the gateway port, HTTP and tunnels. `anonymous`: `from` is waived (unauthenticatedPassthrough). */
export function joinTunnelTable(
  name: string,
  server: Pick<ServerModel, 'application' | 'sniHosts'>,
  routed: TunnelRoutes,
  egress: readonly EgressHost[],
  options: { readonly anonymous: boolean; readonly report: Report },
): TunnelTableModel {
  const { anonymous, report } = options
  const { hosts: named, tcp } = splitTcp(routed, egress, report)
  const hosts = new Map<string, TunnelHostModel>()
  for (const each of named) hosts.set(each.host, withGrants(each, egress, anonymous))
  const add = (granted: EgressHost, model: (host: string) => Omit<TunnelHostModel, 'host' | 'source'>) => {
    for (const serverHost of server.sniHosts) {
      const host = intersectHosts(granted.host, serverHost)
      if (host !== null && !hosts.has(host)) hosts.set(host, { host, source: granted.source, ...model(host) })
    }
  }
  for (const each of egress) {
    if (each.application !== 'tunnel') continue
    add(each, (host) => withGrants({ host, source: each.source, route: null }, egress, anonymous))
  }
  // A tunnel where a policy foresees HTTP is for nobody. An entry with no grant at all says so in ALLOW_ANY too; on HTTP
  // servers the virtual hosts have said it.
  for (const each of egress) {
    const alsoTunnel = egress.some((other) => other.application === 'tunnel' && hostCovers(other.host, each.host))
    if (each.application === 'http' && server.application === 'tunnel' && !alsoTunnel)
      add(each, () => ({ grants: [], route: null }))
  }
  return { name, hosts: [...hosts.values()].sort((a, b) => compareSpecificity(a.host, b.host)), tcp }
}

/**
 * The `tcp` route beside an egress policy: it still carries TLS to its hosts, each with the grants that cover it. Bytes
 * without a name are no longer carried, or any caller could reach a granted host by leaving the SNI out.
 */
function splitTcp(
  { hosts, tcp }: TunnelRoutes,
  egress: readonly EgressHost[],
  report: Report,
): { readonly hosts: readonly NamedTunnel[]; readonly tcp: TunnelTableModel['tcp'] } {
  const granted = (host: string) => egress.find((each) => intersectHosts(each.host, host) !== null)
  const first = tcp?.hosts.map(granted).find((each) => each !== undefined)
  if (tcp === null || first === undefined) return { hosts: [...hosts.values()], tcp }
  const { hosts: own, ...route } = tcp
  const message = `an egress policy speaks for ${first.host} on this gateway port: this rule carries TLS with an SNI only`
  report('SP4043', route.source, message, { fix: 'use a gateway port of its own for bytes without a name' })
  const all = new Map(hosts)
  for (const host of own) {
    if ((all.get(host)?.route ?? null) === null) all.set(host, { host, source: route.source, route })
  }
  return { hosts: [...all.values()], tcp: null }
}

function withGrants(
  { host, source, route }: NamedTunnel,
  egress: readonly EgressHost[],
  anonymous: boolean,
): TunnelHostModel {
  const [best] = egress
    .filter((each) => hostCovers(each.host, host))
    // As for requests, the other way round: grants for HTTP count where there are none for tunnels.
    .toSorted((a, b) => rank(a) - rank(b) || compareSpecificity(a.host, b.host))
  if (best === undefined) return { host, source, grants: null, route }
  if (anonymous && best.application === 'tunnel') return { host, source, grants: null, route: route ?? ownRoute(best) }
  return { host, source, grants: best.grants.map(tunnelGrant), route }
}

function rank({ application }: EgressHost): number {
  return application === 'tunnel' ? 0 : 1
}

/** The route of an egress host that every caller gets. */
function ownRoute({ grants: [first] }: EgressHost): TunnelRouteModel | null {
  return first === undefined ? null : tunnelRoute(first)
}

function tunnelGrant(grant: GrantModel): TunnelGrantModel {
  const { name, source, callers } = grant
  return { name, source, callers, route: tunnelRoute(grant) }
}

/** A grant forwards to its own cluster; nothing else is ever made from a `to`. */
function tunnelRoute({ route: { name, source, action } }: GrantModel): TunnelRouteModel {
  const destinations =
    action.kind === 'forward' ? action.destinations.map(({ cluster, weight }) => ({ cluster, weight })) : []
  return { name, source, destinations }
}

/** Where a host's grants lead to different places, so that passing it through without a caller would be a guess. */
export function divergence({ grants }: EgressHost): SourceRef | null {
  const place = (grant: GrantModel) => JSON.stringify(tunnelRoute(grant).destinations)
  const [first, ...more] = grants
  return first === undefined ? null : (more.find((grant) => place(grant) !== place(first))?.source ?? null)
}
