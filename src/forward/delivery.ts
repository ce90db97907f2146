/**
 * One try of a request on its way to one cluster, whatever engine carries it: choose an address, get a verified
 * connection, carry. By itself it goes on only where that cannot repeat anything: to another address of the same name,
 * since nothing has been sent, or once more when a connection that had been idle died without a word and the request may
 * be repeated. Everything else is up to the route's retry policy (retry.ts).
 */
import type { Readable } from 'node:stream'
import { headerValue, headerValues } from '../core/attributes.ts'
import { grpcToHttpStatus } from '../core/grpc-status.ts'
import { REFUSALS } from '../core/refusal.ts'
import type { ClusterStats } from '../core/stats.ts'
import type { ClusterModel } from '../model/cluster.ts'
import type { ResponseLimits, UpstreamCluster } from './cluster.ts'
import { connectUpstream, MAX_ATTEMPTS } from './connect.ts'
import { UpstreamEndpoint } from './endpoints.ts'
import type {
  ForwardHandle,
  ForwardHandlers,
  OutgoingRequest,
  Try,
  UpstreamFailure,
  UpstreamResponse,
} from './forwarder.ts'
import type { PooledConnection } from './pool.ts'

/** What an engine reports about one attempt, in this order: one of the first two at most once, then `onEnded` once. */
export type CarryEvents = {
  readonly onResponse: (response: UpstreamResponse) => void
  /** `silent`: not one byte came back on this attempt. */
  readonly onFailure: (failure: UpstreamFailure, silent: boolean) => void
  /** The connection has been given back (`complete`) or destroyed. */
  readonly onEnded: (complete: boolean) => void
}

/** Carries one request over one connection, which it gives back or destroys. Must not call `events` synchronously. */
export type Carrier = (
  connection: PooledConnection,
  request: OutgoingRequest,
  limits: ResponseLimits,
  events: CarryEvents,
) => { abort(): void }

/** RFC 9110 §9.2.2; a proxy must not repeat others on its own (RFC 9112 §9.3.1), even when it could. */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'])

export class Delivery implements ForwardHandle {
  readonly #carrier: Carrier
  readonly #cluster: UpstreamCluster
  readonly #request: OutgoingRequest
  readonly #handlers: ForwardHandlers
  readonly #try: Try | null
  #dialling: { cancel(): void } | null = null
  #attempt: { abort(): void } | null = null
  /** Whose answer is awaited. */
  #awaited: UpstreamEndpoint | null = null
  /** Takes this request off its endpoint's count. */
  #release: (() => void) | null = null
  #repeated = false
  /** A response or a failure has been reported. */
  #settled = false
  #aborted = false

  /** `attempt`: see forwarder.ts; null: there is only this one. */
  constructor(
    carrier: Carrier,
    cluster: UpstreamCluster,
    request: OutgoingRequest,
    handlers: ForwardHandlers,
    attempt: Try | null,
  ) {
    this.#try = attempt
    this.#carrier = carrier
    this.#cluster = cluster
    this.#request = request
    this.#handlers = handlers
    if (request.body !== null) this.#watch(request.body)
    process.nextTick(() => this.#next(false))
  }

  /** Frees the upstream now. Idempotent; nothing is reported afterwards. */
  abort(why?: 'timeout'): void {
    if (this.#aborted) return
    this.#aborted = true
    if (why === 'timeout') this.#awaited?.failed()
    if (this.#dialling !== null || (!this.#settled && this.#attempt === null))
      this.#cluster.stats.upstream_rq_cancelled++
    this.#stopDialling()?.cancel()
    this.#unwatch()
    if (this.#attempt === null) this.#letGo()
    this.#attempt?.abort()
  }

  /** A caller who stops in mid-body has hung up: the upstream must not take the truncated body for a whole one. */
  #watch(body: Readable): void {
    body.once('error', this.#onBodyGone)
    body.once('close', this.#onBodyGone)
    if (body.destroyed) process.nextTick(() => this.abort())
  }

  readonly #onBodyGone = (): void => {
    if (this.#request.body?.readableEnded === false) this.abort()
  }

  /** The next try watches the same body. The last one's (or only one's) listener stays: errors must be handled. */
  #unwatch(): void {
    if (this.#try === null) return
    this.#request.body?.removeListener('error', this.#onBodyGone)
    this.#request.body?.removeListener('close', this.#onBodyGone)
  }

  #next(fresh: boolean): void {
    if (this.#aborted) return
    const avoid = this.#try?.avoid
    const picked = this.#cluster.pick(this.#request, avoid, this.#try?.spill)
    if (picked instanceof Promise) void picked.then((later) => this.#useOrRepeat(later, fresh))
    else if (avoid === undefined || avoid.length === 0) this.#use(picked, fresh)
    else this.#useOrRepeat(picked, fresh)
  }

  /** When all have been tried, they are tried again. */
  #useOrRepeat(picked: UpstreamEndpoint | UpstreamFailure, fresh: boolean): void {
    const avoided = this.#try !== null && this.#try.avoid.length > 0
    if (!avoided || picked instanceof UpstreamEndpoint) return this.#use(picked, fresh)
    const any = this.#cluster.pick(this.#request)
    if (any instanceof Promise) void any.then((later) => this.#use(later, fresh))
    else this.#use(any, fresh)
  }

  #use(picked: UpstreamEndpoint | UpstreamFailure, fresh: boolean): void {
    if (this.#aborted) return
    if (!(picked instanceof UpstreamEndpoint)) {
      this.#fail(picked)
      return
    }
    this.#try?.onEndpoint(picked)
    const idle = fresh ? null : picked.pool.takeIdle()
    if (idle !== null) {
      picked.active++
      this.#release = () => {
        picked.active--
      }
      this.#carry(picked, idle)
      return
    }
    this.#cluster.stats.upstream_rq_pending_total++
    this.#cluster.stats.upstream_rq_pending_active++
    this.#dialling = connectUpstream(
      this.#cluster,
      this.#request,
      {
        onAttemptFailed: (endpoint) => {
          this.#cluster.stats.upstream_rq_pending_failure_eject++
          if (endpoint !== picked) this.#try?.onEndpoint(endpoint)
        },
        onConnected: (connection, endpoint, released) => {
          this.#stopDialling()
          if (endpoint !== picked) this.#try?.onEndpoint(endpoint)
          this.#release = released
          this.#carry(endpoint, connection)
        },
        onFailed: (failure) => {
          this.#stopDialling()
          this.#fail(failure)
        },
      },
      picked,
      addressesPerTry(this.#cluster.model),
    )
  }

  #stopDialling(): { cancel(): void } | null {
    const dialling = this.#dialling
    if (dialling !== null) this.#cluster.stats.upstream_rq_pending_active--
    this.#dialling = null
    return dialling
  }

  #carry(endpoint: UpstreamEndpoint, connection: PooledConnection): void {
    const { stats, limits } = this.#cluster
    const { reused } = connection
    if (this.#repeated) stats.upstream_rq_retry++
    this.#handlers.onConnected({
      host: endpoint.text,
      localAddress: connection.localAddress,
      reused,
      protocol: 'HTTP/1.1',
    })
    if (this.#aborted) {
      connection.destroy()
      return
    }
    stats.upstream_rq_total++
    stats.upstream_rq_active++
    endpoint.connected(false)
    this.#awaited = endpoint
    let again = false
    let answered = false
    this.#attempt = this.#carrier(connection, this.#request, limits, {
      onResponse: (response) => {
        if (this.#aborted) return
        this.#settled = true
        this.#awaited = null
        answered = true
        endpoint.answered(outcomeOf(response))
        if (this.#repeated) stats.upstream_rq_retry_success++
        if (this.#try?.replaces({ response }) === true) return
        chargeStatus(stats, response.status)
        this.#handlers.onResponse(response)
      },
      onFailure: (failure, silent) => {
        if (this.#aborted) return
        stats.upstream_rq_rx_reset++
        again = reused && silent && !this.#repeated && this.#repeatable()
        this.#awaited = null
        // An idle connection that has died is no failure yet; what cannot be sent is ours.
        if (!again && failure.kind !== 'bad_headers') endpoint.failed()
        if (!again) this.#fail(failure)
      },
      onEnded: (complete) => {
        this.#attempt = null
        stats.upstream_rq_active--
        if (!complete && answered && !this.#aborted) {
          stats.upstream_rq_rx_reset++
          endpoint.failed()
        }
        this.#letGo()
        if (!again || this.#aborted) return
        this.#repeated = true
        this.#next(true)
      },
    })
  }

  #repeatable(): boolean {
    return this.#request.body === null && IDEMPOTENT.has(this.#request.method)
  }

  #letGo(): void {
    this.#release?.()
    this.#release = null
  }

  #fail(failure: UpstreamFailure): void {
    if (this.#settled || this.#aborted) return
    this.#settled = true
    this.#unwatch()
    if (this.#try?.replaces({ failure }) === true) return
    chargeStatus(this.#cluster.stats, REFUSALS[failure.kind].status)
    this.#handlers.onFailure(failure)
  }
}

/** Envoy's router counts its own answers for a cluster too (`upstream_rq_503` for a refused connection). */
export function chargeStatus(stats: ClusterStats, status: number): void {
  stats.upstream_rq_completed++
  stats.upstream_rq.set(status, (stats.upstream_rq.get(status) ?? 0) + 1)
}

/** As outlier detection counts it: a gRPC error that comes at once, without a body, is one of the endpoint (Envoy's router). */
function outcomeOf({ status, headers }: UpstreamResponse): number {
  const grpc = status === 200 ? headerValue(headers, 'grpc-status') : null
  return grpc === null ? status : grpcToHttpStatus(grpc)
}

/**
 * Endpoints that the operator wrote down (or several names) are hosts of their own, one per try as in Envoy; the
 * addresses of one name are one host with several doors (happy eyeballs, RFC 8305).
 */
function addressesPerTry({ discovery, endpoints }: ClusterModel): number {
  return discovery === 'static' || endpoints.length > 1 ? 1 : MAX_ATTEMPTS
}

/**
 * The body length that the fields declare: a number, `chunked` when there is a body without a length, null when there
 * is no body. Undefined: the fields and the body contradict each other.
 */
export function declaredLength(request: OutgoingRequest): number | 'chunked' | null | undefined {
  const lengths = headerValues(request.headers, 'content-length')
  if (lengths.length === 0) return request.body === null ? null : 'chunked'
  const length = lengths.length === 1 && /^[0-9]{1,15}$/.test(lengths[0] as string) ? Number(lengths[0]) : undefined
  return request.body === null && length !== 0 ? undefined : length
}
