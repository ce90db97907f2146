/** WebSocket by hand (RFC 6455): handshakes and frames as bytes, a caller over any socket, a site that sends everything back. */
import { createHash, randomBytes } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import type { Duplex } from 'node:stream'
import { type OriginTls, type RawOrigin, type RecordedConnection, startRawOrigin } from './origin.ts'

export const TEXT = 1
export const BINARY = 2
export const CLOSE = 8

export type Frame = { readonly opcode: number; readonly payload: Buffer }

/** RFC 6455 §4.2.2. */
export function acceptOf(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
}

/** One whole frame. Callers must mask, sites must not. */
export function frame(opcode: number, payload: string | Buffer, masked: boolean): Buffer {
  const data = Buffer.from(payload)
  const mask = masked ? 0x80 : 0
  let head: Buffer
  if (data.length < 126) head = Buffer.from([0x80 | opcode, mask | data.length])
  else if (data.length < 65_536) {
    head = Buffer.from([0x80 | opcode, mask | 126, 0, 0])
    head.writeUInt16BE(data.length, 2)
  } else {
    head = Buffer.from([0x80 | opcode, mask | 127, 0, 0, 0, 0, 0, 0, 0, 0])
    head.writeBigUInt64BE(BigInt(data.length), 2)
  }
  if (!masked) return Buffer.concat([head, data])
  const key = randomBytes(4)
  for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) ^ (key[i % 4] as number)
  return Buffer.concat([head, key, data])
}

/** Takes frames out of bytes as they come. */
export class FrameReader {
  #bytes: Buffer = Buffer.alloc(0)
  #later: Buffer[] = []
  #length = 0
  /** Of a frame that has begun. */
  #needed = 0

  read(chunk: Buffer): Frame[] {
    this.#later.push(chunk)
    this.#length += chunk.length
    if (this.#length < this.#needed) return []
    this.#bytes = Buffer.concat([this.#bytes, ...this.#later])
    this.#later = []
    const frames: Frame[] = []
    for (let next = this.#next(); next !== null; next = this.#next()) frames.push(next)
    this.#length = this.#bytes.length
    return frames
  }

  #next(): Frame | null {
    const bytes = this.#bytes
    this.#needed = 2
    if (bytes.length < 2) return null
    const short = (bytes[1] as number) & 0x7f
    const extended = short === 126 ? 2 : short === 127 ? 8 : 0
    const masked = ((bytes[1] as number) & 0x80) !== 0
    const start = 2 + extended + (masked ? 4 : 0)
    this.#needed = start
    if (bytes.length < start) return null
    const length = extended === 0 ? short : extended === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2))
    this.#needed = start + length
    if (bytes.length < start + length) return null
    const payload = Buffer.from(bytes.subarray(start, start + length))
    if (masked)
      for (let i = 0; i < length; i++) payload[i] = (payload[i] as number) ^ (bytes[start - 4 + (i % 4)] as number)
    this.#bytes = bytes.subarray(start + length)
    return { opcode: (bytes[0] as number) & 0x0f, payload }
  }
}

/** One end of an open WebSocket over any stream, from behind its handshake on. */
export class WebSocketEnd extends EventEmitter {
  readonly stream: Duplex
  readonly frames: Frame[] = []
  readonly #masks: boolean
  readonly #reader = new FrameReader()
  #taken = 0

  constructor(stream: Duplex, masks: boolean, first: Buffer = Buffer.alloc(0)) {
    super()
    this.stream = stream
    this.#masks = masks
    if (first.length > 0) this.#arrived(first)
    stream.on('data', (chunk: Buffer) => this.#arrived(chunk))
    stream.once('close', () => this.emit('more'))
    stream.once('end', () => this.emit('more'))
  }

  #arrived(chunk: Buffer): void {
    this.frames.push(...this.#reader.read(chunk))
    this.emit('more')
  }

  send(payload: string | Buffer, opcode = TEXT): boolean {
    return this.stream.write(frame(opcode, payload, this.#masks))
  }

  /** The next frame that has not been taken yet; rejects when the stream ends first. */
  async take(): Promise<Frame> {
    for (;;) {
      const next = this.frames[this.#taken]
      if (next !== undefined) {
        this.#taken++
        return next
      }
      if (this.stream.destroyed || this.stream.readableEnded) throw new Error('the WebSocket ended')
      await once(this, 'more')
    }
  }

  /** Sends text and expects it back. */
  async echoes(text: string): Promise<boolean> {
    this.send(text)
    const { opcode, payload } = await this.take()
    return opcode === TEXT && payload.toString() === text
  }
}

export type HandshakeOptions = { readonly path?: string; readonly fields?: string; readonly key?: string }

export const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='

/** The head of a request to change to WebSocket, as a browser writes it. */
export function handshake(host: string, { path = '/', fields = '', key = KEY }: HandshakeOptions = {}): string {
  return `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n${fields}\r\n`
}

/** The head of what a stream says, up to and including the empty line; the rest is put back. */
export async function readHead(stream: Duplex): Promise<string> {
  let bytes = Buffer.alloc(0)
  for (;;) {
    const chunk = stream.read() as Buffer | null
    if (chunk !== null) {
      bytes = Buffer.concat([bytes, chunk])
      const end = bytes.indexOf('\r\n\r\n')
      if (end === -1) continue
      if (bytes.length > end + 4) stream.unshift(bytes.subarray(end + 4))
      return bytes.toString('latin1', 0, end + 4)
    }
    if (stream.destroyed || stream.readableEnded)
      throw new Error(`no head, but ${JSON.stringify(bytes.toString('latin1'))}`)
    await Promise.race(['readable', 'end', 'close'].map(async (event) => once(stream, event)))
  }
}

/** Asks to change to WebSocket and expects that it is so. */
export async function openWebSocket(
  socket: Duplex,
  host: string,
  options: HandshakeOptions = {},
): Promise<WebSocketEnd> {
  socket.write(handshake(host, options))
  const head = await readHead(socket)
  if (!head.startsWith('HTTP/1.1 101 ')) throw new Error(`refused: ${head}`)
  const accept = acceptOf(options.key ?? KEY)
  if (!head.includes(`\r\nsec-websocket-accept: ${accept}\r\n`)) throw new Error(`not accepted: ${head}`)
  return new WebSocketEnd(socket, true)
}

export type WebSocketSite = RawOrigin & {
  /** Open ends, in the order of their handshakes. */
  readonly ends: readonly WebSocketEnd[]
  /** Heads of the handshakes, as received. */
  readonly heads: readonly string[]
}

export type WebSocketSiteOptions = {
  readonly tls?: OriginTls
  /** Further fields of the 101. */
  readonly fields?: string
  /** In place of echoing each frame, and of answering a close by a close and FIN. */
  readonly onOpen?: (end: WebSocketEnd) => void
}

/** Accepts every handshake; what it gets it sends back, whole frames at a time. */
export async function startWebSocketSite(options: WebSocketSiteOptions = {}): Promise<WebSocketSite> {
  const ends: WebSocketEnd[] = []
  const heads: string[] = []
  const onConnection = ({ socket }: RecordedConnection) => {
    socket.allowHalfOpen = true
    let head = ''
    const onHead = (chunk: Buffer) => {
      head += chunk.toString('latin1')
      const end = head.indexOf('\r\n\r\n')
      if (end === -1) return
      socket.off('data', onHead)
      heads.push(head.slice(0, end + 4))
      const key = /\r\nsec-websocket-key: (.*)\r\n/.exec(head)?.[1] ?? ''
      const opened = new WebSocketEnd(socket, false, Buffer.from(head.slice(end + 4), 'latin1'))
      ends.push(opened)
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${acceptOf(key)}\r\n${options.fields ?? ''}\r\n`,
      )
      if (options.onOpen === undefined) echo(opened)
      else options.onOpen(opened)
    }
    socket.on('data', onHead)
  }
  const origin = await startRawOrigin({
    onConnection,
    ...(options.tls === undefined ? {} : { tls: options.tls }),
  })
  return Object.assign(origin, { ends, heads })
}

function echo(end: WebSocketEnd): void {
  let sent = 0
  const answer = () => {
    for (const { opcode, payload } of end.frames.slice(sent)) {
      sent++
      end.send(payload, opcode)
      if (opcode === CLOSE) end.stream.end()
    }
  }
  end.on('more', answer)
  end.stream.once('end', () => end.stream.end())
  answer()
}
