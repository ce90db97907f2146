/**
 * HTTP/2 by hand (RFC 9113, RFC 7541): frames that no honest client sends. Header blocks are literals without
 * indexing and without Huffman coding, so that every byte of a field is the test's own.
 */
import { EventEmitter, once } from 'node:events'
import type { Socket } from 'node:net'

export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const

export const END_STREAM = 1
export const ACK = 1
export const END_HEADERS = 4

export type Fields = readonly (readonly [name: string, value: string])[]

export type Frame = {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly payload: Buffer
}

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

export function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head.writeUInt8(type, 3)
  head.writeUInt8(flags, 4)
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

/** Names and values are Latin-1, at most 126 bytes each. */
export function headerBlock(fields: Fields): Buffer {
  return Buffer.concat(
    fields.flatMap(([name, value]) => {
      const [n, v] = [Buffer.from(name, 'latin1'), Buffer.from(value, 'latin1')]
      if (n.length > 126 || v.length > 126) throw new RangeError('a field of headerBlock is limited to 126 bytes')
      return [Buffer.from([0, n.length]), n, Buffer.from([v.length]), v]
    }),
  )
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** One side of a connection that speaks frames. SETTINGS (empty unless given) are sent at once, by a client behind the preface. */
export class FramePeer extends EventEmitter {
  readonly socket: Socket
  readonly frames: Frame[] = []
  #rest = Buffer.alloc(0)
  #closed = false
  /** Bytes of the other side's preface still to come. */
  #preface: number

  constructor(socket: Socket, role: 'client' | 'server', settings: Buffer = Buffer.alloc(0)) {
    super()
    this.socket = socket
    this.#preface = role === 'server' ? PREFACE.length : 0
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.once('close', () => {
      this.#closed = true
      this.emit('change')
    })
    const own = frame(FRAME.settings, 0, 0, settings)
    socket.write(role === 'client' ? Buffer.concat([PREFACE, own]) : own)
  }

  get closed(): boolean {
    return this.#closed
  }

  send(...frames: readonly Buffer[]): boolean {
    return this.socket.write(Buffer.concat(frames))
  }

  /** Waits until `condition` holds or the connection is closed; answers the frames so far. */
  async until(condition: (frames: readonly Frame[]) => boolean): Promise<readonly Frame[]> {
    while (!this.#closed && !condition(this.frames)) await once(this, 'change')
    return this.frames
  }

  /** The first frame for this stream that ends or resets it; null: the connection closed before. */
  async endOf(stream: number): Promise<Frame | null> {
    const ends = (each: Frame) =>
      each.stream === stream &&
      (each.type === FRAME.reset ||
        ((each.type === FRAME.headers || each.type === FRAME.data) && (each.flags & END_STREAM) !== 0))
    await this.until((frames) => frames.some(ends))
    return this.frames.find(ends) ?? null
  }

  #read(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk])
    const preface = Math.min(this.#preface, this.#rest.length)
    this.#preface -= preface
    this.#rest = this.#rest.subarray(preface)
    while (this.#rest.length >= 9) {
      const length = this.#rest.readUIntBE(0, 3)
      if (this.#rest.length < 9 + length) break
      const [type, flags] = [this.#rest.readUInt8(3), this.#rest.readUInt8(4)]
      this.frames.push({
        type,
        flags,
        stream: this.#rest.readUInt32BE(5) & 0x7fffffff,
        payload: this.#rest.subarray(9, 9 + length),
      })
      this.#rest = this.#rest.subarray(9 + length)
      if (type === FRAME.settings && (flags & ACK) === 0) this.socket.write(frame(FRAME.settings, ACK, 0))
    }
    this.emit('change')
  }
}

export class FrameClient extends FramePeer {
  constructor(socket: Socket) {
    super(socket, 'client')
  }

  /** A whole request without body. */
  request(stream: number, fields: Fields): void {
    this.send(frame(FRAME.headers, END_HEADERS | END_STREAM, stream, headerBlock(fields)))
  }
}

/** Answers as an upstream that speaks HTTP/2. */
export class FrameServer extends FramePeer {
  constructor(socket: Socket, settings?: Buffer) {
    super(socket, 'server', settings)
  }

  /** Identifiers of the requests that have come, in order. */
  get requests(): readonly number[] {
    return this.frames.filter(({ type }) => type === FRAME.headers).map(({ stream }) => stream)
  }

  /** The identifier of the request with this index, when it has come. */
  async request(index: number): Promise<number> {
    await this.until(() => this.requests.length > index)
    const stream = this.requests[index]
    if (stream === undefined) throw new Error('the connection closed before the request came')
    return stream
  }

  /** A response head. */
  respond(stream: number, fields: Fields = [], options: { readonly end?: boolean } = {}): void {
    const flags = END_HEADERS | (options.end === true ? END_STREAM : 0)
    this.send(frame(FRAME.headers, flags, stream, headerBlock([[':status', '200'], ...fields])))
  }

  data(stream: number, text: string, options: { readonly end?: boolean } = {}): void {
    this.send(frame(FRAME.data, options.end === true ? END_STREAM : 0, stream, Buffer.from(text)))
  }

  reset(stream: number, code: number): void {
    this.send(frame(FRAME.reset, 0, stream, uint32(code)))
  }

  /** Answers a PING. */
  pong(payload: Buffer): void {
    this.send(frame(FRAME.ping, ACK, 0, payload))
  }

  goaway(lastStream: number, code = 0): void {
    this.send(frame(FRAME.goaway, 0, 0, Buffer.concat([uint32(lastStream), uint32(code)])))
  }
}

/** One entry of a SETTINGS frame. */
export function setting(id: number, value: number): Buffer {
  const bytes = Buffer.alloc(6)
  bytes.writeUInt16BE(id)
  bytes.writeUInt32BE(value, 2)
  return bytes
}

/** Identifiers of settings (RFC 9113 §6.5.2). */
export const SETTING = { maxConcurrentStreams: 3 } as const
