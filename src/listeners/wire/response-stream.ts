/** An answer's body as a stream, for givers that have nothing but one. */
import { Writable } from 'node:stream'

/** What an answer's bytes go into. */
export type AnswerSink = {
  /** Writes without copying: `chunk` must stay as it is. False: wait for `resume`. */
  put(chunk: Buffer): boolean
  finish(): void
  cut(): void
}

export class ResponseStream extends Writable {
  readonly #sink: AnswerSink
  #waiting: (() => void) | null = null
  #over = false

  constructor(sink: AnswerSink) {
    super({ decodeStrings: true })
    this.#sink = sink
  }

  /** The connection takes more. */
  resume(): void {
    const waiting = this.#waiting
    this.#waiting = null
    waiting?.()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (this.#sink.put(chunk)) done()
    else this.#waiting = done
  }

  override _final(done: () => void): void {
    this.#over = true
    this.#sink.finish()
    done()
  }

  /** Before its end: the caller must be able to tell that the answer is not whole. */
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.#over) this.#sink.cut()
    done(error)
  }
}
