/**
 * Chunked bodies (RFC 9112 §7.1), taken apart strictly: sizes in plain hexadecimal, extensions bounded and dropped,
 * trailers read like any field and bounded. Holds no bytes of the body; each piece is told as it stands in the buffer.
 */
import { type Bytes, CR, type HeadFault, HTAB, hasBareLineEnd, headEnd, LF, SP, TOKEN } from './bytes.ts'
import { readFields } from './field-lines.ts'

export type ChunkFault =
  | 'INVALID_CHUNK_SIZE'
  | 'INVALID_CHUNK_END'
  | 'CHUNK_EXTENSIONS_OVERFLOW'
  | 'TRAILER_OVERFLOW'
  | 'INVALID_TRAILER'
  | HeadFault

/** Bytes of extensions allowed in one body, and of its trailer section. */
const MAX_EXTENSIONS = 16_384
const MAX_TRAILER = 8_192
/** 2^44 bytes and more are no chunk of anybody's. */
const MAX_SIZE_DIGITS = 11

const HEX = new Int8Array(256).fill(-1)
for (let i = 0; i < 16; i++) {
  HEX['0123456789abcdef'.charCodeAt(i)] = i
  HEX['0123456789ABCDEF'.charCodeAt(i)] = i
}

const SIZE = 0
/** Behind `;`: a name has to begin. */
const EXTENSION = 1
const EXTENSION_NAME = 2
/** Behind `=`: a token or a quoted string has to begin. */
const EXTENSION_VALUE = 3
const EXTENSION_TOKEN = 4
const EXTENSION_QUOTED = 5
const EXTENSION_ESCAPE = 6
/** Behind the closing quote. */
const EXTENSION_END = 7
const SIZE_LF = 8
const DATA = 9
const DATA_CR = 10
const DATA_LF = 11
const TRAILER = 12
const DONE = 13

const SEMICOLON = 59
const EQUALS = 61
const QUOTE = 34
const BACKSLASH = 92

/** RFC 9112 §7.1.1 without optional white space: the state after `byte` in an extension; -1: not one. */
function nextOfExtension(state: number, byte: number): number {
  switch (state) {
    case EXTENSION:
      return TOKEN[byte] === 0 ? -1 : EXTENSION_NAME
    case EXTENSION_NAME:
      if (TOKEN[byte] !== 0) return EXTENSION_NAME
      return byte === EQUALS ? EXTENSION_VALUE : behindExtension(byte)
    case EXTENSION_VALUE:
      if (byte === QUOTE) return EXTENSION_QUOTED
      return TOKEN[byte] === 0 ? -1 : EXTENSION_TOKEN
    case EXTENSION_TOKEN:
      return TOKEN[byte] === 0 ? behindExtension(byte) : EXTENSION_TOKEN
    case EXTENSION_QUOTED:
      if (byte === QUOTE) return EXTENSION_END
      if (byte === BACKSLASH) return EXTENSION_ESCAPE
      return isText(byte) ? EXTENSION_QUOTED : -1
    case EXTENSION_ESCAPE:
      return isText(byte) ? EXTENSION_QUOTED : -1
    default:
      return behindExtension(byte)
  }
}

function behindExtension(byte: number): number {
  if (byte === CR) return SIZE_LF
  return byte === SEMICOLON ? EXTENSION : -1
}

function isText(byte: number): boolean {
  return (byte >= SP && byte !== 127) || byte === HTAB
}

export type ChunkReader = {
  /**
   * Reads on. `onData` is called for each piece of the body (offsets into `buffer`). Returns the index behind what was
   * read: `end` unless the body ended before (`done`) or is broken (`fault`).
   */
  read(buffer: Bytes, start: number, end: number, onData: (from: number, to: number) => void): number
  readonly done: boolean
  readonly fault: ChunkFault | null
  /** Trailer fields, flat, lower-case names; complete when `done`. */
  readonly trailers: readonly string[]
}

/** `concat`: joins the parts of a trailer section that comes in pieces (Buffer.concat). */
export function createChunkReader(concat: (parts: readonly Bytes[]) => Bytes): ChunkReader {
  return new Reader(concat)
}

class Reader implements ChunkReader {
  done = false
  fault: ChunkFault | null = null
  trailers: readonly string[] = []
  readonly #concat: (parts: readonly Bytes[]) => Bytes
  #state = SIZE
  #digits = 0
  #left = 0
  #extensions = 0
  #tail: Bytes | null = null

  constructor(concat: (parts: readonly Bytes[]) => Bytes) {
    this.#concat = concat
  }

  read(buffer: Bytes, start: number, end: number, onData: (from: number, to: number) => void): number {
    let at = start
    while (at < end && this.fault === null && !this.done) {
      switch (this.#state) {
        case DATA: {
          const to = Math.min(end, at + this.#left)
          this.#left -= to - at
          onData(at, to)
          at = to
          if (this.#left === 0) this.#state = DATA_CR
          break
        }
        case TRAILER:
          at = this.#readTrailer(buffer, at, end)
          break
        default:
          at = this.#readByte(buffer[at] as number, at)
      }
    }
    return at
  }

  #readByte(byte: number, at: number): number {
    switch (this.#state) {
      case SIZE: {
        const digit = HEX[byte] as number
        if (digit >= 0) {
          if (++this.#digits > MAX_SIZE_DIGITS) return this.#fail('INVALID_CHUNK_SIZE', at)
          this.#left = this.#left * 16 + digit
        } else if (this.#digits === 0) return this.#fail('INVALID_CHUNK_SIZE', at)
        else if (byte === CR) this.#state = SIZE_LF
        // No white space before the semicolon: parsers disagree on where the size ends.
        else if (byte === SEMICOLON) this.#state = EXTENSION
        else return this.#fail('INVALID_CHUNK_SIZE', at)
        break
      }
      case SIZE_LF:
        if (byte !== LF) return this.#fail('INVALID_CHUNK_SIZE', at)
        this.#state = this.#left === 0 ? TRAILER : DATA
        this.#digits = 0
        break
      case DATA_CR:
        if (byte !== CR) return this.#fail('INVALID_CHUNK_END', at)
        this.#state = DATA_LF
        break
      case DATA_LF:
        if (byte !== LF) return this.#fail('INVALID_CHUNK_END', at)
        this.#state = SIZE
        break
      default: {
        const next = nextOfExtension(this.#state, byte)
        if (next === -1) return this.#fail('INVALID_CHUNK_SIZE', at)
        if (++this.#extensions > MAX_EXTENSIONS) return this.#fail('CHUNK_EXTENSIONS_OVERFLOW', at)
        this.#state = next
      }
    }
    return at + 1
  }

  #readTrailer(buffer: Bytes, start: number, end: number): number {
    // Nearly always nothing but the empty line.
    if (this.#tail === null && end - start >= 2 && buffer[start] === CR && buffer[start + 1] === LF) {
      this.#finish()
      return start + 2
    }
    const before = this.#tail?.length ?? 0
    const piece = buffer.subarray(start, Math.min(end, start + MAX_TRAILER + 1 - before))
    // Copied: the buffer is the socket's to reuse.
    const section = this.#concat(this.#tail === null ? [piece] : [this.#tail, piece])
    if (section.length >= 2 && section[0] === CR && section[1] === LF) {
      this.#finish()
      return start + 2 - before
    }
    const sectionEnd = headEnd(section, 0, section.length)
    if (sectionEnd === -1) {
      if (hasBareLineEnd(section, 0, section.length)) return this.#fail('INVALID_LINE_END', start)
      if (section.length > MAX_TRAILER) return this.#fail('TRAILER_OVERFLOW', start)
      this.#tail = section
      return start + piece.length
    }
    const read = readFields(section, 0, sectionEnd, section.toString('latin1', 0, sectionEnd), 0)
    if (typeof read === 'string') return this.#fail(read, start)
    this.trailers = read
    // Node refuses a message that frames itself again at its end; whoever merges trailers into the head would believe it.
    if (this.trailers.some((name, i) => i % 2 === 0 && (name === 'content-length' || name === 'transfer-encoding')))
      return this.#fail('INVALID_TRAILER', start)
    this.#finish()
    return start + sectionEnd - before
  }

  #finish(): void {
    this.#state = DONE
    this.#tail = null
    this.done = true
  }

  #fail(fault: ChunkFault, at: number): number {
    this.fault = fault
    return at
  }
}
