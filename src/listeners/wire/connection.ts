/** HTTP/1.1 on one accepted socket: requests as they are read, one exchange at a time, time-outs. Closed on any doubt. */
import type { Socket } from 'node:net'
import type { RequestHead } from '../../core/http1/request-head.ts'
import type { RefusalKind } from '../../core/refusal.ts'
import { WheelTimer } from '../../core/timer-wheel.ts'
import { type Asker, type Hearer, type Speaker, turn } from '../../forward/turn.ts'
import type { DownstreamEvents } from '../downstream.ts'
import { DELAYED_CLOSE_MS } from '../raw-answer.ts'
import { asksToUpgrade, handOver } from './handover.ts'
import type { WireHost } from './host.ts'
import { Intake } from './intake.ts'
import { Outbox } from './outbox.ts'
import { type RequestCarrier, WireRequest } from './request.ts'
import { type ReaderEvents, RequestReader } from './request-reader.ts'

/** How often a caller that is not read is asked whether it is still there, milliseconds. */
const PROBE_MS = 500
/** Bytes of further requests kept while one is under way; beyond them the caller has to wait. */
const MAX_AHEAD = 65_536

export class WireConnection implements RequestCarrier, ReaderEvents, Hearer, Asker, Speaker {
  readonly timer: WheelTimer<WireConnection> = new WheelTimer<WireConnection>(this)
  readonly #host: WireHost
  readonly #socket: Socket
  readonly #reader: RequestReader = new RequestReader(this)
  #request: WireRequest | null = null
  #events: DownstreamEvents | null = null
  /** A request has been read: from now on, silence is idleness. */
  #used = false
  #lingers = false
  readonly #intake: Intake
  readonly #outbox: Outbox
  /** Its request has been read, and nobody has been told of it. */
  #unasked = false
  /** `speak` will be called. */
  #speaks = false

  constructor(host: WireHost, socket: Socket, beneath: Socket) {
    this.#host = host
    this.#socket = socket
    this.#intake = new Intake(socket, beneath)
    this.#outbox = new Outbox(socket, this.#flushed)
  }

  begin(): void {
    const socket = this.#socket
    // The caller's end is answered with ours, but not before what came with it has been heard.
    socket.allowHalfOpen = true
    socket.on('error', () => {})
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('drain', this.#onDrain)
    socket.on('close', this.#onClose)
    this.#host.wheel.arm(this.timer, this.#host.limits.headersTimeoutMs)
    socket.resume()
  }

  /** Between requests, with nothing of a next one: it ends. */
  closeIfIdle(): void {
    if (this.#reader.inHead && this.#reader.held === 0 && this.#intake.kept === 0) this.#linger()
  }

  /** What the timer was armed for has not come in time. */
  expired(): void {
    if (this.#lingers) this.#socket.destroy()
    else if (this.#intake.stopped) {
      this.#intake.probe()
      this.#host.wheel.arm(this.timer, PROBE_MS)
    } else if (!this.#reader.inHead) return
    else if (this.#reader.held > 0 || !this.#used) this.malformed('header_timeout', 'ERR_HTTP_REQUEST_TIMEOUT')
    else this.#linger()
  }

  get open(): boolean {
    return this.#socket.writable
  }

  get requestRead(): boolean {
    return this.#reader.waiting
  }

  write(bytes: Buffer, last: boolean): boolean {
    if (!this.#socket.writable) return false
    this.speakLater()
    return this.#outbox.put(bytes, last)
  }

  speakLater(): void {
    if (!this.#speaks) turn.speakToCaller(this)
    this.#speaks = true
  }

  completeLater(): void {
    process.nextTick(this.#flushed)
  }

  reset(): void {
    this.#reader.discard()
    // What has been said of a broken answer still leaves, as far as it can: the caller sees whose it was.
    this.#outbox.write()
    this.#socket.destroy()
  }

  /** The body has room again, or nobody wants it any more. */
  wanted(): void {
    if (this.#intake.stopped && this.#reader.inBody) this.#resume()
  }

  get maxHeaderBytes(): number {
    return this.#host.limits.maxHeaderBytes
  }

  headBegun(): void {
    // The first request's time runs from the connection's beginning.
    if (this.#used) this.#host.wheel.arm(this.timer, this.#host.limits.headersTimeoutMs)
  }

  head(head: RequestHead, ahead: boolean, buffer: Buffer, end: number): void {
    this.#host.wheel.disarm(this.timer)
    if (this.#intake.stopped) this.#host.wheel.arm(this.timer, PROBE_MS)
    this.#used = true
    const last = asksToUpgrade(head.fields)
    // Sent ahead it stays a request, which cannot change the protocol; nobody can know what the bytes behind it are.
    if (last && !ahead) return this.#handOver(head, buffer.subarray(end))
    this.#request = new WireRequest(this, head, last)
  }

  /** Read to its end it is judged with the others of this turn (turn.ts); one whose body is on its way, now. */
  request(): void {
    this.#unasked = true
    if (this.#reader.waiting) turn.ask(this)
    else this.ask()
  }

  /** Of Turn; and before anything else may be told of the connection. */
  ask(): void {
    if (!this.#unasked) return
    this.#unasked = false
    const request = this.#request as WireRequest
    this.#events = this.#host.handlers.request(this.#socket, request)
    if (this.#events !== null) return
    // The connection is doomed: nobody will answer.
    this.#request = null
    request.callerGone()
    this.#linger()
  }

  piece(bytes: Buffer): void {
    const body = this.#request?.body ?? null
    // Without a reader it is thrown away, up to its end.
    if (body?.destroyed === false && !body.push(bytes)) this.#stop()
  }

  bodyEnded(): void {
    const body = this.#request?.body ?? null
    if (body?.destroyed === false) body.push(null)
    // From here on the caller is listened to only to hear it leave.
    this.#resume()
  }

  bodyBroken(code: string): void {
    // Answered already: there is nothing more to say, only to close when that is out.
    if (this.#request?.over === false) this.#events?.onBodyMalformed(code)
  }

  malformed(kind: RefusalKind | null, code: string): void {
    this.#reader.discard()
    this.#outbox.write()
    this.#host.wheel.disarm(this.timer)
    this.#host.handlers.malformed(this.#socket, kind, code)
  }

  /** Looked at when all sockets have been read (turn.ts); not where there is nothing to gain, in a long body. */
  readonly #onData = (chunk: Buffer): void => {
    const intake = this.#intake
    const { kept } = intake
    if (kept === 0 && this.#reader.inBody) return this.#take(chunk)
    intake.keep(chunk)
    if (kept + chunk.length >= MAX_AHEAD) this.hear()
    else if (kept === 0) turn.hearCaller(this)
  }

  /** Of Turn. */
  hear(): void {
    const chunk = this.#intake.take()
    if (chunk !== null) this.#take(chunk)
  }

  #take(chunk: Buffer): void {
    const reader = this.#reader
    reader.take(chunk)
    if (reader.waiting && reader.held >= MAX_AHEAD) this.#stop()
  }

  /** Of Turn. */
  speak(): void {
    this.#speaks = false
    // It has waited for a first piece of its body in vain.
    this.#request?.flushHead()
    this.#outbox.write()
  }

  readonly #onDrain = (): void => {
    this.#request?.resume()
  }

  /** As Envoy: a caller that ends its side is gone. An answer that is whole still goes out. */
  readonly #onEnd = (): void => {
    this.hear()
    this.ask()
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
    // It has been asked: that is on record, whatever can be said to it now.
    this.hear()
    this.ask()
    this.#leave()
    if (this.#request !== null) this.#finish(this.#request, false)
  }

  /** The last bytes of the answer are out; called with an error when they cannot be any more. */
  readonly #flushed = (error?: Error | null): void => {
    const request = this.#request
    // What went wrong is told by the socket's close.
    if (error instanceof Error || request === null) return
    request.flushed = true
    if (request.over) this.#finish(request, true)
  }

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
    this.#outbox.write()
    this.#leave()
    socket.off('data', this.#onData)
    socket.off('end', this.#onEnd)
    socket.off('drain', this.#onDrain)
    socket.off('close', this.#onClose)
    socket.pause()
    socket.allowHalfOpen = false
    handOver(head, socket, early, this.#host.handlers)
  }

  #leave(): void {
    this.#reader.discard()
    this.#host.wheel.remove(this.timer)
    this.#host.forget(this)
  }

  /** Ends the connection after what is still to be written, as `lingeringClose` does. */
  #linger(): void {
    this.#reader.discard()
    this.#outbox.write()
    if (!this.#socket.writable) return void this.#socket.destroy()
    this.#lingers = true
    this.#socket.end()
    this.#resume()
    this.#host.wheel.arm(this.timer, DELAYED_CLOSE_MS)
  }

  #stop(): void {
    if (this.#intake.stopped) return
    this.#intake.stop()
    this.#host.wheel.arm(this.timer, PROBE_MS)
  }

  #resume(): void {
    if (!this.#intake.stopped) return
    // Between requests it stands for something else by now.
    if (!this.#reader.inHead) this.#host.wheel.disarm(this.timer)
    this.#intake.resume()
  }
}
