/**
 * A request body that can be sent again: it streams to the try under way at once, and what has passed is kept up to
 * 64 KiB (Envoy's buffer limit in Istio, behaviour §10.6). A larger one goes on streaming and cannot be repeated.
 */
import { Readable } from 'node:stream'

export const REPLAY_LIMIT = 64 * 1024
const FIRST_CAPACITY = 4 * 1024

export class ReplayableBody {
  readonly #source: Readable
  readonly #onTooLarge: () => void
  /**
   * Copied, never referenced: a caller who sends single bytes would otherwise pin a whole read buffer with each.
   * null: nothing is kept any more.
   */
  #kept: Buffer | null = Buffer.alloc(0)
  #length = 0
  #ended = false
  #flowing = false
  #reader: Readable | null = null
  /** The reader has had all that was kept; what comes now goes on to it. */
  #live = false
  #last = false

  /** `onTooLarge`: more has passed than is kept. */
  constructor(source: Readable, onTooLarge: () => void) {
    this.#source = source
    this.#onTooLarge = onTooLarge
  }

  /** All that the source has given so far can be given again. */
  get replayable(): boolean {
    return this.#kept !== null
  }

  /** The body from its beginning, for one try. Ends the reader before. Throws when it is not replayable. */
  open(): Readable {
    if (this.#kept === null) throw new Error('the beginning of the body is gone')
    this.close()
    const reader: Readable = new Readable({
      read: () => {
        if (this.#reader !== reader) return
        if (this.#live || this.#replay(reader)) this.#flow()
      },
    })
    this.#reader = reader
    return reader
  }

  /** True when the reader wants more, and there may be more. */
  #replay(reader: Readable): boolean {
    const kept = this.#kept
    this.#live = true
    if (this.#last) this.#kept = null
    const wantsMore = kept === null || this.#length === 0 || reader.push(kept.subarray(0, this.#length))
    if (this.#ended) reader.push(null)
    return wantsMore && !this.#ended
  }

  /** Whoever reads now is the last: nothing more is kept. */
  discard(): void {
    this.#last = true
    if (this.#live) this.#kept = null
  }

  /** The present try is over; the source waits for the next. */
  close(): void {
    const reader = this.#reader
    this.#reader = null
    this.#live = false
    if (this.#flowing) this.#source.pause()
    reader?.destroy()
  }

  /** Not before a try asks: reading may be what makes the caller send. */
  #flow(): void {
    if (!this.#flowing) {
      this.#flowing = true
      this.#source.on('data', this.#onData)
      this.#source.once('end', this.#onEnd)
    }
    this.#source.resume()
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#keep(chunk)
    if (!this.#live || this.#reader?.push(chunk) !== true) this.#source.pause()
  }

  readonly #onEnd = (): void => {
    this.#ended = true
    if (this.#live) this.#reader?.push(null)
  }

  #keep(chunk: Buffer): void {
    if (this.#kept === null) return
    const length = this.#length + chunk.length
    // Between two tries everything is kept: nobody else has it. (The source is paused then; a chunk may be on its way.)
    if (length > REPLAY_LIMIT && this.#live) {
      this.#kept = null
      this.#onTooLarge()
      return
    }
    if (length > this.#kept.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(length, this.#kept.length * 2, FIRST_CAPACITY))
      this.#kept.copy(larger, 0, 0, this.#length)
      this.#kept = larger
    }
    chunk.copy(this.#kept, this.#length)
    this.#length = length
  }
}
