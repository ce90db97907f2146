/**
 * The servers that egress policies need on their gateway ports beside those of Gateways, and what is wrong where a Gateway
 * server is in their way (contract §4, the rows "ASM `to`").
 */
import { intersectHosts } from '../core/host-pattern.ts'
import type { ServerModel, ServerTls } from '../model/listener.ts'
import type { Settings } from '../model/settings.ts'
import type { EgressHost } from './egress-policies.ts'
import type { Report } from './resource.ts'
import { divergence } from './tunnel-tables.ts'

/** mTLS with the SVID and bundle of the gateway: what sidecars speak. */
export const MESH_TLS: ServerTls = {
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

const PASSED_THROUGH: ServerTls = { ...MESH_TLS, mode: 'PASSTHROUGH', certificates: [], clientCa: null }

type EgressPort = {
  readonly settings: Settings
  readonly gatewayPort: number
  /** Servers of Gateways on this port. */
  readonly bound: readonly ServerModel[]
  /** Egress hosts of this port, HTTP and tunnels. */
  readonly granted: readonly EgressHost[]
}

/** Reports the hosts whose `from` could not be enforced because a server without client certificates stands there. */
export function egressServers(port: EgressPort, report: Report): readonly ServerModel[] {
  const { gatewayPort, bound, granted } = port
  const [first] = granted
  if (first === undefined) return []
  for (const each of granted) tellUnproven(port, each, report)
  // Reported above; a plaintext port cannot take TLS as well.
  if (bound.some((server) => server.tls === null)) return []
  return [...meshServer(port, first, report), ...passthroughServer(port, report)].map((server) => ({
    ...server,
    name: `${server.name}:${gatewayPort}`,
    routeTable: `${server.name}.${gatewayPort}`,
    tunnelTable: server.tunnelTable === null ? null : `${server.name}.${gatewayPort}`,
  }))
}

/** mTLS for every SNI, unless a Gateway has such a server. Requests and tunnels share it: the first bytes tell them apart. */
function meshServer(
  { gatewayPort, bound, granted }: EgressPort,
  { source }: EgressHost,
  report: Report,
): readonly ServerModel[] {
  const everyName = bound.find((server) => server.sniHosts.includes('*'))
  const http = granted.find((each) => each.application === 'http')
  if (everyName === undefined) {
    const tunnelTable = granted.some((each) => each.application === 'tunnel') ? 'asm' : null
    return [
      { name: 'asm', source, sniHosts: ['*'], application: 'http', tls: MESH_TLS, routeTable: 'asm', tunnelTable },
    ]
  }
  if (http !== undefined && everyName.application === 'tunnel') {
    const message = `gateway port ${gatewayPort} belongs to ${everyName.name}, which carries opaque bytes for every name`
    report('SP4040', http.source, message, { fix: 'use a gateway port of its own for HTTP' })
  }
  return []
}

/**
 * With `unauthenticatedPassthrough: allow`, TLS of applications that comes without the sidecar's mTLS is passed through to
 * the policy's own hosts, told by their SNI alone.
 */
function passthroughServer(
  { settings, gatewayPort, bound, granted }: EgressPort,
  report: Report,
): readonly ServerModel[] {
  if (settings.unauthenticatedPassthrough === 'deny') return []
  const sniHosts: string[] = []
  for (const each of granted) {
    if (each.application !== 'tunnel') continue
    const { host, source } = each
    const other = divergence(each)
    if (other !== null) {
      const message = `${host} on gateway port ${gatewayPort} leads to different places (${other.file}:${other.line}): TLS that is passed through shows no caller`
      report('SP4042', source, message, { fix: 'make the entries agree, or write unauthenticatedPassthrough: deny' })
    }
    const owner = bound.find((server) => server.sniHosts.includes(host))
    if (owner === undefined) sniHosts.push(host)
    // A PASSTHROUGH server of a Gateway has these grants in its own table.
    else if (owner.tls?.mode !== 'PASSTHROUGH') {
      const message = `${owner.name} terminates SNI ${host} on port ${gatewayPort}, unauthenticatedPassthrough would pass it through`
      report('SP4007', source, message, { fix: 'give the Gateway server other hosts, or the policy another port' })
    }
  }
  const source = granted.find((each) => each.application === 'tunnel')?.source ?? null
  const name = 'asm-passthrough'
  if (sniHosts.length === 0) return []
  return [{ name, source, sniHosts, application: 'tunnel', tls: PASSED_THROUGH, routeTable: name, tunnelTable: name }]
}

function tellUnproven({ settings, gatewayPort, bound }: EgressPort, egress: EgressHost, report: Report): void {
  const { host, source } = egress
  const open = bound.find((server) => cannotProve(server, egress, settings))
  if (open === undefined) return
  const how = open.tls === null ? 'plaintext' : `tls.mode ${open.tls.mode}`
  const message = `gateway port ${gatewayPort} is served by ${open.name} (${how}): callers of ${host} could not be told apart`
  const fix =
    open.tls?.mode === 'PASSTHROUGH'
      ? 'tls: { mode: ISTIO_MUTUAL } on the Gateway server, or unauthenticatedPassthrough: allow'
      : 'tls: { mode: ISTIO_MUTUAL } on the Gateway server'
  report('SP4040', source, message, { fix })
}

/** True for a server that would answer for the host without asking who calls. */
function cannotProve(server: ServerModel, { host, application }: EgressHost, settings: Settings): boolean {
  if (server.tls === null) return true
  const { mode } = server.tls
  const waived = application === 'http' || settings.unauthenticatedPassthrough === 'allow'
  if (mode !== 'SIMPLE' && (mode !== 'PASSTHROUGH' || waived)) return false
  return server.sniHosts.some((each) => intersectHosts(each, host) !== null)
}
