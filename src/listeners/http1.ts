/**
 * HTTP/1.1 from callers: Node's own server and parser in strict mode, never listening, fed with sockets.
 * What Node would let through quietly (several Host fields, header lists cut at a limit, other transfer codings) is
 * left visible for the exchange to refuse.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { RefusalKind } from '../core/refusal.ts'
import type { Settings } from '../model/settings.ts'
import { httpConnections } from './connection.ts'
import type { Downstream, DownstreamEvents } from './downstream.ts'
import { Http1Downstream } from './http1-downstream.ts'
import { http1Request } from './http1-request.ts'
import { lingeringClose } from './raw-answer.ts'
import { UpgradeDownstream } from './upgrade-downstream.ts'

export type Http1Handlers = {
  /** Called for each request; answers what to tell about its end, or null to drop it (the connection is doomed). */
  readonly request: (socket: Socket, downstream: Downstream) => DownstreamEvents | null
  /** The parser gave up with this code (for CONNECT: its target): answer, record and close. */
  readonly malformed: (socket: Socket, kind: RefusalKind | null, code: string) => void
}

export type Http1Server = {
  /** `beneath`: the TCP socket that carries it, where that is another. */
  accept(socket: Socket, beneath?: Socket): void
  apply(limits: Settings['http']): void
  closeIdle(): void
  close(): void
}

type Reading = {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly events: DownstreamEvents
  /** The parser has given up on its body. */
  broken: boolean
}

export function createHttp1Server(limits: Settings['http'], handlers: Http1Handlers): Http1Server {
  const server: Server = createServer({
    insecureHTTPParser: false,
    requireHostHeader: false,
    requestTimeout: 0,
    connectionsCheckingInterval: 1000,
    keepAlive: false,
    noDelay: true,
    // Others are requests like all: refused, unless `upgrade` is nothing that `Connection` names.
    shouldUpgradeCallback: ({ socket }) => isIdle(socket),
  })
  // 0: no silent truncation of the list; the exchange counts fields itself.
  server.maxHeadersCount = 0
  server.maxRequestsPerSocket = 0
  server.timeout = 0

  /** The last request with a body on each connection: whom a parser error concerns while that body is being read. */
  const reading = new WeakMap<Socket, Reading>()
  const onRequest =
    (expectsContinue: boolean, expectsOther: boolean) => (request: IncomingMessage, response: ServerResponse) => {
      const downstream = new Http1Downstream(request, response, expectsContinue, expectsOther)
      const events = handlers.request(request.socket, downstream)
      if (events === null) return
      if (downstream.body !== null) reading.set(request.socket, { request, response, events, broken: false })
      response.once('close', () => {
        events.onClose(response.writableFinished)
        if (downstream.body !== null && !request.complete) setImmediate(leaveUnread, request)
      })
      request.on('error', () => {})
      response.on('error', () => {})
    }
  server.on('request', onRequest(false, false))
  server.on('checkContinue', onRequest(true, false))
  server.on('checkExpectation', onRequest(false, true))
  server.on('upgrade', (request: IncomingMessage, socket: Socket, early: Buffer) => {
    // Node's own listeners have been taken off it, and before 24.9 it does not ask first.
    socket.on('error', () => {})
    if (!isIdle(socket)) return void socket.destroy()
    const downstream = new UpgradeDownstream(http1Request(request), socket, early)
    const events = handlers.request(socket, downstream)
    if (events === null) socket.resume()
    else downstream.watch(events)
  })
  server.on('connect', ({ url = '' }: IncomingMessage, socket: Socket) =>
    handlers.malformed(socket, 'connect_refused', url),
  )
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    const code = error.code ?? 'unknown'
    // Destroyed by us, for what a site's answer was broken by: the caller has said nothing wrong.
    if (socket.destroyed && code.startsWith('HPE_')) return
    const kind = refusalOf(code)
    const current = reading.get(socket)
    if (current === undefined || current.request.complete) return handlers.malformed(socket, kind, code)
    // In the middle of a body: that request's own end is the one record; whatever follows is noise.
    if (kind === null) return void socket.destroy()
    if (current.broken) return
    current.broken = true
    const { response, events } = current
    // Answered already (an early answer, a refusal): there is nothing more to say, only to close.
    if (response.writableFinished) leave(socket)
    else if (response.writableEnded) response.once('close', () => leave(socket))
    else events.onBodyMalformed(code)
  })
  const apply = (next: Settings['http']) => {
    // maxHeaderSize is read per connection and documented as an option only; the property is what the parser reads.
    Object.assign(server, { maxHeaderSize: next.maxHeaderBytes })
    server.headersTimeout = next.headersTimeoutMs
    server.keepAliveTimeout = next.idleTimeoutMs
  }
  apply(limits)
  // The header time-out is watched from 'listening' on; this server only ever gets sockets handed over.
  server.emit('listening')
  return {
    accept: (socket) => void server.emit('connection', socket),
    apply,
    closeIdle: () => server.closeIdleConnections(),
    close: () => void server.close(() => {}),
  }
}

/**
 * Answered before the request was over (an upstream's early 413): nobody reads the rest of it. As Envoy, close. Called when
 * the parser has read all that had come: it calls back in the middle of that, too.
 */
function leaveUnread(request: IncomingMessage): void {
  if (!request.complete && !request.socket.destroyed) leave(request.socket)
}

/** Ends a connection behind its last answer. What still arrives is no request any more: nobody would answer it. */
function leave(socket: Socket): void {
  const http = httpConnections.get(socket)
  if (http !== undefined) http.poisoned = true
  lingeringClose(socket)
}

/** No request waits for its answer: one for another protocol would come out of turn. */
function isIdle(socket: Socket): boolean {
  return httpConnections.get(socket)?.exchanges.size === 0
}

/** What a parser error means to the caller; null: the connection is gone, there is nobody to answer. */
function refusalOf(code: string): RefusalKind | null {
  if (code === 'HPE_HEADER_OVERFLOW') return 'headers_too_large'
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return 'header_timeout'
  if (code === 'HPE_INVALID_EOF_STATE' || !code.startsWith('HPE_')) return null
  return 'bad_request'
}
