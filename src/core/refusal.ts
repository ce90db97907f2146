/**
 * TABLE of answers the gateway itself gives (contract §5, behaviour §10.3): status, body, Envoy flag, response code
 * details and our reason code. One row per situation; listeners/reply.ts turns a row into bytes.
 */
import type { HeaderList } from './attributes.ts'
import type { Flag } from './flags.ts'
import type { Reason } from './reasons.ts'

export type RefusalRow = {
  readonly status: number
  readonly body: string
  readonly flag: Flag | null
  readonly details: string
  readonly reason: Reason | null
  /** True: the connection cannot be trusted to be in sync any more and is closed after the answer. */
  readonly close?: true
}

const reset = (what: string) => `upstream connect error or disconnect/reset before headers. reset reason: ${what}`

export const REFUSALS = {
  rbac_denied: {
    status: 403,
    body: 'RBAC: access denied',
    flag: null,
    details: 'rbac_access_denied_matched_policy[none]',
    reason: 'rbac_denied',
  },
  not_registered: { status: 502, body: '', flag: null, details: 'direct_response', reason: 'not_registered' },
  caller_not_listed: { status: 502, body: '', flag: null, details: 'direct_response', reason: 'caller_not_listed' },
  no_route: { status: 404, body: '', flag: 'NR', details: 'route_not_found', reason: 'no_route' },
  no_cluster: { status: 503, body: '', flag: 'NC', details: 'cluster_not_found', reason: null },
  address_denied: {
    status: 403,
    body: 'address denied',
    flag: null,
    details: 'address_denied',
    reason: 'address_denied',
  },
  /** A token is there and does not verify (RequestAuthentication): jwt_authn's bodies replace this one. */
  jwt_invalid: {
    status: 401,
    body: 'Jwt verification fails',
    flag: null,
    details: 'jwt_authn_access_denied',
    reason: 'jwt_invalid',
  },
  /** The authorizer of a CUSTOM policy refused, or could not be asked; status and body are its own. */
  ext_authz_denied: {
    status: 403,
    body: '',
    flag: 'UAEX',
    details: 'ext_authz_denied',
    reason: 'ext_authz_denied',
  },
  /** An operator's block (`sallyport block`) covers this caller or host. */
  blocked: { status: 403, body: 'blocked', flag: null, details: 'blocked', reason: 'blocked' },
  rate_limited: {
    status: 429,
    body: 'local_rate_limited',
    flag: 'RL',
    details: 'request_rate_limited',
    reason: 'rate_limited',
  },
  misdirected: { status: 421, body: '', flag: null, details: 'misdirected_request', reason: 'misdirected' },
  bad_request: { status: 400, body: '', flag: 'DPE', details: 'http1.codec_error', reason: 'bad_request', close: true },
  missing_host: {
    status: 400,
    body: '',
    flag: null,
    details: 'missing_host_header',
    reason: 'bad_request',
    close: true,
  },
  bad_authority: {
    status: 400,
    body: '',
    flag: null,
    details: 'invalid_authority',
    reason: 'bad_request',
    close: true,
  },
  bad_path: {
    status: 400,
    body: '',
    flag: null,
    details: 'path_normalization_failed',
    reason: 'bad_request',
    close: true,
  },
  bad_headers: {
    status: 400,
    body: '',
    flag: 'DPE',
    details: 'http1.invalid_characters',
    reason: 'bad_request',
    close: true,
  },
  absolute_form: {
    status: 400,
    body: '',
    flag: null,
    details: 'absolute_path_rejected',
    reason: 'bad_request',
    close: true,
  },
  method_refused: { status: 405, body: '', flag: null, details: 'method_not_allowed', reason: 'bad_request' },
  connect_refused: { status: 404, body: '', flag: 'NR', details: 'route_not_found', reason: 'no_route', close: true },
  upgrade_refused: { status: 403, body: '', flag: null, details: 'upgrade_failed', reason: 'bad_request', close: true },
  expectation_failed: {
    status: 417,
    body: '',
    flag: null,
    details: 'expectation_failed',
    reason: 'bad_request',
    close: true,
  },
  uri_too_long: {
    status: 414,
    body: '',
    flag: 'DPE',
    details: 'http1.uri_too_long',
    reason: 'bad_request',
    close: true,
  },
  headers_too_large: {
    status: 431,
    body: '',
    flag: 'DPE',
    details: 'http1.headers_too_large',
    reason: 'bad_request',
    close: true,
  },
  header_timeout: {
    status: 408,
    body: '',
    flag: 'DPE',
    details: 'request_header_timeout',
    reason: 'bad_request',
    close: true,
  },
  http10: { status: 426, body: '', flag: null, details: 'low_version', reason: 'bad_request', close: true },
  overload: { status: 503, body: 'envoy overloaded', flag: 'OM', details: 'overload', reason: 'overload', close: true },
  no_healthy_upstream: {
    status: 503,
    body: 'no healthy upstream',
    flag: 'UH',
    details: 'no_healthy_upstream',
    reason: null,
  },
  dns_failure: {
    status: 503,
    body: 'DNS resolution failure',
    flag: 'DF',
    details: 'dns_resolution_failure',
    reason: null,
  },
  connect_failure: {
    status: 503,
    body: reset('remote connection failure'),
    flag: 'UF',
    details: 'upstream_reset_before_response_started{remote_connection_failure}',
    reason: null,
  },
  connect_timeout: {
    status: 503,
    body: reset('connection timeout'),
    flag: 'UF',
    details: 'upstream_reset_before_response_started{connection_timeout}',
    reason: null,
  },
  upstream_closed: {
    status: 503,
    body: reset('connection termination'),
    flag: 'UC',
    details: 'upstream_reset_before_response_started{connection_termination}',
    reason: null,
  },
  upstream_protocol: {
    status: 502,
    body: reset('protocol error'),
    flag: 'UPE',
    details: 'upstream_reset_before_response_started{protocol_error}',
    reason: null,
  },
  upstream_reset: {
    status: 503,
    body: reset('remote reset'),
    flag: 'UR',
    details: 'upstream_reset_before_response_started{remote_reset}',
    reason: null,
  },
  /** A circuit breaker of the cluster is open (DestinationRule connectionPool). */
  upstream_overflow: {
    status: 503,
    body: reset('overflow'),
    flag: 'UO',
    details: 'upstream_reset_before_response_started{overflow}',
    reason: null,
  },
  per_try_timeout: {
    status: 504,
    body: 'upstream request timeout',
    flag: 'UT',
    details: 'upstream_per_try_timeout',
    reason: null,
  },
  /** Status and gRPC status are the fault's own. */
  fault_abort: { status: 503, body: 'fault filter abort', flag: 'FI', details: 'fault_filter_abort', reason: null },
  response_timeout: {
    status: 504,
    body: 'upstream request timeout',
    flag: 'UT',
    details: 'response_timeout',
    reason: null,
  },
} as const satisfies Record<string, RefusalRow>

export type RefusalKind = keyof typeof REFUSALS

/** One refusal on its way to the caller: a row of the table plus what is particular to this request. */
export type Refusal = {
  readonly kind: RefusalKind
  /** Replaces the row's details, e.g. `rbac_access_denied_matched_policy[ns[a]-policy[b]-rule[0]]`. */
  readonly details?: string
  /** Replaces the row's body. */
  readonly body?: string
  /** Replaces the row's status. */
  readonly status?: number
  /** Fields of this refusal's own (`retry-after` …): flat, lower case; they replace ours of the same name. */
  readonly headers?: HeaderList
  /** For a gRPC caller, in place of the status that the HTTP one maps to. */
  readonly grpcStatus?: number
}
