/**
 * Reads a socket that we connect in large pieces, without memory for each socket that may be idle. Most read into the same
 * bytes, and what has arrived is copied, in the same turn, into a buffer that belongs to the write. A few that have much to
 * read each have a window of their own, which is written from without a copy; when such a write has to wait, its window is
 * no window any more. So what a write may still need is never where anything reads into. A buffer is used again, or freed,
 * only when the stream has nothing left to write; nearly always that is at once. Why: docs/decisions/0010.
 */
import { connect, type OnReadOpts, type Socket, type TcpSocketConnectOpts } from 'node:net'
import type { Duplex } from 'node:stream'

/** What a socket reads at a time while little comes, and while much comes: shared, and of its own. */
const SMALL = 64 * 1024
const LARGE = 256 * 1024
const OWN = 1024 * 1024
/** Sockets that may read LARGE pieces at a time: as many times 256 KB may be waiting for callers who do not read. */
const MAX_LARGE = 112
/** Buffers of OWN bytes in use, be it as windows or by writes that wait. */
const MAX_OWN = 4
/** While there are more in use, a window that was not filled goes to whom it may serve better. */
const MAX_OWN_UNFILLED = 2
/** Read from one socket before it is the others' turn: libuv itself would go on for 32 full reads. */
const MAX_RUN = 2 * 1024 * 1024
/** Less than this is copied into Node's own pool, and need not be given back. */
const MIN_LENT = 4096

const shared = Buffer.allocUnsafeSlow(LARGE)
const smallWindow = shared.subarray(0, SMALL)
let largeWindows = 0

/** Buffers of one size. The one used last is used next: it is still in the processor's cache. */
class Buffers {
  readonly #size: number
  readonly #maxSpare: number
  readonly #spare: Buffer[] = []
  inUse = 0

  /** `maxSpare`: kept when nobody needs them. */
  constructor(size: number, maxSpare: number) {
    this.#size = size
    this.#maxSpare = maxSpare
  }

  take(): Buffer {
    this.inUse += 1
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(this.#size)
  }

  giveBack(buffer: Buffer): void {
    this.inUse -= 1
    if (this.#spare.length < this.#maxSpare) this.#spare.push(buffer)
  }

  /** It is left to the garbage collector. */
  forget(): void {
    this.inUse -= 1
  }
}

// As many as often wait at once: TLS never has written at once, and a buffer that is not kept costs fresh pages again.
const small = new Buffers(SMALL, 32)
const large = new Buffers(LARGE, 32)
const own = new Buffers(OWN, MAX_OWN)

const kindOf = ({ length }: Buffer): Buffers => (length === SMALL ? small : length === LARGE ? large : own)

export class BulkReader {
  #socket: Socket | null = null
  #to: Duplex | null = null
  #count: (bytes: number) => void = () => {}
  /** Of the last read. */
  #length = 0
  #large = false
  /** The window of the next read, if it is not the shared one. Nothing is being written from it. */
  #own: Buffer | null = null
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
    const onread: OnReadOpts = {
      buffer: () => this.#window(),
      // The window is the one that `buffer` answered.
      callback: (length, window) => this.#arrived(length, window as Buffer),
    }
    const socket = connect({ ...options, onread })
    socket.pause()
    socket.once('close', () => {
      this.#setLarge(false)
      this.#leaveOwn()
    })
    this.#socket = socket
    return socket
  }

  /** From now on everything the socket receives is written to `to`, which keeps back-pressure; `end` is not passed on. */
  start(to: Duplex, count: (bytes: number) => void): void {
    this.#to = to
    this.#count = count
    to.on('drain', this.#written)
    // Whoever did not write everything before it closed never will.
    to.once('close', this.#closed)
    this.#socket?.resume()
  }

  /** Where the next read goes. Asked after each read. */
  #window(): Buffer {
    const much = this.#length >= SMALL
    if (this.#own !== null && this.#length < OWN && (!much || own.inUse > MAX_OWN_UNFILLED)) this.#leaveOwn()
    // Who has to wait has no window of his own meanwhile: it may be long.
    else if (much && this.#own === null && !this.#waiting && own.inUse < MAX_OWN) this.#own = own.take()
    this.#setLarge(much && this.#own === null)
    return this.#own ?? (this.#large ? shared : smallWindow)
  }

  #leaveOwn(): void {
    if (this.#own !== null) own.giveBack(this.#own)
    this.#own = null
  }

  #setLarge(large: boolean): void {
    if (large === this.#large || (large && largeWindows === MAX_LARGE)) return
    this.#large = large
    largeWindows += large ? 1 : -1
  }

  /** False: stop reading. */
  #arrived(length: number, window: Buffer): boolean {
    this.#length = length
    const to = this.#to
    // Without a listener nothing is read; and what was not to be read must not go missing in silence.
    if (to === null) this.#socket?.destroy()
    if (to === null || to.destroyed) return false
    this.#count(length)
    const full = length === window.length
    const read = full ? window : window.subarray(0, length)
    const piece = window === this.#own && length >= MIN_LENT ? read : this.#copyOf(read)
    // A callback costs a tick of the process, even for a write that is done at once. From this length on there is 'drain'.
    if (length < to.writableHighWaterMark) to.write(piece, this.#written)
    else to.write(piece)
    if (to.writableLength === 0) {
      this.#release(true)
      return this.#mayGoOn(full ? length : 0)
    }
    this.#run = 0
    if (piece === read) {
      this.#lent = window
      this.#own = null
    }
    this.#waiting = this.#lent !== null || to.writableNeedDrain
    return !this.#waiting
  }

  /** Into a lent buffer, where it is worth it and this write is the only one that waits; or else for good. */
  #copyOf(read: Buffer): Buffer {
    if (read.length < MIN_LENT || this.#lent !== null) return Buffer.from(read)
    const lent = (read.length <= SMALL ? small : large).take()
    this.#lent = lent
    read.copy(lent)
    return lent.subarray(0, read.length)
  }

  /** Everything has been written. `filled`: bytes of a read that filled its window. False: others first. */
  #mayGoOn(filled: number): boolean {
    this.#run = filled === 0 ? 0 : this.#run + filled
    if (this.#run < MAX_RUN) return true
    this.#run = 0
    setImmediate(this.#resume)
    return false
  }

  readonly #resume = (): void => {
    this.#socket?.resume()
  }

  readonly #written = (error?: Error | null): void => {
    const to = this.#to
    if (!this.#waiting || to === null || to.writableLength > 0) return
    this.#waiting = false
    this.#release(!error && !to.destroyed)
    this.#socket?.resume()
  }

  readonly #closed = (): void => this.#release(false)

  /** `reusable`: of a stream that failed nobody knows what it still refers to. */
  #release(reusable: boolean): void {
    const lent = this.#lent
    if (lent === null) return
    this.#lent = null
    if (reusable) kindOf(lent).giveBack(lent)
    else kindOf(lent).forget()
  }
}
