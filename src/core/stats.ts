/**
 * Plain integer slots that the data path increments and a scrape reads (Envoy stat names, behaviour §9.2).
 * Objects, not a metrics library: one `+= 1` per event on the hot path.
 */

/** One per cluster name; survives reloads so that counters never fall. */
export type ClusterStats = {
  readonly name: string
  upstream_cx_total: number
  upstream_cx_active: number
  upstream_cx_http1_total: number
  upstream_cx_http2_total: number
  upstream_cx_connect_fail: number
  upstream_cx_connect_timeout: number
  /** Times that maxConnections kept one from being opened. */
  upstream_cx_overflow: number
  /** Closed for what the name says. */
  upstream_cx_max_requests: number
  upstream_cx_idle_timeout: number
  upstream_cx_max_duration_reached: number
  upstream_cx_destroy: number
  upstream_cx_rx_bytes_total: number
  upstream_cx_tx_bytes_total: number
  upstream_rq_total: number
  upstream_rq_active: number
  upstream_rq_completed: number
  upstream_rq_timeout: number
  upstream_rq_per_try_timeout: number
  upstream_rq_retry: number
  upstream_rq_retry_success: number
  upstream_rq_retry_overflow: number
  upstream_rq_retry_limit_exceeded: number
  upstream_rq_retry_backoff_exponential: number
  /** Requests whose body outgrew what is kept for another try. */
  retry_or_shadow_abandoned: number
  upstream_rq_rx_reset: number
  upstream_rq_cancelled: number
  upstream_rq_pending_total: number
  upstream_rq_pending_active: number
  /** Refused: too many wait already (maxPendingRequests), or are under way (maxRequests). */
  upstream_rq_pending_overflow: number
  upstream_rq_pending_failure_eject: number
  /** HTTP/2 connections that were closed because a keep-alive PING was not answered in time. */
  http2_keepalive_timeout: number
  ssl_handshake: number
  ssl_connection_error: number
  ssl_fail_verify_error: number
  ssl_fail_verify_san: number
  /** Answers that the address guard dropped. */
  address_denied: number
  /** Checks of an authorizer by what came of them; `failure_mode_allowed`: let through although it could not be asked. */
  ext_authz_ok: number
  ext_authz_denied: number
  ext_authz_error: number
  ext_authz_failure_mode_allowed: number
  membership_total: number
  membership_healthy: number
  /** Refused by the address guard. */
  membership_excluded: number
  outlier_ejections_active: number
  outlier_ejections_enforced_total: number
  outlier_ejections_enforced_consecutive_5xx: number
  outlier_ejections_enforced_consecutive_gateway_failure: number
  outlier_ejections_enforced_consecutive_local_origin_failure: number
  /** Endpoints that failed often enough but stayed, because maxEjectionPercent were out already. */
  outlier_ejections_overflow: number
  /** 1 while the limit is reached, as of the last look (breakers.ts). */
  circuit_breakers_cx_open: number
  circuit_breakers_rq_pending_open: number
  circuit_breakers_rq_open: number
  circuit_breakers_rq_retry_open: number
  /** Responses by status code. */
  readonly upstream_rq: Map<number, number>
}

export function newClusterStats(name: string): ClusterStats {
  return {
    name,
    upstream_cx_total: 0,
    upstream_cx_active: 0,
    upstream_cx_http1_total: 0,
    upstream_cx_http2_total: 0,
    upstream_cx_connect_fail: 0,
    upstream_cx_connect_timeout: 0,
    upstream_cx_overflow: 0,
    upstream_cx_max_requests: 0,
    upstream_cx_idle_timeout: 0,
    upstream_cx_max_duration_reached: 0,
    upstream_cx_destroy: 0,
    upstream_cx_rx_bytes_total: 0,
    upstream_cx_tx_bytes_total: 0,
    upstream_rq_total: 0,
    upstream_rq_active: 0,
    upstream_rq_completed: 0,
    upstream_rq_timeout: 0,
    upstream_rq_per_try_timeout: 0,
    upstream_rq_retry: 0,
    upstream_rq_retry_success: 0,
    upstream_rq_retry_overflow: 0,
    upstream_rq_retry_limit_exceeded: 0,
    upstream_rq_retry_backoff_exponential: 0,
    retry_or_shadow_abandoned: 0,
    upstream_rq_rx_reset: 0,
    upstream_rq_cancelled: 0,
    upstream_rq_pending_total: 0,
    upstream_rq_pending_active: 0,
    upstream_rq_pending_overflow: 0,
    upstream_rq_pending_failure_eject: 0,
    http2_keepalive_timeout: 0,
    ssl_handshake: 0,
    ssl_connection_error: 0,
    ssl_fail_verify_error: 0,
    ssl_fail_verify_san: 0,
    address_denied: 0,
    ext_authz_ok: 0,
    ext_authz_denied: 0,
    ext_authz_error: 0,
    ext_authz_failure_mode_allowed: 0,
    membership_total: 0,
    membership_healthy: 0,
    membership_excluded: 0,
    outlier_ejections_active: 0,
    outlier_ejections_enforced_total: 0,
    outlier_ejections_enforced_consecutive_5xx: 0,
    outlier_ejections_enforced_consecutive_gateway_failure: 0,
    outlier_ejections_enforced_consecutive_local_origin_failure: 0,
    outlier_ejections_overflow: 0,
    circuit_breakers_cx_open: 0,
    circuit_breakers_rq_pending_open: 0,
    circuit_breakers_rq_open: 0,
    circuit_breakers_rq_retry_open: 0,
    upstream_rq: new Map(),
  }
}

/** One per bound port. `address` is Envoy's listener name: `0.0.0.0_8080`. */
export type ListenerStats = {
  readonly address: string
  downstream_cx_total: number
  downstream_cx_active: number
  downstream_cx_destroy: number
  downstream_cx_overflow: number
  downstream_pre_cx_timeout: number
  no_filter_chain_match: number
  ssl_handshake: number
  ssl_connection_error: number
  ssl_fail_verify_no_cert: number
  ssl_fail_verify_error: number
  ssl_fail_verify_san: number
  downstream_rq_total: number
  downstream_rq_active: number
  downstream_rq_rx_reset: number
  downstream_rq_timeout: number
  downstream_rq_too_large: number
  no_route: number
  no_cluster: number
  rq_direct_response: number
  rbac_allowed: number
  rbac_denied: number
  rbac_shadow_allowed: number
  rbac_shadow_denied: number
  /** Responses by class, index 1–5. */
  readonly downstream_rq_xx: number[]
}

export function newListenerStats(address: string): ListenerStats {
  return {
    address,
    downstream_cx_total: 0,
    downstream_cx_active: 0,
    downstream_cx_destroy: 0,
    downstream_cx_overflow: 0,
    downstream_pre_cx_timeout: 0,
    no_filter_chain_match: 0,
    ssl_handshake: 0,
    ssl_connection_error: 0,
    ssl_fail_verify_no_cert: 0,
    ssl_fail_verify_error: 0,
    ssl_fail_verify_san: 0,
    downstream_rq_total: 0,
    downstream_rq_active: 0,
    downstream_rq_rx_reset: 0,
    downstream_rq_timeout: 0,
    downstream_rq_too_large: 0,
    no_route: 0,
    no_cluster: 0,
    rq_direct_response: 0,
    rbac_allowed: 0,
    rbac_denied: 0,
    rbac_shadow_allowed: 0,
    rbac_shadow_denied: 0,
    downstream_rq_xx: [0, 0, 0, 0, 0, 0],
  }
}
