/**
 * Header values with command operators, filled in for one message (Envoy substitution_formatter with omit_empty_values, as
 * its header formatters use it: what is absent is nothing, not `-`). Pure: the clock, the host name and the ends of the
 * connection are passed in.
 */
import {
  type CertificateFacts,
  type Connection,
  type HeaderList,
  type HttpAttributes,
  headerValue,
} from '../core/attributes.ts'
import { type Flag, formatFlags } from '../core/flags.ts'
import { type HeaderOperatorName, timePrinter } from '../core/header-operators.ts'
import { isFieldValue, isMeshHeader } from '../core/headers.ts'
import type { HeaderValue, OperatorModel } from '../model/route.ts'

/** What the operators may look at. Plain values; the exchange fills it where a route edits headers. */
export type HeaderFacts = {
  readonly connection: Connection
  /** As judged: what `REQ` reads. */
  readonly http: HttpAttributes
  readonly protocol: string
  readonly requestId: string
  readonly xForwardedFor: string
  /** Wall clock, milliseconds since the epoch. */
  readonly startedAt: number
  /** Of this machine. */
  readonly hostname: string
  readonly routeName: string | null
  readonly cluster: string | null
  /** null while the request is edited. */
  readonly response: ResponseFacts | null
}

export type ResponseFacts = {
  readonly status: number
  /** What `RESP` reads: as it came from the upstream, or as we made it. */
  readonly headers: HeaderList
  readonly details: string | null
  readonly flags: readonly Flag[]
  readonly bytesReceived: number
  /** Milliseconds; null: not yet. */
  readonly requestDurationMs: number | null
  readonly responseDurationMs: number | null
  /** `ip:port`; null without an upstream. */
  readonly upstreamHost: string | null
  readonly upstreamLocalAddress: string | null
  readonly upstreamProtocol: string | null
  readonly attempts: number
}

/**
 * The value to send; null when there is nothing to say (a `set` then removes the header, so that the caller's own never
 * stands in for it; Envoy would leave that). A value no field may carry counts as nothing too.
 */
export function headerText(value: HeaderValue, facts: HeaderFacts): string | null {
  if (typeof value === 'string') return value
  let text = ''
  for (const part of value) text += typeof part === 'string' ? part : evaluate(part, facts)
  text = text.trim()
  return text === '' || !isFieldValue(text) ? null : text
}

function evaluate(part: OperatorModel, facts: HeaderFacts): string {
  const text = READERS[part.operator as HeaderOperatorName](facts, part)
  if (text === null) return ''
  return part.maxLength === null ? text : text.slice(0, part.maxLength)
}

type Reader = (facts: HeaderFacts, part: OperatorModel) => string | null

/** One reader for each row of core/header-operators.ts. */
const READERS: Readonly<Record<HeaderOperatorName, Reader>> = {
  REQ: (facts, { argument, alternative }) =>
    requestField(facts, argument as string) ?? (alternative === null ? null : requestField(facts, alternative)),
  RESP: (facts, { argument, alternative }) =>
    responseField(facts, argument as string) ?? (alternative === null ? null : responseField(facts, alternative)),
  START_TIME: (facts, { argument }) => timePrinter(argument ?? '')(facts.startedAt),
  PROTOCOL: ({ protocol }) => protocol,
  HOSTNAME: ({ hostname }) => hostname,
  ROUTE_NAME: ({ routeName }) => routeName,
  UPSTREAM_CLUSTER: ({ cluster }) => cluster,
  UPSTREAM_CLUSTER_RAW: ({ cluster }) => cluster,
  REQUEST_ID: ({ requestId }) => requestId,
  STREAM_ID: ({ requestId }) => requestId,
  CONNECTION_ID: ({ connection }) => String(connection.id),
  REQUESTED_SERVER_NAME: ({ connection }) => connection.tls?.sni ?? null,
  DOWNSTREAM_REMOTE_ADDRESS: remoteAddress,
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: ({ connection }) => connection.remoteAddress,
  DOWNSTREAM_REMOTE_PORT: ({ connection }) => String(connection.remotePort),
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS: remoteAddress,
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: ({ connection }) => connection.remoteAddress,
  DOWNSTREAM_DIRECT_REMOTE_PORT: ({ connection }) => String(connection.remotePort),
  DOWNSTREAM_LOCAL_ADDRESS: ({ connection }) => hostPort(connection.localAddress, connection.localPort),
  DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: ({ connection }) => connection.localAddress,
  DOWNSTREAM_LOCAL_PORT: ({ connection }) => String(connection.localPort),
  DOWNSTREAM_PEER_URI_SAN: (facts) => certificate(facts)?.uriSans.join(',') ?? null,
  DOWNSTREAM_PEER_DNS_SAN: (facts) => certificate(facts)?.dnsSans.join(',') ?? null,
  DOWNSTREAM_PEER_SUBJECT: (facts) => certificate(facts)?.subject ?? null,
  DOWNSTREAM_PEER_ISSUER: (facts) => certificate(facts)?.issuer ?? null,
  DOWNSTREAM_PEER_SERIAL: (facts) => certificate(facts)?.serial ?? null,
  DOWNSTREAM_PEER_FINGERPRINT_256: (facts) => certificate(facts)?.sha256 ?? null,
  DOWNSTREAM_PEER_CERT_V_START: (facts, { argument }) => printTime(argument, certificate(facts)?.notBefore),
  DOWNSTREAM_PEER_CERT_V_END: (facts, { argument }) => printTime(argument, certificate(facts)?.notAfter),
  DOWNSTREAM_TLS_VERSION: ({ connection }) => connection.tls?.version ?? null,
  DOWNSTREAM_TLS_CIPHER: ({ connection }) => connection.tls?.cipher ?? null,
  RESPONSE_CODE: ({ response }) => number(response?.status),
  RESPONSE_CODE_DETAILS: ({ response }) => response?.details ?? null,
  RESPONSE_FLAGS: ({ response }) => (response === null ? null : formatFlags(response.flags)),
  BYTES_RECEIVED: ({ response }) => number(response?.bytesReceived),
  REQUEST_DURATION: ({ response }) => number(response?.requestDurationMs),
  RESPONSE_DURATION: ({ response }) => number(response?.responseDurationMs),
  UPSTREAM_HOST: ({ response }) => response?.upstreamHost ?? null,
  UPSTREAM_REMOTE_ADDRESS: ({ response }) => response?.upstreamHost ?? null,
  UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: ({ response }) =>
    response?.upstreamHost?.replace(/^\[?(.*?)\]?:\d+$/, '$1') ?? null,
  UPSTREAM_REMOTE_PORT: ({ response }) => response?.upstreamHost?.replace(/^.*:/, '') ?? null,
  UPSTREAM_LOCAL_ADDRESS: ({ response }) => response?.upstreamLocalAddress ?? null,
  UPSTREAM_PROTOCOL: ({ response }) => response?.upstreamProtocol ?? null,
  UPSTREAM_REQUEST_ATTEMPT_COUNT: ({ response }) => number(response?.attempts),
}

function remoteAddress({ connection }: HeaderFacts): string {
  return hostPort(connection.remoteAddress, connection.remotePort)
}

function hostPort(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

function number(value: number | null | undefined): string | null {
  return value === null || value === undefined ? null : String(Math.trunc(value))
}

/** ECMA-262 21.4.1.1: the largest time a Date can hold, milliseconds. A certificate may carry a date no calendar has. */
const MAX_TIME = 8.64e15

function printTime(format: string | null, ms: number | undefined): string | null {
  return ms === undefined || !(Math.abs(ms) <= MAX_TIME) ? null : timePrinter(format ?? '')(ms)
}

function certificate({ connection }: HeaderFacts): CertificateFacts | null {
  return connection.peer.kind === 'none' ? null : connection.peer.certificate
}

/** What the gateway knows better than the caller's fields. */
const KNOWN: Readonly<Record<string, (facts: HeaderFacts) => string | null>> = {
  ':method': ({ http }) => http.method,
  ':scheme': ({ http }) => http.scheme,
  ':authority': ({ http }) => http.authority.text,
  host: ({ http }) => http.authority.text,
  ':path': ({ http }) => (http.query === null ? http.path : `${http.path}?${http.query}`),
  'x-request-id': ({ requestId }) => requestId,
  'x-forwarded-for': ({ xForwardedFor }) => xForwardedFor,
  'x-forwarded-proto': ({ http }) => http.scheme,
}

/** The first value. Fields of the mesh and of other proxies are ours to say: a caller's are never copied. */
function requestField(facts: HeaderFacts, name: string): string | null {
  const known = Object.hasOwn(KNOWN, name) ? KNOWN[name] : undefined
  if (known !== undefined) return known(facts)
  return isMeshHeader(name) ? null : headerValue(facts.http.headers, name)
}

function responseField({ response }: HeaderFacts, name: string): string | null {
  if (response === null) return null
  return name === ':status' ? String(response.status) : headerValue(response.headers, name)
}
