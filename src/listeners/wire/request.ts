/**
 * One request of a wire connection as the exchange sees it, and the answer to it: head and first piece go out in one write,
 * bodies are counted, and what does not come out even never ends like a whole answer.
 */
import type { Writable } from 'node:stream'
import type { HeaderList } from '../../core/attributes.ts'
import { lists } from '../../core/headers.ts'
import type { RequestHead } from '../../core/http1/request-head.ts'
import type { BodyFlow, BodySink } from '../../forward/forwarder.ts'
import type { Downstream } from '../downstream.ts'
import { type BodySource, RequestBody } from './request-body.ts'
import { type AnswerFraming, responseHead } from './response-head.ts'
import { type AnswerSink, ResponseStream } from './response-stream.ts'

/** The connection, as its request knows it. */
export type RequestCarrier = BodySource & {
  /**
   * Goes out with all else of this turn. False: enough for now, `resume` of the request is called when there is room.
   * `last`: of an answer; `flushed` is set when these bytes are out.
   */
  write(bytes: Buffer, last: boolean): boolean
  /** `flushHead` is called when this turn of the event loop is over. */
  speakLater(): void
  /** The answer is complete and out; called when its end was given after its bytes. */
  completeLater(): void
  reset(): void
  /** False: the caller can be told nothing any more. */
  readonly open: boolean
  /** True once the whole request has been read. */
  readonly requestRead: boolean
}

const CONTINUE = Buffer.from('HTTP/1.1 100 Continue\r\n\r\n')
const LAST_CHUNK = Buffer.from('0\r\n\r\n')
/** Pieces up to this size share a write with the head, bytes; larger ones are not worth the copy. */
const MAX_JOINED = 16_384

export class WireRequest implements Downstream, BodySink, AnswerSink {
  readonly protocol: 'HTTP/1.0' | 'HTTP/1.1'
  readonly strict = true
  readonly method: string
  readonly target: string
  readonly authorities: readonly string[]
  readonly headers: HeaderList
  readonly body: RequestBody | null
  readonly expectsContinue: boolean
  readonly expectsOther: boolean
  /** Those that ask for it are handed over before they come this far (handover.ts). */
  readonly upgrade = null
  closes = false
  responded = false
  /** The answer's end has been given. */
  over = false
  /** The answer's last bytes have left. */
  flushed = false
  readonly #carrier: RequestCarrier
  /** What the caller and its version want. */
  readonly #keepAlive: boolean
  #framing: AnswerFraming = 'none'
  /** Bytes of a counted body still to come. */
  #left = 0
  /** Made, but not written yet. */
  #head: string | null = null
  #stream: ResponseStream | null = null
  #flow: Pick<BodyFlow, 'resume'> | null = null

  /** `last`: nothing behind it is a request of this connection. */
  constructor(carrier: RequestCarrier, head: RequestHead, last: boolean) {
    const { fields } = head
    this.#carrier = carrier
    this.protocol = head.minorVersion === 1 ? 'HTTP/1.1' : 'HTTP/1.0'
    this.method = head.method
    this.target = head.target
    this.headers = fields
    this.body = head.framing === 0 ? null : new RequestBody(carrier)
    const authorities: string[] = []
    let keepAlive = head.minorVersion === 1 && !last
    let expected: string | null = null
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i]
      if (name === 'host') authorities.push(fields[i + 1] as string)
      else if (name === 'connection') keepAlive &&= !lists(fields[i + 1] as string, 'close')
      // Two of them are something else.
      else if (name === 'expect')
        expected = expected === null ? (fields[i + 1] as string).toLowerCase() : `${expected},`
    }
    this.authorities = authorities
    this.#keepAlive = keepAlive
    this.expectsContinue = expected === '100-continue'
    this.expectsOther = expected !== null && !this.expectsContinue
  }

  sendContinue(): void {
    this.#carrier.write(CONTINUE, false)
  }

  reply(status: number, headers: HeaderList, body: string | Buffer, close: boolean): void {
    // A body that has not come yet has no reader any more: the connection ends, and the caller is told.
    const ends = close || this.expectsContinue || this.expectsOther || !this.#carrier.requestRead
    if (!this.#begin(status, headers, ends)) return
    const bytes = typeof body === 'string' ? Buffer.from(body) : body
    if (bytes.length > 0) this.put(bytes)
    this.finish()
  }

  start(status: number, headers: HeaderList, close: boolean): Writable {
    const stream = new ResponseStream(this)
    if (this.#begin(status, headers, close)) {
      this.#stream = stream
      this.#carrier.speakLater()
    } else stream.destroy()
    return stream
  }

  /** `flow` is told to go on when there is room again. */
  startSink(status: number, headers: HeaderList, close: boolean, flow: Pick<BodyFlow, 'resume'>): BodySink {
    if (this.#begin(status, headers, close)) {
      this.#flow = flow
      this.#carrier.speakLater()
    }
    return this
  }

  reset(): void {
    this.over = true
    this.#head = null
    this.#carrier.reset()
  }

  // ---- BodySink

  write(chunk: Buffer): boolean {
    return this.#give(chunk, true)
  }

  end(): void {
    this.finish()
  }

  fail(): void {
    this.cut()
  }

  // ---- AnswerSink

  put(chunk: Buffer): boolean {
    return this.#give(chunk, false)
  }

  finish(): void {
    if (this.over) return
    // Too few bytes: whoever takes them for the whole answer must not be helped.
    if (this.#left > 0) return this.reset()
    this.over = true
    const head = this.#head
    this.#head = null
    if (this.#framing === 'chunked')
      this.#carrier.write(head === null ? LAST_CHUNK : Buffer.from(`${head}0\r\n\r\n`, 'latin1'), true)
    else if (head !== null) this.#carrier.write(Buffer.from(head, 'latin1'), true)
    else if (this.flushed) this.#carrier.completeLater()
  }

  cut(): void {
    if (!this.over) this.reset()
  }

  // ---- the connection

  /** There is room for more. */
  resume(): void {
    if (this.over) return
    if (this.#stream !== null) this.#stream.resume()
    else this.#flow?.resume()
  }

  /** A head that has waited for a first piece in vain. */
  flushHead(): void {
    const head = this.#head
    if (head === null) return
    this.#head = null
    this.#out(Buffer.from(head, 'latin1'))
  }

  /** Nobody is there any more to read the answer or to send the rest of the request. */
  callerGone(): void {
    this.over = true
    this.#head = null
    this.#stream?.destroy()
    this.body?.destroy(new Error('the caller has gone'))
  }

  #begin(status: number, headers: HeaderList, close: boolean): boolean {
    const carrier = this.#carrier
    // Twice is a mistake of ours, and nobody can read two heads.
    if (this.responded || !carrier.open) {
      this.reset()
      return false
    }
    const closes = close || !this.#keepAlive
    const head = responseHead(status, headers, this.method === 'HEAD', closes, Date.now())
    if (head === null) {
      this.reset()
      return false
    }
    this.responded = true
    // The caller may have asked for the end, too (RFC 9112, 9.6: then the answer says so).
    this.closes = closes
    this.#framing = head.framing
    this.#left = head.length
    this.#head = head.text
    return true
  }

  /** `copy`: the bytes are the giver's again when this returns. */
  #give(chunk: Buffer, copy: boolean): boolean {
    const { length } = chunk
    if (this.over || length === 0 || this.#framing === 'none') return true
    const chunked = this.#framing === 'chunked'
    if (!chunked) {
      if (length > this.#left) {
        this.reset()
        return true
      }
      this.#left -= length
    }
    let before = this.#head ?? ''
    this.#head = null
    if (chunked) {
      before += `${length.toString(16)}\r\n`
      return this.#carrier.write(joined(before, chunk, true), false)
    }
    if (copy || (before !== '' && length <= MAX_JOINED)) return this.#out(joined(before, chunk, false))
    if (before !== '') this.#carrier.write(Buffer.from(before, 'latin1'), false)
    return this.#out(chunk)
  }

  #out(bytes: Buffer): boolean {
    // Nothing can follow: the end that is still to be given has no bytes.
    return this.#carrier.write(bytes, this.#left === 0 && this.#framing !== 'chunked')
  }
}

function joined(before: string, chunk: Buffer, lineEnd: boolean): Buffer {
  const size = before.length + chunk.length
  const bytes = Buffer.allocUnsafe(lineEnd ? size + 2 : size)
  if (before !== '') bytes.write(before, 0, 'latin1')
  chunk.copy(bytes, before.length)
  if (lineEnd) {
    bytes[size] = 13
    bytes[size + 1] = 10
  }
  return bytes
}
