/**
 * A connection's bytes taken apart into requests, strictly (core/http1): one at a time, what is sent ahead kept until its
 * turn. After a doubt nothing is read any more.
 */
import { hasBareLineEnd, headEnd } from '../../core/http1/bytes.ts'
import { type ChunkReader, createChunkReader } from '../../core/http1/chunked.ts'
import { type RequestHead, readRequestHead } from '../../core/http1/request-head.ts'
import { HeldBytes } from './held-bytes.ts'

/** What is told of the bytes, as they are read. Any of them may call `discard`. */
export type ReaderEvents = {
  readonly maxHeaderBytes: number
  /** A head has begun that is not whole. */
  headBegun(): void
  /** A request's head; its bytes end at `end` of `buffer`. `ahead`: it began before the one in front of it was answered. */
  head(head: RequestHead, ahead: boolean, buffer: Buffer, end: number): void
  /** The request can be answered: as much of its body as is there and certain has been told. */
  request(): void
  piece(bytes: Buffer): void
  bodyEnded(): void
  bodyBroken(code: string): void
  /** No request. `code`: why; for a CONNECT its target. */
  malformed(kind: 'bad_request' | 'headers_too_large' | 'connect_refused', code: string): void
}

const CR = 13
const LF = 10

/** Between requests, or in the middle of a head. */
const HEAD = 0
/** In the middle of a request's body. */
const BODY = 1
/** The request has been read; it is its answer's turn. */
const WAITING = 2
/** Nothing that arrives is looked at any more. */
const DISCARD = 3

export class RequestReader {
  readonly #events: ReaderEvents
  readonly #held = new HeldBytes()
  #state = HEAD
  /** Bytes of the held head that are known to hold no end. */
  #scanned = 0
  /** An empty line before this request has been passed over. */
  #blank = false
  #ahead = false
  #bodyLeft = 0
  #chunks: ChunkReader | null = null
  /** What `#chunks` is reading from. */
  #buffer: Buffer | null = null
  #onPiece: ((from: number, to: number) => void) | null = null

  constructor(events: ReaderEvents) {
    this.#events = events
  }

  /** Bytes that have come but are not read yet. */
  get held(): number {
    return this.#held.length
  }

  /** Between requests, or in the middle of a head. */
  get inHead(): boolean {
    return this.#state === HEAD
  }

  get inBody(): boolean {
    return this.#state === BODY
  }

  /** The request has been read to its end; `next` goes on. */
  get waiting(): boolean {
    return this.#state === WAITING
  }

  get discarding(): boolean {
    return this.#state === DISCARD
  }

  /** `chunk` is kept as long as it is needed: it must not be written to any more. */
  take(chunk: Buffer): void {
    if (this.#state === DISCARD) return
    const held = this.#held
    if (held.length > 0 || this.#state === WAITING) {
      held.append(chunk)
      if (this.#state !== WAITING) this.#readHeld()
      return
    }
    const used = this.#read(chunk)
    if (used < chunk.length) held.append(used === 0 ? chunk : chunk.subarray(used))
  }

  /** The request has been answered: reads the next one. */
  next(): void {
    this.#state = HEAD
    this.#ahead = this.#held.length > 0
    if (this.#ahead) this.#readHeld()
  }

  discard(): void {
    this.#state = DISCARD
    this.#chunks = null
    this.#held.clear()
  }

  #readHeld(): void {
    const used = this.#read(this.#held.view())
    this.#held.consume(used)
  }

  /** Answers how much of it is done with. */
  #read(buffer: Buffer): number {
    let at = 0
    while (at < buffer.length) {
      const before = at
      if (this.#state === HEAD) at = this.#readHead(buffer, at)
      else if (this.#state === BODY) at = this.#readBody(buffer, at)
      else if (this.#state === DISCARD) return buffer.length
      if (at === before) break
    }
    return at
  }

  #readHead(buffer: Buffer, start: number): number {
    const end = buffer.length
    // RFC 9112 §2.2: one empty line before a request is passed over, as clients of old send it behind a body.
    if (buffer[start] === CR && buffer[start + 1] === LF && !this.#blank) {
      this.#blank = true
      this.#scanned = 0
      return start + 2
    }
    const events = this.#events
    const known = this.#scanned
    const headEndsAt = headEnd(buffer, start + Math.max(0, known - 3), end)
    if ((headEndsAt === -1 ? end : headEndsAt) - start > events.maxHeaderBytes)
      return this.#malformed('headers_too_large', 'HEADERS_OVERFLOW', end)
    if (headEndsAt === -1) {
      // A line end may be split between what is known and what is new.
      const from = known > 0 && buffer[start + known - 1] === CR ? start + known - 1 : start + known
      if (hasBareLineEnd(buffer, from, end)) return this.#malformed('bad_request', 'INVALID_LINE_END', end)
      if (known === 0) events.headBegun()
      this.#scanned = end - start
      return start
    }
    this.#scanned = 0
    const head = readRequestHead(buffer, start, headEndsAt)
    if (typeof head === 'string')
      return this.#malformed(head === 'TOO_MANY_FIELDS' ? 'headers_too_large' : 'bad_request', head, end)
    if (head.method === 'CONNECT') return this.#malformed('connect_refused', head.target, end)
    if (head.framing === 'invalid') return this.#malformed('bad_request', 'INVALID_FRAMING', end)
    return this.#begin(head, buffer, headEndsAt)
  }

  /** Answers how far it has read on. */
  #begin(head: RequestHead, buffer: Buffer, bodyAt: number): number {
    const { framing } = head
    this.#blank = false
    this.#state = framing === 0 ? WAITING : BODY
    this.#events.head(head, this.#ahead, buffer, bodyAt)
    if (this.#state === DISCARD) return buffer.length
    let at = bodyAt
    if (framing === 'chunked') this.#chunks = createChunkReader(concat)
    else if (framing !== 0) {
      this.#bodyLeft = framing as number
      // Nothing can be wrong with it, and an answer given at once need not end the connection for want of it.
      if (at < buffer.length) at = this.#readBody(buffer, at)
    }
    this.#events.request()
    return at
  }

  #readBody(buffer: Buffer, start: number): number {
    const chunks = this.#chunks
    if (chunks === null) {
      const end = Math.min(buffer.length, start + this.#bodyLeft)
      this.#bodyLeft -= end - start
      this.#events.piece(start === 0 && end === buffer.length ? buffer : buffer.subarray(start, end))
      if (this.#bodyLeft === 0) this.#endBody()
      return end
    }
    this.#buffer = buffer
    this.#onPiece ??= (from, to) => this.#events.piece((this.#buffer as Buffer).subarray(from, to))
    const at = chunks.read(buffer, start, buffer.length, this.#onPiece)
    this.#buffer = null
    if (chunks.fault !== null) {
      this.discard()
      this.#events.bodyBroken(chunks.fault)
      return buffer.length
    }
    if (chunks.done) this.#endBody()
    return at
  }

  #endBody(): void {
    this.#chunks = null
    if (this.#state !== BODY) return
    this.#state = WAITING
    this.#events.bodyEnded()
  }

  #malformed(kind: 'bad_request' | 'headers_too_large' | 'connect_refused', code: string, end: number): number {
    this.discard()
    this.#events.malformed(kind, code)
    return end
  }
}

function concat(parts: readonly Buffer[]): Buffer {
  return Buffer.concat(parts)
}
