/**
 * Copies a stream whose reads are Node's own (accepted sockets, TLS) into another, with back-pressure: what arrives in one
 * turn of the event loop goes out in one write, and its memory is given back as soon as it is written.
 */
import type { Duplex } from 'node:stream'

/** From this length on a piece is taken for one of many: a whole TLS record, at least. Smaller ones do not wait for more. */
const MIN_GATHERED = 16 * 1024
/** Written in one go, at most about this many bytes. */
const MAX_GATHERED = 256 * 1024

export class StreamCopy {
  readonly #from: Duplex
  readonly #to: Duplex
  readonly #count: (bytes: number) => void
  /** Given to `#to`, which is corked while there are any. */
  #gathered: Buffer[] = []
  #length = 0
  #scheduled = false

  /** Starts; `end` is not passed on. */
  constructor(from: Duplex, to: Duplex, count: (bytes: number) => void) {
    this.#from = from
    this.#to = to
    this.#count = count
    from.on('data', (chunk: Buffer) => this.#arrived(chunk))
    to.on('drain', () => from.resume())
  }

  #arrived(chunk: Buffer): void {
    this.#count(chunk.length)
    const to = this.#to
    if (this.#length === 0 && chunk.length < MIN_GATHERED) {
      if (!to.write(chunk)) this.#from.pause()
      return
    }
    if (this.#length === 0) to.cork()
    this.#gathered.push(chunk)
    this.#length += chunk.length
    to.write(chunk)
    if (this.#length >= MAX_GATHERED) return this.#flush()
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#later)
  }

  readonly #later = (): void => {
    this.#scheduled = false
    if (this.#length > 0) this.#flush()
  }

  #flush(): void {
    const to = this.#to
    const chunks = this.#gathered
    this.#gathered = []
    this.#length = 0
    to.uncork()
    // Nearly always everything has been written by now, however much it was: then there is nothing to wait for.
    if (to.writableLength === 0 && !to.destroyed) for (const chunk of chunks) free(chunk)
    else if (to.destroyed || to.writableNeedDrain) this.#from.pause()
  }
}

/**
 * Gives back the memory of a chunk that nobody needs any more, if it has any of its own. Left to the garbage collector, the
 * chunks of a busy tunnel pile up to tens of megabytes before it runs: cold memory and page faults for every read.
 */
function free(chunk: Buffer): void {
  const { buffer } = chunk
  if (buffer instanceof ArrayBuffer && buffer.byteLength === chunk.byteLength && buffer.byteLength >= MIN_GATHERED)
    buffer.transfer(0)
}
