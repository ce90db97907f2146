/**
 * The answer to the one request of a connection, read strictly off its socket (core/http1): interim heads are passed over,
 * the final one is bounded, its body comes by its framing. Nothing here needs Node's HTTP parser.
 */
import { type Duplex, Readable } from 'node:stream'
import { CR, hasBareLineEnd, headEnd } from '../core/http1/bytes.ts'
import { createChunkReader } from '../core/http1/chunked.ts'
import { interimFault, MAX_INTERIM } from '../core/http1/interim.ts'
import { type ResponseFraming, type ResponseHead, readResponseHead } from '../core/http1/response-head.ts'

export type AnswerEvents = {
  /** The final head. `body` errors when the answer is cut or its framing broken; it must be read or destroyed. */
  readonly onAnswer: (head: ResponseHead, body: Readable) => void
  /** 101: what stands behind the head is still in the socket, which is read no more from here. */
  readonly onSwitched: (head: ResponseHead) => void
  /** What came is no answer. */
  readonly onFault: (why: string) => void
}

const FIRST_SIZE = 4096
const NOTHING = Buffer.alloc(0)

/**
 * Reads until one of the events, which is then the only one; none when the socket closes first. The socket must have an
 * error listener.
 * @param maxBytes of one head
 */
export function readAnswer(socket: Duplex, maxBytes: number, events: AnswerEvents): { stop(): void } {
  return new AnswerReader(socket, maxBytes, events)
}

class AnswerReader {
  readonly #socket: Duplex
  readonly #maxBytes: number
  readonly #events: AnswerEvents
  #buffer = Buffer.allocUnsafe(FIRST_SIZE)
  #length = 0
  /** Up to here there is no end of a head. */
  #scanned = 0
  #interim = 0

  constructor(socket: Duplex, maxBytes: number, events: AnswerEvents) {
    this.#socket = socket
    this.#maxBytes = maxBytes
    this.#events = events
    socket.on('readable', this.#onReadable)
  }

  stop(): void {
    this.#socket.off('readable', this.#onReadable)
  }

  readonly #onReadable = (): void => {
    for (;;) {
      const chunk = this.#socket.read() as Buffer | null
      if (chunk === null) return
      this.#append(chunk)
      if (this.#look()) return
    }
  }

  #append(chunk: Buffer): void {
    const needed = this.#length + chunk.length
    if (needed > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2))
      this.#buffer.copy(larger, 0, 0, this.#length)
      this.#buffer = larger
    }
    chunk.copy(this.#buffer, this.#length)
    this.#length = needed
  }

  /** True: nothing more is to be read. */
  #look(): boolean {
    for (;;) {
      const end = headEnd(this.#buffer, Math.max(0, this.#scanned - 3), this.#length)
      if (end > this.#maxBytes || (end === -1 && this.#length > this.#maxBytes)) return this.#fault('header_overflow')
      if (end === -1) {
        const from = this.#scanned > 0 && this.#buffer[this.#scanned - 1] === CR ? this.#scanned - 1 : this.#scanned
        if (hasBareLineEnd(this.#buffer, from, this.#length)) return this.#fault('INVALID_LINE_END')
        this.#scanned = this.#length
        return false
      }
      const head = readResponseHead(this.#buffer, 0, end)
      if (typeof head === 'string') return this.#fault(head)
      if (head.status === 101 || head.status >= 200) return this.#end(head, end)
      const fault = interimFault(head)
      if (fault !== null) return this.#fault(fault)
      this.#interim++
      if (this.#interim > MAX_INTERIM) return this.#fault('too_many_interim_responses')
      this.#buffer.copyWithin(0, end, this.#length)
      this.#length -= end
      this.#scanned = 0
    }
  }

  #fault(why: string): true {
    this.stop()
    this.#events.onFault(why)
    return true
  }

  #end(head: ResponseHead, end: number): true {
    this.stop()
    if (end < this.#length) this.#socket.unshift(this.#buffer.subarray(end, this.#length))
    this.#buffer = NOTHING
    if (head.status === 101) this.#events.onSwitched(head)
    else this.#events.onAnswer(head, new AnswerBody(this.#socket, framingOf(head)))
    return true
  }
}

function framingOf({ status, framing }: ResponseHead): ResponseFraming {
  return status === 204 || status === 304 ? 0 : framing
}

/** Reads the socket only as fast as it is read itself. Whatever follows the body stays in the socket. */
class AnswerBody extends Readable {
  readonly #socket: Duplex
  readonly #chunks: ReturnType<typeof createChunkReader> | null
  /** Infinity: until the connection ends. */
  #left: number
  #wanted = false

  constructor(socket: Duplex, framing: ResponseFraming) {
    super()
    this.#socket = socket
    this.#chunks = framing === 'chunked' ? createChunkReader((parts) => Buffer.concat(parts)) : null
    this.#left = typeof framing === 'number' ? framing : Number.POSITIVE_INFINITY
    if (this.#left === 0) {
      this.push(null)
      return
    }
    socket.on('readable', this.#pump)
    socket.on('end', this.#onEnd)
    socket.on('close', this.#onCut)
    socket.on('error', this.#onCut)
    if (framing === 'invalid' || socket.destroyed) this.destroy(new Error('the answer has no end'))
  }

  override _read(): void {
    this.#wanted = true
    this.#pump()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#leave()
    callback(error)
  }

  readonly #pump = (): void => {
    while (this.#wanted) {
      const chunk = this.#socket.read() as Buffer | null
      if (chunk === null) return
      if (this.#chunks === null) this.#counted(chunk)
      else this.#chunked(this.#chunks, chunk)
    }
  }

  #counted(chunk: Buffer): void {
    const whole = chunk.length < this.#left
    this.#give(whole ? chunk : chunk.subarray(0, this.#left))
    this.#left -= chunk.length
    if (!whole) this.#over()
  }

  #chunked(reader: ReturnType<typeof createChunkReader>, chunk: Buffer): void {
    reader.read(chunk, 0, chunk.length, (from, to) => this.#give(chunk.subarray(from, to)))
    if (reader.fault !== null) this.destroy(new Error(`broken chunk: ${reader.fault}`))
    else if (reader.done) this.#over()
  }

  #give(piece: Buffer): void {
    if (!this.push(piece)) this.#wanted = false
  }

  #over(): void {
    this.#wanted = false
    this.#leave()
    this.push(null)
  }

  readonly #onEnd = (): void => {
    if (this.#chunks === null && this.#left === Number.POSITIVE_INFINITY) this.#over()
    else this.#onCut()
  }

  readonly #onCut = (): void => {
    this.destroy(new Error('the answer was cut'))
  }

  #leave(): void {
    this.#wanted = false
    this.#socket.off('readable', this.#pump)
    this.#socket.off('end', this.#onEnd)
    this.#socket.off('close', this.#onCut)
    this.#socket.off('error', this.#onCut)
  }
}
