/**
 * What a connection receives, straight from the system: all sockets that the wire engine reads share one buffer per
 * process, and each piece is used or copied in the turn in which it comes (as bulk-reader.ts does for tunnels). Short
 * pieces, most answers, are copied and looked at together when all sockets have been read (turn.ts). The handlers on the
 * socket are there for its whole life; who is concerned is a field.
 */
import { connect, type OnReadOpts, type Socket, type TcpSocketConnectOpts } from 'node:net'
import { type Hearer, turn } from '../turn.ts'

/** Bytes read at a time. A head and most answers fit in; what is longer is worth a few more reads. */
const WINDOW = 64 * 1024
const window = Buffer.allocUnsafeSlow(WINDOW)

/** Bytes of a piece that is worth copying, so that its turn can come together with others. */
const MAX_KEPT = 16 * 1024
const SHELF = 256 * 1024
/** Pieces of one turn, one behind the other. */
const shelf = Buffer.allocUnsafeSlow(SHELF)
let shelved = 0
let onShelf = 0

/** Whose answer is being read. */
export type Taker = {
  /** `start`…`end` of `bytes` are only there until this returns. False: no more of it until `resume`. */
  arrived(bytes: Buffer, start: number, end: number): boolean
  /** The other side has ended its half. */
  ended(): void
  /** Nothing more can come. `error`: why, if it did not just close. */
  closed(error: Error | null): void
  /** What was written has left. */
  drained(): void
}

export class Inlet implements Hearer {
  /** null: nobody expects anything, and a connection on which something comes all the same is not used again. */
  taker: Taker | null = null
  #socket: Socket | null = null
  /** Nothing has ended it. Cheaper to ask than the socket, which looks through both its streams. */
  alive = true
  /** Reading has been stopped. */
  #stopped = false
  /** A piece of it on the shelf; none where both are equal. */
  #start = 0
  #end = 0

  /** For `tls.connect` without a `socket`; `connect` is for plain TCP. */
  readonly onread: OnReadOpts = {
    buffer: window,
    callback: (length, bytes) => this.#received(bytes as Buffer, length),
  }

  connect(options: TcpSocketConnectOpts): Socket {
    return connect({ ...options, onread: this.onread })
  }

  /** Once, when the socket is connected. `direct`: it was made with `onread`; else it is read as a stream. */
  attach(socket: Socket, direct: boolean): void {
    this.#socket = socket
    if (!direct)
      socket.on('data', (chunk: Buffer) => {
        if (!this.#received(chunk, chunk.length)) socket.pause()
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

  /** False: reading stops. */
  #received(bytes: Buffer, length: number): boolean {
    if (this.#end > this.#start) this.hear()
    // Unasked for: at once, before anybody can take the connection.
    else if (this.taker !== null && length <= MAX_KEPT && shelved + length <= SHELF) {
      bytes.copy(shelf, shelved, 0, length)
      this.#start = shelved
      shelved += length
      this.#end = shelved
      onShelf++
      turn.hearSite(this)
      return true
    }
    return this.#arrived(bytes, 0, length)
  }

  /** Of Turn; and before anything else may be told of the connection. */
  hear(): void {
    const start = this.#start
    const end = this.#end
    if (start === end) return
    this.#start = 0
    this.#end = 0
    // The last of this turn: the next ones begin in front again, when this one has been used.
    if (--onShelf === 0) shelved = 0
    if (!this.#arrived(shelf, start, end)) this.#socket?.pause()
  }

  #arrived(bytes: Buffer, start: number, end: number): boolean {
    const { taker } = this
    if (taker === null) {
      this.alive = false
      this.#socket?.destroy()
    } else if (taker.arrived(bytes, start, end)) return true
    this.#stopped = true
    return false
  }

  readonly #onEnd = (): void => {
    this.hear()
    this.alive = false
    if (this.taker === null) this.#socket?.destroy()
    else this.taker.ended()
  }

  readonly #onError = (error: Error): void => {
    this.hear()
    this.alive = false
    // Now: an `end` may follow, as if it had come to that.
    this.taker?.closed(error)
  }

  readonly #onDrain = (): void => {
    this.taker?.drained()
  }

  readonly #onClose = (): void => {
    this.hear()
    this.alive = false
    this.taker?.closed(null)
  }
}
