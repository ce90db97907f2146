/** A request's body as a stream, made only for requests that have one. The connection pushes, and stops reading when it is full. */
import { Readable } from 'node:stream'

/** Who reads the caller's bytes. */
export type BodySource = {
  /** There is room again. */
  wanted(): void
}

export class RequestBody extends Readable {
  readonly #source: BodySource

  constructor(source: BodySource) {
    super()
    this.#source = source
    // Destroyed when the caller leaves; that it did is told by other means.
    this.on('error', ignore)
  }

  override _read(): void {
    this.#source.wanted()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    // Whoever has stopped reading must not keep the caller from being heard.
    this.#source.wanted()
    done(error)
  }
}

function ignore(): void {}
