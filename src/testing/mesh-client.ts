/** A sidecar as tests see it: mTLS with Istio's SNI and ALPN, then HTTP/1.1 by hand or by Node's client. */
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import tls from 'node:tls'
import type { TestCertificate } from './pki.ts'

export type MeshConnectOptions = {
  readonly port: number
  /** null: no client certificate. */
  readonly svid: TestCertificate | null
  readonly ca: string
  readonly servername?: string
  readonly alpn?: readonly string[]
  readonly maxVersion?: tls.SecureVersion
  readonly session?: Buffer
}

export const SIDECAR_SNI = 'outbound_.80_._.istio-egressgateway.istio-system.svc.cluster.local'
export const SIDECAR_ALPN = ['istio-http/1.1', 'istio', 'http/1.1'] as const

/** Completes the handshake (with TLS 1.3 that says nothing yet about our certificate). @throws when it fails */
export async function meshConnect(options: MeshConnectOptions): Promise<tls.TLSSocket> {
  const socket = tls.connect({
    host: '127.0.0.1',
    port: options.port,
    servername: options.servername ?? SIDECAR_SNI,
    ALPNProtocols: [...(options.alpn ?? SIDECAR_ALPN)],
    ca: options.ca,
    // The gateway's SVID is checked by name in tests of their own; a sidecar checks its SPIFFE ID.
    checkServerIdentity: () => undefined,
    ...(options.svid === null ? {} : { cert: options.svid.cert, key: options.svid.key }),
    ...(options.maxVersion === undefined ? {} : { maxVersion: options.maxVersion }),
    ...(options.session === undefined ? {} : { session: options.session }),
  })
  await once(socket, 'secureConnect')
  socket.on('error', () => {})
  return socket
}

export async function plainConnect(port: number): Promise<net.Socket> {
  const socket = net.connect({ host: '127.0.0.1', port })
  await once(socket, 'connect')
  socket.on('error', () => {})
  return socket
}

export type Answer = {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly rawHeaders: readonly string[]
  readonly body: string
  /** false: the answer was cut. */
  readonly complete: boolean
}

export type RequestOptions = {
  readonly method?: string
  readonly path?: string
  readonly headers?: Readonly<Record<string, string | string[]>>
  readonly body?: string | Buffer
}

/** One agent per socket, so that the socket is used again and nobody else's idea of keep-alive closes it. */
const agents = new WeakMap<net.Socket, http.Agent>()

function agentOf(socket: net.Socket): http.Agent {
  let agent = agents.get(socket)
  if (agent === undefined) {
    agent = Object.assign(new http.Agent({ keepAlive: true, maxSockets: 1 }), { createConnection: () => socket })
    agents.set(socket, agent)
  }
  return agent
}

/** One request over an open socket with Node's client; the connection stays usable when the answer allows it. */
export async function request(socket: net.Socket, host: string, options: RequestOptions = {}): Promise<Answer> {
  const req = http.request({
    agent: agentOf(socket),
    method: options.method ?? 'GET',
    path: options.path ?? '/',
    headers: { host, connection: 'keep-alive', ...options.headers },
    setHost: false,
  })
  req.end(options.body)
  const [response] = (await once(req, 'response')) as [http.IncomingMessage]
  return readAnswer(response)
}

export async function readAnswer(response: http.IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = []
  try {
    for await (const chunk of response) chunks.push(chunk as Buffer)
  } catch {
    // A cut answer: `complete` tells.
  }
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    rawHeaders: response.rawHeaders,
    body: Buffer.concat(chunks).toString(),
    complete: response.complete,
  }
}

/** Writes bytes as they are and reads until the other side closes, or until `until` says that is enough. */
export async function rawExchange(
  socket: net.Socket,
  bytes: string | Buffer,
  until: (text: string) => boolean = () => false,
): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>()
  let text = ''
  socket.setEncoding('latin1')
  socket.on('data', (chunk: string) => {
    text += chunk
    if (until(text)) resolve(text)
  })
  socket.once('close', () => resolve(text))
  socket.once('end', () => socket.end())
  socket.write(bytes)
  return promise
}
