/**
 * One request on one connection: its head and body go out, its answer is read strictly and taken apart by its framing
 * (core/http1). Nothing that comes before its time, behind its end or instead of it is ever taken for an answer.
 */
import type { Socket } from 'node:net'
import type { CarryEvents } from '../carrier.ts'
import type { ResponseLimits } from '../cluster.ts'
import type { BodyFlow, BodySink, OutgoingRequest, UpstreamFailure } from '../forwarder.ts'
import type { PooledConnection } from '../pooled-connection.ts'
import { cleanFields } from '../response-headers.ts'
import {
  errorCode,
  isTlsError,
  protocolFailure,
  tlsFailure,
  UPSTREAM_CLOSED,
  uncarriable,
} from '../transport-failure.ts'
import { type Speaker, turn } from '../turn.ts'
import { BodyReader, type PieceTaker } from './body-reader.ts'
import { HeadReader } from './head-reader.ts'
import type { Inlet, Taker } from './inlet.ts'
import { requestHead } from './request-head.ts'
import { WireResponse } from './response.ts'
import { Upload, type UploadOwner } from './upload.ts'

export class WireAttempt implements Taker, Speaker, UploadOwner, BodyFlow, PieceTaker {
  readonly #connection: PooledConnection
  readonly #socket: Socket
  readonly #inlet: Inlet
  readonly #request: OutgoingRequest
  readonly #limits: ResponseLimits
  readonly #events: CarryEvents
  readonly #heads: HeadReader
  /** null: there is no head yet. */
  #body: BodyReader | null = null
  #upload: Upload | null = null
  /** The request's head, until it is written. */
  #unsent: string | null = null
  #sink: BodySink | null = null
  /** Pieces that came before anybody asked for them. */
  #waiting: Buffer[] | null = null
  /** It is enough for now. */
  #full = false
  #silent = true
  /** A response or failure was reported, or nobody wants one any more. */
  #settled = false
  /** The answer has been read to its end. */
  #complete = false
  /** The connection is not ours any more. */
  #ended = false
  #failed: Error | null = null
  #persistent = false
  #keepAliveMs: number | null = null

  constructor(
    connection: PooledConnection,
    inlet: Inlet,
    request: OutgoingRequest,
    limits: ResponseLimits,
    events: CarryEvents,
  ) {
    this.#connection = connection
    this.#socket = connection.socket
    this.#inlet = inlet
    this.#request = request
    this.#limits = limits
    this.#events = events
    this.#heads = new HeadReader(limits.maxHeaderBytes)
  }

  start(): void {
    const { body } = this.#request
    const head = requestHead(this.#request)
    this.#inlet.taker = this
    if (head === null) return process.nextTick(() => this.#fail(uncarriable()))
    if (body === null || head.length === null) {
      this.#unsent = head.text
      return turn.speakToSite(this)
    }
    this.#upload = new Upload(this.#socket, body, head.text, head.length, this)
    this.#upload.begin()
  }

  /** Of Turn. */
  speak(): void {
    const head = this.#unsent
    this.#unsent = null
    if (head !== null && !this.#ended) this.#socket.write(head, 'latin1')
  }

  /** Frees the upstream at once; the response body, if any, breaks off. */
  abort(): void {
    if (this.#ended) return
    this.#settled = true
    this.#breakOff(new Error('the request was given up'))
  }

  // ---- the connection

  arrived(bytes: Buffer, start: number, end: number): boolean {
    if (this.#unsent !== null || this.#upload?.unsent === true) {
      // Nothing has been asked on it yet: this can be no answer.
      this.closed(null)
      return false
    }
    this.#silent = false
    if (this.#complete) {
      // Before it was handed on, or its request was out: nobody can say what this belongs to.
      this.#end(false)
      return false
    }
    if (this.#body !== null) this.#readBody(bytes, start, end)
    else this.#readHead(bytes, start, end)
    // Given back, the connection goes on being read: whatever comes then is one too many.
    return this.#ended || !this.#full
  }

  ended(): void {
    if (this.#body?.untilClose === true && !this.#complete) {
      this.#persistent = false
      this.#completed(false)
    } else this.closed(null)
  }

  closed(error: Error | null): void {
    if (this.#complete) return this.#end(false)
    if (this.#ended) return
    const code = error === null ? '' : errorCode(error)
    if (this.#body === null) this.#fail(isTlsError(code) ? tlsFailure(code) : UPSTREAM_CLOSED)
    else this.#breakOff(error ?? new Error('the connection was closed'))
  }

  drained(): void {
    this.#upload?.drained()
  }

  // ---- the request's body

  uploaded(): void {
    this.#upload = null
    if (this.#complete && this.#sink !== null) this.#end(true)
  }

  overrun(): void {
    this.#upload = null
    if (this.#complete && this.#sink !== null) this.#end(false)
    else if (this.#settled) this.#breakOff(new Error('the request is not as long as it says'))
    else this.#fail(uncarriable())
  }

  // ---- the answer

  #readHead(bytes: Buffer, start: number, end: number): void {
    const heads = this.#heads
    const read = heads.read(bytes, start, end)
    if (read === null) return
    if (typeof read === 'string') return this.#fail(protocolFailure(read))
    const cleaned = cleanFields(read.fields, read.minorVersion === 0, this.#limits.maxHeaders)
    if (cleaned.headers === null) return this.#fail(protocolFailure(cleaned.why))
    if (read.framing === 'invalid') return this.#fail(protocolFailure('content_length'))
    const { status } = read
    const bodiless = this.#request.method === 'HEAD' || status === 204 || status === 304
    const body = new BodyReader(bodiless ? 0 : read.framing, this)
    this.#body = body
    this.#persistent = cleaned.persistent && !body.untilClose
    this.#keepAliveMs = cleaned.keepAliveMs
    this.#settled = true
    // What stands behind the head may be elsewhere than in `bytes`: see HeadReader.
    const { rest, restStart, restEnd } = heads
    this.#events.onResponse(new WireResponse(status, cleaned.headers, this))
    if (!this.#ended) this.#readBody(rest as Buffer, restStart, restEnd)
  }

  #readBody(bytes: Buffer, start: number, end: number): void {
    const body = this.#body as BodyReader
    const at = body.read(bytes, start, end)
    if (this.#ended) return
    if (body.fault !== null) this.#breakOff(new Error(`broken chunk: ${body.fault}`))
    else if (body.done) this.#completed(at < end)
  }

  /** Of BodyReader. */
  piece(bytes: Buffer, from: number, to: number): void {
    if (this.#ended) return
    const piece = bytes.subarray(from, to)
    if (this.#sink === null) {
      this.#waiting ??= []
      this.#waiting.push(Buffer.from(piece))
      this.#full = true
    } else if (!this.#sink.write(piece)) this.#full = true
  }

  /** `surplus`: there is more behind it, so that nothing on this connection can be trusted. */
  #completed(surplus: boolean): void {
    this.#complete = true
    if (surplus) this.#persistent = false
    // Nobody has asked for it yet: until then it may be given up like any other.
    if (this.#sink !== null) this.#deliver(this.#sink)
  }

  /** The whole answer has been handed on. */
  #deliver(sink: BodySink): void {
    // One that came early: what it answers is still on its way, and may be let finish.
    if (this.#upload === null || !this.#persistent) this.#end(true)
    sink.end(null)
  }

  // ---- BodyFlow

  into(sink: BodySink): void {
    this.#sink = sink
    const waiting = this.#waiting
    this.#waiting = null
    let full = false
    for (const piece of waiting ?? []) if (!sink.write(piece)) full = true
    const error = this.#failed
    if (error !== null) process.nextTick(() => sink.fail(error))
    else if (this.#complete) this.#deliver(sink)
    else if (!full) this.resume()
  }

  resume(): void {
    if (!this.#full) return
    this.#full = false
    if (!this.#ended) this.#inlet.resume()
  }

  destroy(): void {
    // It has all of it; what is still being sent is not its business.
    if (this.#complete && this.#sink !== null) return
    this.#waiting = null
    this.abort()
  }

  // ---- ends

  #fail(failure: UpstreamFailure): void {
    if (this.#ended) return
    const wanted = !this.#settled
    this.#settled = true
    this.#let(false)
    if (wanted) this.#events.onFailure(failure, this.#silent)
    this.#events.onEnded(false)
  }

  /** Behind the head: whoever reads the body must be able to tell. */
  #breakOff(error: Error): void {
    const sink = this.#sink
    if (this.#complete && sink !== null) return this.#end(false)
    this.#failed = error
    this.#end(false)
    // Later, as a stream would: whoever gave up has something to say first.
    if (sink !== null) process.nextTick(() => sink.fail(error))
  }

  #end(reusable: boolean): void {
    if (this.#ended) return
    this.#let(reusable)
    this.#events.onEnded(this.#complete)
  }

  /** Lets the connection go. */
  #let(reusable: boolean): void {
    this.#ended = true
    this.#inlet.taker = null
    this.#upload?.stop()
    // What is still to be written would stand before the next request.
    if (reusable && this.#persistent && this.#socket.writableLength === 0) {
      this.#inlet.resume()
      this.#connection.release(this.#keepAliveMs)
    } else this.#connection.destroy()
  }
}
