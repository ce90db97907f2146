/**
 * The virtual hosts of one route table: what VirtualServices route, joined with what egress policies grant. The rule
 * that matters: on a gateway port, every host that an egress policy covers carries that policy's grants, in every table
 * of the port, whoever routes it. Routes may replace a grant's route, never its `from` (contract §3).
 */
import { compareSpecificity, hostCovers, intersectHosts } from '../core/host-pattern.ts'
import type { GrantModel, VirtualHostModel } from '../model/route.ts'
import type { EgressHost } from './egress-policies.ts'
import type { HostRoutes } from './virtual-services.ts'

/** `serverHosts`: hosts of the servers behind the table. `egress`: of the table's gateway port, HTTP and tunnels. */
export function joinVirtualHosts(
  serverHosts: readonly string[],
  routed: ReadonlyMap<string, HostRoutes>,
  egress: readonly EgressHost[],
): readonly VirtualHostModel[] {
  const hosts = new Map<string, VirtualHostModel>()
  for (const { host, source, routes, httpsRedirect } of routed.values()) {
    // A host that is here for its redirect only has no routes; it answers nothing else.
    hosts.set(host, { host, source, grants: grantsFor(host, egress), routes, httpsRedirect })
  }
  const add = (granted: EgressHost, grants: (host: string) => readonly GrantModel[] | null) => {
    for (const serverHost of serverHosts) {
      const host = intersectHosts(granted.host, serverHost)
      if (host === null || hosts.has(host)) continue
      hosts.set(host, { host, source: granted.source, grants: grants(host), routes: null, httpsRedirect: false })
    }
  }
  for (const each of egress) if (each.application === 'http') add(each, (host) => grantsFor(host, egress))
  // HTTP where a policy foresees a tunnel answers 502 to everyone (contract §4). An entry with no grant at all says so
  // in ALLOW_ANY too, where a host without an entry would be dialled for any caller.
  for (const each of egress) {
    const alsoHttp = egress.some((other) => other.application === 'http' && hostCovers(other.host, each.host))
    if (each.application === 'tunnel' && !alsoHttp) add(each, () => [])
  }
  return [...hosts.values()].sort((a, b) => compareSpecificity(a.host, b.host))
}

/**
 * Grants of the most specific egress host that covers `host`; null when none does. Grants for HTTP come first; a
 * tunnel's count where there are none, since a VirtualService must not open over HTTP what a policy reserves.
 */
function grantsFor(host: string, egress: readonly EgressHost[]): readonly GrantModel[] | null {
  const covering = egress.filter((each) => hostCovers(each.host, host))
  const [best] = covering.toSorted(
    (a, b) => rank(a.application) - rank(b.application) || compareSpecificity(a.host, b.host),
  )
  return best === undefined ? null : best.grants
}

function rank(application: EgressHost['application']): number {
  return application === 'http' ? 0 : 1
}
