/**
 * What a connection receives, straight from the system: all sockets that the wire engine reads share one buffer per
 * process, and each piece is used or copied in the turn in which it comes (as bulk-reader.ts does for tunnels). The
 * handlers on the socket are there for its whole life; who is concerned is a field.
 */
import { connect, type OnReadOpts, type Socket, type TcpSocketConnectOpts } from 'node:net'

/** Bytes read at a time. A head and most answers fit in; what is longer is worth a few more reads. */
const WINDOW = 64 * 1024
const window = Buffer.allocUnsafeSlow(WINDOW)

/** Whose answer is being read. */
export type Taker = {
  /** `bytes` 0…`length` are only there until this returns. False: no more of it until `resume`. */
  arrived(bytes: Buffer, length: number): boolean
  /** The other side has ended its half. */
  ended(): void
  /** Nothing more can come. `error`: why, if it did not just close. */
  closed(error: Error | null): void
  /** What was written has left. */
  drained(): void
}

export class Inlet {
  /** null: nobody expects anything, and a connection on which something comes all the same is not used again. */
  taker: Taker | null = null
  #socket: Socket | null = null
  /** Reading has been stopped. */
  #stopped = false

  /** For `tls.connect` without a `socket`; `connect` is for plain TCP. */
  readonly onread: OnReadOpts = {
    buffer: window,
    callback: (length, bytes) => this.#arrived(bytes as Buffer, length),
  }

  connect(options: TcpSocketConnectOpts): Socket {
    return connect({ ...options, onread: this.onread })
  }

  /** Once, when the socket is connected. `direct`: it was made with `onread`; else it is read as a stream. */
  attach(socket: Socket, direct: boolean): void {
    this.#socket = socket
    if (!direct)
      socket.on('data', (chunk: Buffer) => {
        if (!this.#arrived(chunk, chunk.length)) socket.pause()
      })
    socket.on('end', this.#onEnd)
    socket.on('error', this.#onError)
    socket.on('drain', this.#onDrain)
    socket.on('close', this.#onClose)
    // A request has a caller whose own connection keeps the process alive; without one there is nothing to wait for.
    socket.unref()
  }

  resume(): void {
    if (!this.#stopped) return
    this.#stopped = false
    this.#socket?.resume()
  }

  #arrived(bytes: Buffer, length: number): boolean {
    const { taker } = this
    if (taker === null) this.#socket?.destroy()
    else if (taker.arrived(bytes, length)) return true
    this.#stopped = true
    return false
  }

  readonly #onEnd = (): void => {
    if (this.taker === null) this.#socket?.destroy()
    else this.taker.ended()
  }

  readonly #onError = (error: Error): void => {
    // Now: an `end` may follow, as if it had come to that.
    this.taker?.closed(error)
  }

  readonly #onDrain = (): void => {
    this.taker?.drained()
  }

  readonly #onClose = (): void => {
    this.taker?.closed(null)
  }
}
