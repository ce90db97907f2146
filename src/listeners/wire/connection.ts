/**
 * HTTP/1.1 on one accepted socket: requests as they are read, one exchange at a time, time-outs, and the connection's end.
 * Closed on any doubt.
 */
import type { Socket } from 'node:net'
import type { RequestHead } from '../../core/http1/request-head.ts'
import type { RefusalKind } from '../../core/refusal.ts'
import { type TimerWheel, WheelTimer } from '../../core/timer-wheel.ts'
import type { Settings } from '../../model/settings.ts'
import type { DownstreamEvents } from '../downstream.ts'
import type { Http1Handlers } from '../http1.ts'
import { asksToUpgrade, handOver } from './handover.ts'
import { type RequestCarrier, WireRequest } from './request.ts'
import { type ReaderEvents, RequestReader } from './request-reader.ts'

/** What all connections of a server share. */
export type WireHost = {
  limits: Settings['http']
  readonly handlers: Http1Handlers
  readonly wheel: TimerWheel<WireConnection>
  flushLater(request: WireRequest): void
  forget(connection: WireConnection): void
}

/** Envoy's delayed close: how long a caller may go on sending when we have ended, milliseconds. */
const DELAYED_CLOSE_MS = 1000
/** How often a caller that is not read is asked whether it is still there, milliseconds. */
const PROBE_MS = 500
/** Bytes of further requests kept while one is under way; beyond them the caller has to wait. */
const MAX_AHEAD = 65_536

const NOTHING = Buffer.alloc(0)

export class WireConnection implements RequestCarrier, ReaderEvents {
  readonly timer: WheelTimer<WireConnection> = new WheelTimer<WireConnection>(this)
  readonly #host: WireHost
  readonly #socket: Socket
  /** TCP: TLS would keep to itself what comes of an empty write. */
  readonly #beneath: Socket
  readonly #reader: RequestReader = new RequestReader(this)
  #request: WireRequest | null = null
  #events: DownstreamEvents | null = null
  /** A request has been read: from now on, silence is idleness. */
  #used = false
  #lingers = false
  #stopped = false
  #gathering = false

  constructor(host: WireHost, socket: Socket, beneath: Socket) {
    this.#host = host
    this.#socket = socket
    this.#beneath = beneath
  }

  begin(): void {
    const socket = this.#socket
    socket.on('error', ignore)
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('drain', this.#onDrain)
    socket.on('close', this.#onClose)
    this.#host.wheel.arm(this.timer, this.#host.limits.headersTimeoutMs)
    socket.resume()
  }

  /** Between requests, with nothing of a next one: it ends. */
  closeIfIdle(): void {
    if (this.#reader.inHead && this.#reader.held === 0) this.#linger()
  }

  /** What the timer was armed for has not come in time. */
  expired(): void {
    if (this.#lingers) this.#socket.destroy()
    else if (this.#stopped) this.#probe()
    else if (!this.#reader.inHead) return
    else if (this.#reader.held > 0 || !this.#used) this.malformed('header_timeout', 'ERR_HTTP_REQUEST_TIMEOUT')
    else this.#linger()
  }

  // ---- RequestCarrier

  get open(): boolean {
    return this.#socket.writable
  }

  get requestRead(): boolean {
    return this.#reader.waiting
  }

  write(bytes: Buffer): boolean {
    return this.#socket.writable && this.#socket.write(bytes)
  }

  writeLast(bytes: Buffer): boolean {
    return this.#socket.writable && this.#socket.write(bytes, this.#flushed)
  }

  gather(): void {
    if (this.#gathering) return
    this.#gathering = true
    this.#socket.cork()
    process.nextTick(release, this)
  }

  release(): void {
    this.#gathering = false
    this.#socket.uncork()
  }

  flushLater(request: WireRequest): void {
    this.#host.flushLater(request)
  }

  completeLater(): void {
    process.nextTick(this.#flushed)
  }

  reset(): void {
    this.#reader.discard()
    this.#socket.destroy()
  }

  /** The body has room again, or nobody wants it any more. */
  wanted(): void {
    if (this.#stopped && this.#reader.inBody) this.#resume()
  }

  // ---- ReaderEvents

  get maxHeaderBytes(): number {
    return this.#host.limits.maxHeaderBytes
  }

  headBegun(): void {
    // The first request's time runs from the connection's beginning.
    if (this.#used) this.#host.wheel.arm(this.timer, this.#host.limits.headersTimeoutMs)
  }

  head(head: RequestHead, ahead: boolean, buffer: Buffer, end: number): void {
    this.#host.wheel.disarm(this.timer)
    if (this.#stopped) this.#host.wheel.arm(this.timer, PROBE_MS)
    this.#used = true
    // Sent ahead it stays a request, which cannot change the protocol.
    if (!ahead && asksToUpgrade(head.fields)) this.#handOver(head, buffer.subarray(end))
    else this.#request = new WireRequest(this, head)
  }

  request(): void {
    const request = this.#request as WireRequest
    this.#events = this.#host.handlers.request(this.#socket, request)
    if (this.#events !== null) return
    // The connection is doomed: nobody will answer.
    this.#request = null
    request.callerGone()
    this.#linger()
  }

  piece(bytes: Buffer): void {
    const body = this.#request?.body
    // Without a reader it is thrown away, up to its end.
    if (body === null || body === undefined || body.destroyed) return
    if (!body.push(bytes)) this.#stop()
  }

  bodyEnded(): void {
    const body = this.#request?.body
    if (body !== null && body !== undefined && !body.destroyed) body.push(null)
    // From here on the caller is listened to only to hear it leave.
    this.#resume()
  }

  bodyBroken(code: string): void {
    // Answered already: there is nothing more to say, only to close when that is out.
    if (this.#request?.over === false) this.#events?.onBodyMalformed(code)
  }

  malformed(kind: RefusalKind | null, code: string): void {
    this.#reader.discard()
    this.#host.wheel.disarm(this.timer)
    this.#host.handlers.malformed(this.#socket, kind, code)
  }

  // ---- the socket

  readonly #onData = (chunk: Buffer): void => {
    const reader = this.#reader
    reader.take(chunk)
    if (reader.waiting && reader.held >= MAX_AHEAD) this.#stop()
  }

  readonly #onDrain = (): void => {
    this.#request?.resume()
  }

  /** As Envoy: a caller that ends its side is gone. An answer that is whole still goes out. */
  readonly #onEnd = (): void => {
    if (this.#reader.discarding) return
    const request = this.#request
    if (request === null) {
      if (this.#reader.held > 0) this.malformed(null, 'HPE_INVALID_EOF_STATE')
      else this.#socket.end()
      return
    }
    this.#reader.discard()
    if (request.over) return
    this.#finish(request, false)
    this.#socket.destroy()
  }

  readonly #onClose = (): void => {
    this.#leave()
    if (this.#request !== null) this.#finish(this.#request, false)
  }

  /** The last bytes of the answer are out; called with an error when they cannot be any more. */
  readonly #flushed = (error?: Error | null): void => {
    const request = this.#request
    // What went wrong is told by the socket's close.
    if ((error !== null && error !== undefined) || request === null) return
    request.flushed = true
    if (request.over) this.#finish(request, true)
  }

  // ---- ends

  #finish(request: WireRequest, complete: boolean): void {
    const events = this.#events
    this.#request = null
    this.#events = null
    events?.onClose(complete)
    if (!complete) return request.callerGone()
    request.body?.destroy()
    const reader = this.#reader
    // Answered before the request was over (an upstream's early 413): nobody reads the rest of it. As Envoy, close.
    if (!reader.waiting || request.closes) return this.#linger()
    this.#host.wheel.arm(this.timer, this.#host.limits.idleTimeoutMs)
    reader.next()
    if (!reader.waiting || reader.held < MAX_AHEAD) this.#resume()
  }

  /** Nothing behind this head is a request any more, and the socket is not ours. */
  #handOver(head: RequestHead, early: Buffer): void {
    const socket = this.#socket
    this.#leave()
    socket.off('data', this.#onData)
    socket.off('end', this.#onEnd)
    socket.off('drain', this.#onDrain)
    socket.off('close', this.#onClose)
    socket.pause()
    handOver(head, socket, early, this.#host.handlers)
  }

  #leave(): void {
    this.#reader.discard()
    this.#host.wheel.remove(this.timer)
    this.#host.forget(this)
  }

  /**
   * Ends the connection after what is still to be written. What the caller goes on sending is thrown away meanwhile: with
   * unread bytes the system would send RST, and the answer would be lost on its way.
   */
  #linger(): void {
    this.#reader.discard()
    if (!this.#socket.writable) return void this.#socket.destroy()
    this.#lingers = true
    this.#socket.end()
    this.#resume()
    this.#host.wheel.arm(this.timer, DELAYED_CLOSE_MS)
  }

  #stop(): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#socket.pause()
    this.#host.wheel.arm(this.timer, PROBE_MS)
  }

  /** Who is not read is not heard either, when it resets the connection: only a write tells, if there is nothing in it. */
  #probe(): void {
    if (this.#beneath.writable && this.#beneath.writableLength === 0) this.#beneath.write(NOTHING)
    this.#host.wheel.arm(this.timer, PROBE_MS)
  }

  #resume(): void {
    if (!this.#stopped) return
    this.#stopped = false
    // Between requests it stands for something else by now.
    if (!this.#reader.inHead) this.#host.wheel.disarm(this.timer)
    this.#socket.resume()
  }
}

function release(connection: WireConnection): void {
  connection.release()
}

function ignore(): void {}
