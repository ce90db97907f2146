/**
 * Gateway resources → the servers of this gateway: selection by labels, merging of servers that share a port as Istio
 * does it (behaviour §3.5, pilot MergeGateways), TLS material. Ports and tables are put together in listeners.ts.
 */
import type { SourceRef } from '../core/attributes.ts'
import type { ServerModel, ServerTls } from '../model/listener.ts'
import type { Settings } from '../model/settings.ts'
import { lowerServerTls } from './gateway-tls.ts'
import {
  type GatewayServerSpec,
  type GatewaySpec,
  gateway,
  PROTOCOLS,
  parseServerHost,
  protocolOf,
} from './kinds/gateway.ts'
import { ofKind } from './of-kind.ts'
import type { Report, Resource } from './resource.ts'

/** A host of a server and the namespace whose VirtualServices it admits (`*`: every one). */
type ServerHost = { readonly namespace: string; readonly host: string }

/** One server of a Gateway that selects us and survived merging. */
export type GatewayServer = {
  /** `NS/NAME` of the Gateway, what `gateways` of a VirtualService names. */
  readonly gateway: string
  readonly gatewayPort: number
  readonly hosts: readonly ServerHost[]
  readonly httpsRedirect: boolean
  readonly source: SourceRef
  readonly model: ServerModel
}

/** What the loaded Gateways mean for us. `known` also holds the names of Gateways of other workloads. */
export type BoundGateways = { readonly servers: readonly GatewayServer[]; readonly known: ReadonlySet<string> }

/** True when the Gateway is for this gateway: its selector is contained in our labels; an empty one selects all. */
function selectsUs(settings: Settings, spec: GatewaySpec): boolean {
  return Object.entries(spec.selector ?? {}).every(
    ([key, value]) => Object.hasOwn(settings.labels, key) && settings.labels[key] === value,
  )
}

/** All Gateways of all namespaces, as Istio does by default. Order: Gateway name, then namespace, then position. */
export function bindGateways(settings: Settings, resources: readonly Resource[], report: Report): BoundGateways {
  const all = ofKind(resources, gateway)
  const merged: GatewayServer[] = []
  for (const resource of all) {
    if (!selectsUs(settings, resource.spec)) {
      const message = `Gateway ${resource.namespace}/${resource.name} does not select the labels of this gateway`
      report('SP4010', resource.at('spec', 'selector'), message)
      continue
    }
    resource.spec.servers.forEach((spec, index) => {
      const server = lowerServer(settings, resource, spec, index, report)
      if (server !== null && fits(server, merged, report)) merged.push(server)
    })
  }
  return { servers: merged, known: new Set(all.map((resource) => `${resource.namespace}/${resource.name}`)) }
}

function lowerServer(
  settings: Settings,
  resource: Resource<GatewaySpec>,
  spec: GatewayServerSpec,
  index: number,
  report: Report,
): GatewayServer | null {
  const at = (...path: readonly (string | number)[]) => resource.at('spec', 'servers', index, ...path)
  const protocol = protocolOf(spec)
  const hosts = spec.hosts.map((host) => parseServerHost(host, resource.namespace)).filter((host) => host !== null)
  // Both were reported by the check of the kind.
  if (protocol === null || hosts.length !== spec.hosts.length) return null
  const { family, tls: secured } = PROTOCOLS[protocol]
  if (secured && spec.tls === undefined) return null
  const tlsAt = (...path: readonly (string | number)[]) => at('tls', ...path)
  const tls = secured && spec.tls !== undefined ? lowerServerTls(spec.tls, { settings, at: tlsAt, report }) : null
  if (secured && tls === null) return null
  checkBind(settings, spec, at, report)
  const application = family === 'http' && tls?.mode !== 'PASSTHROUGH' ? 'http' : 'tunnel'
  const label = `${resource.namespace}/${resource.name}/${spec.port.name}`
  const source = at('port')
  const table = tableName(resource, spec, application, tls)
  return {
    gateway: `${resource.namespace}/${resource.name}`,
    gatewayPort: spec.port.number,
    hosts,
    httpsRedirect: !secured && spec.tls?.httpsRedirect === true,
    source,
    model: {
      name: label,
      source,
      sniHosts: [...new Set(hosts.map(({ host }) => host))],
      application,
      tls,
      routeTable: table,
      // An HTTP server gets one where an egress policy brings tunnels to its port (listeners.ts).
      tunnelTable: application === 'tunnel' ? table : null,
    },
  }
}

/** Istio's names of route configurations (gatewayRDSRouteName). */
function tableName(
  resource: Resource<GatewaySpec>,
  { port }: GatewayServerSpec,
  application: ServerModel['application'],
  tls: ServerTls | null,
): string {
  if (application === 'http' && tls === null) return `http.${port.number}`
  const own = `${port.number}.${port.name}.${resource.name}.${resource.namespace}`
  return `${application === 'http' ? 'https' : 'tunnel'}.${own}`
}

/** `bind` narrows who can connect, so ignoring it would widen; all-zero addresses and our own are what we do anyway. */
function checkBind(
  settings: Settings,
  { bind }: GatewayServerSpec,
  at: (...path: readonly (string | number)[]) => SourceRef,
  report: Report,
): void {
  if (bind === undefined || ['', '0.0.0.0', '::', settings.bindAddress].includes(bind)) return
  const message = `bind ${bind} is not honoured: every listener binds to ${settings.bindAddress}`
  report('SP4012', at('bind'), message, { fix: 'set bindAddress in the bootstrap file and leave bind out' })
}

/** Whether a server can join those already on its port; false after a diagnostic. */
function fits(server: GatewayServer, merged: readonly GatewayServer[], report: Report): boolean {
  const { model, source } = server
  for (const earlier of merged.filter((each) => each.gatewayPort === server.gatewayPort)) {
    const other = earlier.model
    if (wire(model) !== wire(other) || wire(model) === 'bytes') {
      const message = `server ${model.name} (${wire(model)}) is dropped: ${other.name} (${wire(other)}) has port ${server.gatewayPort}`
      report('SP4006', source, message, loss(model, other))
      return false
    }
    if (wire(model) !== 'TLS') continue
    const host = model.sniHosts.find((each) => other.sniHosts.includes(each))
    if (host === undefined) continue
    if ((model.tls?.mode === 'PASSTHROUGH') !== (other.tls?.mode === 'PASSTHROUGH')) {
      const message = `${model.name} and ${other.name} both claim SNI ${host} on port ${server.gatewayPort}, one terminates it and one passes it through`
      report('SP4007', source, message, { fix: 'give them different hosts or different ports' })
    } else {
      const message = `server ${model.name} is dropped: ${other.name} already has host ${host} on port ${server.gatewayPort}`
      report('SP4005', source, message, loss(model, other))
    }
    return false
  }
  return true
}

/** TABLE: how well a server knows its callers. */
const PROOF = { PASSTHROUGH: 0, SIMPLE: 0, OPTIONAL_MUTUAL: 1, MUTUAL: 2, ISTIO_MUTUAL: 3 } as const

/**
 * Istio keeps the older Gateway; files have no age, so the name decides here, and that may be the other one. Where the
 * guess would leave the port to a server that knows less about its callers it is not made.
 */
function loss(dropped: ServerModel, kept: ServerModel): { severity: 'error'; fix: string } | undefined {
  const proof = ({ tls }: ServerModel) => (tls === null ? -1 : PROOF[tls.mode])
  if (proof(kept) >= proof(dropped)) return undefined
  return { severity: 'error', fix: 'the server that is dropped asks more of its callers: remove the other, or move it' }
}

/** What is spoken first on the wire: the thing two servers on one port must agree about. */
function wire(model: ServerModel): 'TLS' | 'plaintext HTTP' | 'bytes' {
  if (model.tls !== null) return 'TLS'
  return model.application === 'http' ? 'plaintext HTTP' : 'bytes'
}
