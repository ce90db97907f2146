/**
 * TABLE of Envoy's command operators (Envoy docs, access_log/usage.rst; behaviour §8.8): name → how to read the value
 * from a record. Docs and tests read it. An operator Envoy knows but for which this gateway has no data reads as null
 * and says so in its row (`noData`), so that formats written for Istio load unchanged.
 */
import { hostname } from 'node:os'
import { type CertificateFacts, type HeaderList, headerValue } from '../../core/attributes.ts'
import { CelError } from '../../core/cel/error.ts'
import { FLAGS, formatFlags } from '../../core/flags.ts'
import { compileTimeFormat, isoTime, TimeFormatError } from '../../core/time-format.ts'
import { compileCelOperator } from '../cel-attributes.ts'
import type { ExchangeRecord } from '../record.ts'
import { AccessLogFormatError } from './error.ts'
import { grpcStatusReader } from './grpc-status.ts'

/** What an operator yields. Strings may hold anything a caller sent: the writer escapes them. */
export type LogValue = string | number | null
export type Reader = (record: ExchangeRecord) => LogValue

export type OperatorRow = {
  readonly help: string
  /** What may stand in parentheses. */
  readonly argument: 'none' | 'optional' | 'required'
  readonly noData?: true
  /** Called once per format. Throws AccessLogFormatError for an argument that makes no sense. */
  readonly build: (argument: string) => Reader
}

const plain = (help: string, read: Reader): OperatorRow => ({ help, argument: 'none', build: () => read })
const noData = (help: string, argument: OperatorRow['argument'] = 'none'): OperatorRow => ({
  help: `${help} No data here: always null.`,
  argument,
  noData: true,
  build: () => () => null,
})

const ms = (value: number | null) => (value === null ? null : Math.trunc(value))
const hostPort = (address: string, port: number) =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
const withoutPort = (address: string | null) =>
  address === null ? null : address.slice(0, address.lastIndexOf(':')).replace(/^\[|\]$/g, '')
const portOf = (address: string | null) =>
  address === null ? null : Number(address.slice(address.lastIndexOf(':') + 1))
const remote = (r: ExchangeRecord) => hostPort(r.connection.remoteAddress, r.connection.remotePort)
const certificate = (r: ExchangeRecord): CertificateFacts | null =>
  r.connection.peer.kind === 'none' ? null : r.connection.peer.certificate
const fromCertificate = (help: string, read: (facts: CertificateFacts) => LogValue) =>
  plain(help, (r) => {
    const facts = certificate(r)
    return facts === null ? null : read(facts)
  })
const textLength = (fields: HeaderList) => fields.reduce((sum, text) => sum + text.length, 0)
const joined = (names: readonly string[]) => (names.length === 0 ? null : names.join(','))
const longFlags = (r: ExchangeRecord) =>
  r.flags.length === 0
    ? '-'
    : (Object.keys(FLAGS) as (keyof typeof FLAGS)[])
        .filter((flag) => r.flags.includes(flag))
        .map((flag) => FLAGS[flag])
        .join(',')

/** Throws AccessLogFormatError. */
function timePrinter(argument: string): (ms: number) => string {
  if (argument === '') return isoTime()
  try {
    return compileTimeFormat(argument)
  } catch (error) {
    if (error instanceof TimeFormatError) throw new AccessLogFormatError(error.message)
    throw error
  }
}

function timeReader(argument: string, at: (record: ExchangeRecord) => number): Reader {
  const print = timePrinter(argument)
  return (record) => print(at(record))
}

/**
 * What the gateway knows better than the header list: pseudo headers, and names a caller could send to forge a line.
 * `x-envoy-original-path` and `x-envoy-upstream-service-time` are ours alone, whatever stands in the list.
 */
const REQUEST_FIELDS: Readonly<Record<string, Reader>> = {
  ':method': (r) => r.method,
  ':path': (r) => r.path,
  ':authority': (r) => r.authority,
  ':scheme': (r) => (r.kind === 'http' ? (r.connection.tls === null ? 'http' : 'https') : null),
  host: (r) => r.authority,
  'x-envoy-original-path': (r) => r.originalPath,
  'x-request-id': (r) => r.requestId,
  'x-forwarded-for': (r) => r.xForwardedFor,
}
const RESPONSE_FIELDS: Readonly<Record<string, Reader>> = {
  ':status': (r) => (r.responseCode === 0 ? null : String(r.responseCode)),
  'x-envoy-upstream-service-time': (r) =>
    r.upstreamServiceTimeMs === null ? null : String(Math.trunc(r.upstreamServiceTimeMs)),
}

/** `X` or `X?Y`: the first value of X, else that of Y (Envoy prints the first value of a repeated header). */
function headerReader(
  argument: string,
  known: Readonly<Record<string, Reader>>,
  headers: (record: ExchangeRecord) => HeaderList,
): Reader {
  const names = argument.toLowerCase().split('?')
  if (names.length > 2 || names.includes('')) {
    throw new AccessLogFormatError(`"${argument}": write one header name, or two as NAME?ALTERNATIVE`)
  }
  const one = (name: string): Reader =>
    (Object.hasOwn(known, name) ? known[name] : undefined) ?? ((r) => headerValue(headers(r), name))
  const first = one(names[0] as string)
  const other = names[1]
  if (other === undefined) return first
  const second = one(other)
  return (record) => first(record) ?? second(record)
}

/** Points in time of `%COMMON_DURATION(from:to:unit)%`, milliseconds from the start; null: unknown or never happened. */
const POINTS: Readonly<Record<string, (record: ExchangeRecord) => number | null>> = {
  DS_RX_BEG: () => 0,
  DS_RX_END: (r) => r.requestDurationMs,
  US_RX_BEG: (r) => r.responseDurationMs,
  DS_TX_END: (r) => r.durationMs,
}
const UNITS: Readonly<Record<string, number>> = { ms: 1, us: 1000, ns: 1_000_000 }

function durationReader(argument: string): Reader {
  const [from = '', to = '', unit = ''] = argument.split(':')
  const scale = Object.hasOwn(UNITS, unit) ? UNITS[unit] : undefined
  if (scale === undefined || to === '') {
    throw new AccessLogFormatError(`COMMON_DURATION(${argument}): write FROM:TO:ms, FROM:TO:us or FROM:TO:ns`)
  }
  const start = POINTS[from]
  const end = POINTS[to]
  if (start === undefined || end === undefined) return () => null
  return (record) => {
    const a = start(record)
    const b = end(record)
    return a === null || b === null ? null : Math.trunc((b - a) * scale)
  }
}

/** Not decoded: the line shows what was judged. */
function queryParameter(path: string | null, name: string): string | null {
  const at = path === null ? -1 : path.indexOf('?')
  if (path === null || at === -1) return null
  const found = path
    .slice(at + 1)
    .split('&')
    .find((each) => each === name || each.startsWith(`${name}=`))
  return found === undefined ? null : found.slice(name.length + 1)
}

const pathWithoutQuery = (value: LogValue) => (typeof value === 'string' ? (value.split('?', 1)[0] ?? value) : value)

export const OPERATORS = {
  START_TIME: {
    help: 'When the request or connection began; UTC. Argument: a strftime format.',
    argument: 'optional',
    build: (argument) => timeReader(argument, (r) => r.startedAt),
  },
  EMIT_TIME: {
    help: 'When the record was finished; UTC. Argument: a strftime format.',
    argument: 'optional',
    build: (argument) => timeReader(argument, (r) => r.startedAt + r.durationMs),
  },
  REQ: {
    help: 'A request header, or a second one if it is missing: REQ(X?Y):MAXLENGTH. :METHOD, :PATH, :AUTHORITY, :SCHEME.',
    argument: 'required',
    build: (argument) => headerReader(argument, REQUEST_FIELDS, (r) => r.requestHeaders),
  },
  REQ_WITHOUT_QUERY: {
    help: 'As REQ, cut at the first question mark.',
    argument: 'required',
    build: (argument) => {
      const read = headerReader(argument, REQUEST_FIELDS, (r) => r.requestHeaders)
      return (record) => pathWithoutQuery(read(record))
    },
  },
  RESP: {
    help: 'A response header as sent to the caller: RESP(X?Y):MAXLENGTH.',
    argument: 'required',
    build: (argument) => headerReader(argument, RESPONSE_FIELDS, (r) => r.responseHeaders),
  },
  TRAILER: noData('A response trailer.', 'required'),
  QUERY_PARAM: {
    help: 'A parameter of the query, as it stands there: QUERY_PARAM(X):MAXLENGTH.',
    argument: 'required',
    build: (argument) => (record) => queryParameter(record.path, argument),
  },
  PROTOCOL: plain('HTTP/1.0, HTTP/1.1 or HTTP/2.', (r) => r.protocol),
  RESPONSE_CODE: plain('Status sent to the caller; 0: none, or not HTTP.', (r) => r.responseCode),
  RESPONSE_CODE_DETAILS: {
    help: 'Who answered, and why, blanks as `_`. Argument: ALLOW_WHITESPACES leaves them.',
    argument: 'optional',
    build: (argument) => {
      if (argument === 'ALLOW_WHITESPACES') return (r) => r.responseCodeDetails
      if (argument !== '') throw new AccessLogFormatError(`RESPONSE_CODE_DETAILS(${argument}): ALLOW_WHITESPACES`)
      return ({ responseCodeDetails: details }) =>
        details === null || !details.includes(' ') ? details : details.replaceAll(' ', '_')
    },
  },
  RESPONSE_FLAGS: plain('Short codes, joined by commas; `-`: none.', (r) => formatFlags(r.flags)),
  RESPONSE_FLAGS_LONG: plain('As RESPONSE_FLAGS, in words.', longFlags),
  CONNECTION_TERMINATION_DETAILS: plain('Why the connection was ended.', (r) => r.connectionTerminationDetails),
  BYTES_RECEIVED: plain('Body bytes from the caller (bytes of the connection for tunnels).', (r) => r.bytesReceived),
  BYTES_SENT: plain('Body bytes to the caller (bytes of the connection for tunnels).', (r) => r.bytesSent),
  DURATION: plain('Milliseconds from the start to the last byte out.', (r) => ms(r.durationMs)),
  REQUEST_TX_DURATION: noData('Milliseconds until the request was passed on.'),
  REQUEST_HEADERS_BYTES: plain('Bytes of the request header fields, names and values.', (r) =>
    r.kind === 'http' ? textLength(r.requestHeaders) : 0,
  ),
  RESPONSE_HEADERS_BYTES: plain('Bytes of the response header fields, names and values.', (r) =>
    r.kind === 'http' ? textLength(r.responseHeaders) : 0,
  ),
  RESPONSE_TRAILERS_BYTES: noData('Bytes of the response trailers.'),
  REQUEST_DURATION: plain('Milliseconds until the request was read.', (r) => ms(r.requestDurationMs)),
  RESPONSE_DURATION: plain('Milliseconds until the first byte of the response.', (r) => ms(r.responseDurationMs)),
  RESPONSE_TX_DURATION: plain('Milliseconds from the first byte of the response to the last byte out.', (r) =>
    r.responseDurationMs === null ? null : ms(r.durationMs - r.responseDurationMs),
  ),
  COMMON_DURATION: {
    help: 'Between two points (DS_RX_BEG, DS_RX_END, US_RX_BEG, DS_TX_END; others null) in ms, us or ns.',
    argument: 'required',
    build: durationReader,
  },
  ROUTE_NAME: plain('Name of the route.', (r) => r.routeName),
  VIRTUAL_CLUSTER_NAME: noData('Envoy virtual cluster.'),
  UPSTREAM_HOST: plain('Address that was dialled.', (r) => r.upstreamHost),
  UPSTREAM_REMOTE_ADDRESS: plain('As UPSTREAM_HOST.', (r) => r.upstreamHost),
  UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: plain('As UPSTREAM_HOST, IP only.', (r) => withoutPort(r.upstreamHost)),
  UPSTREAM_REMOTE_PORT: plain('Port that was dialled.', (r) => portOf(r.upstreamHost)),
  UPSTREAM_LOCAL_ADDRESS: plain('Our end of the upstream connection.', (r) => r.upstreamLocalAddress),
  UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: plain('As UPSTREAM_LOCAL_ADDRESS, IP only.', (r) =>
    withoutPort(r.upstreamLocalAddress),
  ),
  UPSTREAM_LOCAL_PORT: plain('Our port of the upstream connection.', (r) => portOf(r.upstreamLocalAddress)),
  UPSTREAM_CLUSTER: plain('Name of the cluster.', (r) => r.upstreamCluster),
  UPSTREAM_CLUSTER_RAW: plain('Name of the cluster.', (r) => r.upstreamCluster),
  UPSTREAM_PROTOCOL: plain('Protocol spoken to the upstream.', (r) => r.upstreamProtocol),
  UPSTREAM_TRANSPORT_FAILURE_REASON: plain('Why connecting or TLS failed.', (r) => r.upstreamTransportFailure),
  UPSTREAM_REQUEST_ATTEMPT_COUNT: plain(
    'Times the request was tried; 0: there was no address to try.',
    (r) => r.upstreamAttempts,
  ),
  UPSTREAM_HOST_NAME: noData('Name of the endpoint; the cluster has it: UPSTREAM_CLUSTER.'),
  UPSTREAM_CONNECTION_ID: noData('Number of the upstream connection.'),
  UPSTREAM_CONNECTION_POOL_READY_DURATION: noData('Milliseconds until a connection was there.'),
  UPSTREAM_WIRE_BYTES_SENT: noData('Bytes to the upstream, headers included.'),
  UPSTREAM_WIRE_BYTES_RECEIVED: noData('Bytes from the upstream, headers included.'),
  UPSTREAM_HEADER_BYTES_SENT: noData('Header bytes to the upstream.'),
  UPSTREAM_HEADER_BYTES_RECEIVED: noData('Header bytes from the upstream.'),
  UPSTREAM_TLS_VERSION: noData('TLS version to the upstream.'),
  UPSTREAM_TLS_CIPHER: noData('TLS cipher to the upstream.'),
  UPSTREAM_TLS_SESSION_ID: noData('TLS session to the upstream.'),
  UPSTREAM_PEER_SUBJECT: noData('Subject of the upstream certificate.'),
  UPSTREAM_PEER_ISSUER: noData('Issuer of the upstream certificate.'),
  UPSTREAM_PEER_CERT: noData('The upstream certificate.'),
  UPSTREAM_FILTER_STATE: noData('Envoy filter state.', 'required'),
  UPSTREAM_METADATA: noData('Envoy metadata.', 'required'),
  DOWNSTREAM_REMOTE_ADDRESS: plain('Caller (no proxy in front is trusted).', remote),
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: plain('Caller, IP only.', (r) => r.connection.remoteAddress),
  DOWNSTREAM_REMOTE_PORT: plain("Caller's port.", (r) => r.connection.remotePort),
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS: plain('Caller.', remote),
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: plain('Caller, IP only.', (r) => r.connection.remoteAddress),
  DOWNSTREAM_DIRECT_REMOTE_PORT: plain("Caller's port.", (r) => r.connection.remotePort),
  DOWNSTREAM_LOCAL_ADDRESS: plain('Our address and port.', (r) =>
    hostPort(r.connection.localAddress, r.connection.localPort),
  ),
  DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: plain('Our address.', (r) => r.connection.localAddress),
  DOWNSTREAM_LOCAL_PORT: plain('Our port.', (r) => r.connection.localPort),
  DOWNSTREAM_DIRECT_LOCAL_ADDRESS: plain('As DOWNSTREAM_LOCAL_ADDRESS.', (r) =>
    hostPort(r.connection.localAddress, r.connection.localPort),
  ),
  DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT: plain('Our address.', (r) => r.connection.localAddress),
  DOWNSTREAM_DIRECT_LOCAL_PORT: plain('Our port.', (r) => r.connection.localPort),
  DOWNSTREAM_HANDSHAKE_DURATION: noData('Milliseconds until the handshake with the caller was complete.'),
  DOWNSTREAM_WIRE_BYTES_SENT: noData('Bytes to the caller, headers included.'),
  DOWNSTREAM_WIRE_BYTES_RECEIVED: noData('Bytes from the caller, headers included.'),
  DOWNSTREAM_HEADER_BYTES_SENT: noData('Header bytes to the caller.'),
  DOWNSTREAM_HEADER_BYTES_RECEIVED: noData('Header bytes from the caller.'),
  DOWNSTREAM_PEER_URI_SAN: fromCertificate("URI SANs of the caller's certificate.", (c) => joined(c.uriSans)),
  DOWNSTREAM_PEER_DNS_SAN: fromCertificate("DNS SANs of the caller's certificate.", (c) => joined(c.dnsSans)),
  DOWNSTREAM_PEER_SUBJECT: fromCertificate("Subject of the caller's certificate.", (c) => c.subject || null),
  DOWNSTREAM_PEER_ISSUER: fromCertificate("Issuer of the caller's certificate.", (c) => c.issuer || null),
  DOWNSTREAM_PEER_SERIAL: fromCertificate("Serial number of the caller's certificate.", (c) => c.serial),
  DOWNSTREAM_PEER_FINGERPRINT_256: fromCertificate("SHA-256 of the caller's certificate.", (c) => c.sha256),
  DOWNSTREAM_PEER_FINGERPRINT_1: noData("SHA-1 of the caller's certificate."),
  DOWNSTREAM_PEER_CERT: noData("The caller's certificate."),
  DOWNSTREAM_PEER_CERT_V_START: certificateTime('notBefore'),
  DOWNSTREAM_PEER_CERT_V_END: certificateTime('notAfter'),
  DOWNSTREAM_LOCAL_URI_SAN: noData('URI SAN of our own certificate.'),
  DOWNSTREAM_LOCAL_DNS_SAN: noData('DNS SAN of our own certificate.'),
  DOWNSTREAM_PEER_IP_SAN: noData("IP SANs of the caller's certificate."),
  DOWNSTREAM_PEER_EMAIL_SAN: noData("E-mail SANs of the caller's certificate."),
  TLS_JA3_FINGERPRINT: noData('JA3 of the ClientHello.'),
  TLS_JA4_FINGERPRINT: noData('JA4 of the ClientHello.'),
  DOWNSTREAM_LOCAL_SUBJECT: noData('Subject of our own certificate.'),
  DOWNSTREAM_TLS_VERSION: plain('TLS version with the caller.', (r) => r.connection.tls?.version ?? null),
  DOWNSTREAM_TLS_CIPHER: plain('TLS cipher with the caller.', (r) => r.connection.tls?.cipher ?? null),
  DOWNSTREAM_TLS_SESSION_ID: noData('TLS session with the caller.'),
  DOWNSTREAM_TRANSPORT_FAILURE_REASON: noData('Why the handshake with the caller failed; see SALLYPORT_REASON.'),
  REQUESTED_SERVER_NAME: plain('SNI of the ClientHello.', (r) => r.connection.tls?.sni ?? null),
  CONNECTION_ID: plain('Number of the connection.', (r) => r.connection.id),
  STREAM_ID: plain('As REQ(X-REQUEST-ID).', (r) => r.requestId),
  TRACE_ID: plain('Trace id of the b3 or traceparent header.', (r) => r.traceId),
  GRPC_STATUS: {
    help: 'gRPC status. Argument: CAMEL_STRING (default), SNAKE_STRING or NUMBER.',
    argument: 'optional',
    build: grpcStatusReader,
  },
  GRPC_STATUS_NUMBER: plain('gRPC status as a number.', (r) => r.grpcStatus),
  HOSTNAME: {
    help: 'Name of this host.',
    argument: 'none',
    build: () => {
      const name = hostname()
      return () => name
    },
  },
  ENVIRONMENT: {
    help: 'An environment variable of the gateway, read when the format is loaded.',
    argument: 'required',
    build: (argument) => {
      const value = process.env[argument] ?? null
      return () => value
    },
  },
  DYNAMIC_METADATA: noData('Envoy dynamic metadata.', 'required'),
  CLUSTER_METADATA: noData('Envoy cluster metadata.', 'required'),
  METADATA: noData('Envoy metadata.', 'required'),
  FILTER_STATE: noData('Envoy filter state.', 'required'),
  FILTER_CHAIN_NAME: noData('Envoy filter chain.'),
  ACCESS_LOG_TYPE: noData('Envoy access log type.'),
  CEL: {
    help: 'A CEL expression over the attributes below; null where it cannot be evaluated.',
    argument: 'required',
    build: (argument) => {
      try {
        return compileCelOperator(argument)
      } catch (error) {
        if (!(error instanceof CelError)) throw error
        throw new AccessLogFormatError(`column ${error.column} of the expression: ${error.message}`)
      }
    },
  },
  SALLYPORT_SOURCE_NAMESPACE: plain("Namespace of the caller's SPIFFE ID.", (r) =>
    r.connection.peer.kind === 'spiffe' ? r.connection.peer.id.namespace : null,
  ),
  SALLYPORT_AUTHZ_DECISION: plain('allow, deny, or none: no policy applied.', (r) => r.decision?.outcome ?? 'none'),
  SALLYPORT_AUTHZ_POLICY: plain('Rule that decided.', (r) => r.decision?.policy ?? null),
  SALLYPORT_AUTHZ_POLICY_SOURCE: plain('Where that rule stands: file:line.', (r) => {
    const source = r.decision?.source ?? null
    return source === null ? null : `${source.file}:${source.line}`
  }),
  SALLYPORT_AUTHZ_SHADOW: plain('What dry-run policies would have done.', (r) => r.decision?.shadow ?? null),
  SALLYPORT_INNER_SERVER_NAME: plain('SNI inside the mTLS.', (r) => r.innerServerName),
  SALLYPORT_REASON: plain('Reason code when the gateway itself refused.', (r) => r.reason),
} as const satisfies Record<string, OperatorRow>

/** ECMA-262 21.4.1.1: the largest time a Date can hold, milliseconds. */
const MAX_TIME = 8.64e15

function certificateTime(field: 'notBefore' | 'notAfter'): OperatorRow {
  return {
    help: `${field} of the caller's certificate. Argument: a strftime format.`,
    argument: 'optional',
    build: (argument) => {
      const print = timePrinter(argument)
      return (record) => {
        const facts = certificate(record)
        // A certificate may carry a date no calendar has; a log line must not fail over it.
        return facts === null || !(Math.abs(facts[field]) <= MAX_TIME) ? null : print(facts[field])
      }
    },
  }
}

/** The row of one operator, or null when Envoy does not know it either. */
export function findOperator(name: string): OperatorRow | null {
  return Object.hasOwn(OPERATORS, name) ? OPERATORS[name as keyof typeof OPERATORS] : null
}
