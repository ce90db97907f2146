/** Finds the final response head in what arrives: usually whole in one piece, and then read where it stands. */
import { CR, hasBareLineEnd, headEnd } from '../../core/http1/bytes.ts'
import { interimFault, MAX_INTERIM } from '../../core/http1/interim.ts'
import { type ResponseHead, readResponseHead } from '../../core/http1/response-head.ts'

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

  /** Reads `start`…`end` of `bytes`. The final head; null: more has to come; else why this is no answer, and the last word. */
  read(bytes: Buffer, start: number, end: number): ResponseHead | string | null {
    if (this.#held === null) return this.#look(bytes, start, end)
    this.#append(bytes, start, end)
    return this.#look(this.#held, 0, this.#length)
  }

  #look(bytes: Buffer, start: number, end: number): ResponseHead | string | null {
    let at = start
    let scanned = this.#scanned
    for (;;) {
      const behind = headEnd(bytes, at + Math.max(0, scanned - 3), end)
      if ((behind === -1 ? end : behind) - at > this.#maxBytes) return 'header_overflow'
      if (behind === -1) return this.#keep(bytes, at, end, scanned)
      const head = readResponseHead(bytes, at, behind)
      if (typeof head === 'string') return head
      if (head.status >= 200) {
        this.rest = bytes
        this.restStart = behind
        this.restEnd = end
        return head
      }
      if (head.status === 101) return 'unexpected_101'
      const fault = interimFault(head)
      if (fault !== null) return fault
      if (++this.#interim > MAX_INTERIM) return 'too_many_interim_responses'
      at = behind
      scanned = 0
    }
  }

  /** What is there of the next head, if it can become one. */
  #keep(bytes: Buffer, at: number, end: number, scanned: number): string | null {
    for (let i = 0; i < BEGINNING.length && at + i < end; i++)
      if (bytes[at + i] !== BEGINNING[i]) return 'INVALID_VERSION'
    // A line end may be split between what is known and what is new.
    const from = scanned > 0 && bytes[at + scanned - 1] === CR ? at + scanned - 1 : at + scanned
    if (hasBareLineEnd(bytes, from, end)) return 'INVALID_LINE_END'
    this.#scanned = end - at
    if (bytes === this.#held) {
      bytes.copyWithin(0, at, end)
      this.#length = end - at
    } else if (at < end) this.#append(bytes, at, end)
    return null
  }

  #append(bytes: Buffer, start: number, end: number): void {
    const needed = this.#length + end - start
    const held = this.#held
    if (held === null || needed > held.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, held === null ? 1024 : held.length * 2))
      held?.copy(larger, 0, 0, this.#length)
      this.#held = larger
    }
    bytes.copy(this.#held as Buffer, this.#length, start, end)
    this.#length = needed
  }
}
