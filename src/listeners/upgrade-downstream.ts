/**
 * An HTTP/1.1 request that asks for another protocol, as the exchange sees it: nothing behind its head is a request any
 * more, whatever the answer is. What the caller sends before it is answered is held, not passed on; an answer other than
 * 101 is the last one on the connection, as with Envoy. Needs nothing of the parser that has read the head.
 */
import type { Socket } from 'node:net'
import { type Duplex, Writable } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { CHANGE_FIELDS } from '../core/upgrade.ts'
import type { Downstream, DownstreamEvents } from './downstream.ts'
import type { Http1Request } from './http1-request.ts'
import { lastHead, lingeringClose, rawHead } from './raw-answer.ts'

/** Callers wait for the 101 (RFC 6455 §4.1); some do not wait with the first few frames. */
const MAX_EARLY = 65_536

export class UpgradeDownstream implements Downstream {
  readonly protocol: 'HTTP/1.0' | 'HTTP/1.1'
  readonly strict = false
  readonly method: string
  readonly target: string
  readonly authorities: readonly string[]
  readonly headers: readonly string[]
  readonly body = null
  readonly expectsContinue = false
  readonly expectsOther: boolean
  readonly closes = true
  responded = false
  readonly #socket: Socket
  readonly #early: Buffer[] = []
  #earlyLength = 0
  #events: DownstreamEvents | null = null

  /** The socket has an error listener and is read by nobody else. `early`: what came with the head. */
  constructor(request: Http1Request, socket: Socket, early: Buffer) {
    this.protocol = request.protocol
    this.method = request.method
    this.target = request.target
    this.authorities = request.authorities
    this.headers = request.headers
    this.expectsOther = request.expects === 'other'
    this.#socket = socket
    if (early.length > 0) socket.unshift(early)
  }

  /** From now on the connection's end, or too many bytes before their time, are told. */
  watch(events: DownstreamEvents): void {
    this.#events = events
    this.#socket.once('close', this.#onClose)
    if (!this.responded) this.#socket.on('readable', this.#hold)
  }

  readonly #onClose = (): void => {
    this.#events?.onClose(false)
  }

  readonly #hold = (): void => {
    for (;;) {
      const chunk = this.#socket.read() as Buffer | null
      if (chunk === null) return
      this.#early.push(chunk)
      this.#earlyLength += chunk.length
      if (this.#earlyLength <= MAX_EARLY) continue
      this.#socket.off('readable', this.#hold)
      this.#events?.onBodyMalformed('upgrade_early_data')
      return
    }
  }

  sendContinue(): void {}

  reply(status: number, headers: string[], body: string | Buffer): void {
    this.#answer(status, headers, this.method === 'HEAD' ? '' : body)
    this.#end()
  }

  start(status: number, headers: string[]): Writable {
    if (this.#socket.destroyed) return new Writable().destroy()
    const bare = this.method === 'HEAD' || status === 204 || status === 205 || status === 304
    const chunked = !bare && !headers.some((name, i) => i % 2 === 0 && name === 'content-length')
    this.#answer(status, chunked ? [...headers, 'transfer-encoding', 'chunked'] : headers, '')
    return new AnswerWriter(this.#socket, bare ? 'none' : chunked ? 'chunked' : 'as it is', () => this.#end())
  }

  readonly upgrade = (headers: string[]): Duplex => {
    const socket = this.#socket
    this.#stopHolding()
    socket.off('close', this.#onClose)
    if (this.#earlyLength > 0) socket.unshift(Buffer.concat(this.#early))
    this.responded = true
    socket.allowHalfOpen = true
    socket.setTimeout(0)
    socket.write(rawHead(101, [...headers, ...CHANGE_FIELDS]), 'latin1')
    return socket
  }

  reset(): void {
    if (this.#socket instanceof TLSSocket || this.#socket.destroyed) this.#socket.destroy()
    else this.#socket.resetAndDestroy()
  }

  #stopHolding(): void {
    this.#socket.off('readable', this.#hold)
  }

  #answer(status: number, headers: readonly string[], body: string | Buffer): void {
    this.#stopHolding()
    this.responded = true
    if (this.#socket.destroyed) return
    this.#socket.write(lastHead(status, headers), 'latin1')
    if (body.length > 0) this.#socket.write(body)
  }

  /** The answer is complete. */
  #end(): void {
    const socket = this.#socket
    if (socket.destroyed) return
    socket.once('finish', () => {
      socket.off('close', this.#onClose)
      this.#events?.onClose(true)
    })
    lingeringClose(socket)
  }
}

/** The body of an answer. A caller can tell a whole one by its framing; one that is cut never gets its last bytes. */
class AnswerWriter extends Writable {
  readonly #socket: Socket
  readonly #framing: 'chunked' | 'as it is' | 'none'
  readonly #onEnd: () => void

  constructor(socket: Socket, framing: 'chunked' | 'as it is' | 'none', onEnd: () => void) {
    super()
    this.#socket = socket
    this.#framing = framing
    this.#onEnd = onEnd
    socket.once('close', this.#onClose)
  }

  readonly #onClose = (): void => {
    this.destroy()
  }

  override _write(chunk: Buffer, _encoding: string, then: () => void): void {
    // A caller who is gone is no fault of the answer's: the socket's `close` is on its way and says so.
    const done = () => then()
    if (this.#framing === 'none' || chunk.length === 0) return done()
    if (this.#framing === 'as it is') return void this.#socket.write(chunk, done)
    this.#socket.cork()
    this.#socket.write(`${chunk.length.toString(16)}\r\n`)
    this.#socket.write(chunk)
    this.#socket.write('\r\n', done)
    this.#socket.uncork()
  }

  override _final(done: () => void): void {
    this.#socket.off('close', this.#onClose)
    if (this.#framing === 'chunked') this.#socket.write('0\r\n\r\n')
    this.#onEnd()
    done()
  }
}
