/**
 * One try of a request on its way to one cluster, whatever engine carries it: choose an address, get a verified
 * connection, carry. By itself it goes on only where that cannot repeat anything: to another address of the same name,
 * since nothing has been sent, or once more when a connection that had been idle died without a word and the request may
 * be repeated. Everything else is up to the route's retry policy (retry.ts).
 */
import type { Readable } from 'node:stream'
import { headerValue } from '../core/attributes.ts'
import { grpcToHttpStatus } from '../core/grpc-status.ts'
import { REFUSALS } from '../core/refusal.ts'
import type { ClusterStats } from '../core/stats.ts'
import type { ClusterModel } from '../model/cluster.ts'
import type { Carrier, CarryEvents, Line } from './carrier.ts'
import type { UpstreamCluster } from './cluster.ts'
import { MAX_ATTEMPTS } from './connect.ts'
import { UpstreamEndpoint } from './endpoints.ts'
import type {
  ForwardHandle,
  ForwardHandlers,
  OutgoingRequest,
  Try,
  UpstreamFailure,
  UpstreamResponse,
} from './forwarder.ts'
import { UPSTREAM_OVERFLOW } from './transport-failure.ts'
import { turn } from './turn.ts'

/** RFC 9110 §9.2.2; a proxy must not repeat others on its own (RFC 9112 §9.3.1), even when it could. */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'])

const begin = <L extends Line>(delivery: Delivery<L>): void => delivery.begin()

export class Delivery<L extends Line> implements ForwardHandle, CarryEvents {
  readonly #carrier: Carrier<L>
  readonly #cluster: UpstreamCluster
  readonly #request: OutgoingRequest
  readonly #handlers: ForwardHandlers
  readonly #try: Try | null
  #dialling: { cancel(): void } | null = null
  #attempt: { abort(): void } | null = null
  /** Whose answer is awaited. */
  #awaited: UpstreamEndpoint | null = null
  /** The endpoint that counts this request as its own. */
  #endpoint: UpstreamEndpoint | null = null
  /** The connection had been used before. */
  #reused = false
  /** The attempt under way has been answered. */
  #answered = false
  /** When it has ended, the next one begins. */
  #again = false
  #repeated = false
  /** A response or a failure has been reported. */
  #settled = false
  #aborted = false
  /** Told of the end of the request's body; null: it has none. */
  #bodyGone: (() => void) | null = null

  /** `attempt`: see forwarder.ts; null: there is only this one. */
  constructor(
    carrier: Carrier<L>,
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
    const { body } = request
    if (body === null) turn.begin(this)
    else {
      this.#watch(body)
      // What the stream has in store for this turn comes first: set flowing before, it would flow unseen by who counts it.
      process.nextTick(begin, this)
    }
  }

  /** The first attempt; not in `send` itself: whoever asked has to have its handle before it hears anything. */
  begin(): void {
    this.#next(false)
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
    const gone = (): void => {
      if (!body.readableEnded) this.abort()
    }
    this.#bodyGone = gone
    body.once('error', gone)
    body.once('close', gone)
    if (body.destroyed) process.nextTick(() => this.abort())
  }

  /** The next try watches the same body. The last one's (or only one's) listener stays: errors must be handled. */
  #unwatch(): void {
    const gone = this.#bodyGone
    if (this.#try === null || gone === null) return
    this.#request.body?.removeListener('error', gone)
    this.#request.body?.removeListener('close', gone)
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
    const idle = fresh ? null : this.#carrier.take(picked, this.#cluster, this.#request)
    if (idle !== null) {
      picked.active++
      this.#endpoint = picked
      this.#carry(picked, idle)
      return
    }
    if (!this.#cluster.breakers.admitPending()) return this.#fail(UPSTREAM_OVERFLOW)
    this.#dialling = this.#carrier.connect(
      this.#cluster,
      this.#request,
      {
        onAttemptFailed: (endpoint) => {
          this.#cluster.stats.upstream_rq_pending_failure_eject++
          if (endpoint !== picked) this.#try?.onEndpoint(endpoint)
        },
        onConnected: (connection, endpoint) => {
          this.#stopDialling()
          if (endpoint !== picked) this.#try?.onEndpoint(endpoint)
          this.#endpoint = endpoint
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
    if (dialling !== null) this.#cluster.breakers.releasePending()
    this.#dialling = null
    return dialling
  }

  #carry(endpoint: UpstreamEndpoint, connection: L): void {
    const { breakers, stats, limits } = this.#cluster
    const { protocol } = this.#carrier
    const { reused } = connection
    if (!breakers.admitRequest()) {
      connection.release()
      this.#letGo()
      return this.#fail(UPSTREAM_OVERFLOW)
    }
    if (this.#repeated) stats.upstream_rq_retry++
    this.#handlers.onConnected({
      host: endpoint.text,
      localAddress: connection.localAddress,
      reused,
      protocol,
    })
    if (this.#aborted) {
      breakers.releaseRequest()
      connection.destroy()
      return
    }
    stats.upstream_rq_total++
    if (!reused && protocol === 'HTTP/1.1') stats.upstream_cx_http1_total++
    endpoint.connected(false)
    this.#awaited = endpoint
    this.#reused = reused
    this.#answered = false
    this.#again = false
    this.#attempt = this.#carrier.carry(connection, this.#request, limits, this, this.#cluster)
  }

  // ---- CarryEvents: of the attempt under way; there is never more than one

  onResponse(response: UpstreamResponse): void {
    if (this.#aborted) return
    const { stats } = this.#cluster
    this.#settled = true
    this.#answered = true
    this.#awaited = null
    this.#endpoint?.answered(outcomeOf(response))
    if (this.#repeated) stats.upstream_rq_retry_success++
    if (this.#try?.replaces({ response }) === true) return
    chargeStatus(stats, response.status)
    this.#handlers.onResponse(response)
  }

  onFailure(failure: UpstreamFailure, silent: boolean): void {
    if (this.#aborted) return
    this.#cluster.stats.upstream_rq_rx_reset++
    this.#again = this.#reused && silent && !this.#repeated && this.#repeatable()
    this.#awaited = null
    if (this.#again) return
    // An idle connection that has died is no failure yet; what cannot be sent is ours.
    if (failure.kind !== 'bad_headers') this.#endpoint?.failed()
    this.#fail(failure)
  }

  onEnded(complete: boolean): void {
    this.#attempt = null
    this.#cluster.breakers.releaseRequest()
    if (!complete && this.#answered && !this.#aborted) {
      this.#cluster.stats.upstream_rq_rx_reset++
      this.#endpoint?.failed()
    }
    this.#letGo()
    if (!this.#again || this.#aborted) return
    this.#again = false
    this.#repeated = true
    this.#next(true)
  }

  #repeatable(): boolean {
    return this.#request.body === null && IDEMPOTENT.has(this.#request.method)
  }

  /** Takes this request off its endpoint's count. */
  #letGo(): void {
    if (this.#endpoint !== null) this.#endpoint.active--
    this.#endpoint = null
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
