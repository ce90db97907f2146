/** Readers of the attributes that expressions name (core/cel/attributes.ts), and the two uses of expressions: filters, tags. */
import { type CertificateFacts, headerValue } from '../core/attributes.ts'
import { type CelReaders, compileCel } from '../core/cel/compile.ts'
import { parseCel } from '../core/cel/parse.ts'
import type { Flag } from '../core/flags.ts'
import type { ExchangeRecord } from './record.ts'

type Record_ = ExchangeRecord
const missing = () => undefined
/** `request.*` and `response.*` do not exist for tunnels and connections. */
const http =
  <T>(read: (r: Record_) => T | null | undefined) =>
  (r: Record_): T | undefined =>
    r.kind === 'http' ? (read(r) ?? undefined) : undefined
const certificate =
  (read: (facts: CertificateFacts) => string | undefined) =>
  ({ connection: { peer } }: Record_) =>
    peer.kind === 'none' ? undefined : read(peer.certificate)
const orMissing = <T>(value: T | null) => value ?? undefined
const notEmpty = (value: string) => (value === '' ? undefined : value)
const portOf = (address: string | null) =>
  address === null ? undefined : Number(address.slice(address.lastIndexOf(':') + 1))
const joined = (address: string, port: number) =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
const queryAt = (path: string) => {
  const at = path.indexOf('?')
  return at === -1 ? path.length : at
}
const sizeOf = (fields: readonly string[]) => fields.reduce((sum, text) => sum + text.length, 0)

/** Envoy's bits (source/common/stream_info, CoreResponseFlag): their order is that of its enum. */
const BITS = {
  UH: 1,
  UT: 2,
  LR: 3,
  UR: 4,
  UF: 5,
  UC: 6,
  UO: 7,
  NR: 8,
  DI: 9,
  FI: 10,
  RL: 11,
  UAEX: 12,
  RLSE: 13,
  DC: 14,
  URX: 15,
  SI: 16,
  IH: 17,
  DPE: 18,
  UMSDR: 19,
  DT: 22,
  UPE: 23,
  NC: 24,
  OM: 25,
  DF: 26,
} as const satisfies Record<Flag, number>

function flagBits({ flags }: Record_): number {
  let bits = 0
  for (const flag of flags) bits |= 1 << BITS[flag]
  return bits
}

/** Envoy's TrafficDirection OUTBOUND. */
const OUTBOUND = 2

const READERS: CelReaders<Record_> = {
  'request.path': http((r) => r.path),
  'request.url_path': http((r) => r.path?.slice(0, queryAt(r.path))),
  'request.query': http((r) => r.path?.slice(queryAt(r.path) + 1)),
  'request.host': http((r) => r.authority),
  'request.scheme': http((r) => (r.connection.tls === null ? 'http' : 'https')),
  'request.method': http((r) => r.method),
  'request.headers': http((r) => r.requestHeaders),
  'request.referer': http((r) => headerValue(r.requestHeaders, 'referer')),
  'request.useragent': http((r) => headerValue(r.requestHeaders, 'user-agent')),
  'request.time': http((r) => r.startedAt),
  'request.id': http((r) => r.requestId),
  'request.protocol': http((r) => r.protocol),
  'request.duration': http((r) => r.durationMs),
  'request.size': http((r) => r.bytesReceived),
  'request.total_size': http((r) => r.bytesReceived + sizeOf(r.requestHeaders)),
  'response.code': http((r) => (r.responseCode === 0 ? null : r.responseCode)),
  'response.code_details': http((r) => r.responseCodeDetails),
  'response.flags': flagBits,
  'response.grpc_status': http((r) => r.grpcStatus),
  'response.headers': http((r) => r.responseHeaders),
  'response.trailers': missing,
  'response.size': http((r) => r.bytesSent),
  'response.total_size': http((r) => r.bytesSent + sizeOf(r.responseHeaders)),
  'response.backend_latency': http((r) => r.upstreamServiceTimeMs),
  'source.address': ({ connection: c }) => joined(c.remoteAddress, c.remotePort),
  'source.port': (r) => r.connection.remotePort,
  'destination.address': ({ connection: c }) => joined(c.localAddress, c.localPort),
  'destination.port': (r) => r.connection.localPort,
  'connection.id': (r) => r.connection.id,
  'connection.mtls': (r) => r.connection.peer.kind !== 'none',
  'connection.requested_server_name': (r) => orMissing(r.connection.tls?.sni ?? null),
  'connection.tls_version': (r) => r.connection.tls?.version,
  'connection.uri_san_peer_certificate': certificate(({ uriSans }) => uriSans[0]),
  'connection.dns_san_peer_certificate': certificate(({ dnsSans }) => dnsSans[0]),
  'connection.subject_peer_certificate': certificate(({ subject }) => notEmpty(subject)),
  'connection.sha256_peer_certificate_digest': certificate(({ sha256 }) => sha256),
  'connection.uri_san_local_certificate': missing,
  'connection.dns_san_local_certificate': missing,
  'connection.subject_local_certificate': missing,
  'connection.transport_failure_reason': missing,
  'connection.termination_details': (r) => orMissing(r.connectionTerminationDetails),
  'upstream.address': (r) => orMissing(r.upstreamHost),
  'upstream.port': (r) => portOf(r.upstreamHost),
  'upstream.local_address': (r) => orMissing(r.upstreamLocalAddress),
  'upstream.transport_failure_reason': (r) => orMissing(r.upstreamTransportFailure),
  'upstream.request_attempt_count': (r) => r.upstreamAttempts,
  'upstream.tls_version': missing,
  'upstream.uri_san_peer_certificate': missing,
  'upstream.dns_san_peer_certificate': missing,
  'upstream.subject_peer_certificate': missing,
  'xds.cluster_name': (r) => orMissing(r.upstreamCluster),
  'xds.route_name': (r) => orMissing(r.routeName),
  'xds.virtual_host_name': missing,
  'xds.listener_direction': () => OUTBOUND,
}

/**
 * True: the record is written. Where the expression cannot be evaluated it is written too (Envoy would drop it): a line
 * too many is noise, a line too few may be the one somebody looks for. @throws CelError
 */
export function compileFilter(expression: string): (record: ExchangeRecord) => boolean {
  const run = compileCel(parseCel(expression), READERS)
  return (record) => run(record) !== false
}

/** The text of a tag; `unknown` where the expression cannot be evaluated, as in Istio. @throws CelError */
export function compileTag(expression: string): (record: ExchangeRecord) => string {
  const run = compileCel(parseCel(expression), READERS)
  return (record) => {
    const value = run(record)
    return value === undefined || value === null ? 'unknown' : String(value)
  }
}

/** A value of the log: truth values as text, as Envoy's CEL operator prints them. @throws CelError */
export function compileCelOperator(expression: string): (record: ExchangeRecord) => string | number | null {
  const node = parseCel(expression)
  const run = compileCel(node, READERS)
  return (record) => {
    const value = run(record)
    if (value === undefined || value === null || Array.isArray(value)) return null
    return typeof value === 'number' ? value : String(value)
  }
}
