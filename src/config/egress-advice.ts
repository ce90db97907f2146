/** What an operator should know about a `from` that other routes lead around. Findings only; changes nothing. */
import type { GrantModel, RouteTableModel } from '../model/route.ts'
import type { EgressHost } from './egress-policies.ts'
import type { Report } from './resource.ts'

/**
 * A `from` belongs to a host on a gateway port (contract §3). A VirtualService for another host or port that forwards to
 * the same upstream is the operator's own word, but callers that the policy leaves out come through there (SP6013).
 */
export function adviseOnEgress(
  egress: readonly EgressHost[],
  routeTables: readonly RouteTableModel[],
  report: Report,
): void {
  const reserved = new Map<string, GrantModel>()
  for (const { grants } of egress)
    for (const grant of grants)
      for (const cluster of clustersOf(grant.route)) if (!reserved.has(cluster)) reserved.set(cluster, grant)
  if (reserved.size === 0) return
  for (const { virtualHosts } of routeTables)
    for (const { host, grants, routes } of virtualHosts) {
      if (grants !== null) continue
      for (const route of routes ?? [])
        for (const cluster of clustersOf(route)) {
          const grant = reserved.get(cluster)
          if (grant === undefined) continue
          const { file, line } = grant.source
          const message = `this route takes ${host} to ${cluster} for every caller; the from of ${grant.name} (${file}:${line}) does not hold here`
          report('SP6013', route.source, message, {
            fix: 'use an AuthorizationPolicy for this host, or leave the destination to the egress policy',
          })
        }
    }
}

function clustersOf({ action }: GrantModel['route']): readonly string[] {
  return action.kind === 'forward' ? action.destinations.map(({ cluster }) => cluster) : []
}
