/**
 * Gateway ports → listeners with their servers and route tables: Gateway servers, the ports of egress policies, and the
 * declared ports nobody speaks for (contract §4).
 */
import { intersectHosts } from '../core/host-pattern.ts'
import type { ListenerModel, ServerModel, ServerTls } from '../model/listener.ts'
import type { RouteTableModel } from '../model/route.ts'
import type { Settings } from '../model/settings.ts'
import type { EgressHost } from './egress-policies.ts'
import type { BoundGateways } from './gateways.ts'
import type { Report } from './resource.ts'
import { joinVirtualHosts } from './virtual-hosts.ts'
import type { TableHosts } from './virtual-services.ts'

export type BuiltListeners = {
  /** By gateway port. */
  readonly listeners: readonly ListenerModel[]
  /** By name. */
  readonly routeTables: readonly RouteTableModel[]
}

/** mTLS with the SVID and bundle of the gateway: what sidecars speak. */
const MESH_TLS: ServerTls = {
  mode: 'ISTIO_MUTUAL',
  certificates: 'mesh',
  clientCa: 'mesh',
  subjectAltNames: [],
  spkiPins: [],
  certificatePins: [],
  minVersion: null,
  maxVersion: null,
  ciphers: null,
}

export function buildListeners(
  settings: Settings,
  gateways: BoundGateways,
  tableHosts: TableHosts,
  egress: readonly EgressHost[],
  report: Report,
): BuiltListeners {
  const listeners: ListenerModel[] = []
  const routeTables = new Map<string, RouteTableModel>()
  for (const gatewayPort of gatewayPorts(settings, gateways, egress)) {
    const granted = egress.filter((each) => each.gatewayPort === gatewayPort)
    const bound = mergePlaintext(
      gateways.servers.filter((each) => each.gatewayPort === gatewayPort).map(({ model }) => model),
    )
    const servers = [...bound, ...egressServers(gatewayPort, bound, granted, report)]
    if (servers.length === 0) servers.push(unclaimed(gatewayPort))
    for (const server of servers) {
      const http = server.application === 'http'
      const virtualHosts = http
        ? joinVirtualHosts(server.sniHosts, tableHosts.get(server.routeTable) ?? new Map(), granted)
        : []
      routeTables.set(server.routeTable, { name: server.routeTable, virtualHosts })
    }
    listeners.push({ gatewayPort, bindPort: bindPortOf(settings, gatewayPort), servers })
  }
  checkBindPorts(listeners, report)
  return { listeners, routeTables: [...routeTables.values()].sort((a, b) => (a.name < b.name ? -1 : 1)) }
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

/**
 * The server that egress policies need beside those of Gateways, if any: mTLS for every SNI. Reports the ports where
 * `from` could not be enforced, because a Gateway server that asks for no client certificate stands there.
 */
function egressServers(
  gatewayPort: number,
  bound: readonly ServerModel[],
  granted: readonly EgressHost[],
  report: Report,
): readonly ServerModel[] {
  const [first] = granted
  if (first === undefined) return []
  const http = granted.filter((each) => each.application === 'http')
  const tunnel = granted.find((each) => each.application === 'tunnel')
  if (http.length > 0 && tunnel !== undefined)
    report('SP4041', tunnel.source, `gateway port ${gatewayPort} is named for HTTP and for opaque TLS`, {
      fix: 'give opaque TLS a gateway port of its own, such as 444',
    })
  for (const { host, source, application } of granted) {
    const open = bound.find((server) => server.tls === null || (application === 'http' && isOpen(server, host)))
    if (open !== undefined) {
      const how = open.tls === null ? 'plaintext' : `tls.mode ${open.tls.mode}`
      const message = `gateway port ${gatewayPort} is served by ${open.name} (${how}): callers of ${host} could not be told apart`
      report('SP4040', source, message, { fix: 'tls: { mode: ISTIO_MUTUAL } on the Gateway server' })
    }
  }
  // Reported above; a plaintext port cannot take mTLS as well.
  if (bound.some((server) => server.tls === null)) return []
  const everyName = bound.find((server) => server.sniHosts.includes('*'))
  if (everyName === undefined) {
    const application = http.length > 0 ? 'http' : 'tunnel'
    const name = `asm:${gatewayPort}`
    const source = (http[0] ?? first).source
    return [
      {
        name,
        source,
        sniHosts: ['*'],
        application,
        tls: MESH_TLS,
        routeTable: `asm.${gatewayPort}`,
        tunnelTable: null,
      },
    ]
  }
  if (http[0] !== undefined && everyName.application === 'tunnel' && everyName.tls !== null) {
    const message = `gateway port ${gatewayPort} belongs to ${everyName.name}, which carries opaque bytes for every name`
    report('SP4040', http[0].source, message, { fix: 'use a gateway port of its own for HTTP' })
  }
  return []
}

/** True for a server that could answer for the host without asking who calls. */
function isOpen(server: ServerModel, host: string): boolean {
  if (server.application !== 'http' || server.tls?.mode !== 'SIMPLE') return false
  return server.sniHosts.some((each) => intersectHosts(each, host) !== null)
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
