/**
 * One question judged against a model, with every policy, rule and route consulted. Pure: no sockets, no DNS, no
 * files. Calls the same normalisation and the same judgement as the running gateway.
 */
import type { Authority } from '../core/attributes.ts'
import { REFUSALS, type RefusalRow } from '../core/refusal.ts'
import { targetText } from '../core/request-target.ts'
import { createAddressGuard } from '../forward/address-guard.ts'
import type { Downstream } from '../listeners/downstream.ts'
import { normaliseRequest } from '../listeners/normalise.ts'
import type { GatewayModel } from '../model/gateway.ts'
import type { ServerModel } from '../model/listener.ts'
import { indexHosts } from '../routing/host-index.ts'
import { compileRouteTable } from '../routing/table.ts'
import { type HttpRequestAttributes, type Judgement, judgeHttp } from '../runtime/judge.ts'
import { outgoingParts } from '../runtime/outgoing.ts'
import { createJudge } from '../runtime/snapshot.ts'
import { withAuthorizer } from './explain-authorizer.ts'
import { explainLimits } from './explain-limits.ts'
import {
  describeUpstream,
  EMPTY,
  type Explanation,
  place,
  proven,
  type Question,
  readPeer,
  refusedEarly,
} from './explain-parts.ts'
import { describeRoute, NO_HEADER_FACTS, ownAnswer } from './explain-route.ts'
import { refusedToken, withToken } from './explain-token.ts'
import { UsageError } from './io.ts'

/** Judges one question against a model. Pure. */
export function explainRequest(model: GatewayModel, question: Question): Explanation {
  const listener = model.listeners.find(({ gatewayPort }) => gatewayPort === question.port)
  if (listener === undefined) {
    const ports = model.listeners.map(({ gatewayPort }) => gatewayPort).join(', ')
    throw new UsageError(`no listener for Gateway port ${question.port} (there are: ${ports})`)
  }
  const claimed = readPeer(question.from)
  const server = chooseServer(listener.servers, question)
  if (server === null || server.application !== 'http') {
    return refusedEarly(
      server === null && listener.servers.some(({ tls }) => tls !== null) ? 'no_server_for_sni' : 'protocol_mismatch',
      server,
      'closed before a request is read',
    )
  }
  const peer = proven(claimed, server, model.settings)
  if ('refuse' in peer) return refusedEarly(peer.refuse, server, peer.why)
  const downstream = asDownstream(question)
  const sni = server.tls?.mode === 'SIMPLE' ? question.sni : null
  const normal = normaliseRequest(downstream, server.tls === null ? 'http' : 'https', model.settings, sni, null)
  if ('kind' in normal) {
    const row: RefusalRow = REFUSALS[normal.kind]
    return {
      ...EMPTY,
      server: server.name,
      status: row.status,
      reason: row.reason,
      details: normal.details ?? row.details,
      conclusion: `refused: ${row.status}, the request is malformed or ambiguous`,
    }
  }
  const seen = withToken(model, question.claims, normal.http)
  if (typeof seen === 'string') return refusedToken(server, seen)
  const attributes: HttpRequestAttributes = {
    peer,
    sourceIp: question.sourceIp,
    remoteIp: question.sourceIp,
    destinationIp: model.settings.bindAddress,
    destinationPort: listener.bindPort === 0 ? listener.gatewayPort : listener.bindPort,
    gatewayPort: listener.gatewayPort,
    sni: server.tls === null ? null : (question.sni ?? (peer.kind === 'none' ? null : sidecarSni(model, question))),
    ...seen,
  }
  const judge = createJudge(model)
  const table = model.routeTables.find(({ name }) => name === server.routeTable)
  if (table === undefined) throw new Error(`no route table ${server.routeTable}`)
  const judgement = judgeHttp(judge, compileRouteTable(table), attributes, 0)
  const { virtualHost, grant, decision, refusal } = judgement
  const clusterModel = model.clusters.find(({ name }) => name === judgement.clusterName) ?? null
  const row: RefusalRow | null = refusal === null ? null : REFUSALS[refusal.kind]
  const forwards = judgement.destination !== null
  const answer = refusal === null ? ownAnswer(judgement, attributes.http, listener.gatewayPort) : null
  const unknownCluster = refusal === null && answer === null && forwards && clusterModel === null
  const unsent =
    refusal === null &&
    answer === null &&
    forwards &&
    outgoingParts(judgement, attributes.http, { ...NO_FACTS, nominated: normal.nominated }, NO_HEADER_FACTS) === null
  const denied = refusal === null && answer === null ? deniedAddress(model, judgement, attributes.http.authority) : null
  const last: RefusalRow | null = unknownCluster
    ? REFUSALS.no_cluster
    : unsent
      ? REFUSALS.bad_path
      : denied === null
        ? row
        : REFUSALS.address_denied
  const explanation: Explanation = {
    allowed: last === null,
    status: last?.status ?? answer?.status ?? null,
    reason: last?.reason ?? null,
    details:
      last === REFUSALS.address_denied ? `address_denied{${denied}}` : (refusal?.details ?? last?.details ?? null),
    server: server.name,
    judged: true,
    policies: judge.authorizer.explain(attributes),
    asks: null,
    decidedBy:
      decision.policy === null
        ? null
        : `${decision.policy}${decision.source === null ? '' : ` at ${place(decision.source)}`}`,
    virtualHost: virtualHost === null ? null : { host: virtualHost.model.host, source: virtualHost.model.source },
    grant: grant === null ? null : { name: grant.model.name, source: grant.model.source },
    routes: (virtualHost?.explainMatch(attributes.http, grant) ?? []).map(({ route, matched, why }) => ({
      matched,
      why,
      source: route.source,
    })),
    routeName: judgement.routeName,
    does: judgement.match === null ? [] : describeRoute(judgement.match.route.model),
    limits: refusal === null ? explainLimits(model, attributes, null, judgement.clusterName) : [],
    cluster: judgement.clusterName,
    upstream: clusterModel === null ? null : describeUpstream(model, clusterModel.name),
    conclusion:
      last === null
        ? `${answer === null ? 'allowed' : `answered ${answer.status} by ${answer.by}`}: ${attributes.http.method} ${attributes.http.authority.text}${targetText(attributes.http)}`
        : `refused: ${last.status} ${last.reason ?? last.details}`,
  }
  return withAuthorizer(explanation, model, attributes)
}

/** What a sidecar sends when nobody told it a name (Istio BuildDNSSrvSubsetKey). */
function sidecarSni({ settings: { name, namespace } }: GatewayModel, { port }: Question): string {
  return `outbound_.${port}_._.${name}.${namespace}.svc.cluster.local`
}

/** As the listener chooses: a caller with an identity comes over mTLS; --sni, else what a sidecar sends by default. */
function chooseServer(servers: readonly ServerModel[], question: Question): ServerModel | null {
  const tls = servers.filter(
    (server) => server.tls !== null && (question.from === null || server.tls.mode !== 'PASSTHROUGH'),
  )
  const index = indexHosts(tls.flatMap((server) => server.sniHosts.map((host) => [host, server] as const)))
  const found = index.find(question.sni ?? 'outbound_.0_._.gateway')
  const plaintext = servers.find((server) => server.tls === null) ?? null
  return question.from === null && question.sni === null ? (plaintext ?? found) : found
}

function asDownstream(question: Question): Downstream {
  const { headers } = question
  const authorities = headers.filter((_, index) => index % 2 === 1 && headers[index - 1] === 'host')
  const unused = () => {
    throw new Error('explain sends nothing')
  }
  return {
    protocol: 'HTTP/1.1',
    method: question.method,
    target: question.target,
    authorities,
    headers,
    strict: false,
    body: null,
    expectsContinue: false,
    expectsOther: false,
    responded: false,
    closes: false,
    sendContinue: unused,
    reply: unused,
    start: unused,
    upgrade: unused,
    reset: unused,
  }
}

/** What does not decide whether a rewritten path may be sent. */
const NO_FACTS = { external: true, propagateTrace: true, requestId: '', xForwardedFor: '', te: false, via: null }

/**
 * The class of an address when nothing may be dialled. STATIC addresses are judged (contract §1), and an address that
 * the request itself names; names are not resolved.
 */
function deniedAddress(model: GatewayModel, judgement: Judgement, authority: Authority): string | null {
  const guard = createAddressGuard(model.settings.addressGuard.allow, () => false)
  const found = model.clusters.find(({ name }) => name === judgement.clusterName)
  if (judgement.passthrough || found?.discovery === 'dynamic')
    return authority.isIp ? guard.judge(authority.host, 'resolved') : null
  if (found === undefined || found.discovery !== 'static' || found.endpoints.length === 0) return null
  const verdicts = found.endpoints.map(({ address }) => guard.judge(address, 'static'))
  return verdicts.every((verdict) => verdict !== null) ? (verdicts[0] ?? null) : null
}
