/**
 * A tunnel through a parent proxy (DestinationRule `tunnel`, RFC 9110 §9.3.6; Envoy's TCP tunnelling): asks the proxy at
 * the other end of a fresh connection for the target, and makes a stream of what follows. Streams only: as in Istio,
 * routes of requests do not go through it.
 */
import { isIPv6, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { hasBareLineEnd, headEnd } from '../core/http1/bytes.ts'
import { createChunkReader } from '../core/http1/chunked.ts'
import { interimFault } from '../core/http1/interim.ts'
import { type ResponseFraming, readResponseHead } from '../core/http1/response-head.ts'
import type { ClusterModel } from '../model/cluster.ts'

export type TunnelTarget = NonNullable<ClusterModel['tunnel']>

export type TunnelEvents = {
  /** Bytes to and from the target; owns the socket. */
  readonly onOpen: (stream: Duplex) => void
  /** The proxy's answer is no, or no answer. The socket is still open. */
  readonly onRefused: (why: string) => void
}

const MAX_HEAD_BYTES = 8_192
const MAX_INTERIM = 8
const NOTHING = Buffer.alloc(0)

/** At most one of the events comes, later. That the connection ends, or takes too long, is for the caller to notice. */
export function openTunnel(socket: Socket, target: TunnelTarget, events: TunnelEvents): void {
  let read: Buffer = NOTHING
  let interim = 0
  const done = (): void => {
    socket.removeListener('readable', onReadable)
  }
  const refused = (why: string): void => {
    done()
    events.onRefused(why)
  }
  const onReadable = (): void => {
    const chunk: Buffer | null = socket.read()
    if (chunk === null) return
    read = read.length === 0 ? chunk : Buffer.concat([read, chunk])
    for (;;) {
      const end = headEnd(read, 0, Math.min(read.length, MAX_HEAD_BYTES))
      if (end === -1) {
        if (read.length >= MAX_HEAD_BYTES) refused('the head is too large')
        else if (hasBareLineEnd(read, 0, read.length)) refused('INVALID_LINE_END')
        return
      }
      const head = readResponseHead(read, 0, end)
      if (typeof head === 'string') return refused(head)
      read = read.subarray(end)
      const { status, framing } = head
      if (status < 200 && status !== 101) {
        const fault = interimFault(head)
        if (fault !== null) return refused(fault)
        if (++interim <= MAX_INTERIM) continue
      }
      if (status < 200 || status > 299) return refused(String(status))
      done()
      if (target.method === 'CONNECT') {
        // Whatever the fields say about a body: there is none, and what follows belongs to the tunnel.
        if (read.length > 0) socket.unshift(read)
        return events.onOpen(socket)
      }
      const problem = status === 204 || status === 205 ? `${status}: no body` : framing === 'invalid' ? framing : null
      return problem === null ? events.onOpen(new PostTunnel(socket, framing, read)) : refused(problem)
    }
  }
  socket.on('readable', onReadable)
  socket.write(requestHead(target), 'latin1')
}

/** As Envoy sends it: nothing of the caller, and nothing but what is needed. */
function requestHead({ method, host, port }: TunnelTarget): string {
  const authority = `${isIPv6(host) ? `[${host}]` : host}:${port}`
  return method === 'CONNECT'
    ? `CONNECT ${authority} HTTP/1.1\r\nhost: ${authority}\r\n\r\n`
    : `POST / HTTP/1.1\r\nhost: ${authority}\r\ntransfer-encoding: chunked\r\n\r\n`
}

const CRLF = Buffer.from('\r\n')
const LAST_CHUNK = Buffer.from('0\r\n\r\n')

/** The bodies of one POST and its answer as a stream. Half-open: each way ends with its body. */
class PostTunnel extends Duplex {
  readonly #socket: Socket
  readonly #chunks = createChunkReader((parts) => Buffer.concat(parts))
  readonly #framing: ResponseFraming
  #left: number
  /** All of the answer has been read. */
  #whole = false

  constructor(socket: Socket, framing: ResponseFraming, first: Buffer) {
    super({ allowHalfOpen: true })
    this.#socket = socket
    this.#framing = framing
    this.#left = typeof framing === 'number' ? framing : Number.POSITIVE_INFINITY
    // An answer that ends with the connection does not end what is sent.
    socket.allowHalfOpen = true
    socket.removeAllListeners('end')
    socket.on('data', (chunk: Buffer) => this.#take(chunk))
    socket.once('end', () => this.#ended())
    socket.once('close', () => this.#ended())
    socket.once('error', (error) => this.destroy(error))
    // Like a socket that was dialled: whoever gets it may take a moment.
    this.on('error', () => undefined)
    if (first.length > 0) socket.unshift(first)
    if (framing === 0) this.#finish()
  }

  override _read(): void {
    this.#socket.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const socket = this.#socket
    socket.cork()
    socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1')
    socket.write(chunk)
    socket.write(CRLF, done)
    socket.uncork()
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.write(LAST_CHUNK, done)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#socket.destroy()
    done(error)
  }

  #take(chunk: Buffer): void {
    if (this.#framing === 'chunked') {
      const end = this.#chunks.read(chunk, 0, chunk.length, (from, to) => this.#give(chunk.subarray(from, to)))
      if (this.#chunks.fault !== null) return void this.destroy(new Error(this.#chunks.fault))
      if (this.#chunks.done) this.#finish()
      if (end < chunk.length) this.#surplus()
      return
    }
    const own = chunk.length > this.#left ? chunk.subarray(0, this.#left) : chunk
    this.#left -= own.length
    if (own.length > 0) this.#give(own)
    if (this.#left === 0) this.#finish()
    if (own.length < chunk.length) this.#surplus()
  }

  #give(piece: Buffer): void {
    if (!this.push(piece)) this.#socket.pause()
  }

  #finish(): void {
    if (this.#whole) return
    this.#whole = true
    this.push(null)
  }

  /** Bytes behind the answer: nobody asked for them. */
  #surplus(): void {
    this.destroy(new Error('bytes behind the answer'))
  }

  #ended(): void {
    if (this.#whole || this.destroyed) return
    if (this.#framing === 'close' && this.#socket.readableEnded) this.#finish()
    else this.destroy(new Error('the answer broke off'))
  }
}
