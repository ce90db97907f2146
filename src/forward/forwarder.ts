/**
 * The seam between judging and carrying: an exchange hands over a request that is already complete (method, target,
 * header fields exactly as they are to go out) and a cluster; an engine carries it. Engines are interchangeable
 * (contract §10); nothing behind this seam may change a byte of what was judged.
 */
import type { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import type { HeaderList } from '../core/attributes.ts'
import type { RefusalKind } from '../core/refusal.ts'
import type { UpstreamEndpoint } from './endpoints.ts'

/** Both ends of the caller's connection: for the PROXY protocol. */
export type CallerAddresses = {
  readonly sourceIp: string
  readonly sourcePort: number
  readonly destinationIp: string
  readonly destinationPort: number
}

/** What decides which endpoint is dialled, and what it is told about the caller. */
export type ConnectTarget = {
  /** Canonical host the caller asked for: what a `dynamic` cluster resolves and verifies. */
  readonly requestedHost: string
  /** Replaces the cluster's port (ALLOW_ANY only); null: the cluster's own. */
  readonly portOverride: number | null
  /** Of what the cluster's hash key names (runtime/hash-key.ts): 32 bits unsigned; null: none. */
  readonly hash: number | null
  readonly caller: CallerAddresses
}

/** The fields behind a request's body. */
export type RequestTrailers = {
  /** Asked for once the body has ended; lower case. null: there are none, or they may not be carried. */
  read(): HeaderList | null
}

export type OutgoingRequest = ConnectTarget & {
  readonly method: string
  /** Origin-form target, sent byte for byte. */
  readonly target: string
  /**
   * Everything that is to be sent: `host` first, no hop-by-hop fields, no `transfer-encoding`. With a `content-length`
   * the body is framed by it; with a body and no length it is chunked; without a body no framing is added.
   */
  readonly headers: HeaderList
  /** null: the request has no body, so it may be sent again if a reused connection dies before an answer. */
  readonly body: Readable | null
  /** null: there will be none. */
  readonly trailers: RequestTrailers | null
  /** What the caller speaks: the upstream's version where `protocol` is `client`. */
  readonly clientProtocol: 'HTTP/1.1' | 'HTTP/2'
}

/** Takes a body piece by piece, without a stream around it. */
export type BodySink = {
  /**
   * `chunk` is the giver's again when this returns: what cannot be written at once has been copied. False: it is enough
   * for now; `resume` of the flow will be called.
   */
  write(chunk: Buffer): boolean
  /** The body is complete; `trailers` behind it, or null. */
  end(trailers: HeaderList | null): void
  /** It broke off: whoever reads must be able to tell. */
  fail(error: Error): void
}

/** A body that can be given to a BodySink directly; engines that move bytes themselves offer it beside `body`. */
export type BodyFlow = {
  /** At most once, and then `body` may not be touched. Pieces may come before it returns. */
  into(sink: BodySink): void
  /** After `write` has returned false. */
  resume(): void
  /** Nobody wants the rest. Idempotent. */
  destroy(): void
}

export type UpstreamResponse = {
  readonly status: number
  /** Lower-case names, hop-by-hop fields and everything named by `connection` removed, repeated fields kept apart. */
  readonly headers: HeaderList
  /** Errors (never ends cleanly) when the upstream dies in mid-body. Must be consumed or destroyed. */
  readonly body: Readable
  /** The same body without a stream (then `body` is made on first use); absent where there is nothing but the stream. */
  readonly flow?: BodyFlow
  /** Asked for once the body has ended: fields behind it, lower case, or null. null: there will be none. */
  readonly trailers: (() => HeaderList | null) | null
  /** Only with the 101 of an upgrade (upgrade.ts): the bytes behind both heads. Keeps half-open; ends when it is told to. */
  readonly upgraded?: Socket
}

/** Why a response body broke off, for whoever has to say so. */
export class UpstreamBroke extends Error {
  /** The row that would have been the answer before the head. */
  readonly kind: RefusalKind

  constructor(kind: RefusalKind) {
    super(`the response broke off: ${kind}`)
    this.kind = kind
  }
}

/** Why there is no response. `kind` is a row of core/refusal.ts. */
export type UpstreamFailure = {
  readonly kind: RefusalKind
  /** Replaces the row's details / body; null: the row's own. */
  readonly details: string | null
  readonly body: string | null
  /** For `upstream_transport_failure_reason`; null when the transport did not fail. */
  readonly transportFailure: string | null
  /** `ip:port` that could not be connected to, the last of them; absent: nothing was dialled, or something was reached. */
  readonly host?: string
  /** The upstream says that it has not looked at the request (REFUSED_STREAM, or beyond GOAWAY's last stream). */
  readonly refused?: true
}

/** All callbacks are asynchronous to `send`. After `onConnected`* exactly one of `onResponse`, `onFailure` is called, once; none after `abort()`. */
export type ForwardHandlers = {
  /** An address was chosen and the request is on a connection to it; again for each further attempt. Addresses are `ip:port`. */
  readonly onConnected: (upstream: {
    readonly host: string
    readonly localAddress: string
    readonly reused: boolean
    readonly protocol: 'HTTP/1.1' | 'HTTP/2'
  }) => void
  readonly onResponse: (response: UpstreamResponse) => void
  readonly onFailure: (failure: UpstreamFailure) => void
  /** The route's retry policy wanted another try and had none left (flag URX); before `onResponse` or `onFailure`. */
  readonly onRetriesExhausted?: () => void
  /** The same, but the cluster's circuit breaker for retries is open (flag UO beside the failure's own, as Envoy). */
  readonly onRetryOverflow?: () => void
  /** The next try begins: 2 for the first one that repeats. */
  readonly onRetry?: (attempt: number) => void
}

/** What came of one try: its response, or why there is none. */
export type TryEnding = { readonly response: UpstreamResponse } | { readonly failure: UpstreamFailure }

/** One of several tries of a request, as forward/retry.ts sees it. */
export type Try = {
  /** Endpoints to leave alone while there are others. */
  readonly avoid: readonly UpstreamEndpoint[]
  /** True: another priority will do where all of one are to be left alone. */
  readonly spill: boolean
  /** This one was chosen: dialled, or borrowed from its pool. */
  onEndpoint(endpoint: UpstreamEndpoint): void
  /**
   * Asked once per try, when it has ended and before anything of that is counted. True: another one takes its place, so
   * that nothing is reported; a response is the asked one's to dispose of.
   */
  replaces(ending: TryEnding): boolean
}

/**
 * `abort()` frees the upstream now; idempotent; a no-op once the response body has ended. `timeout`: because no answer
 * came in time, which outlier detection holds against the endpoint; else the caller hung up, and nobody is to blame.
 */
export type ForwardHandle = { abort(why?: 'timeout'): void }
