/**
 * One request from first byte to record, in the order of contract §4 and nowhere else:
 * normalise → authorize → registered → route → connect → stream → record. Pins one snapshot at the start.
 * Whatever happens, `#finish` hands over exactly one record.
 */
import { pipeline } from 'node:stream'
import type { Attributes } from '../core/attributes.ts'
import { headerValue } from '../core/attributes.ts'
import type { Flag } from '../core/flags.ts'
import { returnedHeaders } from '../core/headers.ts'
import type { Refusal } from '../core/refusal.ts'
import { targetText } from '../core/request-target.ts'
import type { ClusterStats } from '../core/stats.ts'
import type { UpstreamCluster } from '../forward/cluster.ts'
import type { ForwardHandle, OutgoingRequest, UpstreamFailure, UpstreamResponse } from '../forward/forwarder.ts'
import type { HeaderEdit } from '../model/route.ts'
import { type ExchangeRecord, newRecord } from '../observe/record.ts'
import { type HttpRequestAttributes, type Judgement, judgeHttp } from '../runtime/judge.ts'
import { editedResponse, outgoingParts, routeAnswer } from '../runtime/outgoing.ts'
import { currentServer, type ServerPlan, type Snapshot } from '../runtime/snapshot.ts'
import { describeCut, describeRequest } from './describe.ts'
import { callerOf } from './describe-socket.ts'
import type { Downstream, DownstreamEvents } from './downstream.ts'
import type { Environment, HttpConnection } from './environment.ts'
import { type Normalised, normaliseRequest } from './normalise.ts'
import { refusalRow, renderRefusal, SERVER } from './reply.ts'

export class Exchange implements DownstreamEvents {
  readonly #environment: Environment
  readonly #http: HttpConnection
  readonly #downstream: Downstream
  /** Of when it began to be judged: a pipelined request is judged by what holds when its turn comes. */
  #snapshot: Snapshot
  readonly #record: ExchangeRecord
  readonly #startedAt: number
  #sentAt = 0
  #handle: ForwardHandle | null = null
  #timer: NodeJS.Timeout | null = null
  #clusterStats: ClusterStats | null = null
  #responseEdits: readonly (HeaderEdit | null)[] = []
  #started = false
  #finished = false

  constructor(environment: Environment, http: HttpConnection, downstream: Downstream) {
    this.#environment = environment
    this.#http = http
    this.#downstream = downstream
    this.#snapshot = environment.active()
    this.#record = newRecord('http', http.connection, Date.now())
    this.#startedAt = performance.now()
    http.stats.downstream_rq_active += 1
    describeRequest(this.#record, downstream)
    const { body } = downstream
    if (body === null) this.#record.requestDurationMs = 0
    else body.once('end', () => (this.#record.requestDurationMs = Math.round(performance.now() - this.#startedAt)))
  }

  /** Judges and carries, once. */
  run(): void {
    if (this.#started || this.#finished) return
    this.#started = true
    this.#http.stats.downstream_rq_total += 1
    this.#snapshot = this.#environment.active()
    const server = this.#server()
    if (server === null) return
    const { tls } = server.model
    const compared = tls?.mode === 'SIMPLE' ? (this.#http.tls?.sni ?? null) : null
    const normal = normaliseRequest(
      this.#downstream,
      tls === null ? 'http' : 'https',
      this.#snapshot.settings,
      compared,
      this.#environment.instance,
    )
    if ('kind' in normal) return this.#refuse(normal)
    const attributes = this.#attributes(normal)
    this.#record.path = targetText(normal.http)
    this.#record.authority = normal.http.authority.text
    const judgement = judgeHttp(this.#snapshot.judge, server.table, attributes, Math.random())
    this.#note(judgement)
    if (judgement.refusal !== null) return this.#refuse(judgement.refusal)
    this.#act(judgement, attributes, normal)
  }

  /** The server that speaks for this connection now; null: the exchange has been ended because none may. */
  #server(): ServerPlan | null {
    const http = this.#http
    const server = currentServer(this.#snapshot, http.gatewayPort, http.tls)
    if (server === null || server.model.application !== 'http') {
      this.#refuse({ kind: 'misdirected' })
      return null
    }
    if (server.trustKey !== http.trustKey) {
      // The trust this caller was accepted under has changed: its certificate has to stand up again, or it goes.
      const again = http.reidentify(server)
      if (again === null) {
        this.#record.reason = 'untrusted_certificate'
        this.#environment.refusedConnection('untrusted_certificate')
        http.poisoned = true
        this.#downstream.reset()
        return null
      }
      http.connection = again
      http.trustKey = server.trustKey
      http.peerRules = server.peerRules
    }
    return server
  }

  #attributes(normal: Normalised): HttpRequestAttributes {
    const { connection, gatewayPort } = this.#http
    const attributes: Attributes & { readonly http: Normalised['http'] } = {
      peer: connection.peer,
      sourceIp: connection.remoteAddress,
      remoteIp: connection.remoteAddress,
      destinationIp: connection.localAddress,
      destinationPort: connection.localPort,
      gatewayPort,
      sni: connection.tls?.sni ?? null,
      http: normal.http,
    }
    return attributes
  }

  #note(judgement: Judgement): void {
    const { stats } = this.#http
    this.#record.decision = judgement.decision
    this.#record.routeName = judgement.routeName
    this.#record.upstreamCluster = judgement.clusterName
    if (judgement.decision.allow) stats.rbac_allowed += 1
    else stats.rbac_denied += 1
  }

  #act(judgement: Judgement, attributes: HttpRequestAttributes, normal: Normalised): void {
    const answer = routeAnswer(judgement, attributes.http, attributes.gatewayPort)
    if (answer !== null) {
      this.#http.stats.rq_direct_response += 1
      this.#record.responseCodeDetails = 'direct_response'
      this.#record.upstreamCluster = null
      return this.#answer(answer.status, [...answer.headers, 'server', SERVER], answer.body, false)
    }
    const { clusters } = this.#snapshot
    const cluster = judgement.passthrough ? clusters.passthrough : clusters.get(judgement.clusterName ?? '')
    if (cluster === null) return this.#refuse({ kind: 'no_cluster' })
    const { http, nominated } = normal
    const parts = outgoingParts(judgement, http, {
      nominated,
      external: cluster.model.external,
      propagateTrace: this.#snapshot.settings.tracing.propagate,
      requestId: this.#record.requestId as string,
      xForwardedFor: this.#record.xForwardedFor as string,
      via: this.#snapshot.inside.has(cluster.model.name) ? this.#environment.instance : null,
    })
    if (parts === null) return this.#refuse({ kind: 'bad_path' })
    if (parts.rewritten) this.#record.originalPath = this.#record.path
    this.#record.path = parts.target
    this.#record.authority = parts.authority
    this.#responseEdits = parts.responseEdits
    if (this.#downstream.expectsContinue) this.#downstream.sendContinue()
    const request: OutgoingRequest = {
      method: http.method,
      target: parts.target,
      headers: parts.headers,
      body: this.#downstream.body,
      requestedHost: http.authority.host,
      portOverride: judgement.passthrough ? (http.authority.port ?? 80) : null,
      hash: null,
      caller: callerOf(this.#http.connection),
      trailers: () => this.#downstream.trailers(),
      clientProtocol: this.#downstream.protocol === 'HTTP/2' ? 'HTTP/2' : 'HTTP/1.1',
    }
    this.#forward(cluster, request, parts.timeoutMs)
  }

  #forward(cluster: UpstreamCluster, request: OutgoingRequest, timeoutMs: number | null): void {
    const record = this.#record
    // Counting must not set the body flowing: it waits for its upstream.
    request.body?.once('resume', () =>
      request.body?.on('data', (chunk: Buffer) => (record.bytesReceived += chunk.length)),
    )
    this.#sentAt = performance.now()
    this.#clusterStats = cluster.stats
    this.#handle = this.#environment.forwarder.send(cluster, request, {
      onConnected: (upstream) => {
        record.upstreamHost = upstream.host
        record.upstreamLocalAddress = upstream.localAddress
        record.upstreamProtocol = upstream.protocol
        record.upstreamAttempts += 1
      },
      onResponse: (response) => this.#respond(response),
      onFailure: (failure) => this.#failed(failure),
    })
    if (timeoutMs === null || timeoutMs === 0) return
    // As Envoy: the route's timeout runs from when the whole request has been read.
    const arm = () => {
      if (!this.#finished) this.#timer = setTimeout(() => this.#timedOut(), timeoutMs)
    }
    if (request.body === null || request.body.readableEnded) arm()
    else request.body.once('end', arm)
  }

  #respond(response: UpstreamResponse): void {
    const record = this.#record
    if (this.#finished) return void response.body.destroy()
    const now = performance.now()
    record.upstreamServiceTimeMs = Math.round(now - this.#sentAt)
    record.responseDurationMs = Math.round(now - this.#startedAt)
    record.responseCode = response.status
    record.responseCodeDetails = 'via_upstream'
    const bodiless = response.status === 204 || response.status === 205
    const headers = [...editedResponse(returnedHeaders(response.headers, bodiless), this.#responseEdits)]
    headers.push('x-envoy-upstream-service-time', String(record.upstreamServiceTimeMs), 'server', SERVER)
    record.responseHeaders = headers
    const grpc = record.isGrpc ? headerValue(headers, 'grpc-status') : null
    // What is no status of gRPC's own (0–16) is UNKNOWN to every client; it must not become a label of the upstream's choice.
    if (grpc !== null) record.grpcStatus = /^(?:\d|1[0-6])$/.test(grpc) ? Number(grpc) : 2
    const sink = this.#downstream.start(response.status, headers, this.#environment.draining(), response.trailers)
    // The caller went away this very moment; `pipeline` would throw, and its `close` is on its way to us.
    if (sink.destroyed || sink.closed) return this.#handle?.abort()
    response.body.on('data', (chunk: Buffer) => (record.bytesSent += chunk.length))
    // Before the pipeline tears the caller's side down: whose fault it was must be known when that closes.
    response.body.once('error', () => {
      if (this.#finished || record.flags.includes('UT')) return
      record.flags.push('UC')
      record.responseCodeDetails = 'upstream_reset_after_response_started{connection_termination}'
    })
    pipeline(response.body, sink, (error) => {
      // The caller must be able to tell a cut answer from a whole one: its side is reset, never ended.
      if (error !== null && error !== undefined && !this.#finished) this.#downstream.reset()
    })
  }

  #failed(failure: UpstreamFailure): void {
    this.#record.upstreamTransportFailure = failure.transportFailure
    this.#refuse({
      kind: failure.kind,
      ...(failure.details === null ? {} : { details: failure.details }),
      ...(failure.body === null ? {} : { body: failure.body }),
    })
  }

  #timedOut(): void {
    this.#timer = null
    this.#http.stats.downstream_rq_timeout += 1
    if (this.#clusterStats !== null) {
      this.#clusterStats.upstream_rq_timeout += 1
      if (!this.#downstream.responded)
        this.#clusterStats.upstream_rq.set(504, (this.#clusterStats.upstream_rq.get(504) ?? 0) + 1)
    }
    this.#handle?.abort()
    if (!this.#downstream.responded) return this.#refuse({ kind: 'response_timeout' })
    this.#record.flags.push('UT')
    this.#record.responseCodeDetails = 'response_timeout'
    this.#downstream.reset()
  }

  #refuse(refusal: Refusal): void {
    if (this.#finished) return
    const row = refusalRow(refusal)
    const reply = renderRefusal(refusal, this.#record.isGrpc)
    const record = this.#record
    if (row.flag !== null) record.flags.push(row.flag as Flag)
    record.responseCodeDetails = (refusal.details ?? row.details).replaceAll(/\s/g, '_')
    record.reason = row.reason
    record.grpcStatus = reply.grpcStatus
    // A 403 or 400 never reached an upstream, whatever was looked up for the record.
    if (row.reason !== null) record.upstreamHost = null
    if (refusal.kind === 'no_route') this.#http.stats.no_route += 1
    if (refusal.kind === 'no_cluster') this.#http.stats.no_cluster += 1
    if (refusal.kind === 'headers_too_large') this.#http.stats.downstream_rq_too_large += 1
    if (reply.close && this.#downstream.protocol !== 'HTTP/2') this.#endConnection()
    this.#answer(reply.status, reply.headers, reply.body, reply.close)
  }

  #answer(status: number, headers: string[], body: string | Buffer, close: boolean): void {
    const record = this.#record
    record.responseCode = status
    record.responseHeaders = headers
    record.responseDurationMs = Math.round(performance.now() - this.#startedAt)
    record.bytesSent = this.#downstream.method === 'HEAD' ? 0 : Buffer.byteLength(body)
    this.#downstream.reply(status, headers, body, close || this.#environment.draining())
  }

  onClose = (complete: boolean): void => {
    this.#finish(complete)
  }

  /** What came of the body must not count as whole anywhere: the upstream is cut, the caller told (or cut). */
  onBodyMalformed = (code: string): void => {
    if (this.#finished) return
    this.#started = true
    this.#handle?.abort()
    const details = `http1.codec_error{${code}}`
    if (!this.#downstream.responded) return this.#refuse({ kind: 'bad_request', details })
    this.#record.flags.push('DPE')
    this.#record.reason = 'bad_request'
    this.#record.responseCodeDetails = details
    this.#http.poisoned = true
    this.#downstream.reset()
  }

  /** The connection went away under the request (also when its answer was still queued behind another). */
  connectionClosed(): void {
    this.#finish(false)
  }

  #finish(complete: boolean): void {
    if (this.#finished) return
    this.#finished = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#http.exchanges.delete(this)
    const [next] = this.#http.exchanges
    if (next === undefined) this.#http.whenIdle?.()
    else if (complete && !this.#downstream.closes) next.run()
    const { stats } = this.#http
    const record = this.#record
    stats.downstream_rq_active -= 1
    if (!this.#started) stats.downstream_rq_total += 1
    // Also after an answer that came before the request was over (an early 413): nobody will send the rest of it.
    if (!complete || this.#downstream.body?.readableEnded === false) this.#handle?.abort()
    if (!complete && describeCut(record, this.#downstream.responded, this.#environment.cutting())) {
      stats.downstream_rq_rx_reset += 1
    }
    const klass = Math.floor(record.responseCode / 100)
    if (klass >= 1 && klass <= 5) stats.downstream_rq_xx[klass] = (stats.downstream_rq_xx[klass] ?? 0) + 1
    record.durationMs = Math.round(performance.now() - this.#startedAt)
    this.#environment.finish(record)
  }

  /** Nothing behind this request is one any more (contract §5): what has been read ahead leaves no trace either. */
  #endConnection(): void {
    const { exchanges, stats } = this.#http
    this.#http.poisoned = true
    for (const behind of [...exchanges]) {
      if (behind.#started) continue
      behind.#finished = true
      exchanges.delete(behind)
      stats.downstream_rq_active -= 1
    }
  }
}
