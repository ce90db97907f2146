/** gRPC by hand over `node:http2`: length-prefixed messages, and a service of the four kinds of call. */
import type {
  ClientHttp2Session,
  ClientHttp2Stream,
  IncomingHttpHeaders,
  OutgoingHttpHeaders,
  ServerHttp2Stream,
} from 'node:http2'
import type { Readable } from 'node:stream'
import { type H2Origin, type H2OriginOptions, type ReceivedStream, startH2Origin } from './h2-origin.ts'

/** A message as it goes over the wire: not compressed. */
export function grpcMessage(payload: string | Buffer): Buffer {
  const body = Buffer.from(payload)
  const head = Buffer.alloc(5)
  head.writeUInt32BE(body.length, 1)
  return Buffer.concat([head, body])
}

/** The messages in a body, each as soon as it is complete. @throws when the body breaks off, or ends within a message */
export async function* grpcMessages(body: Readable): AsyncGenerator<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  let wanted = 5
  for await (const chunk of body) {
    chunks.push(chunk as Buffer)
    length += (chunk as Buffer).length
    if (length < wanted) continue
    let rest = Buffer.concat(chunks)
    while (rest.length >= 5 && rest.length >= 5 + rest.readUInt32BE(1)) {
      const end = 5 + rest.readUInt32BE(1)
      yield rest.subarray(5, end)
      rest = rest.subarray(end)
    }
    chunks.splice(0, chunks.length, rest)
    length = rest.length
    wanted = rest.length < 5 ? 5 : 5 + rest.readUInt32BE(1)
  }
  if (length > 0) throw new Error(`${length} bytes of an unfinished message`)
}

/**
 * `/test.Echo/Unary` answers with the message it got; `/Count` with as many messages as its message says; `/Chat` with each
 * message as it comes; `/Status` with the status its message says, without a message; `/Never` not at all.
 */
export async function startGrpcOrigin(options: H2OriginOptions = {}): Promise<H2Origin> {
  return startH2Origin((received) => {
    serve(received).catch(() => received.stream.destroy())
  }, options)
}

const HEAD = { ':status': 200, 'content-type': 'application/grpc' }

async function serve({ stream, headers }: ReceivedStream): Promise<void> {
  const call = headers[':path']
  if (call === '/test.Echo/Never') return
  if (call === '/test.Echo/Status') {
    const [status] = await all(stream)
    stream.respond({ ...HEAD, 'grpc-status': String(status), 'grpc-message': 'as asked' }, { endStream: true })
    return
  }
  stream.respond(HEAD, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'x-checksum': String(sent) }))
  let sent = 0
  const answer = async (message: Buffer): Promise<void> => {
    sent += message.length
    if (!stream.write(grpcMessage(message))) await writable(stream)
  }
  for await (const message of grpcMessages(stream)) {
    if (call === '/test.Echo/Count')
      for (let i = 1; i <= Number(message.toString()); i++) await answer(Buffer.from(String(i)))
    else await answer(message)
  }
  stream.end()
}

async function all(body: Readable): Promise<string[]> {
  const messages: string[] = []
  for await (const message of grpcMessages(body)) messages.push(message.toString())
  return messages
}

function writable(stream: ServerHttp2Stream): Promise<void> {
  return new Promise((resolve, reject) => {
    const closed = (): void => reject(new Error('closed'))
    stream.once('close', closed)
    stream.once('drain', () => {
      stream.off('close', closed)
      resolve()
    })
  })
}

/** One call under way. */
export type GrpcCall = {
  readonly stream: ClientHttp2Stream
  /** Resolves with the head. */
  readonly head: Promise<IncomingHttpHeaders>
  /** Resolves when the stream has closed: `grpc-status` of the trailers, else of the head; null: neither. */
  readonly status: Promise<number | null>
  readonly trailers: () => IncomingHttpHeaders | null
  send(payload: string | Buffer): boolean
}

export function grpcCall(
  session: ClientHttp2Session,
  authority: string,
  method: string,
  headers: OutgoingHttpHeaders = {},
): GrpcCall {
  const stream = session.request(
    {
      ':method': 'POST',
      ':path': `/test.Echo/${method}`,
      ':authority': authority,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    },
    { endStream: false },
  )
  stream.on('error', () => {})
  let trailers: IncomingHttpHeaders | null = null
  stream.once('trailers', (fields) => (trailers = fields))
  const head = new Promise<IncomingHttpHeaders>((resolve) => stream.once('response', resolve))
  let answered: IncomingHttpHeaders = {}
  void head.then((fields) => (answered = fields))
  const status = new Promise<number | null>((resolve) => {
    stream.once('close', () => {
      const text = trailers?.['grpc-status'] ?? answered['grpc-status']
      resolve(text === undefined ? null : Number(text))
    })
  })
  return { stream, head, status, trailers: () => trailers, send: (payload) => stream.write(grpcMessage(payload)) }
}
