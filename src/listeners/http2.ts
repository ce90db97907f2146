/**
 * HTTP/2 from callers (RFC 9113): one `node:http2` session per connection, by `performServerHandshake`, because an
 * http2.Server refuses sockets whose ALPN is absent or `istio`, both of which sidecars send.
 */
import { constants, performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import type { Duplex, Readable, Writable } from 'node:stream'
import type { Settings } from '../model/settings.ts'
import type { Downstream, DownstreamEvents } from './downstream.ts'

export type Http2Handlers = {
  readonly request: (downstream: Downstream) => DownstreamEvents | null
  /** The session broke the protocol, or was cut. `streams`: how many requests it carried. */
  readonly failed: (code: string, streams: number) => void
}

/** Envoy's edge limits: 100 streams, 64 KiB stream window (threats D1). */
const MAX_STREAMS = 100
const STREAM_WINDOW = 65536

/** Speaks HTTP/2 on `socket` until it closes. `session.close()` sends GOAWAY and lets streams finish. */
export function serveHttp2(socket: Duplex, limits: Settings['http'], handlers: Http2Handlers): ServerHttp2Session {
  const session = performServerHandshake(socket, {
    maxHeaderListPairs: limits.maxHeaders + 8,
    maxSessionInvalidFrames: 100,
    maxSessionRejectedStreams: 100,
    maxOutstandingPings: 10,
    maxSettings: 32,
    settings: {
      maxConcurrentStreams: MAX_STREAMS,
      initialWindowSize: STREAM_WINDOW,
      maxHeaderListSize: limits.maxHeaderBytes,
      enablePush: false,
    },
  })
  let streams = 0
  session.setTimeout(limits.idleTimeoutMs, () => session.close())
  session.on('stream', (stream: ServerHttp2Stream, headers, flags: number, raw: string[]) => {
    streams += 1
    stream.on('error', () => {})
    const downstream = new Http2Downstream(
      stream,
      raw,
      (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0,
      headers[':method'] ?? '',
    )
    const events = handlers.request(downstream)
    if (events === null) return
    stream.once('close', () => events.onClose(downstream.complete))
  })
  session.on('error', (error: NodeJS.ErrnoException) => handlers.failed(error.code ?? error.message, streams))
  return session
}

class Http2Downstream implements Downstream {
  readonly protocol = 'HTTP/2' as const
  readonly method: string
  readonly target: string
  readonly authorities: readonly string[]
  readonly headers: readonly string[]
  readonly body: Readable | null
  readonly expectsContinue: boolean
  readonly expectsOther: boolean
  readonly #stream: ServerHttp2Stream
  #finished = false

  constructor(stream: ServerHttp2Stream, raw: readonly string[], ended: boolean, method: string) {
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
      this.#finished = true
    })
  }

  /** The last byte of the answer was handed to the session and the stream was not reset. */
  get complete(): boolean {
    return this.#finished && this.#stream.rstCode === constants.NGHTTP2_NO_ERROR
  }

  get responded(): boolean {
    return this.#stream.headersSent
  }

  sendContinue(): void {
    if (!this.#stream.destroyed) this.#stream.additionalHeaders({ ':status': 100 })
  }

  reply(status: number, headers: string[], body: string | Buffer): void {
    if (this.#stream.destroyed) return
    this.#stream.respond(toObject(status, headers))
    this.#stream.end(body)
    if (this.body !== null) this.#stream.resume()
  }

  start(status: number, headers: string[]): Writable {
    if (!this.#stream.destroyed) this.#stream.respond(toObject(status, headers))
    return this.#stream
  }

  reset(): void {
    this.#stream.close(constants.NGHTTP2_INTERNAL_ERROR)
  }
}

/** Node wants an object; repeated fields become arrays, which it sends as separate fields. */
function toObject(status: number, headers: readonly string[]): Record<string, string | number | string[]> {
  const object: Record<string, string | number | string[]> = { ':status': status }
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    const value = headers[i + 1] as string
    const before = object[name]
    if (before === undefined) object[name] = value
    else if (Array.isArray(before)) before.push(value)
    else object[name] = [String(before), value]
  }
  return object
}
