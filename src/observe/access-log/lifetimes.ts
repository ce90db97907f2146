/**
 * How long an operator's value lasts, which is how long its bytes are worth keeping (pieces.ts):
 * - `connection`: it depends on `record.connection` and on nothing else.
 * - `few`: there are few values, which come again and again: what the configuration names, and what HTTP does.
 * - `often`: there are many values, each of which comes again: addresses, programs' names.
 * - `moment`: it depends on `record.startedAt`, which has milliseconds, and on nothing else.
 * - `line`: it is another on every line. All that are not in the table.
 */
import { OPERATORS, type OperatorRow } from './operators.ts'

export type Lifetime = 'connection' | 'few' | 'often' | 'moment' | 'line'

/** TABLE of what lasts longer than a line. */
export const LIFETIMES = {
  START_TIME: 'moment',
  PROTOCOL: 'few',
  RESPONSE_CODE: 'few',
  RESPONSE_CODE_DETAILS: 'few',
  RESPONSE_FLAGS: 'few',
  RESPONSE_FLAGS_LONG: 'few',
  CONNECTION_TERMINATION_DETAILS: 'few',
  ROUTE_NAME: 'few',
  UPSTREAM_HOST: 'few',
  UPSTREAM_REMOTE_ADDRESS: 'few',
  UPSTREAM_LOCAL_ADDRESS: 'often',
  UPSTREAM_CLUSTER: 'few',
  UPSTREAM_CLUSTER_RAW: 'few',
  UPSTREAM_PROTOCOL: 'few',
  UPSTREAM_TRANSPORT_FAILURE_REASON: 'few',
  UPSTREAM_REQUEST_ATTEMPT_COUNT: 'few',
  GRPC_STATUS: 'few',
  GRPC_STATUS_NUMBER: 'few',
  HOSTNAME: 'few',
  ENVIRONMENT: 'few',
  SALLYPORT_AUTHZ_DECISION: 'few',
  SALLYPORT_AUTHZ_POLICY: 'few',
  SALLYPORT_AUTHZ_SHADOW: 'few',
  SALLYPORT_INNER_SERVER_NAME: 'few',
  SALLYPORT_REASON: 'few',
  DOWNSTREAM_REMOTE_ADDRESS: 'connection',
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: 'connection',
  DOWNSTREAM_REMOTE_PORT: 'connection',
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS: 'connection',
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: 'connection',
  DOWNSTREAM_DIRECT_REMOTE_PORT: 'connection',
  DOWNSTREAM_LOCAL_ADDRESS: 'connection',
  DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: 'connection',
  DOWNSTREAM_LOCAL_PORT: 'connection',
  DOWNSTREAM_DIRECT_LOCAL_ADDRESS: 'connection',
  DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT: 'connection',
  DOWNSTREAM_DIRECT_LOCAL_PORT: 'connection',
  DOWNSTREAM_PEER_URI_SAN: 'connection',
  DOWNSTREAM_PEER_DNS_SAN: 'connection',
  DOWNSTREAM_PEER_SUBJECT: 'connection',
  DOWNSTREAM_PEER_ISSUER: 'connection',
  DOWNSTREAM_PEER_SERIAL: 'connection',
  DOWNSTREAM_PEER_FINGERPRINT_256: 'connection',
  DOWNSTREAM_PEER_CERT_V_START: 'connection',
  DOWNSTREAM_PEER_CERT_V_END: 'connection',
  DOWNSTREAM_TLS_VERSION: 'connection',
  DOWNSTREAM_TLS_CIPHER: 'connection',
  REQUESTED_SERVER_NAME: 'connection',
  CONNECTION_ID: 'connection',
  SALLYPORT_SOURCE_NAMESPACE: 'connection',
} as const satisfies Partial<Record<keyof typeof OPERATORS, Lifetime>>

/** TABLE of fields that last longer than a line. */
const FIELDS: ReadonlyMap<string, Lifetime> = new Map([
  ['REQ :method', 'few'],
  ['REQ :authority', 'few'],
  ['REQ :scheme', 'few'],
  ['REQ user-agent', 'often'],
  ['REQ x-forwarded-for', 'often'],
  ['RESP :status', 'few'],
  ['RESP x-envoy-upstream-service-time', 'often'],
])

export function lifetimeOf(name: string, argument: string): Lifetime {
  const field = FIELDS.get(`${name} ${argument.toLowerCase()}`)
  if (field !== undefined) return field
  const row: OperatorRow | undefined = OPERATORS[name as keyof typeof OPERATORS]
  // Always null: nothing lasts longer.
  if (row?.noData === true) return 'few'
  return Object.hasOwn(LIFETIMES, name) ? LIFETIMES[name as keyof typeof LIFETIMES] : 'line'
}
