/** A route's `retries`, made ready once: which endings of a try lead to another (core/retry-conditions.ts). */
import { headerValue } from '../core/attributes.ts'
import type { RefusalKind } from '../core/refusal.ts'
import { isRetryCondition, RETRY_CONDITIONS, type ResetKind, type RetryCondition } from '../core/retry-conditions.ts'
import type { RetryModel } from '../model/route.ts'
import type { UpstreamFailure, UpstreamResponse } from './forwarder.ts'

export type RetryPolicy = {
  readonly statuses: ReadonlySet<number>
  readonly grpcStatuses: ReadonlySet<number>
  readonly resets: ReadonlySet<ResetKind>
  readonly rateLimited: boolean
  /** False: nothing but a failure to connect (or what only HTTP/2 and gRPC know) is tried again, so no body need be kept. */
  readonly afterSend: boolean
}

/** Envoy's limit on a back-off: ten times its base. */
const MAX_BACKOFF_FACTOR = 10
/** What a Node timer can wait; beyond that it would not wait at all. */
export const MAX_TIMER_MS = 2 ** 31 - 1

/** Routes live as long as their configuration, and so does what was made of them. */
const compiled = new WeakMap<RetryModel, RetryPolicy>()

export function retryPolicyOf(model: RetryModel): RetryPolicy {
  let policy = compiled.get(model)
  if (policy === undefined) {
    policy = compile(model)
    compiled.set(model, policy)
  }
  return policy
}

/** Status codes that are listed count without `retriable-status-codes` too: Istio adds it by itself. */
function compile(model: RetryModel): RetryPolicy {
  const statuses = new Set(model.statusCodes)
  const grpcStatuses = new Set<number>()
  const resets = new Set<ResetKind>()
  let rateLimited = false
  for (const name of model.on) {
    // What is not in the table was refused, or passed over with a warning, by configuration.
    if (!isRetryCondition(name)) continue
    const row: RetryCondition = RETRY_CONDITIONS[name]
    if (row.statuses !== undefined)
      for (let status = row.statuses[0]; status <= row.statuses[1]; status++) statuses.add(status)
    if (row.grpcStatus !== undefined) grpcStatuses.add(row.grpcStatus)
    for (const reset of row.resets ?? []) resets.add(reset)
    if (row.rateLimited === true) rateLimited = true
  }
  return {
    statuses,
    grpcStatuses,
    resets,
    rateLimited,
    afterSend: statuses.size > 0 || rateLimited || resets.has('sent'),
  }
}

/** As Envoy's `wouldRetryFromHeaders`. Only the head is looked at: a gRPC status in trailers comes too late. */
export function retriesResponse(policy: RetryPolicy, { status, headers }: UpstreamResponse): boolean {
  const wanted = policy.statuses.has(status) || retriesGrpc(policy, headers)
  if (!wanted && !policy.rateLimited) return false
  // An upstream that sheds load is not to be given more of it.
  if (headerValue(headers, 'x-envoy-overloaded') !== null) return false
  return headerValue(headers, 'x-envoy-ratelimited') === null ? wanted : policy.rateLimited
}

function retriesGrpc({ grpcStatuses }: RetryPolicy, headers: UpstreamResponse['headers']): boolean {
  if (grpcStatuses.size === 0) return false
  const status = headerValue(headers, 'grpc-status')
  return status !== null && grpcStatuses.has(Number(status))
}

/**
 * Endings without a response that a route may have tried again. Not among them: an overflow would only add to itself, the
 * address guard's word stands, and what cannot be carried cannot be carried.
 */
const RETRIABLE: ReadonlySet<RefusalKind> = new Set<RefusalKind>([
  'connect_failure',
  'connect_timeout',
  'upstream_closed',
  'upstream_reset',
  'upstream_protocol',
  'per_try_timeout',
])

/** `connected`: the request was on a connection, and may have been read. */
export function retriesFailure({ resets }: RetryPolicy, failure: UpstreamFailure, connected: boolean): boolean {
  if (!RETRIABLE.has(failure.kind)) return false
  if (failure.refused === true) return resets.has('refused')
  // Whatever the failure is called: a TLS alert may come after the handshake looked complete, with the request on its way.
  return resets.has(connected ? 'sent' : 'connect')
}

/**
 * Milliseconds to wait before retry number `retry` (1 is the first): fully jittered in [0, (2^retry − 1) · base),
 * at most ten times the base. `random` in [0, 1).
 */
export function backoffMs(baseMs: number, retry: number, random: number): number {
  return Math.min(random * Math.min(2 ** Math.min(retry, 10) - 1, MAX_BACKOFF_FACTOR) * baseMs, MAX_TIMER_MS)
}
