/**
 * The `http-proxy` engine (contract §10): the package is the pump between a request body and an upstream, nothing more.
 * It never sees the real request or response, never dials, resolves, rewrites or adds a field. What it gets is a view
 * built here and an agent that hands over one connection, already chosen, verified and judged. Each of its known
 * holes (threats C1) is closed by that or by name below, and has a test in test/regression/.
 */
import { EventEmitter } from 'node:events'
import type { ClientRequest, IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import ProxyServer from 'http-proxy'
import common from 'http-proxy/lib/http-proxy/common.js'
import { headerValue } from '../core/attributes.ts'
import { fieldsAreCarriable } from '../core/headers.ts'
import { MAX_INTERIM } from '../core/http1/interim.ts'
import { type Carrier, type CarryEvents, declaredLength, HTTP1_LINES } from './carrier.ts'
import type { ResponseLimits } from './cluster.ts'
import { Delivery } from './delivery.ts'
import type { Forwarder } from './engine.ts'
import type { OutgoingRequest, UpstreamFailure } from './forwarder.ts'
import type { PooledConnection } from './pooled-connection.ts'
import { cleanResponseHeaders } from './response-headers.ts'
import {
  errorCode,
  isTlsError,
  protocolFailure,
  tlsFailure,
  UPSTREAM_CLOSED,
  uncarriable,
} from './transport-failure.ts'

// It merges slashes and splits at `?`; the target must go out byte for byte (models.md finding 2).
common.urlJoin = (...parts) => parts.at(-1) ?? ''

/** Satisfies http-proxy, which otherwise copies the upstream's response to its second argument. */
const SINK = { headersSent: true, finished: true }
const LIVE = { destroyed: false }
/** In place of a body: ends the request at once. */
const NO_BODY = { pipe: (request: ClientRequest) => request.end() }

/** One forwarder serves every cluster. */
export function createHttpProxyForwarder(): Forwarder {
  const proxy = new ProxyServer<Attempt>({})
  // Turns a chunked DELETE or OPTIONS into `content-length: 0` and pipes the body anyway: CVE-2026-29057.
  proxy.webPasses = proxy.webPasses.filter((pass) => pass.name !== 'deleteLength')
  if (!proxy.webPasses.some((pass) => pass.name === 'stream')) throw new Error('http-proxy has no `stream` pass')
  proxy.on('proxyRes', (response, attempt) => attempt.respond(response))
  // Without a listener the package throws; errors arrive through the callback of `web`.
  proxy.on('error', (error, attempt) => attempt.broke(error))
  const carrier: Carrier<PooledConnection> = {
    ...HTTP1_LINES,
    carry: (connection, request, limits, events) => {
      const attempt = new Attempt(connection, request, limits, events)
      attempt.start(proxy)
      return attempt
    },
  }
  return {
    send: (cluster, request, handlers, attempt = null) => new Delivery(carrier, cluster, request, handlers, attempt),
  }
}

/** ClientRequest with what @types/node leaves out. */
type PumpRequest = ClientRequest & {
  maxHeaderSize?: number
  insecureHTTPParser?: boolean
  _storeHeader(head: string, fields: readonly string[] | null): void
}

/**
 * One request on one connection. To http-proxy it is the incoming request (`view`): it reads `method`, `url`,
 * `headers` and `socket.destroyed`, and listens for `aborted`, which real requests no longer emit and we do.
 */
class Attempt extends EventEmitter {
  readonly method: string
  readonly url: string
  readonly headers: { readonly host: string }
  readonly socket = LIVE
  readonly #connection: PooledConnection
  readonly #request: OutgoingRequest
  readonly #limits: ResponseLimits
  readonly #events: CarryEvents
  readonly #bytesBefore: number
  #response: IncomingMessage | null = null
  /** The response broke off; its `complete` is no longer to be believed. */
  #cut = false
  #keepAliveMs: number | null = null
  #interim = 0
  /** A response or failure was reported, or nobody wants one any more. */
  #settled = false
  #ended = false

  constructor(connection: PooledConnection, request: OutgoingRequest, limits: ResponseLimits, events: CarryEvents) {
    super()
    this.method = request.method
    this.url = request.target
    this.headers = { host: headerValue(request.headers, 'host') ?? '' }
    this.#connection = connection
    this.#request = request
    this.#limits = limits
    this.#events = events
    this.#bytesBefore = connection.bytesRead
  }

  start(proxy: ProxyServer<Attempt>): void {
    const { body } = this.#request
    const { remoteAddress, remotePort } = this.#connection.socket
    try {
      const length = declaredLength(this.#request)
      if (length === undefined) throw new TypeError('content-length and body contradict each other')
      if (this.method === 'CONNECT') throw new TypeError('CONNECT is no request to forward')
      if (body !== null && typeof length === 'number') this.#measure(body, length)
      proxy.web(
        this,
        SINK,
        {
          target: { protocol: 'http:', host: remoteAddress, port: remotePort },
          agent: { keepAlive: true, maxSockets: 1, defaultPort: 80, protocol: 'http:', addRequest: this.#takeOver },
          buffer: body ?? NO_BODY,
          selfHandleResponse: true,
          toProxy: true,
          prependPath: false,
        },
        (error) => this.broke(error),
      )
    } catch {
      // Its constructor throws synchronously on what cannot be a request; callers hear of it like of anything else.
      process.nextTick(() => this.#fail(uncarriable()))
    }
  }

  /**
   * The `agent` of this one request. Node calls it when the request object is complete and nothing of it is written:
   * the only moment to say what the head shall be. `http-proxy` would upper-case the method and regroup the fields,
   * and Node would add `connection`, join cookies and re-encode `content-disposition`.
   */
  readonly #takeOver = (client: ClientRequest): void => {
    const request = client as PumpRequest
    const { socket } = this.#connection
    const { method, target, headers, body } = this.#request
    if (!fieldsAreCarriable(headers)) throw new TypeError('a header field cannot be carried')
    let head = `${method} ${target} HTTP/1.1\r\n`
    for (let i = 0; i < headers.length; i += 2) head += `${headers[i]}: ${headers[i + 1]}\r\n`
    request.method = method
    // Nothing is to be added for us, …
    request.removeHeader('connection')
    request.removeHeader('content-length')
    request.removeHeader('transfer-encoding')
    // … and a body without a length is chunked, whatever the method.
    const chunked = body !== null && headerValue(headers, 'content-length') === null
    request._storeHeader(head, chunked ? ['transfer-encoding', 'chunked'] : null)
    request.insecureHTTPParser = false
    request.maxHeaderSize = this.#limits.maxHeaderBytes
    // Node would silently drop fields beyond its default; response-headers.ts refuses instead.
    request.maxHeadersCount = 0
    request.reusedSocket = this.#connection.reused
    request.on('information', this.#onInterim)
    request.once('upgrade', (_response: IncomingMessage, upgraded: Socket) => {
      upgraded.destroy()
      this.#fail(protocolFailure('unexpected_101'))
    })
    socket.once('free', this.#onFree)
    socket.once('close', this.#onClose)
    request.onSocket(socket)
    // Node holds the head back until there is body to go with it; a caller may want an answer before it sends any.
    if (body !== null)
      setImmediate(() => {
        // `flushHeaders` would write it in UTF-8: two bytes for each one from 0x80 up.
        if (!request.writableEnded && !request.destroyed) request.write('', 'latin1')
      })
  }

  /** The upstream's final response head. */
  respond(response: IncomingMessage): void {
    if (this.#settled) return
    const { httpVersion, statusCode = 0 } = response
    if (httpVersion !== '1.1' && httpVersion !== '1.0') {
      this.#fail(protocolFailure('http_version'))
      return
    }
    if (statusCode < 200 || statusCode > 599) {
      this.#fail(protocolFailure('status_code'))
      return
    }
    const cleaned = cleanResponseHeaders(response.rawHeaders, httpVersion === '1.0', this.#limits.maxHeaders)
    if (cleaned.headers === null) {
      this.#fail(protocolFailure(cleaned.why))
      return
    }
    this.#keepAliveMs = cleaned.keepAliveMs
    this.#settled = true
    this.#response = response
    this.#events.onResponse({ status: statusCode, headers: cleaned.headers, body: response, trailers: null })
  }

  /** Any error of the upstream's side, before or after the response head. */
  broke(error: Error): void {
    if (this.#response !== null) {
      // Before Node tells its parser that the stream is over: a body that ends with the connection would end cleanly
      // although the connection was reset.
      if (!this.#response.complete) {
        this.#cut = true
        this.#response.destroy(error)
      }
      this.#connection.destroy()
      return
    }
    if (this.#settled) return
    const code = errorCode(error)
    if (code.startsWith('HPE_')) this.#fail(protocolFailure(code))
    else if (isTlsError(code)) this.#fail(tlsFailure(code))
    else this.#fail(UPSTREAM_CLOSED)
  }

  /** Frees the upstream at once; the response body, if any, errors. */
  abort(): void {
    if (this.#ended) return
    this.#settled = true
    // http-proxy's own listener destroys its request; the connection goes with it, wherever the request got to.
    this.emit('aborted')
    this.#connection.destroy()
  }

  #fail(failure: UpstreamFailure): void {
    if (!this.#settled) {
      this.#settled = true
      const silent = this.#connection.bytesRead === this.#bytesBefore
      this.#events.onFailure(failure, silent)
    }
    this.#connection.destroy()
    // The throw came before the connection was taken over: nobody listens for its end.
    if (!this.#connection.socket.listeners('close').includes(this.#onClose)) this.#end(false)
  }

  /** A body must be as long as the head says: anything else would be read as part of another request. */
  #measure(body: NonNullable<OutgoingRequest['body']>, length: number): void {
    let seen = 0
    body.on('data', (chunk: Buffer) => {
      seen += chunk.length
      if (seen > length) this.#fail(uncarriable())
    })
    body.once('end', () => {
      if (seen !== length) this.#fail(uncarriable())
    })
  }

  readonly #onInterim = (): void => {
    this.#interim++
    if (this.#interim > MAX_INTERIM) this.#fail(protocolFailure('too_many_interim_responses'))
  }

  /** Node emits `free` when request and response are both complete and the connection may be used again. */
  readonly #onFree = (): void => {
    const { socket } = this.#connection
    socket.removeListener('close', this.#onClose)
    Object.assign(socket, { _httpMessage: null })
    if (this.#complete) this.#connection.release(this.#keepAliveMs)
    else this.#connection.destroy()
    this.#end(this.#complete)
  }

  readonly #onClose = (): void => {
    this.#connection.socket.removeListener('free', this.#onFree)
    // Node's own listener comes after this one and reports a response that never came.
    process.nextTick(() => {
      if (!this.#settled) this.#fail(UPSTREAM_CLOSED)
      this.#end(this.#complete)
    })
  }

  get #complete(): boolean {
    return this.#response?.complete === true && !this.#cut
  }

  #end(complete: boolean): void {
    if (this.#ended) return
    this.#ended = true
    this.#events.onEnded(complete)
  }
}
