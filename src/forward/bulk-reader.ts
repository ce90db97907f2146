/**
 * Reads a socket that we connect in pieces of up to 256 KB without holding memory for it: all such sockets of the process
 * read into the same bytes, and what has arrived is copied, in the same turn, into a buffer that belongs to the write.
 * Bytes that a write may still need are thus never where anything reads into. A buffer is used again, or freed, only
 * when the stream has nothing left to write; nearly always that is at once. Why: docs/decisions/0010.
 */
import { connect, type OnReadOpts, type Socket, type TcpSocketConnectOpts } from 'node:net'
import type { Duplex } from 'node:stream'

/** What a socket reads at a time while little comes, and while much comes. */
const SMALL = 64 * 1024
const LARGE = 256 * 1024
/** Sockets that may read LARGE pieces at a time: as many times 256 KB may be waiting for callers who do not read. */
const MAX_LARGE = 128
/** Read from one socket before it is the others' turn: libuv itself would go on for 32 full reads. */
const MAX_RUN = 2 * 1024 * 1024
/** Buffers kept of each size when nobody needs them. */
const MAX_SPARE = 32
/** Less than this is copied into Node's own pool, and need not be given back. */
const MIN_LENT = 4096

const shared = Buffer.allocUnsafeSlow(LARGE)
const smallWindow = shared.subarray(0, SMALL)
let largeWindows = 0

/** The one used last is used next: it is still in the processor's cache. */
const spares = { small: [] as Buffer[], large: [] as Buffer[] }

function lend(length: number): Buffer {
  if (length <= SMALL) return spares.small.pop() ?? Buffer.allocUnsafeSlow(SMALL)
  return spares.large.pop() ?? Buffer.allocUnsafeSlow(LARGE)
}

function giveBack(buffer: Buffer): void {
  const list = buffer.length === SMALL ? spares.small : spares.large
  if (list.length < MAX_SPARE) list.push(buffer)
}

export class BulkReader {
  #socket: Socket | null = null
  #to: Duplex | null = null
  #count: (bytes: number) => void = () => {}
  /** Of the last read. */
  #length = 0
  #large = false
  /** Bytes since the last read that did not fill its window. */
  #run = 0
  /** Reading goes on when `#to` has written everything. */
  #waiting = false
  /** What `#to` is still writing from. */
  #lent: Buffer | null = null

  /** TLS reads for itself. */
  readonly onread = null

  /** The socket reads nothing before `start`. Once. */
  connect(options: TcpSocketConnectOpts): Socket {
    const onread: OnReadOpts = { buffer: () => this.#window(), callback: (length) => this.#arrived(length) }
    const socket = connect({ ...options, onread })
    socket.pause()
    socket.once('close', () => {
      if (this.#large) largeWindows -= 1
      this.#large = false
    })
    this.#socket = socket
    return socket
  }

  /** From now on everything the socket receives is written to `to`, which keeps back-pressure; `end` is not passed on. */
  start(to: Duplex, count: (bytes: number) => void): void {
    this.#to = to
    this.#count = count
    this.#socket?.resume()
  }

  /** Where the next read goes. Asked after each read. */
  #window(): Buffer {
    const large = this.#length >= SMALL
    if (large !== this.#large && (!large || largeWindows < MAX_LARGE)) {
      this.#large = large
      largeWindows += large ? 1 : -1
    }
    return this.#large ? shared : smallWindow
  }

  /** False: stop reading. */
  #arrived(length: number): boolean {
    this.#length = length
    const to = this.#to
    // Without a listener nothing is read; and what was not to be read must not go missing in silence.
    if (to === null) this.#socket?.destroy()
    if (to === null || to.destroyed) return false
    this.#count(length)
    // One write at a time has a lent buffer: while it has, nothing is read, or else is copied for good.
    const lent = length < MIN_LENT || this.#lent !== null ? null : lend(length)
    if (lent === null) to.write(Buffer.from(shared.subarray(0, length)), this.#written)
    else {
      shared.copy(lent, 0, 0, length)
      to.write(lent.subarray(0, length), this.#written)
    }
    if (to.writableLength === 0) {
      if (lent !== null) giveBack(lent)
      return this.#mayGoOn(length)
    }
    this.#run = 0
    this.#lent ??= lent
    this.#waiting = this.#lent !== null || to.writableNeedDrain
    return !this.#waiting
  }

  /** Everything has been written. False: others first. */
  #mayGoOn(length: number): boolean {
    this.#run = length < (this.#large ? LARGE : SMALL) ? 0 : this.#run + length
    if (this.#run < MAX_RUN) return true
    this.#run = 0
    setImmediate(() => this.#socket?.resume())
    return false
  }

  readonly #written = (error?: Error | null): void => {
    const to = this.#to
    if (!this.#waiting || to === null || to.writableLength > 0) return
    this.#waiting = false
    // Of a stream that failed nobody knows what it still refers to: then the buffer is left to the garbage collector.
    if (this.#lent !== null && !error && !to.destroyed) giveBack(this.#lent)
    this.#lent = null
    this.#socket?.resume()
  }
}
