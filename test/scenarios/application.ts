/** The application behind a sidecar: one request, one request over its own TLS, or bytes, on a connection it was given. */
import { once } from 'node:events'
import http from 'node:http'
import type { Duplex } from 'node:stream'
import { type Answer, type RequestOptions, readAnswer } from '../../src/testing/mesh-client.ts'
import { httpsOver } from './application-tls.ts'
import { contentOf, type Row, type Seen } from './row.ts'

/** A sidecar that cannot reach the gateway answers itself; the programs of test/sidecars are told to say so in this field. */
export const SIDECAR_ERROR = 'x-sidecar-error'

/** What an application sees of a connection that was closed. */
const CUT = new Set(['ECONNRESET', 'EPIPE', 'ERR_STREAM_DESTROYED', 'ERR_STREAM_PREMATURE_CLOSE'])

const ANOTHER_CERTIFICATE = new Set([
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
])

/** Sends one row on the connection, which is destroyed when done. `ca` is what the application trusts. */
export async function converse(open: () => Promise<Duplex>, row: Row, ca: string): Promise<Seen> {
  let connection: Duplex | null = null
  try {
    connection = await open()
    connection.on('error', () => {})
    if (contentOf(row.hop) === 'bytes') return await exchangeBytes(connection, row.request?.body ?? '')
    const answer =
      contentOf(row.hop) === 'http'
        ? await requestOver(connection, row.host, row.request)
        : await httpsOver(connection, row.host, ca, row.request)
    if (answer.headers[SIDECAR_ERROR] !== undefined || !answer.complete) return { kind: 'cut' }
    return { kind: 'answer', status: answer.status, headers: answer.headers, body: answer.body }
  } catch (error) {
    return seenOf(error)
  } finally {
    connection?.destroy()
  }
}

/** @throws whatever is neither a closed connection nor a certificate that does not verify */
export function seenOf(error: unknown): Seen {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (CUT.has(code)) return { kind: 'cut' }
  if (ANOTHER_CERTIFICATE.has(code)) return { kind: 'another certificate' }
  throw error
}

/** Over any stream, a program's standard input and output too. */
async function requestOver(stream: Duplex, host: string, options: RequestOptions = {}): Promise<Answer> {
  const request = http.request({
    createConnection: () => stream,
    method: options.method ?? 'GET',
    path: options.path ?? '/',
    headers: { host, connection: 'keep-alive', ...options.headers },
    setHost: false,
  })
  request.end(options.body)
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  return readAnswer(response)
}

/** Until the other side closes. */
async function exchangeBytes(stream: Duplex, bytes: string): Promise<Seen> {
  let received = 0
  const ended = new Promise<void>((resolve) => {
    stream.on('data', (chunk: Buffer) => (received += chunk.length))
    stream.once('end', resolve).once('close', resolve)
  })
  stream.write(bytes)
  await ended
  return { kind: received === 0 ? 'cut' : 'bytes' }
}
