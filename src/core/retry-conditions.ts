/**
 * TABLE of what `retryOn` may name (Istio HTTPRetry, Envoy router filter, behaviour §4.6): which endings of a try each
 * token lets be tried again. Data, so that a route's list becomes a few flags at load (forward/retry-policy.ts).
 */

/**
 * How a try ended without a response head. `connect`: no connection, so nothing of the request has been sent.
 * `refused`: the upstream says that it has not looked at the request (h2 REFUSED_STREAM, or beyond GOAWAY's last stream).
 * `sent`: anything else: closed, reset, nonsense instead of HTTP, or silence until `perTryTimeout`.
 */
export type ResetKind = 'connect' | 'refused' | 'sent'

export type RetryCondition = {
  /** Status codes, both ends included. */
  readonly statuses?: readonly [from: number, to: number]
  /** `grpc-status` in the response's head (a "trailers-only" response). */
  readonly grpcStatus?: number
  readonly resets?: readonly ResetKind[]
  /** Responses with `x-envoy-ratelimited`, which no other token retries. */
  readonly rateLimited?: true
  /** The status codes that the list itself names. */
  readonly listed?: true
}

/** Envoy counts a reset as the 5xx that it would end as. An overflow is never tried again (it would only add to it). */
const ANY: readonly ResetKind[] = ['connect', 'refused', 'sent']

/** Lower-case tokens. An empty row is a token that Istio takes and that never leads to a retry here. */
export const RETRY_CONDITIONS = {
  '5xx': { statuses: [500, 599], resets: ANY },
  'gateway-error': { statuses: [502, 504], resets: ANY },
  reset: { resets: ANY },
  // Our requests begin with their connection: what has no connection has not begun.
  'reset-before-request': { resets: ['connect'] },
  'connect-failure': { resets: ['connect'] },
  'envoy-ratelimited': { rateLimited: true },
  'retriable-4xx': { statuses: [409, 409] },
  'refused-stream': { resets: ['refused'] },
  'retriable-status-codes': { listed: true },
  // Istio has no field for the header names, so none ever matches.
  'retriable-headers': {},
  'http3-post-connect-failure': {},
  cancelled: { grpcStatus: 1 },
  'deadline-exceeded': { grpcStatus: 4 },
  'resource-exhausted': { grpcStatus: 8 },
  internal: { grpcStatus: 13 },
  unavailable: { grpcStatus: 14 },
} as const satisfies Readonly<Record<string, RetryCondition>>

export type RetryConditionName = keyof typeof RETRY_CONDITIONS

export function isRetryCondition(name: string): name is RetryConditionName {
  return Object.hasOwn(RETRY_CONDITIONS, name)
}
