/**
 * A request to change to WebSocket (RFC 6455 §4, RFC 9110 §7.8) on its way to one cluster, over a connection of its own.
 * Whatever the caller speaks, the outside is asked in HTTP/1.1: also where the cluster speaks HTTP/2, since few sites take
 * extended CONNECT (RFC 8441). Not a byte of the caller's goes out before the 101.
 */
import { createHash, randomBytes } from 'node:crypto'
import { type Duplex, Readable } from 'node:stream'
import { headerValue, headerValues } from '../core/attributes.ts'
import { connectionNominations, fieldsAreCarriable } from '../core/headers.ts'
import type { ResponseHead } from '../core/http1/response-head.ts'
import { CHANGE_FIELDS } from '../core/upgrade.ts'
import { readAnswer } from './answer-reader.ts'
import { type Carrier, type CarryEvents, HTTP1_LINES } from './carrier.ts'
import type { ResponseLimits } from './cluster.ts'
import { connectBy, poolDoor } from './connect.ts'
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

/** RFC 6455 §1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/**
 * Carries requests to change to WebSocket, whichever engine carries the others. A response with `upgraded` is the 101; any
 * other is an answer like all answers, after which the connection is closed.
 */
export const upgradeForwarder: Forwarder = {
  send: (cluster, request, handlers, attempt = null) => new Delivery(CARRIER, cluster, request, handlers, attempt),
}

const CARRIER: Carrier<PooledConnection> = {
  ...HTTP1_LINES,
  // One of its own, which lasts as long as the caller wants.
  take: () => null,
  connect: (cluster, request, handlers, first, addresses) =>
    connectBy(poolDoor(cluster, request, 'stream', true), cluster, request, handlers, first, addresses),
  carry: (connection, request, limits, events) => new Attempt(connection, request, limits, events),
}

class Attempt {
  readonly #connection: PooledConnection
  readonly #socket: Duplex
  readonly #limits: ResponseLimits
  readonly #events: CarryEvents
  readonly #bytesBefore: number
  readonly #reading: { stop(): void }
  /** What must come back; null: the caller has its own key, and checks. */
  #accept: string | null = null
  /** A response or failure was reported, or nobody wants one any more. */
  #settled = false
  #broken = false

  constructor(connection: PooledConnection, request: OutgoingRequest, limits: ResponseLimits, events: CarryEvents) {
    this.#connection = connection
    this.#socket = connection.socket
    this.#limits = limits
    this.#events = events
    this.#bytesBefore = connection.bytesRead
    const socket = this.#socket
    socket.on('error', this.#onError)
    socket.once('end', this.#onEnd)
    socket.once('close', this.#onClose)
    this.#reading = readAnswer(socket, limits.maxHeaderBytes, {
      onAnswer: (head, body) => this.#answered(head, body),
      onSwitched: (head) => this.#switched(head),
      onFault: (why) => this.#fail(protocolFailure(why)),
    })
    const head = this.#head(request)
    if (head === null) process.nextTick(() => this.#fail(uncarriable()))
    else socket.write(head, 'latin1')
  }

  /** Frees the upstream at once; a response body errors. */
  abort(): void {
    this.#settled = true
    this.#connection.destroy()
  }

  #head({ method, target, headers, body, clientProtocol }: OutgoingRequest): string | null {
    if (method !== 'GET' || body !== null || !fieldsAreCarriable(headers)) return null
    let head = `GET ${target} HTTP/1.1\r\n`
    for (let i = 0; i < headers.length; i += 2) {
      const name = headers[i] as string
      // `content-length: 0` is all it can be, and nothing a handshake says.
      if (name !== 'content-length' && name !== 'connection' && name !== 'upgrade')
        head += `${name}: ${headers[i + 1]}\r\n`
    }
    // Over HTTP/2 there is no key (RFC 8441 §5), unless a sidecar carries that of a caller who speaks HTTP/1.1.
    if (clientProtocol === 'HTTP/2' && headerValue(headers, 'sec-websocket-key') === null) {
      const key = randomBytes(16).toString('base64')
      this.#accept = createHash('sha1')
        .update(key + GUID)
        .digest('base64')
      head += `sec-websocket-key: ${key}\r\n`
    }
    for (let i = 0; i < CHANGE_FIELDS.length; i += 2) head += `${CHANGE_FIELDS[i]}: ${CHANGE_FIELDS[i + 1]}\r\n`
    return `${head}\r\n`
  }

  #answered(head: ResponseHead, body: Readable): void {
    body.on('error', () => {
      this.#broken = true
      this.#connection.destroy()
    })
    if (this.#settled) return void body.destroy()
    const cleaned = cleanResponseHeaders(head.fields, head.minorVersion === 0, this.#limits.maxHeaders)
    if (cleaned.headers === null || head.framing === 'invalid') {
      this.#fail(protocolFailure(cleaned.why ?? 'content_length'))
      return void body.destroy()
    }
    this.#settled = true
    // Never used again, so that nothing the site sends behind its answer can be taken for another.
    body.once('close', () => this.#connection.destroy())
    this.#events.onResponse({ status: head.status, headers: cleaned.headers, body, trailers: null })
  }

  #switched(head: ResponseHead): void {
    if (this.#settled) return
    const why = this.#faultOf(head)
    if (why !== null) return this.#fail(protocolFailure(why))
    const fields = head.fields.filter((_, i, all) => {
      const name = all[i - (i % 2)]
      return name !== 'content-length' && (name !== 'sec-websocket-accept' || this.#accept === null)
    })
    const cleaned = cleanResponseHeaders(fields, false, this.#limits.maxHeaders)
    if (cleaned.headers === null) return this.#fail(protocolFailure(cleaned.why))
    this.#settled = true
    // From here on a FIN is one half of the end.
    const { socket } = this.#connection
    socket.allowHalfOpen = true
    socket.removeAllListeners('end')
    this.#events.onResponse({
      status: 101,
      headers: cleaned.headers,
      body: Readable.from([]),
      trailers: null,
      upgraded: socket,
    })
  }

  /** Why this 101 is not the one that was asked for; null: it is. */
  #faultOf({ fields, minorVersion }: ResponseHead): string | null {
    const [protocol, ...more] = headerValues(fields, 'upgrade')
    if (protocol?.toLowerCase() !== 'websocket' || more.length > 0 || minorVersion === 0) return 'unexpected_101'
    if (connectionNominations(fields)?.has('upgrade') !== true) return 'unexpected_101'
    // A length of 0 is passed over, as Envoy does; what else there is would say that 101 has a body.
    if (headerValue(fields, 'transfer-encoding') !== null) return 'transfer_encoding'
    if (headerValues(fields, 'content-length').some((length) => length !== '0')) return 'content_length'
    if (this.#accept !== null && headerValues(fields, 'sec-websocket-accept').join(',') !== this.#accept)
      return 'websocket_accept'
    return null
  }

  readonly #onError = (error: Error): void => {
    this.#broken = true
    const code = errorCode(error)
    this.#fail(isTlsError(code) ? tlsFailure(code) : UPSTREAM_CLOSED)
  }

  readonly #onEnd = (): void => {
    this.#fail(UPSTREAM_CLOSED)
  }

  readonly #onClose = (): void => {
    this.#fail(UPSTREAM_CLOSED)
    this.#events.onEnded(!this.#broken)
  }

  #fail(failure: UpstreamFailure): void {
    if (this.#settled) return
    this.#settled = true
    this.#reading.stop()
    this.#events.onFailure(failure, this.#connection.bytesRead === this.#bytesBefore)
    this.#connection.destroy()
  }
}
