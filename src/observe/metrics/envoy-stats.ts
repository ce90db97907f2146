/**
 * TABLES that give each slot of core/stats.ts its Envoy name (behaviour §9.2). A slot without a row does not compile.
 */
import type { ClusterStats, ListenerStats } from '../../core/stats.ts'

type Slot<T> = { readonly [K in keyof T]: T[K] extends number ? K : never }[keyof T]

export type StatRow = {
  /** Envoy's name below the scope: `ssl.handshake`. */
  readonly stat: string
  readonly type: 'counter' | 'gauge'
  readonly help: string
}

const counter = (stat: string, help: string): StatRow => ({ stat, type: 'counter', help })
const gauge = (stat: string, help: string): StatRow => ({ stat, type: 'gauge', help })

/** `address_denied` is ours, not Envoy's: sallyport_address_denied_total. */
export const CLUSTER_STATS = {
  upstream_cx_total: counter('upstream_cx_total', 'Connections opened to the upstream.'),
  upstream_cx_active: gauge('upstream_cx_active', 'Connections open to the upstream.'),
  upstream_cx_http1_total: counter('upstream_cx_http1_total', 'HTTP/1.1 connections to the upstream.'),
  upstream_cx_http2_total: counter('upstream_cx_http2_total', 'HTTP/2 connections to the upstream.'),
  upstream_cx_connect_fail: counter('upstream_cx_connect_fail', 'Connections that failed.'),
  upstream_cx_connect_timeout: counter('upstream_cx_connect_timeout', 'Connections that timed out.'),
  upstream_cx_overflow: counter(
    'upstream_cx_overflow',
    'Times that maxConnections kept a connection from being opened.',
  ),
  upstream_cx_max_requests: counter(
    'upstream_cx_max_requests',
    'Connections closed because they had carried maxRequestsPerConnection.',
  ),
  upstream_cx_idle_timeout: counter('upstream_cx_idle_timeout', 'Connections closed because they were idle too long.'),
  upstream_cx_max_duration_reached: counter(
    'upstream_cx_max_duration_reached',
    'Connections that reached maxConnectionDuration.',
  ),
  upstream_cx_destroy: counter('upstream_cx_destroy', 'Connections closed.'),
  upstream_cx_rx_bytes_total: counter('upstream_cx_rx_bytes_total', 'Bytes received from the upstream.'),
  upstream_cx_tx_bytes_total: counter('upstream_cx_tx_bytes_total', 'Bytes sent to the upstream.'),
  upstream_rq_total: counter('upstream_rq_total', 'Requests sent to the upstream.'),
  upstream_rq_active: gauge('upstream_rq_active', 'Requests in flight to the upstream.'),
  upstream_rq_completed: counter('upstream_rq_completed', 'Requests answered by the upstream.'),
  upstream_rq_timeout: counter('upstream_rq_timeout', 'Requests that timed out.'),
  upstream_rq_per_try_timeout: counter('upstream_rq_per_try_timeout', 'Tries that took longer than perTryTimeout.'),
  upstream_rq_retry: counter('upstream_rq_retry', 'Requests sent again.'),
  upstream_rq_retry_success: counter('upstream_rq_retry_success', 'Requests that succeeded when sent again.'),
  upstream_rq_retry_overflow: counter('upstream_rq_retry_overflow', 'Retries that maxRetries or retryBudget forbade.'),
  upstream_rq_retry_limit_exceeded: counter('upstream_rq_retry_limit_exceeded', 'Requests that ran out of retries.'),
  upstream_rq_retry_backoff_exponential: counter(
    'upstream_rq_retry_backoff_exponential',
    'Retries that waited for an exponential back-off.',
  ),
  retry_or_shadow_abandoned: counter(
    'retry_or_shadow_abandoned',
    'Requests whose body was too large to be kept for a retry.',
  ),
  upstream_rq_rx_reset: counter('upstream_rq_rx_reset', 'Requests reset by the upstream.'),
  upstream_rq_cancelled: counter('upstream_rq_cancelled', 'Requests given up before a connection was there.'),
  upstream_rq_pending_total: counter('upstream_rq_pending_total', 'Requests that had to wait for a connection.'),
  upstream_rq_pending_active: gauge('upstream_rq_pending_active', 'Requests waiting for a connection.'),
  upstream_rq_pending_overflow: counter(
    'upstream_rq_pending_overflow',
    'Requests refused because too many waited for a connection, or were in flight.',
  ),
  upstream_rq_pending_failure_eject: counter(
    'upstream_rq_pending_failure_eject',
    'Requests that failed because no connection could be made.',
  ),
  http2_keepalive_timeout: counter(
    'http2.keepalive_timeout',
    'HTTP/2 connections closed because a keep-alive PING was not answered.',
  ),
  ssl_handshake: counter('ssl.handshake', 'TLS handshakes with the upstream.'),
  ssl_connection_error: counter('ssl.connection_error', 'TLS errors that are not of verification.'),
  ssl_fail_verify_error: counter('ssl.fail_verify_error', 'Upstream certificates that did not verify.'),
  ssl_fail_verify_san: counter('ssl.fail_verify_san', 'Upstream certificates for another name.'),
  membership_total: gauge('membership_total', 'Endpoints known.'),
  membership_healthy: gauge('membership_healthy', 'Endpoints in use.'),
  membership_excluded: gauge('membership_excluded', 'Endpoints that the address guard refuses.'),
  outlier_ejections_active: gauge('outlier_detection.ejections_active', 'Endpoints ejected at present.'),
  outlier_ejections_enforced_total: counter('outlier_detection.ejections_enforced_total', 'Ejections.'),
  outlier_ejections_enforced_consecutive_5xx: counter(
    'outlier_detection.ejections_enforced_consecutive_5xx',
    'Ejections for consecutive 5xx answers.',
  ),
  outlier_ejections_enforced_consecutive_gateway_failure: counter(
    'outlier_detection.ejections_enforced_consecutive_gateway_failure',
    'Ejections for consecutive answers 502, 503 or 504.',
  ),
  outlier_ejections_enforced_consecutive_local_origin_failure: counter(
    'outlier_detection.ejections_enforced_consecutive_local_origin_failure',
    'Ejections for consecutive failures to connect, time-outs and resets.',
  ),
  outlier_ejections_overflow: counter(
    'outlier_detection.ejections_overflow',
    'Ejections that maxEjectionPercent forbade.',
  ),
  circuit_breakers_cx_open: gauge('circuit_breakers.default.cx_open', '1 while maxConnections are open.'),
  circuit_breakers_rq_pending_open: gauge(
    'circuit_breakers.default.rq_pending_open',
    '1 while http1MaxPendingRequests wait.',
  ),
  circuit_breakers_rq_open: gauge('circuit_breakers.default.rq_open', '1 while http2MaxRequests are in flight.'),
  circuit_breakers_rq_retry_open: gauge(
    'circuit_breakers.default.rq_retry_open',
    '1 while maxRetries or the retry budget allow no retry.',
  ),
  ext_authz_ok: counter('ext_authz.ok', 'Checks of this authorizer that let a request or tunnel through.'),
  ext_authz_denied: counter('ext_authz.denied', 'Checks of this authorizer that refused.'),
  ext_authz_error: counter(
    'ext_authz.error',
    'Checks of this authorizer that failed: down, too slow, or not to be understood.',
  ),
  ext_authz_failure_mode_allowed: counter(
    'ext_authz.failure_mode_allowed',
    'Let through by failOpen although the authorizer could not be asked.',
  ),
} as const satisfies Record<Exclude<Slot<ClusterStats>, 'address_denied'>, StatRow>

export const LISTENER_STATS = {
  downstream_cx_total: counter('downstream_cx_total', 'Connections accepted.'),
  downstream_cx_active: gauge('downstream_cx_active', 'Connections open.'),
  downstream_cx_destroy: counter('downstream_cx_destroy', 'Connections closed.'),
  downstream_cx_overflow: counter('downstream_cx_overflow', 'Connections refused by the connection limit.'),
  downstream_pre_cx_timeout: counter('downstream_pre_cx_timeout', 'Connections that never got past the handshake.'),
  no_filter_chain_match: counter('no_filter_chain_match', 'Connections that no server claims.'),
  ssl_handshake: counter('ssl.handshake', 'TLS handshakes with callers.'),
  ssl_connection_error: counter('ssl.connection_error', 'TLS errors that are not of verification.'),
  ssl_fail_verify_no_cert: counter('ssl.fail_verify_no_cert', 'Callers without a certificate.'),
  ssl_fail_verify_error: counter('ssl.fail_verify_error', 'Client certificates that did not verify.'),
  ssl_fail_verify_san: counter('ssl.fail_verify_san', 'Client certificates of another identity than configured.'),
} as const satisfies Partial<Record<Slot<ListenerStats>, StatRow>>

export const HTTP_STATS = {
  downstream_rq_total: counter('downstream_rq_total', 'Requests received.'),
  downstream_rq_active: gauge('downstream_rq_active', 'Requests in flight.'),
  downstream_rq_rx_reset: counter('downstream_rq_rx_reset', 'Requests reset by the caller.'),
  downstream_rq_timeout: counter('downstream_rq_timeout', 'Requests that timed out.'),
  downstream_rq_too_large: counter('downstream_rq_too_large', 'Requests over a size limit.'),
  no_route: counter('no_route', 'Requests no route matched.'),
  no_cluster: counter('no_cluster', 'Requests whose route names no cluster.'),
  rq_direct_response: counter('rq_direct_response', 'Requests answered by a route itself.'),
  rbac_allowed: counter('rbac.allowed', 'Requests and tunnels allowed by policy.'),
  rbac_denied: counter('rbac.denied', 'Requests and tunnels refused by policy.'),
  rbac_shadow_allowed: counter('rbac.shadow_allowed', 'What dry-run policies would have allowed.'),
  rbac_shadow_denied: counter('rbac.shadow_denied', 'What dry-run policies would have refused.'),
} as const satisfies Record<Exclude<Slot<ListenerStats>, keyof typeof LISTENER_STATS>, StatRow>
