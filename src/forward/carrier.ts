/**
 * What an engine is to delivery.ts: how it comes by connections for one HTTP version, and what it does on them for one
 * request.
 */
import { headerValues } from '../core/attributes.ts'
import type { ResponseLimits, UpstreamCluster } from './cluster.ts'
import { type ConnectHandlers, connectUpstream } from './connect.ts'
import type { UpstreamEndpoint } from './endpoints.ts'
import type { OutgoingRequest, UpstreamFailure, UpstreamResponse } from './forwarder.ts'
import type { PooledConnection } from './pooled-connection.ts'

/** What an engine reports about one attempt, in this order: one of the first two at most once, then `onEnded` once. */
export type CarryEvents = {
  readonly onResponse: (response: UpstreamResponse) => void
  /** `silent`: not one byte came back on this attempt. */
  readonly onFailure: (failure: UpstreamFailure, silent: boolean) => void
  /** The connection has been given back (`complete`) or destroyed. */
  readonly onEnded: (complete: boolean) => void
}

/** A connection, or a share in one, that a request goes out on. */
export type Line = {
  /** `ip:port` of our end. */
  readonly localAddress: string
  /** Requests have gone over it before. */
  readonly reused: boolean
  /** It was not needed after all. */
  release(): void
  destroy(): void
}

/** One HTTP version: how its connections are come by, and what is done on them. */
export type Carrier<L extends Line> = {
  readonly protocol: 'HTTP/1.1' | 'HTTP/2'
  /** One that is there to be used, counted by nobody yet; null: `connect`. */
  readonly take: (endpoint: UpstreamEndpoint, cluster: UpstreamCluster, request: OutgoingRequest) => L | null
  /** See connect.ts. */
  readonly connect: (
    cluster: UpstreamCluster,
    request: OutgoingRequest,
    handlers: ConnectHandlers<L>,
    first: UpstreamEndpoint,
    addresses: number,
  ) => { cancel(): void }
  /** Carries one request over a line, which it gives back or destroys. Must not call `events` synchronously. */
  readonly carry: (
    line: L,
    request: OutgoingRequest,
    limits: ResponseLimits,
    events: CarryEvents,
    cluster: UpstreamCluster,
  ) => { abort(): void }
}

/** Connections that carry one request at a time, and are kept. */
export const HTTP1_LINES: Pick<Carrier<PooledConnection>, 'protocol' | 'take' | 'connect'> = {
  protocol: 'HTTP/1.1',
  take: (endpoint, _cluster, { caller }) => endpoint.poolFor(caller).takeIdle(),
  connect: connectUpstream,
}

/**
 * The body length that the fields declare: a number, `chunked` when there is a body without a length, null when there
 * is no body. Undefined: the fields and the body contradict each other.
 */
export function declaredLength(request: OutgoingRequest): number | 'chunked' | null | undefined {
  const lengths = headerValues(request.headers, 'content-length')
  if (lengths.length === 0) return request.body === null ? null : 'chunked'
  const length = lengths.length === 1 && /^[0-9]{1,15}$/.test(lengths[0] as string) ? Number(lengths[0]) : undefined
  return request.body === null && length !== 0 ? undefined : length
}
