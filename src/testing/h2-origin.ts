/** Upstreams that speak HTTP/2: by Node's server where they are honest, frame by frame where they are not. */
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  createSecureServer,
  createServer,
  type Http2SecureServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type Settings,
} from 'node:http2'
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net'
import type { TlsOptions } from 'node:tls'
import { FrameServer } from './h2-frames.ts'
import type { OriginTls } from './origin.ts'

export type ReceivedStream = {
  readonly stream: ServerHttp2Stream
  readonly headers: IncomingHttpHeaders
  /** As they came: flat, pseudo fields included. */
  readonly raw: readonly string[]
}

export type H2Origin = AsyncDisposable & {
  readonly port: number
  readonly sessions: readonly ServerHttp2Session[]
  readonly streams: readonly ReceivedStream[]
}

export type H2OriginOptions = {
  readonly tls?: OriginTls
  readonly settings?: Settings
}

/** Streams and sessions have `error` listeners. */
export async function startH2Origin(
  onStream: (received: ReceivedStream, index: number) => void,
  options: H2OriginOptions = {},
): Promise<H2Origin> {
  const settings = options.settings ?? {}
  const { tls } = options
  const server: Http2Server | Http2SecureServer =
    tls === undefined
      ? createServer({ settings })
      : createSecureServer({ settings, cert: tls.cert, key: tls.key, ...tls.options })
  const sessions: ServerHttp2Session[] = []
  const streams: ReceivedStream[] = []
  server.on('session', (session: ServerHttp2Session) => {
    session.on('error', () => {})
    sessions.push(session)
  })
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, _flags: number, raw: string[]) => {
    stream.on('error', () => {})
    const received = { stream, headers, raw }
    streams.push(received)
    onStream(received, streams.length - 1)
  })
  const port = await listen(server)
  return {
    port,
    sessions,
    streams,
    [Symbol.asyncDispose]: async () => {
      for (const session of sessions) session.destroy()
      await closed(server)
    },
  }
}

export type FrameOrigin = AsyncDisposable & {
  readonly port: number
  /** The connection with this index, when it comes. */
  connection(index: number): Promise<FrameServer>
  readonly connections: readonly FrameServer[]
}

/** Does nothing but take connections. `settings`: entries of the SETTINGS frame that each begins with. */
export async function startFrameOrigin(
  settings?: Buffer,
  onConnection: (connection: FrameServer) => void = () => {},
): Promise<FrameOrigin> {
  const connections: FrameServer[] = []
  const sockets: Socket[] = []
  const server = createTcpServer((socket) => {
    const connection = new FrameServer(socket, settings)
    sockets.push(socket)
    connections.push(connection)
    onConnection(connection)
    server.emit('taken')
  })
  server.setMaxListeners(0)
  const port = await listen(server)
  return {
    port,
    connections,
    connection: async (index) => {
      for (;;) {
        const connection = connections[index]
        if (connection !== undefined) return connection
        await once(server, 'taken')
      }
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      await closed(server)
    },
  }
}

/** HTTP/2 alone (in plain text by prior knowledge), for a handler that was written for HTTP/1.1. */
export function http2Server(
  handle: (request: IncomingMessage, response: ServerResponse) => void,
  tls: TlsOptions | null,
): Server {
  const server = tls === null ? createServer() : createSecureServer(tls)
  // Node's compatibility layer: everything that handlers use here is the same, but for `Host`.
  return server.on('request', (request, response) => {
    const { authority } = request
    request.headers.host = authority
    request.rawHeaders.unshift('host', authority)
    handle(request as unknown as IncomingMessage, response as unknown as ServerResponse)
  })
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

async function closed(server: Server): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  server.close(() => resolve())
  await promise
}
