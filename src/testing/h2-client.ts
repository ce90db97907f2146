/** An HTTP/2 caller over any socket: Node's session for honest requests, whatever was negotiated below it. */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2'
import type { Socket } from 'node:net'
import type { MeshConnectOptions } from './mesh-client.ts'
import { meshConnect } from './mesh-client.ts'

/** What sidecars offer for HTTP/2 (behaviour §7.2). */
export const SIDECAR_H2_ALPN = ['istio-h2', 'istio', 'h2'] as const

export type H2Answer = {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  readonly trailers: IncomingHttpHeaders | null
  /** How the stream was closed: 0 is a clean end. */
  readonly rstCode: number
}

export type H2RequestOptions = {
  readonly method?: string
  readonly path?: string
  readonly headers?: OutgoingHttpHeaders
  readonly body?: string | Buffer
}

/** A session over an open socket. Errors of the session show as streams that close without an answer. */
export function h2Over(socket: Socket): ClientHttp2Session {
  const session = connect('http://gateway.test', { createConnection: () => socket })
  session.on('error', () => {})
  return session
}

/** mTLS with a sidecar's HTTP/2 ALPN list, then a session. */
export async function meshH2(options: MeshConnectOptions): Promise<ClientHttp2Session> {
  return h2Over(await meshConnect({ alpn: SIDECAR_H2_ALPN, ...options }))
}

/** Opens a stream whose body is still to be written. */
export function h2Stream(
  session: ClientHttp2Session,
  authority: string,
  options: H2RequestOptions = {},
): ClientHttp2Stream {
  const stream = session.request(
    { ':method': options.method ?? 'GET', ':path': options.path ?? '/', ':authority': authority, ...options.headers },
    { endStream: false },
  )
  stream.on('error', () => {})
  return stream
}

/** Sends one request and reads its answer to the end, whichever end that is. `status` 0: there was none. */
export async function h2Request(
  session: ClientHttp2Session,
  authority: string,
  options: H2RequestOptions = {},
): Promise<H2Answer> {
  const stream = h2Stream(session, authority, options)
  stream.end(options.body)
  return h2Answer(stream)
}

export async function h2Answer(stream: ClientHttp2Stream): Promise<H2Answer> {
  const chunks: Buffer[] = []
  let headers: IncomingHttpHeaders & { ':status'?: number | undefined } = {}
  let trailers: IncomingHttpHeaders | null = null
  stream.on('response', (received) => (headers = received))
  stream.on('trailers', (received) => (trailers = received))
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  // Not events.once: that rejects on 'error', and how the stream ended is part of the answer.
  await new Promise<void>((resolve) => void stream.once('close', () => resolve()))
  return {
    status: headers[':status'] ?? 0,
    headers,
    body: Buffer.concat(chunks),
    trailers,
    rstCode: stream.rstCode ?? 0,
  }
}
