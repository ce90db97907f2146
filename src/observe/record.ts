/**
 * What access log and metrics may see of one request or connection: names and numbers, never handles.
 * The exchange fills it; `finish()` hands it over exactly once.
 */
import type { Connection, HeaderList } from '../core/attributes.ts'
import type { Decision } from '../core/decision.ts'
import type { Flag } from '../core/flags.ts'
import type { Reason } from '../core/reasons.ts'
import type { OutgoingSpan } from '../core/trace-context.ts'

export type ExchangeRecord = {
  /** Requests on HTTP servers are `http`; refused handshakes, tunnels and other connections are `tcp`. */
  readonly kind: 'http' | 'tcp'
  readonly connection: Connection
  /** Wall clock, milliseconds since the epoch. */
  startedAt: number
  /** Milliseconds from start to the last byte out. */
  durationMs: number
  method: string | null
  /** Normalised path with query; what `%REQ(:PATH)%` shows. */
  path: string | null
  /** Path before a route's rewrite, with query; null when none happened. */
  originalPath: string | null
  protocol: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2' | null
  authority: string | null
  /** As received (lower-case names), plus what the gateway added for itself (x-request-id, x-forwarded-for). */
  requestHeaders: HeaderList
  /** As sent to the caller. */
  responseHeaders: HeaderList
  requestId: string | null
  xForwardedFor: string | null
  traceId: string | null
  /** Of a request that is traced; null: it is not. */
  span: OutgoingSpan | null
  /** 0: no response was sent, or not HTTP. */
  responseCode: number
  flags: Flag[]
  responseCodeDetails: string | null
  connectionTerminationDetails: string | null
  /** Body bytes from the caller, body bytes to the caller (connection bytes for `tcp`). */
  bytesReceived: number
  bytesSent: number
  /** Milliseconds from the start until the request was fully read / the first response byte / …; null: never happened. */
  requestDurationMs: number | null
  responseDurationMs: number | null
  /** `x-envoy-upstream-service-time`, milliseconds; null without an upstream answer. */
  upstreamServiceTimeMs: number | null
  /** `ip:port`. */
  upstreamHost: string | null
  upstreamLocalAddress: string | null
  upstreamCluster: string | null
  upstreamProtocol: 'HTTP/1.1' | 'HTTP/2' | null
  upstreamTransportFailure: string | null
  upstreamAttempts: number
  routeName: string | null
  innerServerName: string | null
  decision: Decision | null
  reason: Reason | null
  /** gRPC status the caller was given, when the request was gRPC and it is known. */
  grpcStatus: number | null
  /** True for requests with content-type application/grpc or application/grpc+…. */
  isGrpc: boolean
}

/** A blank record, every field present so that its shape never changes. `now` is wall clock milliseconds. */
export function newRecord(kind: 'http' | 'tcp', connection: Connection, now: number): ExchangeRecord {
  return {
    kind,
    connection,
    startedAt: now,
    durationMs: 0,
    method: null,
    path: null,
    originalPath: null,
    protocol: null,
    authority: null,
    requestHeaders: [],
    responseHeaders: [],
    requestId: null,
    xForwardedFor: null,
    traceId: null,
    span: null,
    responseCode: 0,
    flags: [],
    responseCodeDetails: null,
    connectionTerminationDetails: null,
    bytesReceived: 0,
    bytesSent: 0,
    requestDurationMs: null,
    responseDurationMs: null,
    upstreamServiceTimeMs: null,
    upstreamHost: null,
    upstreamLocalAddress: null,
    upstreamCluster: null,
    upstreamProtocol: null,
    upstreamTransportFailure: null,
    upstreamAttempts: 0,
    routeName: null,
    innerServerName: null,
    decision: null,
    reason: null,
    grpcStatus: null,
    isGrpc: false,
  }
}
