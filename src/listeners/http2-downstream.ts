/** One HTTP/2 stream as the exchange sees it. */
import { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import { type Duplex, type Readable, Writable } from 'node:stream'
import type { HeaderList } from '../core/attributes.ts'
import { fieldsByName } from '../core/headers.ts'
import { CHANGE_FIELDS } from '../core/upgrade.ts'
import type { Downstream } from './downstream.ts'

export class Http2Downstream implements Downstream {
  readonly protocol = 'HTTP/2' as const
  readonly strict = false
  readonly closes = false
  readonly method: string
  readonly target: string
  readonly authorities: readonly string[]
  readonly headers: readonly string[]
  readonly body: Readable | null
  readonly expectsContinue: boolean
  readonly expectsOther: boolean
  readonly upgrade: ((headers: string[]) => Duplex) | null
  readonly #session: ServerHttp2Session
  readonly #stream: ServerHttp2Stream
  /** Bytes may follow that only the upstream, if anybody, reads. */
  #uploads: boolean
  #trailers: HeaderList | null = null
  /** The answer is out but for its trailers. */
  #owesTrailers = false

  constructor(
    session: ServerHttp2Session,
    stream: ServerHttp2Stream,
    raw: readonly string[],
    ended: boolean,
    method: string,
  ) {
    this.#session = session
    this.#stream = stream
    const headers: string[] = []
    const authorities: string[] = []
    let path = ''
    let expect: string | null = null
    let protocol: string | null = null
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i] as string
      const value = raw[i + 1] as string
      if (name === ':path') path = value
      else if (name === ':authority') authorities.unshift(value)
      else if (name === ':protocol') protocol = value
      else if (name.startsWith(':')) continue
      else {
        if (name === 'host') authorities.push(value)
        if (name === 'expect') expect = value
        headers.push(name, value)
      }
    }
    const extended = method === 'CONNECT' && protocol !== null
    // Extended CONNECT (RFC 8441) is judged as what it stands for, as in Envoy: the request that HTTP/1.1 would make of it.
    if (extended) headers.push('connection', CHANGE_FIELDS[1], 'upgrade', protocol ?? '')
    this.method = extended ? 'GET' : method
    this.upgrade = extended ? (fields) => this.#change(fields) : null
    this.target = path
    this.authorities = authorities
    this.headers = headers
    this.body = ended || extended ? null : stream
    this.expectsContinue = expect !== null && expect.toLowerCase() === '100-continue'
    this.expectsOther = expect !== null && !this.expectsContinue
    this.#uploads = !ended
    if (ended) {
      // Nothing is to be read; but a stream that nobody reads Node ends with RST_STREAM in place of END_STREAM when the
      // caller's window is used up, and the answer would look cut.
      stream.resume()
      return
    }
    stream.once('trailers', (_fields, _flags, list: HeaderList) => (this.#trailers = list))
    stream.once('finish', () => {
      if (!this.#owesTrailers) this.#stopUpload()
    })
  }

  /** When the answer is out before the request was: nobody reads the rest, so the caller is told to stop (RFC 9113 §8.1). */
  #stopUpload(): void {
    const stream = this.#stream
    if (!this.#uploads || !this.complete || stream.readableEnded) return
    stream.close(constants.NGHTTP2_NO_ERROR)
    // Else Node would keep it until somebody has read what came so far, and an upstream may read no further.
    process.nextTick(() => stream.destroy())
  }

  /**
   * The last byte of the answer was handed to the session and the stream was not reset. A stream that both sides have
   * ended closes without ever emitting `finish`, perhaps with the last write still counted as pending; one that is closed
   * before we ended it is `aborted`; a session that we destroy closes its streams with NO_ERROR.
   */
  get complete(): boolean {
    const { rstCode, aborted, headersSent, writableEnded, writableFinished } = this.#stream
    // Callers may reset with NO_ERROR too: the stream then ends and finishes without an answer, or with a part of it.
    if (rstCode !== constants.NGHTTP2_NO_ERROR || aborted || !headersSent || !writableEnded) return false
    return writableFinished || !this.#session.destroyed
  }

  get responded(): boolean {
    return this.#stream.headersSent
  }

  sendContinue(): void {
    if (this.#answerable) this.#stream.additionalHeaders({ ':status': 100 })
  }

  reply(status: number, headers: string[], body: string | Buffer): void {
    if (!this.#answerable) return
    // Node ends a stream that can have no body by itself, and takes `end(body)` for a write after that.
    const bare = body.length === 0 || this.#bodiless(status)
    // A flat list, as it came: an object would take a field named `constructor` for its own.
    this.#stream.respond([':status', String(status), ...headers], { endStream: bare })
    if (!bare) this.#stream.end(body)
    if (this.#uploads) this.#stream.resume()
  }

  start(status: number, headers: string[], _close: boolean, trailers: (() => HeaderList | null) | null): Writable {
    const stream = this.#stream
    const bodiless = this.#bodiless(status)
    const waitForTrailers = !bodiless && trailers !== null
    if (this.#answerable) {
      stream.respond([':status', String(status), ...headers], { endStream: bodiless, waitForTrailers })
      this.#owesTrailers = waitForTrailers
      if (waitForTrailers) stream.once('wantTrailers', () => this.#sendTrailers(trailers()))
    }
    return bodiless ? new Writable({ write: (_chunk, _encoding, done) => done() }) : stream
  }

  /** The stream carries the other protocol from here on; each side ends by END_STREAM. */
  #change(headers: string[]): Duplex {
    this.#uploads = false
    if (this.#answerable) this.#stream.respond([':status', '200', ...headers])
    return this.#stream
  }

  /** null: the answer ends without. */
  #sendTrailers(trailers: HeaderList | null): void {
    const stream = this.#stream
    if (!this.#answerable) return
    stream.sendTrailers(fieldsByName(trailers ?? []))
    this.#owesTrailers = false
    // Node sends them in the next turn of the event loop.
    setImmediate(() => this.#stopUpload())
  }

  /** `closed` comes before `destroyed` when the caller resets the stream while its body is not read; Node then throws. */
  get #answerable(): boolean {
    return !this.#stream.destroyed && !this.#stream.closed
  }

  #bodiless(status: number): boolean {
    return this.method === 'HEAD' || status === 204 || status === 205 || status === 304
  }

  trailers(): HeaderList | null {
    return this.#trailers
  }

  reset(): void {
    // Not `close`: that ends the answer with END_STREAM before it resets the stream.
    this.#stream.destroy(new Error('reset'))
  }
}
