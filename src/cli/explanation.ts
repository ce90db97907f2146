/**
 * One question judged against a model, with every policy, rule and route consulted. Pure: no sockets, no DNS, no
 * files. Calls the same normalisation and the same judgement as the running gateway.
 */
import { type Authority, NO_PEER, type Peer, type SourceRef } from '../core/attributes.ts'
import { REFUSALS, type RefusalRow } from '../core/refusal.ts'
import { targetText } from '../core/request-target.ts'
import { createAddressGuard } from '../forward/address-guard.ts'
import { parseSpiffeId } from '../identity/spiffe.ts'
import type { Downstream } from '../listeners/downstream.ts'
import { normaliseRequest } from '../listeners/normalise.ts'
import type { GatewayModel } from '../model/gateway.ts'
import type { ServerModel } from '../model/listener.ts'
import type { PolicyExplanation } from '../policy/explain.ts'
import { indexHosts } from '../routing/host-index.ts'
import { compileRouteTable } from '../routing/table.ts'
import { type HttpRequestAttributes, type Judgement, judgeHttp } from '../runtime/judge.ts'
import { outgoingParts, routeAnswer } from '../runtime/outgoing.ts'
import { createJudge } from '../runtime/snapshot.ts'
import { UsageError } from './io.ts'

/** What is asked. */
export type Question = {
  readonly method: string
  /** As asked, for display. */
  readonly url: string
  /** Request target, exactly as written in the URL. */
  readonly target: string
  readonly headers: readonly string[]
  readonly from: string | null
  readonly port: number
  readonly sourceIp: string
  readonly sni: string | null
}

/** What is printed; `-o json` prints just this. */
export type Explanation = {
  readonly allowed: boolean
  readonly status: number | null
  readonly reason: string | null
  readonly details: string | null
  readonly server: string | null
  /** False: refused before any policy was consulted. */
  readonly judged: boolean
  readonly policies: readonly PolicyExplanation[]
  readonly decidedBy: string | null
  readonly virtualHost: { readonly host: string; readonly source: SourceRef } | null
  readonly grant: { readonly name: string; readonly source: SourceRef } | null
  readonly routes: readonly { readonly matched: boolean; readonly why: string; readonly source: SourceRef }[]
  readonly routeName: string | null
  readonly cluster: string | null
  readonly upstream: string | null
  readonly conclusion: string
}

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
      server === null ? 'no_server_for_sni' : 'protocol_mismatch',
      server,
      'closed before a request is read',
    )
  }
  const peer = proven(claimed, server, model.settings)
  if ('refuse' in peer) return refusedEarly(peer.refuse, server, peer.why)
  const downstream = asDownstream(question)
  const sni = server.tls?.mode === 'SIMPLE' ? question.sni : null
  const normal = normaliseRequest(downstream, server.tls === null ? 'http' : 'https', model.settings, sni)
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
  const attributes: HttpRequestAttributes = {
    peer,
    sourceIp: question.sourceIp,
    remoteIp: question.sourceIp,
    destinationIp: model.settings.bindAddress,
    destinationPort: listener.bindPort === 0 ? listener.gatewayPort : listener.bindPort,
    gatewayPort: listener.gatewayPort,
    sni: server.tls === null ? null : (question.sni ?? (peer.kind === 'none' ? null : sidecarSni(model, question))),
    http: normal.http,
  }
  const judge = createJudge(model)
  const table = model.routeTables.find(({ name }) => name === server.routeTable)
  if (table === undefined) throw new Error(`no route table ${server.routeTable}`)
  const judgement = judgeHttp(judge, compileRouteTable(table), attributes, 0)
  const { virtualHost, grant, decision, refusal } = judgement
  const clusterModel = model.clusters.find(({ name }) => name === judgement.clusterName) ?? null
  const row: RefusalRow | null = refusal === null ? null : REFUSALS[refusal.kind]
  const forwards = judgement.destination !== null
  const unknownCluster = refusal === null && forwards && clusterModel === null
  const answer = refusal === null ? routeAnswer(judgement, normal.http, listener.gatewayPort) : null
  const unsent =
    refusal === null &&
    forwards &&
    outgoingParts(judgement, normal.http, { ...NO_FACTS, nominated: normal.nominated }) === null
  const denied = refusal === null && answer === null ? deniedAddress(model, judgement, normal.http.authority) : null
  const last: RefusalRow | null = unknownCluster
    ? REFUSALS.no_cluster
    : unsent
      ? REFUSALS.bad_path
      : denied === null
        ? row
        : REFUSALS.address_denied
  return {
    allowed: last === null,
    status: last?.status ?? answer?.status ?? null,
    reason: last?.reason ?? null,
    details:
      last === REFUSALS.address_denied ? `address_denied{${denied}}` : (refusal?.details ?? last?.details ?? null),
    server: server.name,
    judged: true,
    policies: judge.authorizer.explain(attributes),
    decidedBy:
      decision.policy === null
        ? null
        : `${decision.policy}${decision.source === null ? '' : ` at ${place(decision.source)}`}`,
    virtualHost: virtualHost === null ? null : { host: virtualHost.model.host, source: virtualHost.model.source },
    grant: grant === null ? null : { name: grant.model.name, source: grant.model.source },
    routes: (virtualHost?.explainMatch(normal.http, grant) ?? []).map(({ route, matched, why }) => ({
      matched,
      why,
      source: route.source,
    })),
    routeName: judgement.routeName,
    cluster: judgement.clusterName,
    upstream: clusterModel === null ? null : describeUpstream(model, clusterModel.name),
    conclusion:
      last === null
        ? `${answer === null ? 'allowed' : `answered ${answer.status} by the route`}: ${normal.http.method} ${normal.http.authority.text}${targetText(normal.http)}`
        : `refused: ${last.status} ${last.reason ?? last.details}`,
  }
}

const EMPTY: Explanation = {
  allowed: false,
  status: null,
  reason: null,
  details: null,
  server: null,
  judged: false,
  policies: [],
  decidedBy: null,
  virtualHost: null,
  grant: null,
  routes: [],
  routeName: null,
  cluster: null,
  upstream: null,
  conclusion: '',
}

function refusedEarly(reason: string, server: ServerModel | null, conclusion: string): Explanation {
  return { ...EMPTY, reason, server: server?.name ?? null, conclusion: `refused: ${conclusion} (${reason})` }
}

function readPeer(from: string | null): Peer {
  if (from === null) return NO_PEER
  const parsed = parseSpiffeId(from)
  if ('error' in parsed) throw new UsageError(`--from: ${parsed.error}`)
  const certificate = {
    sha256: '',
    subject: '',
    issuer: '',
    serial: '',
    uriSans: [parsed.id.uri],
    dnsSans: [],
    notBefore: 0,
    notAfter: 0,
  }
  return { kind: 'spiffe', id: parsed.id, certificate }
}

/**
 * Who the caller is to this server (identity/peer.ts): nobody where no certificate is asked for; only the mesh's own
 * trust domains are vouched for. The certificate is taken to be valid and to chain to the right CA.
 */
function proven(
  claimed: Peer,
  { tls }: ServerModel,
  { mesh }: GatewayModel['settings'],
): Peer | { readonly refuse: string; readonly why: string } {
  if (tls === null || tls.clientCa === null) return NO_PEER
  if (claimed.kind !== 'spiffe')
    return tls.mode === 'ISTIO_MUTUAL'
      ? { refuse: 'no_client_certificate', why: 'closed: this server needs a mesh identity (--from)' }
      : claimed
  const { uri, trustDomain } = claimed.id
  if (tls.subjectAltNames.length > 0 && !tls.subjectAltNames.includes(uri))
    return { refuse: 'untrusted_certificate', why: 'closed: subjectAltNames of the server do not hold the caller' }
  if ([mesh.trustDomain, ...mesh.trustDomainAliases].includes(trustDomain)) return claimed
  return tls.mode === 'ISTIO_MUTUAL'
    ? { refuse: 'foreign_trust_domain', why: `closed: no bundle vouches for trust domain ${trustDomain}` }
    : { kind: 'certificate', certificate: claimed.certificate }
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
    body: null,
    expectsContinue: false,
    expectsOther: false,
    responded: false,
    closes: false,
    sendContinue: unused,
    reply: unused,
    start: unused,
    reset: unused,
  }
}

/** What does not decide whether a rewritten path may be sent. */
const NO_FACTS = { external: true, propagateTrace: true, requestId: '', xForwardedFor: '' }

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

function describeUpstream(model: GatewayModel, cluster: string): string | null {
  const found = model.clusters.find(({ name }) => name === cluster)
  if (found === undefined) return null
  const tls =
    found.tls === null
      ? 'plaintext'
      : `TLS ${found.tls.mode}, SNI ${found.tls.sni ?? found.host}${found.tls.insecureSkipVerify ? ', NOT VERIFIED' : ''}`
  const where =
    found.discovery === 'dynamic'
      ? `the requested name, port ${found.dynamicPort}`
      : found.endpoints.map(({ address, port }) => `${address}:${port}`).join(', ')
  return `${found.discovery}: ${where} (${tls}); ${place(found.source)}`
}

/** `file:line:col` */
export function place({ file, line, col }: SourceRef): string {
  return `${file}:${line}:${col}`
}
