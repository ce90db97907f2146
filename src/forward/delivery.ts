/**
 * One request on its way to one cluster, whatever engine carries it: choose an address, get a verified connection,
 * carry, and try again only where that cannot repeat anything: nothing was sent, or a connection that had been idle
 * died without a word and the request may be repeated.
 */
import type { Readable } from 'node:stream'
import { headerValues } from '../core/attributes.ts'
import { REFUSALS } from '../core/refusal.ts'
import type { ResponseLimits, UpstreamCluster } from './cluster.ts'
import { connectUpstream } from './connect.ts'
import { UpstreamEndpoint } from './endpoints.ts'
import type { ForwardHandle, ForwardHandlers, OutgoingRequest, UpstreamFailure, UpstreamResponse } from './forwarder.ts'
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
  readonly #tried: UpstreamEndpoint[] = []
  #dialling: { cancel(): void } | null = null
  #attempt: { abort(): void } | null = null
  /** Takes this request off its endpoint's count. */
  #release: (() => void) | null = null
  #repeated = false
  /** A response or a failure has been reported. */
  #settled = false
  #aborted = false

  constructor(carrier: Carrier, cluster: UpstreamCluster, request: OutgoingRequest, handlers: ForwardHandlers) {
    this.#carrier = carrier
    this.#cluster = cluster
    this.#request = request
    this.#handlers = handlers
    if (request.body !== null) this.#watch(request.body)
    process.nextTick(() => this.#next(false))
  }

  /** Frees the upstream now. Idempotent; nothing is reported afterwards. */
  abort(): void {
    if (this.#aborted) return
    this.#aborted = true
    if (this.#dialling !== null || (!this.#settled && this.#attempt === null))
      this.#cluster.stats.upstream_rq_cancelled++
    this.#dialling?.cancel()
    this.#dialling = null
    if (this.#attempt === null) this.#letGo()
    this.#attempt?.abort()
  }

  /** A caller who stops in mid-body has hung up: the upstream must not take the truncated body for a whole one. */
  #watch(body: Readable): void {
    body.once('error', () => this.abort())
    body.once('close', () => {
      if (!body.readableEnded) this.abort()
    })
    if (body.destroyed) process.nextTick(() => this.abort())
  }

  #next(fresh: boolean): void {
    if (this.#aborted) return
    const picked = this.#cluster.pick(this.#request, this.#tried)
    if (picked instanceof Promise) void picked.then((later) => this.#use(later, fresh))
    else this.#use(picked, fresh)
  }

  #use(picked: UpstreamEndpoint | UpstreamFailure, fresh: boolean): void {
    if (this.#aborted) return
    if (!(picked instanceof UpstreamEndpoint)) {
      this.#fail(picked)
      return
    }
    const idle = fresh ? null : picked.pool.takeIdle()
    if (idle !== null) {
      picked.active++
      this.#release = () => {
        picked.active--
      }
      this.#carry(picked, idle)
      return
    }
    // Not a byte has been sent, so another address may be tried for every request.
    this.#dialling = connectUpstream(
      this.#cluster,
      this.#request,
      {
        onAttemptFailed: (endpoint) => {
          this.#cluster.stats.upstream_rq_pending_failure_eject++
          this.#tried.push(endpoint)
        },
        onConnected: (connection, endpoint, released) => {
          this.#dialling = null
          this.#release = released
          this.#carry(endpoint, connection)
        },
        onFailed: (failure) => {
          this.#dialling = null
          this.#fail(failure)
        },
      },
      picked,
    )
  }

  #carry(endpoint: UpstreamEndpoint, connection: PooledConnection): void {
    const { stats, limits } = this.#cluster
    const { reused } = connection
    if (this.#tried.length > 0 || this.#repeated) stats.upstream_rq_retry++
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
    let again = false
    this.#attempt = this.#carrier(connection, this.#request, limits, {
      onResponse: (response) => {
        if (this.#aborted) return
        this.#settled = true
        if (this.#tried.length > 0 || this.#repeated) stats.upstream_rq_retry_success++
        this.#charge(response.status)
        this.#handlers.onResponse(response)
      },
      onFailure: (failure, silent) => {
        if (this.#aborted) return
        stats.upstream_rq_rx_reset++
        again = reused && silent && !this.#repeated && this.#repeatable()
        if (!again) this.#fail(failure)
      },
      onEnded: (complete) => {
        this.#attempt = null
        stats.upstream_rq_active--
        if (!complete && this.#settled && !this.#aborted) stats.upstream_rq_rx_reset++
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
    this.#charge(REFUSALS[failure.kind].status)
    this.#handlers.onFailure(failure)
  }

  /** Envoy's router counts its own answers for a cluster too (`upstream_rq_503` for a refused connection). */
  #charge(status: number): void {
    const { upstream_rq: codes } = this.#cluster.stats
    this.#cluster.stats.upstream_rq_completed++
    codes.set(status, (codes.get(status) ?? 0) + 1)
  }
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
