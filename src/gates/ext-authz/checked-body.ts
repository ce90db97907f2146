/**
 * The beginning of a request's body for an authorizer to see, and a stream that gives the whole body all the same: the
 * bytes that were read first, then the rest as the caller sends it and as fast as it is read.
 */
import { Readable } from 'node:stream'

export type CheckedBody = {
  /** At most as much as was asked for. */
  readonly bytes: Buffer
  /** There is no more than that. */
  readonly whole: boolean
  /** The same body from its beginning. */
  readonly body: Readable
}

export type BodyReading = {
  /** null: it broke off, or was cancelled. Never rejects. */
  readonly result: Promise<CheckedBody | null>
  /** Nobody wants it any more. Idempotent. */
  readonly cancel: () => void
}

/** Reads up to `maxBytes`, and one piece more to know whether that was all. Nobody else may read `source`. */
export function readBeginning(source: Readable, maxBytes: number): BodyReading {
  const { promise, resolve } = Promise.withResolvers<CheckedBody | null>()
  const pieces: Buffer[] = []
  let length = 0
  const settle = (whole: boolean): void => {
    detach()
    const first = Buffer.concat(pieces, length)
    resolve({
      bytes: first.subarray(0, maxBytes),
      whole: length <= maxBytes && whole,
      body: new ResumedBody(first, whole ? null : source),
    })
  }
  const onData = (piece: Buffer): void => {
    pieces.push(piece)
    length += piece.length
    if (length <= maxBytes) return
    source.pause()
    settle(false)
  }
  const onEnd = (): void => settle(true)
  const cancel = (): void => {
    detach()
    resolve(null)
  }
  const detach = (): void => {
    source.off('data', onData)
    source.off('end', onEnd)
    source.off('close', cancel)
  }
  if (source.destroyed) resolve(null)
  else if (source.readableEnded) settle(true)
  else {
    source.on('data', onData)
    source.once('end', onEnd)
    source.once('close', cancel)
    source.resume()
  }
  return { result: promise, cancel }
}

class ResumedBody extends Readable {
  #first: Buffer | null
  /** null: there is no more. */
  readonly #source: Readable | null
  #flowing = false

  constructor(first: Buffer, source: Readable | null) {
    super()
    this.#first = first
    this.#source = source
    // Destroyed when the caller leaves; that it did is told by other means.
    this.on('error', () => undefined)
    source?.once('close', this.#onClose)
  }

  override _read(): void {
    const first = this.#first
    this.#first = null
    if (this.#source === null) {
      if (first !== null && first.length > 0) this.push(first)
      this.push(null)
      return
    }
    if (first !== null && first.length > 0 && !this.push(first)) return
    if (!this.#flowing) {
      this.#flowing = true
      this.#source.on('data', this.#onData)
      this.#source.once('end', this.#onEnd)
    }
    this.#source.resume()
  }

  readonly #onData = (piece: Buffer): void => {
    if (!this.push(piece)) this.#source?.pause()
  }

  readonly #onEnd = (): void => {
    this.push(null)
  }

  /** Without its end: whoever reads must not take what came for the whole. */
  readonly #onClose = (): void => {
    if (this.#source?.readableEnded !== true) this.destroy(new Error('the request was cut'))
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const source = this.#source
    this.#first = null
    source?.off('data', this.#onData)
    source?.off('end', this.#onEnd)
    source?.off('close', this.#onClose)
    done(error)
  }
}
