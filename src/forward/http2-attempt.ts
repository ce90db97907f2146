/**
 * One request on one HTTP/2 stream (RFC 9113 §8): exactly the method, target and fields that were judged; both bodies
 * streamed, trailers both ways. Whatever becomes of it, only its own stream is touched.
 */
import { type ClientHttp2Stream, constants, type IncomingHttpHeaders, type IncomingHttpStatusHeader } from 'node:http2'
import type { Readable } from 'node:stream'
import { type HeaderList, headerValue } from '../core/attributes.ts'
import { fieldsAreCarriable, fieldsByName, isHopByHop } from '../core/headers.ts'
import { MAX_INTERIM } from '../core/http1/interim.ts'
import { type CarryEvents, declaredLength } from './carrier.ts'
import type { ResponseLimits } from './cluster.ts'
import { type OutgoingRequest, UpstreamBroke, type UpstreamFailure } from './forwarder.ts'
import { Http2Body } from './http2-body.ts'
import type { Http2Line } from './http2-session.ts'
import { cleanResponseHeaders } from './response-headers.ts'
import {
  errorCode,
  isTlsError,
  protocolFailure,
  tlsFailure,
  UPSTREAM_CLOSED,
  UPSTREAM_RESET,
  uncarriable,
} from './transport-failure.ts'

const { NGHTTP2_CANCEL, NGHTTP2_PROTOCOL_ERROR, NGHTTP2_REFUSED_STREAM } = constants

export class Http2Attempt {
  readonly #line: Http2Line
  readonly #request: OutgoingRequest
  readonly #limits: ResponseLimits
  readonly #events: CarryEvents
  readonly #bytesBefore: number
  #stream: ClientHttp2Stream | null = null
  #body: Http2Body | null = null
  #error: Error | null = null
  #trailers: HeaderList | null = null
  #interim = 0
  /** A response or failure was reported, or nobody wants one any more. */
  #settled = false

  constructor(line: Http2Line, request: OutgoingRequest, limits: ResponseLimits, events: CarryEvents) {
    this.#line = line
    this.#request = request
    this.#limits = limits
    this.#events = events
    this.#bytesBefore = line.bytesRead
  }

  /** `scheme`: of the connection. */
  start(scheme: 'http' | 'https'): void {
    const { body, headers, method } = this.#request
    const length = declaredLength(this.#request)
    let stream: ClientHttp2Stream
    try {
      if (length === undefined || method === 'CONNECT' || !fieldsAreCarriable(headers))
        throw new TypeError('a request that cannot be carried')
      // Also where none can come: else Node says END_STREAM by itself when a stream is reset in the middle of its body, and
      // the upstream would take what it has for the whole.
      const waitForTrailers = body !== null
      stream = this.#line.request(requestFields(this.#request, scheme), { endStream: body === null, waitForTrailers })
    } catch {
      process.nextTick(() => {
        this.#fail(uncarriable())
        this.#end(false)
      })
      return
    }
    this.#stream = stream
    this.#body = new Http2Body(stream, () => this.abort())
    stream.on('headers', this.#onInterim)
    stream.once('response', this.#onResponse)
    stream.once('trailers', this.#onTrailers)
    stream.on('error', (error) => (this.#error = error))
    stream.once('close', this.#onClose)
    if (body === null) return
    if (typeof length === 'number') this.#measure(body, length)
    stream.once('wantTrailers', this.#sendTrailers)
    body.pipe(stream)
  }

  /** Frees the stream at once; the response body, if any, errors. */
  abort(): void {
    this.#settled = true
    this.#reset()
  }

  #reset(): void {
    const stream = this.#stream
    if (stream === null || stream.destroyed) return
    this.#request.body?.unpipe(stream)
    stream.close(NGHTTP2_CANCEL)
    stream.destroy()
  }

  readonly #onInterim = (): void => {
    this.#interim++
    if (this.#interim <= MAX_INTERIM) return
    this.#fail(protocolFailure('too_many_interim_responses'))
    this.#reset()
  }

  readonly #onResponse = (
    fields: IncomingHttpHeaders & IncomingHttpStatusHeader,
    _flags: number,
    raw: readonly string[],
  ): void => {
    const body = this.#body
    if (this.#settled || body === null) return
    const status = fields[':status'] ?? 0
    // `:status` comes first, and is the only one of its kind.
    const cleaned = cleanResponseHeaders(raw.slice(2), false, this.#limits.maxHeaders)
    if (cleaned.headers === null || status < 200 || status > 599) {
      this.#fail(protocolFailure(cleaned.why ?? 'status_code'))
      this.#reset()
      return
    }
    this.#settled = true
    const length = headerValue(cleaned.headers, 'content-length')
    body.length = length === null || this.#request.method === 'HEAD' ? null : Number(length)
    this.#events.onResponse({ status, headers: cleaned.headers, body, trailers: () => this.#trailers })
  }

  readonly #onTrailers = (_fields: IncomingHttpHeaders, _flags: number, raw: readonly string[]): void => {
    this.#trailers = raw
  }

  readonly #sendTrailers = (): void => {
    const stream = this.#stream
    if (stream === null || stream.closed || stream.destroyed) return
    stream.sendTrailers(fieldsByName(this.#request.trailers?.read() ?? []))
  }

  /** A body must be as long as its head says, for whoever turns this into HTTP/1.1 again. */
  #measure(body: Readable, length: number): void {
    let seen = 0
    const check = (wrong: boolean): void => {
      if (!wrong) return
      this.#fail(uncarriable())
      this.#reset()
    }
    body.on('data', (chunk: Buffer) => {
      seen += chunk.length
      check(seen > length)
    })
    body.once('end', () => check(seen !== length))
  }

  #fail(failure: UpstreamFailure): void {
    if (this.#settled) return
    this.#settled = true
    this.#events.onFailure(failure, this.#line.bytesRead === this.#bytesBefore)
  }

  readonly #onClose = (): void => {
    this.#body?.close()
    const whole = this.#body?.whole === true
    const failure = this.#failure()
    this.#fail(failure)
    if (!whole) this.#body?.destroy(new UpstreamBroke(failure.kind))
    this.#end(whole)
  }

  #end(whole: boolean): void {
    this.#line.release()
    this.#events.onEnded(whole)
  }

  /** Why the stream ended before its response did. */
  #failure(): UpstreamFailure {
    const stream = this.#stream
    const code = this.#error === null ? null : errorCode(this.#error)
    if (this.#line.ignored(stream?.id) || stream?.rstCode === NGHTTP2_REFUSED_STREAM)
      return { ...(this.#line.gone ? UPSTREAM_CLOSED : UPSTREAM_RESET), refused: true }
    // nghttp2 gives up on a stream, or a session, that breaks the protocol.
    if (code === 'ERR_HTTP2_ERROR') return protocolFailure('http2')
    if (code !== null && isTlsError(code)) return tlsFailure(code)
    if (this.#line.gone) return UPSTREAM_CLOSED
    // Node does not tell a reset that came from one of its own for a malformed answer; this one nobody else uses.
    return stream?.rstCode === NGHTTP2_PROTOCOL_ERROR ? protocolFailure('http2') : UPSTREAM_RESET
  }
}

/** Pseudo fields, then the rest as it was judged: `host` is `:authority`, and what concerns a connection has no place. */
function requestFields({ method, target, headers }: OutgoingRequest, scheme: 'http' | 'https'): string[] {
  const authority = headerValue(headers, 'host') ?? ''
  const fields = [':method', method, ':scheme', scheme, ':authority', authority, ':path', target]
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    const value = headers[i + 1] as string
    if (name === 'host' || (isHopByHop(name) && (name !== 'te' || value !== 'trailers'))) continue
    fields.push(name, value)
  }
  return fields
}
