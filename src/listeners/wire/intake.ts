/**
 * What comes in on one connection: kept until all sockets of this turn of the event loop have been read (forward/turn.ts),
 * and stopped where nobody has room for more.
 */
import type { Socket } from 'node:net'

const NOTHING = Buffer.alloc(0)

export class Intake {
  /** Nothing is read. */
  stopped = false
  readonly #socket: Socket
  /** TCP: TLS would keep to itself what comes of an empty write. */
  readonly #beneath: Socket
  #kept: Buffer | null = null

  constructor(socket: Socket, beneath: Socket) {
    this.#socket = socket
    this.#beneath = beneath
  }

  /** Bytes that nobody has looked at yet. */
  get kept(): number {
    return this.#kept?.length ?? 0
  }

  keep(chunk: Buffer): void {
    this.#kept = this.#kept === null ? chunk : Buffer.concat([this.#kept, chunk])
  }

  /** What has been kept, once. */
  take(): Buffer | null {
    const kept = this.#kept
    this.#kept = null
    return kept
  }

  stop(): void {
    this.stopped = true
    this.#socket.pause()
  }

  resume(): void {
    this.stopped = false
    this.#socket.resume()
  }

  /** Who is not read is not heard either, when it resets the connection: only a write tells, if there is nothing in it. */
  probe(): void {
    if (this.#beneath.writable && this.#beneath.writableLength === 0) this.#beneath.write(NOTHING)
  }
}
