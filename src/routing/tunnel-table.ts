/** Tunnel routes compiled for the data path: SNI → grant for the caller → destination. Pure. */
import type { Peer } from '../core/attributes.ts'
import { hostCovers } from '../core/host-pattern.ts'
import type { TunnelGrantModel, TunnelHostModel, TunnelRouteModel, TunnelTableModel } from '../model/tunnel.ts'
import { indexHosts } from './host-index.ts'
import { holdsCaller } from './table.ts'

export type TunnelTable = {
  readonly model: TunnelTableModel
  /** The most specific host entry for an SNI (canonical); null: nobody names it. */
  readonly host: (sni: string) => TunnelHostModel | null
  /** The `tcp` route, if it may carry this SNI; null SNI: bytes that are no ClientHello. */
  readonly tcp: (sni: string | null) => TunnelRouteModel | null
}

export function compileTunnelTable(model: TunnelTableModel): TunnelTable {
  const { tcp } = model
  return {
    model,
    host: indexHosts(model.hosts.map((host) => [host.host, host] as const)).find,
    tcp: (sni) => {
      if (tcp === null) return null
      return sni === null || tcp.hosts.some((host) => hostCovers(host, sni)) ? tcp : null
    },
  }
}

/** The first grant whose callers hold the peer. */
export function tunnelGrant(host: TunnelHostModel, peer: Peer): TunnelGrantModel | null {
  return host.grants?.find((grant) => holdsCaller(grant, peer)) ?? null
}

/** One destination by weight. `random`: in [0, 1). @throws RangeError for a route without destinations */
export function pickTunnelDestination(route: TunnelRouteModel, random: number): string {
  const total = route.destinations.reduce((sum, { weight }) => sum + weight, 0)
  let point = random * total
  for (const { cluster, weight } of route.destinations) {
    point -= weight
    if (point < 0) return cluster
  }
  const last = route.destinations.at(-1)
  if (last === undefined) throw new RangeError(`the tunnel route at ${route.source.file} leads nowhere`)
  return last.cluster
}
