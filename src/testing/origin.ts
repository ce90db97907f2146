/**
 * The outside world for tests and the demo: raw TCP (or TLS) servers that record every byte per connection and answer
 * with whatever bytes they are told, and an honest HTTP echo site in the manner of httpbin.org.
 */
import { EventEmitter, once } from 'node:events'
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'
import { http2Server } from './h2-origin.ts'

/** PEM texts; `clientCa` makes a client certificate mandatory. */
export type OriginTls = {
  readonly cert: string
  readonly key: string
  readonly clientCa?: string
  /** Further options of `tls.createServer`, for servers that are wrong on purpose. */
  readonly options?: TlsOptions
}

/** One connection as the origin saw it. */
export class RecordedConnection extends EventEmitter {
  readonly socket: Socket
  readonly #chunks: Buffer[] = []
  /** Resolves once the connection is closed, however that came about. */
  readonly closed: Promise<void>

  constructor(socket: Socket) {
    super()
    this.socket = socket
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()))
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk)
      this.emit('bytes')
    })
  }

  /** Everything received so far, byte for byte. */
  get bytes(): Buffer {
    return Buffer.concat(this.#chunks)
  }
  /** The same as Latin-1 text: one character per byte. */
  get text(): string {
    return this.bytes.toString('latin1')
  }

  /** Resolves when the bytes received satisfy `condition`; rejects if the connection closes first. */
  async until(condition: (text: string) => boolean): Promise<string> {
    while (!condition(this.text)) {
      if (this.socket.destroyed) throw new Error(`the connection closed after ${JSON.stringify(this.text)}`)
      await Promise.race([once(this, 'bytes'), this.closed])
    }
    return this.text
  }

  /** Ends the connection with RST instead of FIN. */
  reset(): void {
    this.socket.resetAndDestroy()
  }
}

export type RawOrigin = AsyncDisposable & {
  readonly port: number
  readonly connections: readonly RecordedConnection[]
  /** The connection with this index, now or when it comes. */
  connection(index: number): Promise<RecordedConnection>
  close(): Promise<void>
}

export type RawOriginOptions = {
  /** Called for each connection; without it the origin only listens and records. */
  readonly onConnection?: (connection: RecordedConnection, index: number) => void
  /** Called for each request head that is complete (naively: up to an empty line). */
  readonly onRequest?: (connection: RecordedConnection, head: string, requestIndex: number) => void
  readonly tls?: OriginTls
  readonly host?: string
}

/** A server that does exactly what its callbacks do. */
export async function startRawOrigin(options: RawOriginOptions = {}): Promise<RawOrigin> {
  const connections: RecordedConnection[] = []
  const arrivals = new EventEmitter().setMaxListeners(0)
  const accept = (socket: Socket): void => {
    const connection = new RecordedConnection(socket)
    connections.push(connection)
    options.onConnection?.(connection, connections.length - 1)
    if (options.onRequest !== undefined) watchRequests(connection, options.onRequest)
    arrivals.emit('connection')
  }
  const server =
    options.tls === undefined
      ? createServer(accept)
      : createTlsServer(tlsOptions(options.tls), accept).on('tlsClientError', () => undefined)
  const port = await listen(server, options.host ?? '127.0.0.1')
  const sockets = trackSockets(server)
  const close = () => closeAll(server, sockets)
  return {
    port,
    connections,
    connection: async (index) => {
      for (;;) {
        const connection = connections[index]
        if (connection !== undefined) return connection
        await once(arrivals, 'connection')
      }
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

function watchRequests(connection: RecordedConnection, onRequest: NonNullable<RawOriginOptions['onRequest']>): void {
  let from = 0
  let index = 0
  connection.on('bytes', () => {
    for (
      let end = connection.text.indexOf('\r\n\r\n', from);
      end >= 0;
      end = connection.text.indexOf('\r\n\r\n', from)
    ) {
      const head = connection.text.slice(from, end + 4)
      from = end + 4
      // What follows a head may be its body; only something that looks like a request line is another request.
      if (/^[^ \r\n]+ [^ \r\n]+ HTTP\/1\.[01]\r\n/.test(head)) onRequest(connection, head, index++)
    }
  })
}

/** What raw origins answer when they misbehave, as bytes; each is wrong in one way only. */
export const MISBEHAVIOURS = {
  lengthAndChunked: 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  twoLengths: 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!',
  unknownCoding: 'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhello',
  chunkedTwice: 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
  chunkedHttp10: 'HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  notHttp: 'SSH-2.0-OpenSSH_9.6\r\n',
  badVersion: 'HTTP/3.7 200 OK\r\ncontent-length: 0\r\n\r\n',
  badStatus: 'HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n',
  nulInHeader: 'HTTP/1.1 200 OK\r\nx-a: b\0c\r\ncontent-length: 0\r\n\r\n',
  spaceBeforeColon: 'HTTP/1.1 200 OK\r\ncontent-length : 5\r\n\r\nhello',
  negativeLength: 'HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello',
  switchingProtocols: 'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n',
  switchingSilently: 'HTTP/1.1 101 Switching Protocols\r\n\r\n',
} as const satisfies Record<string, string>

export type EchoOrigin = AsyncDisposable & {
  readonly port: number
  /** `METHOD target` of every request, in order. */
  readonly requests: readonly string[]
  /** Connections accepted so far, and open now. */
  readonly accepted: () => number
  readonly open: () => number
  close(): Promise<void>
}

/**
 * A well-behaved site: `/anything…` and `/headers` echo as JSON (`url` has the scheme that really arrived here),
 * `/status/N` answers N, `/delay/S` waits S seconds, `/bytes/N` sends N bytes, `/upload` counts what it gets; all else
 * is a page. `name` stands in the page's title. `http2`: it speaks nothing else.
 */
export async function startEchoOrigin(
  options: { readonly tls?: OriginTls; readonly name?: string; readonly host?: string; readonly http2?: boolean } = {},
): Promise<EchoOrigin> {
  const requests: string[] = []
  let accepted = 0
  const scheme = options.tls === undefined ? 'http' : 'https'
  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    requests.push(`${request.method} ${request.url}`)
    answer(request, response, scheme, options.name ?? 'origin').catch((error: unknown) => {
      response.destroy(error instanceof Error ? error : undefined)
    })
  }
  const server =
    options.http2 === true
      ? http2Server(handle, options.tls === undefined ? null : tlsOptions(options.tls))
      : http1Server(handle, options.tls)
  server.on('tlsClientError', () => undefined)
  server.on('connection', () => accepted++)
  const port = await listen(server, options.host ?? '127.0.0.1')
  const sockets = trackSockets(server)
  const close = () => closeAll(server, sockets)
  return {
    port,
    requests,
    accepted: () => accepted,
    open: () => sockets.size,
    close,
    [Symbol.asyncDispose]: close,
  }
}

type Handle = (request: IncomingMessage, response: ServerResponse) => void

function http1Server(handle: Handle, tls: OriginTls | undefined): Server {
  const server = tls === undefined ? createHttpServer(handle) : createHttpsServer(tlsOptions(tls), handle)
  server.keepAliveTimeout = 60_000
  return server
}

async function answer(request: IncomingMessage, response: ServerResponse, scheme: string, name: string): Promise<void> {
  const { method = '', url = '' } = request
  const path = url.split('?', 1)[0] as string
  const argument = Number(path.split('/')[2])
  if (path === '/upload') {
    let bytes = 0
    for await (const chunk of request) bytes += (chunk as Buffer).length
    sendJson(response, { bytes })
  } else if (path.startsWith('/anything') || path === '/headers') {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const headers = echoedHeaders(request.rawHeaders)
    const query = new URLSearchParams(url.slice(path.length))
    const echo = { args: Object.fromEntries(query), data: Buffer.concat(chunks).toString('latin1'), headers, method }
    const origin = request.socket.remoteAddress ?? ''
    sendJson(
      response,
      path === '/headers' ? { headers } : { ...echo, origin, url: `${scheme}://${request.headers.host}${url}` },
    )
  } else if (path.startsWith('/status/')) {
    response.writeHead(argument).end()
  } else if (path.startsWith('/delay/')) {
    const timer = setTimeout(() => sendJson(response, { delay: argument }), argument * 1_000)
    response.once('close', () => clearTimeout(timer))
  } else if (path.startsWith('/bytes/')) {
    await sendBytes(response, argument)
  } else {
    const page = `<!doctype html><title>${name}</title><h1>${name}</h1>\n`
    response.writeHead(200, { 'content-type': 'text/html', 'content-length': Buffer.byteLength(page) }).end(page)
  }
}

/** Field names as httpbin prints them (`User-Agent`); repeated fields joined. */
function echoedHeaders(raw: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {}
  for (let i = 0; i < raw.length; i += 2) {
    const name = (raw[i] as string).replace(
      /(^|-)([a-z])/g,
      (_, dash: string, letter: string) => dash + letter.toUpperCase(),
    )
    const before = headers[name]
    headers[name] = before === undefined ? (raw[i + 1] as string) : `${before},${raw[i + 1]}`
  }
  return headers
}

function sendJson(response: ServerResponse, value: unknown): void {
  const text = `${JSON.stringify(value, null, 2)}\n`
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }).end(text)
}

async function sendBytes(response: ServerResponse, count: number): Promise<void> {
  const block = Buffer.alloc(64 * 1024, 'x')
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': count })
  for (let left = count; left > 0; left -= block.length) {
    const more = response.write(left >= block.length ? block : block.subarray(0, left))
    if (!more && !response.destroyed) await writable(response)
    if (response.destroyed) return
  }
  response.end()
}

/** Resolves when more can be written, or never will be. */
function writable(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.removeListener('drain', done)
      response.removeListener('close', done)
      resolve()
    }
    response.on('drain', done)
    response.on('close', done)
  })
}

function tlsOptions(tls: OriginTls): TlsOptions {
  const client = tls.clientCa === undefined ? {} : { ca: tls.clientCa, requestCert: true, rejectUnauthorized: true }
  return { cert: tls.cert, key: tls.key, ...client, ...tls.options }
}

async function listen(server: Server, host: string): Promise<number> {
  server.listen(0, host)
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

function trackSockets(server: Server): Set<Socket> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  return sockets
}

async function closeAll(server: Server, sockets: Set<Socket>): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  for (const socket of sockets) socket.destroy()
  await closed
}
