/**
 * The body of an HTTP/2 response. Node's own stream throws away what it still holds when its connection closes, however
 * complete it was, and ends cleanly when it is reset with NO_ERROR, however incomplete. So bytes are taken on their way
 * into it, and its end counts only when the upstream has said END_STREAM, or sent as much as it had announced.
 */
import { type ClientHttp2Stream, constants } from 'node:http2'
import { Readable } from 'node:stream'

/** Kept for a slow reader before the upstream is held back; its flow-control window comes on top. Bytes. */
const HIGH_WATER_MARK = 64 * 1024

export class Http2Body extends Readable {
  /** Nothing is missing. */
  whole = false
  /** What the head says; null: nothing. */
  length: number | null = null
  readonly #stream: ClientHttp2Stream
  readonly #onUnwanted: () => void
  #received = 0

  /** To be made before anything can have come. `onUnwanted`: the reader has given up before the end. */
  constructor(stream: ClientHttp2Stream, onUnwanted: () => void) {
    super({ highWaterMark: HIGH_WATER_MARK })
    this.#stream = stream
    this.#onUnwanted = onUnwanted
    const push = stream.push.bind(stream)
    stream.push = (chunk: Buffer | null): boolean => {
      if (chunk !== null) {
        this.#received += chunk.length
        return this.push(chunk)
      }
      // Node ends streams that are closed, too; END_STREAM comes before that.
      if (!stream.closed || this.#sufficed) this.#end()
      return push(null)
    }
    stream.resume()
    // There may be no reader yet, or none any more.
    this.on('error', () => undefined)
  }

  override _read(): void {
    if (!this.#stream.destroyed) this.#stream._read(0)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.whole) this.#onUnwanted()
    done(error)
  }

  /** Node's servers reset with NO_ERROR in place of END_STREAM where nobody has read the request and the answer was slow to go. */
  get #sufficed(): boolean {
    return this.#stream.rstCode === constants.NGHTTP2_NO_ERROR && this.#received === this.length
  }

  /** The stream has closed, and its head been told of. */
  close(): void {
    if (this.#sufficed) this.#end()
  }

  #end(): void {
    if (this.whole || this.destroyed) return
    this.whole = true
    this.push(null)
  }
}
