/** What an operator should know about a `from` that other routes lead around. Findings only; changes nothing. */
import type { SourceRef } from '../core/attributes.ts'
import type { GrantModel, RouteTableModel } from '../model/route.ts'
import type { TunnelTableModel } from '../model/tunnel.ts'
import type { EgressHost } from './egress-policies.ts'
import type { Report } from './resource.ts'

type Tables = { readonly routeTables: readonly RouteTableModel[]; readonly tunnelTables: readonly TunnelTableModel[] }

/**
 * A `from` belongs to a host on a gateway port (contract §3). A VirtualService for another host or port that forwards to
 * the same upstream is the operator's own word, but callers that the policy leaves out come through there (SP6013).
 */
export function adviseOnEgress(
  egress: readonly EgressHost[],
  { routeTables, tunnelTables }: Tables,
  report: Report,
): void {
  const reserved = new Map<string, GrantModel>()
  for (const { grants } of egress)
    for (const grant of grants)
      for (const cluster of clustersOf(grant.route)) {
        const place = placeOf(cluster)
        if (!reserved.has(place)) reserved.set(place, grant)
      }
  if (reserved.size === 0) return
  const tell = (host: string, clusters: readonly string[], at: SourceRef) => {
    for (const cluster of clusters) {
      const grant = reserved.get(placeOf(cluster))
      // A policy's own way, opened to all by unauthenticatedPassthrough.
      if (grant === undefined || grant.route.source === at) continue
      const { file, line } = grant.source
      const message = `this route takes ${host} to ${cluster} for every caller; the from of ${grant.name} (${file}:${line}) does not hold here`
      report('SP6013', at, message, {
        fix: 'use an AuthorizationPolicy for this host, or leave the destination to the egress policy',
      })
    }
  }
  for (const { virtualHosts } of routeTables)
    for (const { host, grants, routes } of virtualHosts)
      if (grants === null) for (const route of routes ?? []) tell(host, clustersOf(route), route.source)
  for (const { hosts, tcp } of tunnelTables) {
    for (const { host, grants, route } of hosts)
      if (grants === null && route !== null) tell(host, namesOf(route), route.source)
    if (tcp !== null) tell(tcp.hosts.join(', '), namesOf(tcp), tcp.source)
  }
}

function clustersOf({ action }: GrantModel['route']): readonly string[] {
  return action.kind === 'forward' ? namesOf(action) : []
}

function namesOf({
  destinations,
}: {
  readonly destinations: readonly { readonly cluster: string }[]
}): readonly string[] {
  return destinations.map(({ cluster }) => cluster)
}

/** Port, subset and host: `outbound|…` and `tunnel|…` of the same ones have the same endpoints. */
function placeOf(cluster: string): string {
  return cluster.slice(cluster.indexOf('|'))
}
