/** Takes a response's body out of what arrives, by its framing (RFC 9112 §6.3): counted, chunked, or until the connection ends. */
import { type ChunkReader, createChunkReader } from '../../core/http1/chunked.ts'
import type { ResponseFraming } from '../../core/http1/response-head.ts'

export type PieceTaker = {
  /** A piece of the body: `from`…`to` of `bytes`, which are only there until this returns. */
  piece(bytes: Buffer, from: number, to: number): void
}

export class BodyReader {
  /** Only the connection's end ends it. */
  readonly untilClose: boolean
  readonly #taker: PieceTaker
  readonly #chunks: ChunkReader | null
  /** Bytes still to come, where they are counted. */
  #left: number

  constructor(framing: Exclude<ResponseFraming, 'invalid'>, taker: PieceTaker) {
    this.#taker = taker
    this.untilClose = framing === 'close'
    this.#chunks = framing === 'chunked' ? createChunkReader(concat) : null
    this.#left = typeof framing === 'number' ? framing : Number.POSITIVE_INFINITY
  }

  /** All of it has been read. */
  get done(): boolean {
    return this.#chunks === null ? this.#left === 0 : this.#chunks.done
  }

  /** Why it cannot be read on; null: it can. */
  get fault(): string | null {
    return this.#chunks === null ? null : this.#chunks.fault
  }

  /** Answers the index behind what was read: `end`, unless the body ended before. */
  read(bytes: Buffer, start: number, end: number): number {
    if (start === end) return end
    const taker = this.#taker
    if (this.#chunks !== null) return this.#chunks.read(bytes, start, end, (from, to) => taker.piece(bytes, from, to))
    const to = Math.min(end, start + this.#left)
    this.#left -= to - start
    if (to > start) taker.piece(bytes, start, to)
    return to
  }
}

function concat(parts: readonly Buffer[]): Buffer {
  return Buffer.concat(parts)
}
