/**
 * The outside: records every byte it is sent, reads it with Node's strict parser, and answers properly in as many ways as
 * there are. What it gets must be requests, whole, written the one way in which the gateway writes them.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Message } from './node-reader.ts'

export type Recorded = Message & { readonly requestId: string }

type Connection = {
  readonly socket: Socket
  /** Bytes that no request has been found in yet. */
  chunks: Buffer[]
  /** Requests that have begun since the bytes were looked at. */
  readonly begun: { readonly request: IncomingMessage; readonly ended: () => boolean }[]
}

export class Recorder {
  readonly port: number
  /** What cannot be: bytes that are no request, requests written in another way, one id twice. */
  readonly anomalies: string[] = []
  readonly #requests = new Map<string, () => Recorded>()
  readonly #connections = new Set<Connection>()
  readonly #server: ReturnType<typeof createServer>

  private constructor(server: ReturnType<typeof createServer>) {
    this.#server = server
    this.port = (server.address() as AddressInfo).port
    server.on('connection', (socket: Socket) => this.#accept(socket))
    const listener = (request: IncomingMessage, response: ServerResponse): void => this.#take(request, response)
    server.on('request', listener)
    server.on('checkContinue', listener)
    server.on('checkExpectation', listener)
    server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
      // The gateway gave up in the middle of a body: allowed, and seen in the request that is not whole.
      if (error.code !== 'ECONNRESET' && error.code !== 'HPE_INVALID_EOF_STATE')
        this.anomalies.push(`the site cannot read what it got: ${error.code ?? error.message}`)
      socket.destroy()
    })
  }

  static async start(): Promise<Recorder> {
    const server = createServer({ insecureHTTPParser: false, maxHeaderSize: 1 << 20, keepAliveTimeout: 0 })
    server.maxHeadersCount = 0
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new Recorder(server)
  }

  /** Everything recorded since the last time, by request id; checks how it was written. Call it when all is quiet. */
  take(): ReadonlyMap<string, Recorded> {
    for (const connection of this.#connections) this.#checkBytes(connection)
    const taken = new Map([...this.#requests].map(([id, recorded]) => [id, recorded()]))
    this.#requests.clear()
    return taken
  }

  /** Idempotent. */
  async close(): Promise<void> {
    if (!this.#server.listening) return
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, 'close')
  }

  #accept(socket: Socket): void {
    const connection: Connection = { socket, chunks: [], begun: [] }
    this.#connections.add(connection)
    connections.set(socket, connection)
    socket.setNoDelay(true)
    // Node's parser gets them too: with a second reader it leaves the handle to the stream.
    socket.on('data', (chunk: Buffer) => void connection.chunks.push(chunk))
    socket.once('close', () => {
      this.#checkBytes(connection)
      this.#connections.delete(connection)
    })
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    const fields = request.rawHeaders.map((text, i) => (i % 2 === 0 ? text.toLowerCase() : text))
    const requestId = fields[fields.indexOf('x-request-id') + 1] ?? ''
    const body: Buffer[] = []
    let ended = false
    request.on('data', (chunk: Buffer) => void body.push(chunk))
    request.on('error', () => {})
    request.once('end', () => {
      ended = true
      answer(request, response, requestId)
    })
    connections.get(request.socket)?.begun.push({ request, ended: () => ended })
    if (this.#requests.has(requestId)) this.anomalies.push(`request ${requestId} came twice`)
    this.#requests.set(requestId, () => ({
      requestId,
      start: `${request.method} ${request.url}`,
      minorVersion: request.httpVersionMinor,
      fields,
      body: Buffer.concat(body).toString('latin1'),
      trailers: request.rawTrailers,
      whole: ended && request.complete,
    }))
  }

  /** Byte for byte: what was built from Node's reading must be what came, with nothing before, between or behind. */
  #checkBytes(connection: Connection): void {
    const bytes = Buffer.concat(connection.chunks).toString('latin1')
    connection.chunks = []
    let at = 0
    for (const { request, ended } of connection.begun.splice(0)) {
      const head = headOf(request)
      if (!bytes.startsWith(head, at)) {
        this.anomalies.push(`written in another way: ${JSON.stringify(bytes.slice(at, at + head.length + 40))}`)
        return
      }
      at += head.length
      const rest = ended() ? behindBody(bytes, at, request) : bytes.length
      if (rest === null) {
        this.anomalies.push(`a body is framed in another way: ${JSON.stringify(bytes.slice(at))}`)
        return
      }
      at = rest
    }
    if (at < bytes.length) this.anomalies.push(`bytes that are no request: ${JSON.stringify(bytes.slice(at))}`)
  }
}

const connections = new WeakMap<Socket, Connection>()

function headOf({ method, url, rawHeaders }: IncomingMessage): string {
  let head = `${method} ${url} HTTP/1.1\r\n`
  for (let i = 0; i < rawHeaders.length; i += 2) head += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`
  return `${head}\r\n`
}

/** Behind the body that begins at `start`; null: it is not framed as the gateway frames bodies. */
function behindBody(bytes: string, start: number, { headers }: IncomingMessage): number | null {
  if (headers['transfer-encoding'] === undefined) return start + Number(headers['content-length'] ?? 0)
  const size = /([1-9a-f][0-9a-f]*|0)\r\n/y
  for (let at = start; ; ) {
    size.lastIndex = at
    const [line, digits] = size.exec(bytes) ?? []
    if (line === undefined || digits === undefined) return null
    const end = at + line.length + Number.parseInt(digits, 16)
    if (!bytes.startsWith('\r\n', end)) return null
    if (digits === '0') return end + 2
    at = end + 2
  }
}

const LARGE = 'l'.repeat(70_000)

/** The end of the path says how. `x-echo` names the request, so that an answer cannot be taken for another's. */
function answer(request: IncomingMessage, response: ServerResponse, requestId: string): void {
  response.setHeader('x-echo', requestId)
  const path = (request.url ?? '').split('?', 1)[0] ?? ''
  if (path.endsWith('/none')) response.writeHead(204).end()
  else if (path.endsWith('/unmodified')) response.writeHead(304).end()
  else if (path.endsWith('/chunked')) {
    response.writeHead(200)
    response.write('first')
    response.end(requestId)
  } else if (path.endsWith('/close')) {
    response.useChunkedEncodingByDefault = false
    response.removeHeader('transfer-encoding')
    response.writeHead(200, { connection: 'close' })
    response.write('until the end ')
    response.end(requestId)
  } else response.end(path.endsWith('/large') ? LARGE : requestId)
}
