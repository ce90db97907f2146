/** One HTTP/2 stream as the exchange sees it. */
import { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import { type Readable, Writable } from 'node:stream'
import type { Downstream } from './downstream.ts'

export class Http2Downstream implements Downstream {
  readonly protocol = 'HTTP/2' as const
  readonly closes = false
  readonly method: string
  readonly target: string
  readonly authorities: readonly string[]
  readonly headers: readonly string[]
  readonly body: Readable | null
  readonly expectsContinue: boolean
  readonly expectsOther: boolean
  readonly #session: ServerHttp2Session
  readonly #stream: ServerHttp2Stream

  constructor(
    session: ServerHttp2Session,
    stream: ServerHttp2Stream,
    raw: readonly string[],
    ended: boolean,
    method: string,
  ) {
    this.#session = session
    this.#stream = stream
    this.method = method
    const headers: string[] = []
    const authorities: string[] = []
    let path = ''
    let expect: string | null = null
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i] as string
      const value = raw[i + 1] as string
      if (name === ':path') path = value
      else if (name === ':authority') authorities.unshift(value)
      else if (name.startsWith(':')) continue
      else {
        if (name === 'host') authorities.push(value)
        if (name === 'expect') expect = value
        headers.push(name, value)
      }
    }
    this.target = path
    this.authorities = authorities
    this.headers = headers
    this.body = ended ? null : stream
    this.expectsContinue = expect !== null && expect.toLowerCase() === '100-continue'
    this.expectsOther = expect !== null && !this.expectsContinue
    stream.once('finish', () => {
      // The answer is out before the request was: nobody reads the rest, so the caller is told to stop (RFC 9113 §8.1).
      if (this.body === null || !this.complete || stream.readableEnded) return
      stream.close(constants.NGHTTP2_NO_ERROR)
      // Else Node would keep it until somebody has read what came so far, and an upstream may read no further.
      process.nextTick(() => stream.destroy())
    })
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
    if (this.body !== null) this.#stream.resume()
  }

  start(status: number, headers: string[]): Writable {
    const bodiless = this.#bodiless(status)
    if (this.#answerable) this.#stream.respond([':status', String(status), ...headers], { endStream: bodiless })
    return bodiless ? new Writable({ write: (_chunk, _encoding, done) => done() }) : this.#stream
  }

  /** `closed` comes before `destroyed` when the caller resets the stream while its body is not read; Node then throws. */
  get #answerable(): boolean {
    return !this.#stream.destroyed && !this.#stream.closed
  }

  #bodiless(status: number): boolean {
    return this.method === 'HEAD' || status === 204 || status === 205 || status === 304
  }

  trailers(): null {
    return null
  }

  reset(): void {
    this.#stream.close(constants.NGHTTP2_INTERNAL_ERROR)
  }
}
