/** From a judgement to what goes out: the complete request, the copies for mirrors, and how its answer is dressed. */
import type { HeaderList } from '../core/attributes.ts'
import type { Refusal } from '../core/refusal.ts'
import type { UpstreamCluster } from '../forward/cluster.ts'
import type { OutgoingRequest } from '../forward/forwarder.ts'
import { speaksHttp2 } from '../forward/http-version.ts'
import { DEFAULT_RETRY, type ForwardAction, type MirrorModel } from '../model/route.ts'
import { generatedCookie, hashOf } from '../runtime/hash-key.ts'
import { type FactsSource, type OutgoingParts, outgoingParts, withShadowHost } from '../runtime/outgoing.ts'
import { Carriage, type Carried } from './carriage.ts'
import { callerOf } from './describe-socket.ts'
import type { Judged } from './judged.ts'
import type { Mirror } from './mirror.ts'
import { JudgedTrailers } from './request-trailers.ts'

const NO_MIRRORS: readonly Mirror[] = []

/** What carries the request, not yet started; or why it cannot be sent. Copies for mirrors are on their way by then. */
export function dispatch(
  exchange: Carried,
  judged: Judged,
  corsFields: HeaderList,
  facts: FactsSource,
): Carriage | Refusal {
  const { downstream, http: connection, record } = exchange
  const { judgement, snapshot } = judged
  const { http } = judged.attributes
  const { clusters } = snapshot
  const cluster = judgement.passthrough ? clusters.passthrough : clusters.get(judgement.clusterName ?? '')
  if (cluster === null) return { kind: 'no_cluster' }
  const parts = partsFor(exchange, judged, cluster, facts)
  if (parts === null) return { kind: 'bad_path' }
  if (parts.rewritten) record.originalPath = record.path
  record.path = parts.target
  record.authority = parts.authority
  // Unless a gate has read of its body, and asked for it then.
  if (downstream.expectsContinue && exchange.body === downstream.body) downstream.sendContinue()
  const { loadBalancer } = cluster.model
  const caller = callerOf(connection.connection)
  const cookie = generatedCookie(loadBalancer, http, caller)
  const { action } = judgement.match?.route.model ?? NO_ROUTE
  const forward = action?.kind === 'forward' ? action : null
  const request: OutgoingRequest = {
    method: http.method,
    target: parts.target,
    headers: parts.headers,
    body: exchange.body,
    requestedHost: http.authority.host,
    portOverride: judgement.passthrough ? (http.authority.port ?? 80) : null,
    hash: cookie?.hash ?? hashOf(loadBalancer, caller.sourceIp, http),
    caller,
    trailers: downstream.trailers === undefined ? null : new JudgedTrailers(downstream, judged, parts.requestEdits),
    clientProtocol: downstream.protocol === 'HTTP/2' ? 'HTTP/2' : 'HTTP/1.1',
  }
  return new Carriage(exchange, {
    cluster,
    request,
    timeoutMs: parts.timeoutMs,
    retry: judgement.passthrough ? DEFAULT_RETRY : (forward?.retry ?? null),
    dressing: { edits: parts.responseEdits, setCookie: cookie?.setCookie ?? null, corsFields },
    facts,
    // A copy of a handshake would open a connection that nobody uses.
    mirrors:
      forward === null || forward.mirrors.length === 0 || judged.upgrade
        ? NO_MIRRORS
        : sendMirrors(exchange, judged, request, forward, facts),
    upgrade: judged.upgrade ? judged : null,
  })
}

const NO_ROUTE = { action: null }
const NOT_NOMINATED: ReadonlySet<string> = new Set()

function partsFor(
  exchange: Carried,
  judged: Judged,
  { model }: UpstreamCluster,
  facts: FactsSource,
): OutgoingParts | null {
  const { downstream, environment, record } = exchange
  const { judgement, attributes, snapshot } = judged
  return outgoingParts(
    judgement,
    attributes.http,
    {
      // What the caller's Connection takes away went before policy saw it; what a gate has added is not the caller's to take.
      nominated: NOT_NOMINATED,
      external: model.external,
      te: !judged.upgrade && downstream.protocol === 'HTTP/2' && speaksHttp2(model, downstream.protocol),
      propagateTrace: snapshot.settings.tracing.propagate,
      requestId: record.requestId as string,
      xForwardedFor: record.xForwardedFor as string,
      via: snapshot.inside.has(model.name) ? environment.instance : null,
    },
    facts,
  )
}

/** Fields are built anew for each: what may go to the request's own destination need not be for the mirror's eyes. */
function sendMirrors(
  exchange: Carried,
  judged: Judged,
  request: OutgoingRequest,
  { mirrors, timeoutMs }: ForwardAction,
  facts: FactsSource,
): readonly Mirror[] {
  const sent: Mirror[] = []
  for (const model of mirrors) {
    const mirror =
      Math.random() * 100 < model.percent ? sendMirror(exchange, judged, request, model, timeoutMs, facts) : null
    if (mirror !== null) sent.push(mirror)
  }
  return sent
}

function sendMirror(
  exchange: Carried,
  judged: Judged,
  request: OutgoingRequest,
  model: MirrorModel,
  timeoutMs: number | null,
  facts: FactsSource,
): Mirror | null {
  // As Envoy: a mirror that does not exist is not missed.
  const cluster = judged.snapshot.clusters.get(model.cluster)
  const parts = cluster === null ? null : partsFor(exchange, judged, cluster, facts)
  if (cluster === null || parts === null) return null
  const hash = hashOf(cluster.model.loadBalancer, request.caller.sourceIp, judged.attributes.http)
  const copy: OutgoingRequest = { ...request, headers: withShadowHost(parts.headers), hash }
  return exchange.environment.mirrors.send(cluster, copy, timeoutMs)
}
