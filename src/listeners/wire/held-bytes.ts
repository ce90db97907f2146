/**
 * Bytes of a connection that cannot be used yet: a head that is not whole, or requests sent ahead. Grows by doubling, so
 * that a caller who sends byte by byte costs no more than one who does not. What `view` has shown is never written over.
 */

/** Room for a head that comes in pieces, bytes. */
const FIRST = 1024

export class HeldBytes {
  #buffer: Buffer | null = null
  #start = 0
  #end = 0
  /** False: `#buffer` is a piece as it came, which ends where its bytes end. */
  #own = false

  get length(): number {
    return this.#end - this.#start
  }

  /** Everything held, in order. */
  view(): Buffer {
    return this.#buffer === null ? EMPTY : this.#buffer.subarray(this.#start, this.#end)
  }

  /** `chunk` is kept as it is while it is the only one: it must not be written to any more. */
  append(chunk: Buffer): void {
    if (chunk.length === 0) return
    if (this.#buffer === null) {
      this.#buffer = chunk
      this.#start = 0
      this.#end = chunk.length
      this.#own = false
      return
    }
    const { length } = this
    if (!this.#own || this.#end + chunk.length > this.#buffer.length) {
      // From the pool's slab of 8 KB only what is small; the rest is freed by itself.
      const grown = Buffer.allocUnsafe(Math.max(FIRST, 2 * (length + chunk.length)))
      this.#buffer.copy(grown, 0, this.#start, this.#end)
      this.#buffer = grown
      this.#start = 0
      this.#end = length
      this.#own = true
    }
    chunk.copy(this.#buffer, this.#end)
    this.#end += chunk.length
  }

  /** The first `count` bytes have been used. */
  consume(count: number): void {
    this.#start += count
    if (this.#start >= this.#end) this.clear()
  }

  clear(): void {
    this.#buffer = null
    this.#start = 0
    this.#end = 0
    this.#own = false
  }
}

const EMPTY = Buffer.alloc(0)
