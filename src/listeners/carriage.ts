/**
 * One judged request on its way out and its answer on the way back: retries, the route's timeout, streaming, trailers,
 * and what the record learns of all that. The exchange decides; this carries.
 */
import type { Socket } from 'node:net'
import { pipeline, type Readable } from 'node:stream'
import { type HeaderList, headerValue } from '../core/attributes.ts'
import type { Flag } from '../core/flags.ts'
import { returnedHeaders } from '../core/headers.ts'
import { REFUSALS, type Refusal, type RefusalKind } from '../core/refusal.ts'
import type { UpstreamCluster } from '../forward/cluster.ts'
import {
  type ForwardHandle,
  type ForwardHandlers,
  type OutgoingRequest,
  UpstreamBroke,
  type UpstreamFailure,
  type UpstreamResponse,
} from '../forward/forwarder.ts'
import { sendWithRetries } from '../forward/retry.ts'
import { upgradeForwarder } from '../forward/upgrade.ts'
import type { RetryModel } from '../model/route.ts'
import type { ExchangeRecord } from '../observe/record.ts'
import { type Dressing, dressedFields, type FactsSource } from '../runtime/outgoing.ts'
import type { Downstream } from './downstream.ts'
import type { Environment, HttpConnection } from './environment.ts'
import type { Gatekeeper } from './gatekeeper.ts'
import type { Judged } from './judged.ts'
import type { Mirror } from './mirror.ts'
import { Pour } from './pour.ts'
import { SERVER } from './reply.ts'
import { MAX_TIMER_MS } from './timer.ts'
import { isForbidden, Upgrade } from './upgrade.ts'

/** What an exchange lends to what carries its request. */
export type Carried = {
  readonly environment: Environment
  readonly http: HttpConnection
  readonly downstream: Downstream
  readonly record: ExchangeRecord
  /** Of the request, as it is to be sent: gates may have read of the caller's. */
  readonly body: Readable | null
  /** performance.now() */
  readonly startedAt: number
  /** True once the record has been handed over. */
  readonly finished: boolean
  /** Answers in place of the upstream. */
  refuse(refusal: Refusal): void
  readonly gates: Pick<Gatekeeper, 'opened'>
  /** Of an upgrade: nothing is copied any more. `complete`: nobody cut it. */
  ended(complete: boolean): void
}

/** What is to be carried. */
export type Load = {
  readonly cluster: UpstreamCluster
  readonly request: OutgoingRequest
  /** null: no limit. */
  readonly timeoutMs: number | null
  /** null: one try. */
  readonly retry: RetryModel | null
  readonly dressing: Dressing
  readonly facts: FactsSource
  /** Copies that are under way with it. */
  readonly mirrors: readonly Mirror[]
  /** It asks for another protocol: what it was judged by, to be judged again. null: it does not. */
  readonly upgrade: Judged | null
}

/** Failures that come before any address was tried. */
const UNTRIED: ReadonlySet<RefusalKind> = new Set(['no_healthy_upstream', 'dns_failure', 'address_denied'])

export class Carriage implements ForwardHandlers {
  readonly #exchange: Carried
  readonly #load: Load
  readonly #sentAt = performance.now()
  #handle: ForwardHandle | null = null
  #timer: NodeJS.Timeout | null = null
  /** The timer is that of the wait for a connection. */
  #waits = false
  /** What has become of the request once its protocol has changed; its end is the exchange's. */
  upgraded: Upgrade | null = null

  constructor(exchange: Carried, load: Load) {
    this.#exchange = exchange
    this.#load = load
  }

  start(): void {
    const { environment, record } = this.#exchange
    const { cluster, request, timeoutMs, retry, upgrade } = this.#load
    // Counting must not set the body flowing: it waits for its upstream.
    request.body?.once('resume', () =>
      request.body?.on('data', (chunk: Buffer) => (record.bytesReceived += chunk.length)),
    )
    record.upstreamAttempts = 1
    if (timeoutMs !== null && timeoutMs !== 0) this.#limit(request.body, timeoutMs)
    const forwarder = upgrade === null ? environment.forwarder : upgradeForwarder
    this.#handle = sendWithRetries(forwarder, cluster, request, retry, this)
  }

  #limit(body: Readable | null, timeoutMs: number): void {
    // As Envoy: the route's timeout runs from when the whole request has been read, over all tries.
    const arm = () => {
      this.#stopTimer()
      this.#waits = false
      if (!this.#exchange.finished) this.#timer = setTimeout(() => this.#timedOut(), Math.min(timeoutMs, MAX_TIMER_MS))
    }
    arm()
    if (body === null || body.readableEnded) return
    // Nothing of the body is read before there is a connection, so that waiting for one must have an end of its own.
    this.#waits = true
    body.once('end', arm)
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  /** Frees the upstream now; nothing is reported afterwards. Idempotent. */
  abort(): void {
    this.#handle?.abort()
  }

  /** The exchange is over. `cut`: not as it should be, or before the request was. */
  end(cut: boolean): void {
    this.#stopTimer()
    if (cut) this.abort()
    for (const mirror of this.#load.mirrors) mirror.cut()
  }

  #flag(flag: Flag): void {
    const { flags } = this.#exchange.record
    if (!flags.includes(flag)) flags.push(flag)
  }

  // ---- ForwardHandlers

  onConnected({ host, localAddress, protocol }: Parameters<ForwardHandlers['onConnected']>[0]): void {
    const { record } = this.#exchange
    if (this.#waits) this.#stopTimer()
    this.#waits = false
    record.upstreamHost = host
    record.upstreamLocalAddress = localAddress
    record.upstreamProtocol = protocol
  }

  onRetry(attempt: number): void {
    this.#exchange.record.upstreamAttempts = attempt
  }

  onRetriesExhausted(): void {
    this.#flag('URX')
  }

  onRetryOverflow(): void {
    this.#flag('UO')
  }

  onResponse(response: UpstreamResponse): void {
    const { downstream, environment, record, startedAt, finished } = this.#exchange
    if (finished) return discard(response)
    const now = performance.now()
    record.upstreamServiceTimeMs = Math.round(now - this.#sentAt)
    record.responseDurationMs = Math.round(now - startedAt)
    record.responseCode = response.status
    record.responseCodeDetails = 'via_upstream'
    const bodiless = response.status === 204 || response.status === 205
    const { dressing, facts } = this.#load
    const headers = dressedFields(response.status, returnedHeaders(response.headers, bodiless), dressing, facts)
    headers.push('x-envoy-upstream-service-time', String(record.upstreamServiceTimeMs), 'server', SERVER)
    record.responseHeaders = headers
    if (record.isGrpc) {
      this.#noteGrpcStatus(headers)
      const { trailers } = response
      if (record.grpcStatus === null && trailers !== null)
        response.body.once('end', () => this.#noteGrpcStatus(trailers() ?? NO_FIELDS))
    }
    const { flow, trailers, upgraded } = response
    if (upgraded !== undefined) return this.#change(upgraded, headers)
    if (flow !== undefined && trailers === null && downstream.startSink !== undefined) {
      const sink = downstream.startSink(response.status, headers, environment.draining(), flow)
      return flow.into(new Pour(record, sink, this))
    }
    // They are fields too: nothing that may not come back in the head may come behind the body.
    const returned = trailers === null ? null : () => returnedTrailers(trailers())
    const sink = downstream.start(response.status, headers, environment.draining(), returned)
    // The caller went away this very moment; `pipeline` would throw, and its `close` is on its way to us.
    if (sink.destroyed || sink.closed) return this.abort()
    response.body.on('data', (chunk: Buffer) => (record.bytesSent += chunk.length))
    // Before the pipeline tears the caller's side down: whose fault it was must be known when that closes.
    response.body.once('error', (error) => this.broke(error))
    pipeline(response.body, sink, (error) => {
      // The caller must be able to tell a cut answer from a whole one: its side is reset, never ended.
      if (error !== null && error !== undefined && !this.#exchange.finished) downstream.reset()
    })
  }

  /** The answer was cut. Called before the caller is told. */
  broke(error: Error): void {
    const { finished, record } = this.#exchange
    if (finished || record.flags.includes('UT') || record.reason !== null) return
    const { flag, details } = REFUSALS[error instanceof UpstreamBroke ? error.kind : 'upstream_closed']
    this.#flag(flag ?? 'UC')
    record.responseCodeDetails = details.replace('_before_', '_after_')
  }

  /** The route's timeout was for the answer; what follows lasts as long as both sides want. */
  #change(up: Socket, headers: string[]): void {
    const { downstream, environment, record } = this.#exchange
    const { upgrade: judged } = this.#load
    this.#stopTimer()
    if (judged === null || downstream.upgrade === null) return this.abort()
    const snapshot = environment.active()
    if (snapshot !== judged.snapshot && isForbidden(this.#exchange, judged, snapshot)) {
      record.reason = 'policy_changed'
      record.responseCodeDetails = 'downstream_local_disconnect(policy_changed)'
      this.abort()
      return downstream.reset()
    }
    const down = downstream.upgrade(headers)
    // The caller went away this very moment: its `close` is on its way to us.
    if (down.destroyed || down.closed) return this.abort()
    this.upgraded = new Upgrade(this.#exchange, judged, down, up)
  }

  #noteGrpcStatus(fields: HeaderList): void {
    const status = headerValue(fields, 'grpc-status')
    // What is no status of gRPC's own (0–16) is UNKNOWN to every client; it must not become a label of the upstream's choice.
    if (status !== null) this.#exchange.record.grpcStatus = /^(?:\d|1[0-6])$/.test(status) ? Number(status) : 2
  }

  onFailure(failure: UpstreamFailure): void {
    const { record } = this.#exchange
    record.upstreamTransportFailure = failure.transportFailure
    // As Envoy: also the address that nobody answered at.
    if (failure.host !== undefined) record.upstreamHost = failure.host
    if (record.upstreamAttempts === 1 && UNTRIED.has(failure.kind)) record.upstreamAttempts = 0
    this.#exchange.refuse({
      kind: failure.kind,
      ...(failure.details === null ? {} : { details: failure.details }),
      ...(failure.body === null ? {} : { body: failure.body }),
    })
  }

  #timedOut(): void {
    this.#timer = null
    const { downstream, http, record } = this.#exchange
    const { stats } = this.#load.cluster
    http.stats.downstream_rq_timeout += 1
    stats.upstream_rq_timeout += 1
    if (!downstream.responded) stats.upstream_rq.set(504, (stats.upstream_rq.get(504) ?? 0) + 1)
    this.#handle?.abort('timeout')
    if (!downstream.responded) return this.#exchange.refuse({ kind: 'response_timeout' })
    record.flags.push('UT')
    record.responseCodeDetails = 'response_timeout'
    downstream.reset()
  }
}

const NO_FIELDS: HeaderList = []

/** Nobody is there to have it. */
function discard(response: UpstreamResponse): void {
  if (response.flow !== undefined) response.flow.destroy()
  else response.body.destroy()
}

function returnedTrailers(trailers: HeaderList | null): HeaderList | null {
  const fields = trailers === null ? NO_FIELDS : returnedHeaders(trailers, true)
  return fields.length === 0 ? null : fields
}
