/** One tunnel judged against a model: the same judgement as listeners/tunnel.ts, from the configuration alone. */
import type { Attributes } from '../core/attributes.ts'
import { canonicalSni } from '../core/authority.ts'
import type { GatewayModel } from '../model/gateway.ts'
import type { ServerModel } from '../model/listener.ts'
import { indexHosts } from '../routing/host-index.ts'
import { compileTunnelTable } from '../routing/tunnel-table.ts'
import { judgeTunnel } from '../runtime/judge-tunnel.ts'
import { createJudge, serviceNames } from '../runtime/snapshot.ts'
import { withAuthorizer } from './explain-authorizer.ts'
import { explainLimits } from './explain-limits.ts'
import { describeUpstream, EMPTY, type Explanation, place, proven, readPeer, refusedEarly } from './explain-parts.ts'
import { UsageError } from './io.ts'

export type TunnelQuestion = {
  /** `tls`: the application's own TLS, routed by its SNI. `tcp`: other bytes. */
  readonly kind: 'tls' | 'tcp'
  readonly url: string
  readonly host: string
  /** null: no mTLS around it. */
  readonly from: string | null
  readonly port: number
  readonly sourceIp: string
  /** SNI of the mTLS around it; null: what a sidecar sends by default. */
  readonly sni: string | null
}

/** Judges one tunnel. Pure. @throws UsageError for a port nobody serves, or a host that is no name */
export function explainTunnel(model: GatewayModel, question: TunnelQuestion): Explanation {
  const listener = model.listeners.find(({ gatewayPort }) => gatewayPort === question.port)
  if (listener === undefined) {
    const ports = model.listeners.map(({ gatewayPort }) => gatewayPort).join(', ')
    throw new UsageError(`no listener for Gateway port ${question.port} (there are: ${ports}); see --port`)
  }
  const inner = question.kind === 'tls' ? canonicalSni(question.host) : undefined
  if (inner === null) throw new UsageError(`not a name an SNI can hold: ${question.host}`)
  const { name, namespace } = model.settings
  const outer =
    question.from === null
      ? null
      : (question.sni ?? `outbound_.${question.port}_._.${name}.${namespace}.svc.cluster.local`)
  const server = choose(listener.servers, outer, inner)
  if (server === null) return refusedEarly('no_server_for_sni', null, 'closed: no server takes this connection')
  const peer = proven(readPeer(question.from), server, model.settings)
  if ('refuse' in peer) return refusedEarly(peer.refuse, server, peer.why)
  const table = model.tunnelTables.find((each) => each.name === server.tunnelTable)
  if (table === undefined) return refusedEarly('protocol_mismatch', server, 'closed: this server carries no tunnels')
  const judge = createJudge(model)
  const attributes: Attributes = {
    peer,
    sourceIp: question.sourceIp,
    remoteIp: question.sourceIp,
    destinationIp: model.settings.bindAddress,
    destinationPort: listener.bindPort === 0 ? listener.gatewayPort : listener.bindPort,
    gatewayPort: listener.gatewayPort,
    sni: inner ?? outer,
    token: null,
    http: null,
  }
  const own = new Set(serviceNames(model.settings))
  const names = { sni: inner, outerSni: outer, isOwnName: (text: string) => own.has(text) }
  const { decision, refusal, host, grant, route, clusterName, passthrough } = judgeTunnel(
    judge,
    compileTunnelTable(table),
    attributes,
    names,
    0,
  )
  const cluster = model.clusters.find((each) => each.name === clusterName) ?? null
  const unknown = refusal === null && !passthrough && cluster === null
  const reason = refusal?.reason ?? null
  const explanation: Explanation = {
    ...EMPTY,
    allowed: refusal === null && !unknown,
    reason,
    details: unknown ? 'cluster_not_found' : (refusal?.details ?? null),
    server: server.name,
    judged: true,
    policies: judge.authorizer.explain(attributes),
    decidedBy:
      decision.policy === null
        ? null
        : `${decision.policy}${decision.source === null ? '' : ` at ${place(decision.source)}`}`,
    virtualHost: host === null ? null : { host: host.host, source: host.source },
    grant: grant === null ? null : { name: grant.name, source: grant.source },
    routes:
      route === null
        ? []
        : [{ matched: true, why: inner === undefined ? 'the tcp route' : `SNI ${inner}`, source: route.source }],
    routeName: route?.name ?? null,
    limits: refusal === null ? explainLimits(model, attributes, inner ?? null, clusterName) : [],
    cluster: cluster?.statName ?? clusterName,
    upstream: cluster === null ? null : describeUpstream(model, cluster.name),
    conclusion:
      refusal === null && !unknown ? `allowed: tunnel to ${question.host}` : `closed: ${reason ?? 'cluster_not_found'}`,
  }
  return withAuthorizer(explanation, model, attributes)
}

/** As the listener chooses: mTLS by the outer name; else a passed-through ClientHello by its own, else plaintext. */
function choose(servers: readonly ServerModel[], outer: string | null, inner: string | undefined): ServerModel | null {
  if (outer === null && inner === undefined) return servers.find(({ tls }) => tls === null) ?? null
  const candidates = servers.filter(({ tls }) => tls !== null && (outer === null || tls.mode !== 'PASSTHROUGH'))
  const index = indexHosts(candidates.flatMap((server) => server.sniHosts.map((host) => [host, server] as const)))
  return index.find(outer ?? inner ?? '')
}
