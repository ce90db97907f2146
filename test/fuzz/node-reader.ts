/** What Node's strict parser reads in bytes: the second opinion that every differential test asks for. */
import { createServer, type IncomingMessage, request } from 'node:http'
import { Duplex } from 'node:stream'

/** A message as Node reads it. Names are lower-case; one character is one byte. */
export type Message = {
  /** `METHOD target` or the status. */
  readonly start: string
  /** The 1 of HTTP/1.1. */
  readonly minorVersion: number
  /** Flat. */
  readonly fields: readonly string[]
  readonly body: string
  readonly trailers: readonly string[]
  /** False: the bytes ended, or broke, before it did. */
  readonly whole: boolean
}

export type Reading = {
  readonly messages: readonly Message[]
  /**
   * What the bytes end with: the end of a message; the middle of one; something that is no message; a CONNECT, behind
   * which nothing is.
   */
  readonly ending: 'clean' | 'partial' | 'broken' | 'connect'
}

/** A socket that has received `bytes` and then the other side's end. */
function received(bytes: Buffer): Duplex {
  let told = false
  return new Duplex({
    read() {
      this.push(told ? null : bytes)
      // What waits for more of a message would wait for ever; by then all that was complete has been told.
      if (told) setImmediate(() => setImmediate(() => this.destroy()))
      told = true
    },
    write: (_chunk, _encoding, done) => done(),
  })
}

function lowerNames(raw: readonly string[]): string[] {
  return raw.map((text, i) => (i % 2 === 0 ? text.toLowerCase() : text))
}

function collect(message: IncomingMessage, start: string): Promise<Message> {
  let body = ''
  message.setEncoding('latin1')
  message.on('data', (chunk: string) => {
    body += chunk
  })
  const { promise, resolve } = Promise.withResolvers<Message>()
  const fields = lowerNames(message.rawHeaders)
  const told = (): void =>
    resolve({
      start,
      minorVersion: message.httpVersionMinor,
      fields,
      body,
      trailers: lowerNames(message.rawTrailers),
      whole: message.complete,
    })
  message.once('end', told)
  message.once('error', told)
  message.once('close', told)
  return promise
}

type Sink = { readonly seen: Promise<Message>[]; ending: Reading['ending'] }

const sinks = new WeakMap<object, Sink>()
const server = createServer({ insecureHTTPParser: false, requireHostHeader: false, maxHeaderSize: 1 << 20 })
server.maxHeadersCount = 0
server.on('request', (message, response) => {
  sinks.get(message.socket)?.seen.push(collect(message, `${message.method} ${message.url}`))
  message.once('end', () => response.end())
})
server.on('checkContinue', (message, response) => server.emit('request', message, response))
server.on('checkExpectation', (message, response) => server.emit('request', message, response))
server.on('connect', (_message, socket) => {
  const sink = sinks.get(socket)
  if (sink !== undefined) sink.ending = 'connect'
  socket.destroy()
})
server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
  const sink = sinks.get(socket)
  if (sink?.ending === 'clean') sink.ending = error.code === 'HPE_INVALID_EOF_STATE' ? 'partial' : 'broken'
  // Later: the messages before the broken one have not ended yet.
  setImmediate(() => socket.destroy())
})

/** Every request in `bytes`, up to what is none. */
export async function nodesRequests(bytes: Buffer): Promise<Reading> {
  const socket = received(bytes)
  const sink: Sink = { seen: [], ending: 'clean' }
  sinks.set(socket, sink)
  const closed = new Promise((resolve) => socket.once('close', resolve))
  server.emit('connection', socket)
  await closed
  const messages = await Promise.all(sink.seen)
  return { messages, ending: sink.ending }
}

/** The final response in `bytes`, to a request with this method; null: there is none. The bytes end with the connection. */
export async function nodesResponse(bytes: Buffer, method = 'GET'): Promise<Message | null> {
  const socket = received(bytes)
  return new Promise((resolve) => {
    const client = request({
      method,
      createConnection: () => socket as never,
      insecureHTTPParser: false,
      maxHeaderSize: 1 << 20,
    })
    let answered = false
    client.once('response', (message) => {
      answered = true
      void collect(message, String(message.statusCode)).then((each) => {
        resolve(each)
        socket.destroy()
      })
    })
    client.once('upgrade', () => resolve(null))
    const none = (): void => {
      if (!answered) resolve(null)
    }
    client.on('error', none)
    client.once('close', none)
    client.end()
  })
}
