/** A request's body on its way out: as long as the head says or not at all, and no faster than the upstream reads. */
import type { Socket } from 'node:net'
import type { Readable } from 'node:stream'

export type UploadOwner = {
  /** All of it has been written. */
  uploaded(): void
  /** It is not as long as its head says: no byte too many has been written, and the rest must not be. */
  overrun(): void
}

/** Pieces up to this size share a write with what stands around them, bytes; larger ones are not worth the copy. */
const MAX_JOINED = 16_384
const LAST_CHUNK = '0\r\n\r\n'

export class Upload {
  readonly #socket: Socket
  readonly #body: Readable
  readonly #owner: UploadOwner
  readonly #chunked: boolean
  /** Bytes of a counted body still to come. */
  #left: number
  /** The request's head, until something goes out. */
  #head: string
  /** All of it has been written, or nobody wants it. */
  #over = false

  constructor(socket: Socket, body: Readable, head: string, length: number | 'chunked', owner: UploadOwner) {
    this.#socket = socket
    this.#body = body
    this.#head = head
    this.#owner = owner
    this.#chunked = length === 'chunked'
    this.#left = length === 'chunked' ? 0 : length
  }

  /** Nothing of the request has been written. */
  get unsent(): boolean {
    return this.#head !== ''
  }

  begin(): void {
    const body = this.#body
    if (body.readableEnded) return process.nextTick(this.#onEnd)
    body.on('data', this.#onData)
    body.once('end', this.#onEnd)
    // It may be paused, by an earlier try for one.
    body.resume()
    // A caller may want an answer before it sends any of it.
    setImmediate(this.#flushHead)
  }

  /** Nothing more is written. Idempotent. */
  stop(): void {
    if (this.#over) return
    this.#over = true
    this.#body.off('data', this.#onData)
    this.#body.off('end', this.#onEnd)
    this.#body.pause()
  }

  drained(): void {
    if (!this.#over) this.#body.resume()
  }

  readonly #flushHead = (): void => {
    if (this.#over || this.#head === '') return
    this.#socket.write(this.#takeHead(), 'latin1')
  }

  #takeHead(): string {
    const head = this.#head
    this.#head = ''
    return head
  }

  readonly #onData = (data: Buffer | string): void => {
    const piece = typeof data === 'string' ? Buffer.from(data) : data
    const { length } = piece
    if (this.#over || length === 0) return
    if (!this.#chunked) {
      if (length > this.#left) return this.#broken()
      this.#left -= length
    }
    const before = this.#chunked ? `${this.#takeHead()}${length.toString(16)}\r\n` : this.#takeHead()
    if (!this.#write(before, piece, this.#chunked ? '\r\n' : '')) this.#body.pause()
  }

  /** False: enough for now. */
  #write(before: string, piece: Buffer, after: string): boolean {
    const socket = this.#socket
    if (before === '') return socket.write(piece)
    const { length } = piece
    if (length > MAX_JOINED) {
      socket.cork()
      socket.write(before, 'latin1')
      let more = socket.write(piece)
      if (after !== '') more = socket.write(after, 'latin1')
      socket.uncork()
      return more
    }
    const joined = Buffer.allocUnsafe(before.length + length + after.length)
    joined.write(before, 0, 'latin1')
    piece.copy(joined, before.length)
    if (after !== '') joined.write(after, before.length + length, 'latin1')
    return socket.write(joined)
  }

  readonly #onEnd = (): void => {
    if (this.#over) return
    if (this.#left > 0) return this.#broken()
    const last = this.#chunked ? `${this.#takeHead()}${LAST_CHUNK}` : this.#takeHead()
    this.stop()
    if (last !== '') this.#socket.write(last, 'latin1')
    this.#owner.uploaded()
  }

  #broken(): void {
    this.stop()
    this.#owner.overrun()
  }
}
