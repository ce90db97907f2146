/**
 * Tries a request again as its route says (VirtualService `retries`, Istio's default policy; Envoy's router filter,
 * behaviour §4.6, §10.6): at most so many times, after a jittered back-off, never beyond the cluster's retry budget, and
 * only while the whole request can be given again byte for byte.
 */

import { headerValue } from '../core/attributes.ts'
import { REFUSALS } from '../core/refusal.ts'
import type { RetryModel } from '../model/route.ts'
import type { UpstreamCluster } from './cluster.ts'
import { chargeStatus } from './delivery.ts'
import type { UpstreamEndpoint } from './endpoints.ts'
import type { Forwarder } from './engine.ts'
import type {
  ForwardHandle,
  ForwardHandlers,
  OutgoingRequest,
  Try,
  TryEnding,
  UpstreamFailure,
  UpstreamResponse,
} from './forwarder.ts'
import { speaksHttp2 } from './http-version.ts'
import { ReplayableBody } from './replayable-body.ts'
import { giveRetryBack, takeRetry } from './retry-budget.ts'
import {
  backoffMs,
  MAX_TIMER_MS,
  type RetryPolicy,
  retriesFailure,
  retriesResponse,
  retryPolicyOf,
} from './retry-policy.ts'

const TRIES_PER_PRIORITY = 2
const NONE: readonly UpstreamEndpoint[] = []

const PER_TRY_TIMEOUT: UpstreamFailure = {
  kind: 'per_try_timeout',
  details: null,
  body: null,
  transportFailure: null,
}

/** As `forwarder.send`, which it is when `retry` is null. `abort()` also ends a back-off. */
export function sendWithRetries(
  forwarder: Forwarder,
  cluster: UpstreamCluster,
  request: OutgoingRequest,
  retry: RetryModel | null,
  handlers: ForwardHandlers,
): ForwardHandle {
  return retry === null
    ? forwarder.send(cluster, request, handlers)
    : new Retrying(forwarder, cluster, request, retry, handlers)
}

class Retrying implements ForwardHandle, ForwardHandlers, Try {
  avoid = NONE
  spill = false
  readonly #forwarder: Forwarder
  readonly #cluster: UpstreamCluster
  readonly #request: OutgoingRequest
  readonly #retry: RetryModel
  readonly #policy: RetryPolicy
  readonly #handlers: ForwardHandlers
  /** null: there is no body, or it is not worth keeping. */
  readonly #body: ReplayableBody | null
  #handle: ForwardHandle | null = null
  #endpoint: UpstreamEndpoint | null = null
  /** Of endpoints that have been tried; null: of no interest. */
  #priorities: Set<number> | null = null
  /** Tries that have begun. */
  #tries = 0
  /** This try's request is, or was, on a connection. */
  #connected = false
  #awaitsEnd = false
  /** Of the back-off, or of the try. */
  #timer: NodeJS.Timeout | null = null
  /** A place in the cluster's retry budget is ours. */
  #holding = false
  #done = false

  constructor(
    forwarder: Forwarder,
    cluster: UpstreamCluster,
    request: OutgoingRequest,
    retry: RetryModel,
    handlers: ForwardHandlers,
  ) {
    this.#forwarder = forwarder
    this.#cluster = cluster
    this.#request = request
    this.#retry = retry
    this.#handlers = handlers
    this.#policy = retryPolicyOf(retry)
    this.#body = request.body !== null && this.#keepsBody() ? this.#keep(request.body) : null
    this.#begin()
  }

  abort(why?: 'timeout'): void {
    if (!this.#done) this.#end()
    this.#handle?.abort(why)
    this.#body?.close()
  }

  /** A failure to connect leaves the body untouched, so most requests to HTTP/1.1 upstreams need not keep theirs. */
  #keepsBody(): boolean {
    return this.#policy.afterSend || speaksHttp2(this.#cluster.model, this.#request.clientProtocol)
  }

  #keep(source: NonNullable<OutgoingRequest['body']>): ReplayableBody {
    const body = new ReplayableBody(source, () => {
      this.#cluster.stats.retry_or_shadow_abandoned++
    })
    const gone = (): void => {
      if (!source.readableEnded) this.abort()
    }
    source.once('error', gone)
    source.once('close', gone)
    if (source.destroyed) process.nextTick(gone)
    return body
  }

  #begin(): void {
    this.#tries++
    this.#connected = false
    const body = this.#body
    const request = body === null ? this.#request : { ...this.#request, body: body.open() }
    if (this.#tries > 1) this.#handlers.onRetry?.(this.#tries)
    this.#handle = this.#forwarder.send(this.#cluster, request, this, this)
  }

  onEndpoint(endpoint: UpstreamEndpoint): void {
    if (this.#endpoint !== null && this.#endpoint !== endpoint) this.#leave(this.#endpoint)
    this.#endpoint = endpoint
  }

  #leave(endpoint: UpstreamEndpoint): void {
    if (this.#retry.remoteLocalities) {
      this.#priorities ??= new Set()
      this.#priorities.add(endpoint.priority)
    }
    if (this.#retry.ignorePreviousHosts) this.#avoid(endpoint)
  }

  #avoid(endpoint: UpstreamEndpoint): void {
    if (!this.avoid.includes(endpoint)) this.avoid = [...this.avoid, endpoint]
  }

  /** Envoy's `previous_priorities` as Istio sets it: after every second try the priorities tried so far are left alone. */
  #leavePriorities(): void {
    if (this.#priorities === null || this.#tries % TRIES_PER_PRIORITY !== 0) return
    this.spill = true
    for (const endpoint of this.#cluster.endpoints()) if (this.#priorities.has(endpoint.priority)) this.#avoid(endpoint)
  }

  onConnected(upstream: Parameters<ForwardHandlers['onConnected']>[0]): void {
    this.#connected = true
    this.#handlers.onConnected(upstream)
    if (this.#retry.perTryTimeoutMs !== null) this.#limitTry()
  }

  /** As Envoy: from when there is a connection and the whole request has been read, to the response's head. */
  #limitTry(): void {
    const { body } = this.#request
    if (body === null || body.readableEnded) this.#armTry()
    else if (!this.#awaitsEnd) {
      this.#awaitsEnd = true
      body.once('end', () => this.#armTry())
    }
  }

  #armTry(): void {
    const { perTryTimeoutMs } = this.#retry
    if (perTryTimeoutMs === null || this.#done || !this.#connected) return
    this.#stopTimer()
    this.#timer = setTimeout(() => this.#onTryTimeout(), Math.min(perTryTimeoutMs, MAX_TIMER_MS))
  }

  #onTryTimeout(): void {
    this.#timer = null
    this.#cluster.stats.upstream_rq_per_try_timeout++
    this.#handle?.abort('timeout')
    if (this.replaces({ failure: PER_TRY_TIMEOUT })) return
    chargeStatus(this.#cluster.stats, REFUSALS.per_try_timeout.status)
    this.onFailure(PER_TRY_TIMEOUT)
  }

  replaces(ending: TryEnding): boolean {
    this.#stopTimer()
    const response = 'response' in ending ? ending.response : null
    const wanted =
      'response' in ending
        ? retriesResponse(this.#policy, ending.response)
        : retriesFailure(this.#policy, ending.failure, this.#connected)
    // As Envoy: a retry lasts until its response is there; one that is not to be repeated has been worth it.
    if (this.#holding && response !== null && !wanted) this.#cluster.stats.upstream_rq_retry_success++
    this.#giveBack()
    if (!wanted || !this.#repeatable() || !this.#mayRetry()) return false
    this.#connected = false
    if (response !== null) this.#dispose(response)
    this.#body?.close()
    if (this.#endpoint !== null) this.#leave(this.#endpoint)
    this.#endpoint = null
    this.#leavePriorities()
    this.#backOff()
    return true
  }

  /** The whole request can be given again. */
  #repeatable(): boolean {
    if (this.#request.body === null) return true
    return this.#body === null ? !this.#connected : this.#body.replayable
  }

  #mayRetry(): boolean {
    const { stats, model } = this.#cluster
    if (this.#tries > this.#retry.attempts) {
      stats.upstream_rq_retry_limit_exceeded++
      this.#handlers.onRetriesExhausted?.()
      return false
    }
    if (!takeRetry(stats, model.pool)) {
      stats.upstream_rq_retry_overflow++
      this.#handlers.onRetryOverflow?.()
      return false
    }
    this.#holding = true
    stats.upstream_rq_retry++
    return true
  }

  /** A connection is only worth keeping when there is nothing left to read on it, or to write. */
  #dispose({ headers, body }: UpstreamResponse): void {
    const uploaded = this.#request.body === null || this.#request.body.readableEnded
    if (uploaded && headerValue(headers, 'content-length') === '0') body.resume()
    else this.#handle?.abort()
    // What is cut off here is not missed.
    body.on('error', () => undefined)
    this.#handle = null
  }

  #backOff(): void {
    this.#cluster.stats.upstream_rq_retry_backoff_exponential++
    this.#timer = setTimeout(
      () => {
        this.#timer = null
        this.#begin()
      },
      backoffMs(this.#retry.backoffMs, this.#tries, Math.random()),
    )
  }

  onResponse(response: UpstreamResponse): void {
    this.#end()
    this.#body?.discard()
    this.#handlers.onResponse(response)
  }

  onFailure(failure: UpstreamFailure): void {
    this.#end()
    this.#body?.close()
    this.#handlers.onFailure(this.#tries > 1 ? retried(failure) : failure)
  }

  /** Nothing more will be tried. */
  #end(): void {
    this.#done = true
    this.#stopTimer()
    this.#giveBack()
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  #giveBack(): void {
    if (this.#holding) giveRetryBack(this.#cluster.stats)
    this.#holding = false
  }
}

const BEFORE = 'before headers. reset reason: '

/** Envoy's words for a reset after a retry. */
function retried(failure: UpstreamFailure): UpstreamFailure {
  const body = failure.body ?? REFUSALS[failure.kind].body
  if (!body.includes(BEFORE)) return failure
  return { ...failure, body: body.replace(BEFORE, 'before headers. retried and the latest reset reason: ') }
}
