/**
 * Gateway ports → listeners with their servers and route tables: Gateway servers, the ports of egress policies, and the
 * declared ports nobody speaks for (contract §4).
 */
import { hostCovers } from '../core/host-pattern.ts'
import type { ListenerModel, ServerModel } from '../model/listener.ts'
import type { RouteTableModel } from '../model/route.ts'
import type { Settings } from '../model/settings.ts'
import type { TunnelTableModel } from '../model/tunnel.ts'
import type { EgressHost } from './egress-policies.ts'
import { egressServers, MESH_TLS } from './egress-servers.ts'
import type { BoundGateways } from './gateways.ts'
import type { Report } from './resource.ts'
import { joinTunnelTable } from './tunnel-tables.ts'
import { joinVirtualHosts } from './virtual-hosts.ts'
import type { NamedTunnel, ServerTunnels } from './virtual-service-tunnels.ts'
import type { TableHosts } from './virtual-services.ts'

export type BuiltListeners = {
  /** By gateway port. */
  readonly listeners: readonly ListenerModel[]
  /** By name. */
  readonly routeTables: readonly RouteTableModel[]
  readonly tunnelTables: readonly TunnelTableModel[]
}

/** What VirtualServices route, by route table of the server. */
export type BoundRoutes = { readonly requests: TableHosts; readonly tunnels: ServerTunnels }

export function buildListeners(
  settings: Settings,
  gateways: BoundGateways,
  routed: BoundRoutes,
  egress: readonly EgressHost[],
  report: Report,
): BuiltListeners {
  const listeners: ListenerModel[] = []
  const routeTables = new Map<string, RouteTableModel>()
  const tunnelTables = new Map<string, TunnelTableModel>()
  for (const gatewayPort of gatewayPorts(settings, gateways, egress)) {
    const granted = egress.filter((each) => each.gatewayPort === gatewayPort)
    const bound = mergePlaintext(
      gateways.servers.filter((each) => each.gatewayPort === gatewayPort).map(({ model }) => model),
    )
    const servers = [...bound, ...egressServers({ settings, gatewayPort, bound, granted }, report)]
    if (servers.length === 0) servers.push(unclaimed(gatewayPort))
    for (const server of servers) {
      const http = server.application === 'http'
      const virtualHosts = http
        ? joinVirtualHosts(server.sniHosts, routed.requests.get(server.routeTable) ?? new Map(), granted)
        : []
      routeTables.set(server.routeTable, { name: server.routeTable, virtualHosts })
    }
    const tables = tunnelTablesOf(servers, routed.tunnels, granted, { settings, report })
    for (const table of tables.values()) tunnelTables.set(table.name, table)
    listeners.push({
      gatewayPort,
      bindPort: bindPortOf(settings, gatewayPort),
      servers: servers.map((server) => ({ ...server, tunnelTable: tables.get(server)?.name ?? null })),
    })
  }
  checkBindPorts(listeners, report)
  return { listeners, routeTables: byName(routeTables), tunnelTables: byName(tunnelTables) }
}

function byName<Table extends { readonly name: string }>(tables: ReadonlyMap<string, Table>): readonly Table[] {
  return [...tables.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** The tunnel tables of one port. HTTP servers have one only where an egress policy brings tunnels they can prove. */
function tunnelTablesOf(
  servers: readonly ServerModel[],
  routed: ServerTunnels,
  granted: readonly EgressHost[],
  { settings, report }: { readonly settings: Settings; readonly report: Report },
): ReadonlyMap<ServerModel, TunnelTableModel> {
  const tables = new Map<ServerModel, TunnelTableModel>()
  /** What VirtualServices route instead of a grant, on any server of the port: it holds for passed-through TLS too. */
  const replaced = new Map<string, NamedTunnel>()
  const passedThrough = ({ tls }: ServerModel) => Number(tls?.mode === 'PASSTHROUGH')
  for (const server of servers.toSorted((a, b) => passedThrough(a) - passedThrough(b))) {
    const { application, tls, routeTable } = server
    if (application === 'http' && (tls === null || tls.clientCa === null)) continue
    const anonymous = tls?.mode === 'PASSTHROUGH' && settings.unauthenticatedPassthrough === 'allow'
    const own = routed.get(routeTable) ?? { hosts: new Map(), tcp: null }
    const covered = [...replaced].filter(([host]) => server.sniHosts.some((each) => hostCovers(each, host)))
    const hosts = anonymous ? new Map([...covered, ...own.hosts]) : own.hosts
    const table = joinTunnelTable(routeTable, server, { ...own, hosts }, granted, { anonymous, report })
    // Unclaimed ports answer tunnels as for an unregistered host too (contract §4).
    if (application === 'http' && table.hosts.length === 0 && server.source !== null) continue
    tables.set(server, table)
    for (const { host, source, grants, route } of table.hosts)
      if (grants !== null && route !== null && !replaced.has(host)) replaced.set(host, { host, source, route })
  }
  return tables
}

function gatewayPorts(settings: Settings, gateways: BoundGateways, egress: readonly EgressHost[]): readonly number[] {
  const ports = new Set<number>()
  for (const each of [...settings.ports, ...gateways.servers, ...egress]) ports.add(each.gatewayPort)
  return [...ports].sort((a, b) => a - b)
}

/** A port that `spec.ports` does not mention is bound as it is. */
function bindPortOf(settings: Settings, gatewayPort: number): number {
  return settings.ports.find((each) => each.gatewayPort === gatewayPort)?.bindPort ?? gatewayPort
}

/** Plaintext HTTP servers of one port share a table (`http.PORT`), and on the wire nothing tells them apart: one server. */
function mergePlaintext(servers: readonly ServerModel[]): readonly ServerModel[] {
  const byTable = new Map<string, ServerModel>()
  for (const server of servers) {
    const first = byTable.get(server.routeTable)
    const sniHosts = [...new Set([...(first?.sniHosts ?? []), ...server.sniHosts])]
    byTable.set(server.routeTable, { ...(first ?? server), sniHosts })
  }
  return [...byTable.values()]
}

function unclaimed(gatewayPort: number): ServerModel {
  return {
    name: `unclaimed:${gatewayPort}`,
    source: null,
    sniHosts: ['*'],
    application: 'http',
    tls: MESH_TLS,
    routeTable: `unclaimed.${gatewayPort}`,
    tunnelTable: null,
  }
}

function checkBindPorts(listeners: readonly ListenerModel[], report: Report): void {
  const byBindPort = new Map<number, ListenerModel>()
  for (const listener of listeners) {
    // 0 picks a free port each time.
    if (listener.bindPort === 0) continue
    const other = byBindPort.get(listener.bindPort)
    byBindPort.set(listener.bindPort, other ?? listener)
    if (other === undefined) continue
    const [source] = [...listener.servers, ...other.servers].flatMap((server) => server.source ?? [])
    // Two ports of the bootstrap on one bound port are the bootstrap reader's finding.
    if (source === undefined) continue
    const message = `Gateway ports ${other.gatewayPort} and ${listener.gatewayPort} would both be bound to port ${listener.bindPort}`
    report('SP4008', source, message, { fix: 'map one of them elsewhere in spec.ports of the bootstrap file' })
  }
}
