/**
 * What goes out on one connection in one turn of the event loop (forward/turn.ts): the pieces of an answer are written
 * together, and so are the answers of all connections. Long pieces do not wait.
 */
import type { Socket } from 'node:net'

/** Bytes that wait for the end of a turn; more are written at once. */
const MAX_WAITING = 16_384

export class Outbox {
  readonly #socket: Socket
  readonly #flushed: (error?: Error | null) => void
  /** Usually the only piece: head and body of an answer. */
  #first: Buffer | null = null
  #further: Buffer[] | null = null
  #bytes = 0
  /** The last of them is the last of an answer. */
  #last = false

  /** `flushed`: called when the last bytes of an answer are out, or with an error when they cannot be any more. */
  constructor(socket: Socket, flushed: (error?: Error | null) => void) {
    this.#socket = socket
    this.#flushed = flushed
  }

  /**
   * Takes what is to be written: now, or with the next `write`. `last`: the answer ends with it. False: enough for now,
   * the socket's `drain` says when there is room again.
   */
  put(bytes: Buffer, last: boolean): boolean {
    if (this.#bytes + bytes.length > MAX_WAITING || this.#socket.writableLength > 0) {
      this.write()
      return this.#out(bytes, last)
    }
    if (this.#first === null) this.#first = bytes
    else (this.#further ??= []).push(bytes)
    this.#bytes += bytes.length
    this.#last = last
    return true
  }

  /** Writes what has been put. */
  write(): void {
    const first = this.#first
    if (first === null) return
    const last = this.#last
    const bytes = this.#further === null ? first : Buffer.concat([first, ...this.#further])
    this.#first = null
    this.#further = null
    this.#bytes = 0
    this.#last = false
    if (this.#socket.writable) this.#out(bytes, last)
  }

  #out(bytes: Buffer, last: boolean): boolean {
    return last ? this.#socket.write(bytes, this.#flushed) : this.#socket.write(bytes)
  }
}
