/** The small HTTP servers of admin, metrics and health: one handler, tight limits, an orderly end. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export type Answer = {
  readonly status: number
  readonly type: string
  readonly body: string
  readonly headers?: Readonly<Record<string, string>>
  /** Runs once the answer has been handed to the network. */
  readonly after?: () => void
}

export type ControlRequest = {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly host: string | null
  readonly origin: string | null
}

export type ControlServer = {
  /** Binds. 0 picks a free port. Rejects when it cannot. */
  listen(address: string, port: number): Promise<{ port: number }>
  /** Takes nothing new, finishes what runs for at most a second, then cuts. Idempotent. */
  close(): Promise<void>
}

const TEXT = 'text/plain; charset=utf-8'
const CLOSE_GRACE_MS = 1000
/** These ports are for operators and probes: more connections than this are an accident or an attack. */
const MAX_CONNECTIONS = 256

export function text(status: number, body: string): Answer {
  return { status, type: TEXT, body }
}

export function json(body: unknown): Answer {
  return { status: 200, type: 'application/json', body: `${JSON.stringify(body, null, 1)}\n` }
}

/** `handle` may throw or reject: the caller gets 500 without details, `onError` gets the error. */
export function createControlServer(
  handle: (request: ControlRequest) => Answer | Promise<Answer>,
  onError: (error: unknown) => void = () => undefined,
): ControlServer {
  const server = createServer(
    {
      headersTimeout: 5000,
      requestTimeout: 10_000,
      keepAliveTimeout: 30_000,
      connectionsCheckingInterval: 5000,
      maxHeaderSize: 16 * 1024,
    },
    (request, response) => {
      void respond(request, response)
    },
  )
  server.maxConnections = MAX_CONNECTIONS
  // Node answers malformed requests with 400 itself; without a listener a socket error would be thrown.
  server.on('clientError', (_error, socket) => {
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
    else socket.destroy()
  })

  const respond = async (request: IncomingMessage, response: ServerResponse) => {
    request.on('error', () => undefined)
    response.on('error', () => undefined)
    // Bodies mean nothing here; a body that is not read would keep the connection from being used again.
    request.resume()
    let answer: Answer
    try {
      answer = await handle(readRequest(request))
    } catch (error) {
      onError(error)
      answer = text(500, 'internal error\n')
    }
    const { after } = answer
    if (after !== undefined) response.once('close', after)
    response.writeHead(answer.status, {
      'content-type': answer.type,
      'content-length': Buffer.byteLength(answer.body),
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      ...answer.headers,
    })
    response.end(request.method === 'HEAD' ? undefined : answer.body)
  }

  let closing: Promise<void> | null = null
  return {
    listen(address, port) {
      return new Promise((resolve, reject) => {
        server.once('error', reject)
        server.listen({ host: address, port }, () => {
          server.off('error', reject)
          server.on('error', onError)
          resolve({ port: (server.address() as AddressInfo).port })
        })
      })
    },
    close() {
      closing ??= new Promise((resolve) => {
        const cut = setTimeout(() => server.closeAllConnections(), CLOSE_GRACE_MS)
        server.close(() => {
          clearTimeout(cut)
          resolve()
        })
        server.closeIdleConnections()
      })
      return closing
    },
  }
}

function readRequest(request: IncomingMessage): ControlRequest {
  const target = request.url ?? '/'
  const mark = target.indexOf('?')
  return {
    method: request.method ?? '',
    path: mark === -1 ? target : target.slice(0, mark),
    query: new URLSearchParams(mark === -1 ? '' : target.slice(mark + 1)),
    host: request.headers.host ?? null,
    origin: request.headers.origin ?? null,
  }
}
