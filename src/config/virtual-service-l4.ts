/** Which `tls` and `tcp` rules of a VirtualService count on which Gateway server, and what to say where they do not (behaviour §4.7). */
import type { SourceRef } from '../core/attributes.ts'
import type { ServerModel } from '../model/listener.ts'
import type { EgressHost } from './egress-policies.ts'
import type { GatewayServer } from './gateways.ts'
import type { L4Match } from './kinds/virtual-service-schema.ts'
import type { Report } from './resource.ts'
import type { VirtualServiceResource } from './virtual-service-binding.ts'
import { gatewayName } from './virtual-service-match.ts'

/** What a server hands on, and so which rules count. `requests`: HTTP; tunnels only where an egress policy brings them. */
type Carries = 'requests' | 'inner TLS or bytes' | 'passed-through TLS' | 'plain bytes'

/** What a server hands on to VirtualServices' rules. */
export function carries({ application, tls }: ServerModel): Carries {
  if (application === 'http') return 'requests'
  if (tls === null) return 'plain bytes'
  return tls.mode === 'PASSTHROUGH' ? 'passed-through TLS' : 'inner TLS or bytes'
}

type At = (...path: readonly (string | number)[]) => SourceRef

/** Where a match holds; matches of every kind of rule have these. */
type Placed = Pick<L4Match, 'port' | 'gateways'>

/** `port` (0: any) and `gateways`; the rest is ignored at a gateway, as in Istio (l4SingleMatch). */
export function concerns(match: Placed, resource: VirtualServiceResource, server: GatewayServer): boolean {
  const { port = 0, gateways = [] } = match
  if (port !== 0 && port !== server.gatewayPort) return false
  return gateways.length === 0 || gateways.some((entry) => gatewayName(entry, resource.namespace) === server.gateway)
}

/** TABLE of the L4 match fields that no gateway looks at. */
const IGNORED = ['sourceLabels', 'sourceNamespace', 'sourceSubnet', 'destinationSubnets'] as const

export function tellIgnored(match: L4Match, matchIndex: number, at: At, report: Report): void {
  for (const field of IGNORED) {
    const value = match[field]
    if (value === undefined || value === '' || Object.keys(value).length === 0) continue
    report('SP4011', at('match', matchIndex, field), `${field} is ignored at a gateway, as in Istio`, {
      fix: field === 'destinationSubnets' ? 'remove it' : 'use an AuthorizationPolicy to tell callers apart',
    })
  }
}

/** TABLE of the rules that count on a server. */
const COUNTS = {
  requests: ['http'],
  'inner TLS or bytes': ['tls', 'tcp'],
  'passed-through TLS': ['tls'],
  'plain bytes': ['tcp'],
} as const satisfies Record<Carries, readonly ('http' | 'tls' | 'tcp')[]>

/** A frequent mistake (behaviour §4.7): a rule that concerns only servers which look at other kinds of rules. */
export function tellUnused(
  resource: VirtualServiceResource,
  servers: readonly GatewayServer[],
  tunnels: readonly EgressHost[],
  report: Report,
): void {
  for (const kind of ['http', 'tls', 'tcp'] as const) {
    const rules: readonly { readonly match?: readonly Placed[] | undefined }[] = resource.spec[kind] ?? []
    for (const [index, { match = [] }] of rules.entries()) {
      const concerned = servers.filter(
        (server) => match.length === 0 || match.some((each) => concerns(each, resource, server)),
      )
      const [first] = concerned
      if (first === undefined || concerned.some((server) => counts(server, kind, tunnels))) continue
      const what = carries(first.model)
      const message = `${first.model.name} carries ${what}: this ${kind} rule does nothing there, only ${COUNTS[what].join(' and ')} rules count`
      report('SP4037', resource.at('spec', kind, index), message)
    }
  }
}

/** On an HTTPS server `tls` rules count for the tunnels of egress policies. */
function counts(
  { model, gatewayPort }: GatewayServer,
  kind: 'http' | 'tls' | 'tcp',
  tunnels: readonly EgressHost[],
): boolean {
  const what = carries(model)
  const listed: readonly string[] = COUNTS[what]
  return (
    listed.includes(kind) ||
    (kind === 'tls' && what === 'requests' && tunnels.some((each) => each.gatewayPort === gatewayPort))
  )
}
