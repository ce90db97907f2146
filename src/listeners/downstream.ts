/** One request from a caller, whatever HTTP version carried it: the only view the exchange has of it. */
import type { Duplex, Readable, Writable } from 'node:stream'
import type { HeaderList } from '../core/attributes.ts'
import type { BodyFlow, BodySink } from '../forward/forwarder.ts'

export type Downstream = {
  readonly protocol: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2'
  readonly method: string
  /** As received: request line or `:path`. */
  readonly target: string
  /** Every authority the request carries: `:authority` first, then each Host field. */
  readonly authorities: readonly string[]
  /** As received, lower-case names, pseudo fields left out. */
  readonly headers: HeaderList
  /** Read byte by byte (core/http1): nothing in them that no field may hold. */
  readonly strict: boolean
  /** null: the request has no body (or an empty one). */
  readonly body: Readable | null
  /** True: the caller waits for `100 Continue`. */
  readonly expectsContinue: boolean
  /** True: an `Expect` that is not 100-continue. */
  readonly expectsOther: boolean
  sendContinue(): void
  /** A whole answer of our own. `close`: the connection ends after it. Headers are flat, lower case. */
  reply(status: number, headers: string[], body: string | Buffer, close: boolean): void
  /** Asked for once the body has ended: the request's trailer fields, lower case; null: none. Absent where they are dropped. */
  trailers?(): HeaderList | null
  /**
   * Starts an answer from upstream; its body goes into the stream returned. `trailers` is asked when that ends (null: there
   * will be none); HTTP/1.1 callers never see them (behaviour §10.5).
   */
  start(status: number, headers: string[], close: boolean, trailers: (() => HeaderList | null) | null): Writable
  /** The same without a stream; absent where there is nothing but the stream. `flow` is told when there is room again. */
  startSink?(status: number, headers: string[], close: boolean, flow: Pick<BodyFlow, 'resume'>): BodySink
  /**
   * Answers that the protocol changes to what the request's `upgrade` field names (101, or 200 where it came by extended
   * CONNECT), and hands over the bytes behind both heads; half-open is kept, and `onClose` told of a cut at most. `headers`:
   * without those of the change itself. null: it cannot change here.
   */
  readonly upgrade: ((headers: string[]) => Duplex) | null
  /** Ends it now, so that the caller can tell it from a clean end: RST_STREAM, or the connection. */
  reset(): void
  /** True once a response head was sent. */
  readonly responded: boolean
  /** True once the answer has said that it is the last one on this connection. */
  readonly closes: boolean
}

/** What a carrier tells the exchange about its end. */
export type DownstreamEvents = {
  /** Exactly once: `complete` when the last byte of the answer went out. */
  onClose(complete: boolean): void
  /** The parser gave up in the middle of the request's body: what was read of it must not count as whole anywhere. */
  onBodyMalformed(code: string): void
}
