/** Finds the final response head in what arrives: usually whole in one piece, and then read where it stands. */
import { CR, hasBareLineEnd, headEnd } from '../../core/http1/bytes.ts'
import { type ResponseHead, readResponseHead } from '../../core/http1/response-head.ts'

/** Interim responses before the final one; a flood of them is no way to hold a connection (threats 7). */
const MAX_INTERIM = 32
/** `HTTP/1.`: what does not begin so never becomes an answer, however long one waits. */
const BEGINNING = Uint8Array.of(72, 84, 84, 80, 47, 49, 46)

export class HeadReader {
  /** After the final head: where what stands behind it is. In the piece that came last, or in bytes of our own. */
  rest: Buffer | null = null
  restStart = 0
  restEnd = 0
  readonly #maxBytes: number
  /** The beginning of a head that is not whole yet. */
  #held: Buffer | null = null
  #length = 0
  /** Up to here there is no end of a head in it. */
  #scanned = 0
  #interim = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** The final head; null: more has to come; else why this is no answer. Not to be called again after the first two. */
  read(bytes: Buffer, length: number): ResponseHead | string | null {
    if (this.#held === null) return this.#look(bytes, length)
    this.#append(bytes, length)
    return this.#look(this.#held, this.#length)
  }

  #look(bytes: Buffer, length: number): ResponseHead | string | null {
    let at = 0
    let scanned = this.#scanned
    for (;;) {
      const end = headEnd(bytes, at + Math.max(0, scanned - 3), length)
      if ((end === -1 ? length : end) - at > this.#maxBytes) return 'header_overflow'
      if (end === -1) return this.#keep(bytes, at, length, scanned)
      const head = readResponseHead(bytes, at, end)
      if (typeof head === 'string') return head
      if (head.status >= 200) {
        this.rest = bytes
        this.restStart = end
        this.restEnd = length
        return head
      }
      if (head.status === 101) return 'unexpected_101'
      // HTTP/1.0 knows of none (RFC 9110 §15.2); for Node it ends the connection, for others it is the answer.
      if (head.minorVersion === 0) return 'interim_response_of_http_1_0'
      if (++this.#interim > MAX_INTERIM) return 'too_many_interim_responses'
      at = end
      scanned = 0
    }
  }

  /** What is there of the next head, if it can become one. */
  #keep(bytes: Buffer, at: number, length: number, scanned: number): string | null {
    for (let i = 0; i < BEGINNING.length && at + i < length; i++)
      if (bytes[at + i] !== BEGINNING[i]) return 'INVALID_VERSION'
    // A line end may be split between what is known and what is new.
    const from = scanned > 0 && bytes[at + scanned - 1] === CR ? at + scanned - 1 : at + scanned
    if (hasBareLineEnd(bytes, from, length)) return 'INVALID_LINE_END'
    this.#scanned = length - at
    if (bytes === this.#held) {
      bytes.copyWithin(0, at, length)
      this.#length = length - at
    } else if (at < length) this.#append(at === 0 ? bytes : bytes.subarray(at), length - at)
    return null
  }

  #append(bytes: Buffer, length: number): void {
    const needed = this.#length + length
    const held = this.#held
    if (held === null || needed > held.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, held === null ? 1024 : held.length * 2))
      held?.copy(larger, 0, 0, this.#length)
      this.#held = larger
    }
    bytes.copy(this.#held as Buffer, this.#length, 0, length)
    this.#length = needed
  }
}
