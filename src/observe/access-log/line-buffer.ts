/**
 * The line that is being made, as bytes. Most of a line is copied from runs of bytes that were made before; what is new on
 * every line is looked at and copied. A string joined from fifty parts costs more: each of them is an object, and all are
 * copied together only to be made into bytes.
 */
import { jsonString } from './escape.ts'

/** Bytes of memory to begin with, for who says nothing. */
const SIZE = 4096
const QUOTE = 0x22
const ZERO = 0x30

/** What does not stand for itself in a line, as one byte: all but printable ASCII without quote and backslash. */
const NOT_PLAIN = /[^ !#-[\]-~]/
/** Up to here numbers are written digit by digit. */
const MOST_DIGITS = 1e9
/** UTF-8 bytes of one unit of a string. */
const MOST_BYTES_PER_UNIT = 3

export class LineBuffer {
  readonly #size: number
  #bytes: Buffer
  /** Bytes so far. Set back to what it was, what was written since is gone. */
  length = 0

  /** `size`: bytes of memory to begin with, and again after `take`. */
  constructor(size = SIZE) {
    this.#size = size
    this.#bytes = Buffer.allocUnsafeSlow(size)
  }

  /** Bytes as they are. */
  run(bytes: Uint8Array): void {
    this.#room(bytes.length)
    this.#bytes.set(bytes, this.length)
    this.length += bytes.length
  }

  /** As `String(value)`. */
  number(value: number): void {
    if (!(value >= 0 && value < MOST_DIGITS) || !Number.isInteger(value)) return this.encoded(String(value))
    let digits = 1
    for (let limit = 10; value >= limit; limit *= 10) digits += 1
    this.#room(digits)
    let rest = value
    for (let at = this.length + digits - 1; at >= this.length; at -= 1) {
      const more = Math.floor(rest / 10)
      this.#bytes[at] = ZERO + rest - more * 10
      rest = more
    }
    this.length += digits
  }

  /** A JSON string literal, as `jsonString` makes it. */
  json(value: string): void {
    const start = this.length
    this.#room(1)
    this.#bytes[this.length] = QUOTE
    this.length += 1
    if (this.plain(value)) {
      this.#room(1)
      this.#bytes[this.length] = QUOTE
      this.length += 1
      return
    }
    this.length = start
    this.encoded(jsonString(value))
  }

  /** Text of which nothing has to be escaped. False, and nothing is written: something has to, or is not ASCII. */
  plain(value: string): boolean {
    // Not character by character: strings come in so many forms that V8 looks up `charCodeAt` anew for each of them.
    if (NOT_PLAIN.test(value)) return false
    this.#room(value.length)
    this.length += this.#bytes.write(value, this.length)
    return true
  }

  /** Any text as it is, in UTF-8. */
  encoded(text: string): void {
    this.#room(text.length * MOST_BYTES_PER_UNIT)
    this.length += this.#bytes.write(text, this.length)
  }

  /** A copy of what was written from `start` on. */
  since(start: number): Uint8Array {
    return new Uint8Array(this.#bytes.subarray(start, this.length))
  }

  /** What was written so far, and it begins anew elsewhere: who takes it may keep it. */
  take(): Buffer {
    const taken = this.#bytes.subarray(0, this.length)
    const left = this.#bytes.subarray(this.length)
    // What grew while lines had to wait is not kept for good.
    const usable = this.#bytes.length <= this.#size && left.length >= this.#size / 4
    this.#bytes = usable ? left : Buffer.allocUnsafeSlow(this.#size)
    this.length = 0
    return taken
  }

  text(): string {
    return this.#bytes.toString('utf8', 0, this.length)
  }

  #room(bytes: number): void {
    const needed = this.length + bytes
    if (needed <= this.#bytes.length) return
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2))
    this.#bytes.copy(larger, 0, 0, this.length)
    this.#bytes = larger
  }
}
