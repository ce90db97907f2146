/**
 * An answer on its way from an upstream's connection straight into the caller's, without streams in between: counted, and
 * when it breaks off the record says whose fault that was.
 */
import type { HeaderList } from '../core/attributes.ts'
import type { BodySink } from '../forward/forwarder.ts'
import type { ExchangeRecord } from '../observe/record.ts'

export class Pour implements BodySink {
  readonly #record: ExchangeRecord
  readonly #sink: BodySink
  readonly #owner: { broke(error: Error): void }

  /** `broke` is called before the caller is told. */
  constructor(record: ExchangeRecord, sink: BodySink, owner: { broke(error: Error): void }) {
    this.#record = record
    this.#sink = sink
    this.#owner = owner
  }

  write(chunk: Buffer): boolean {
    this.#record.bytesSent += chunk.length
    return this.#sink.write(chunk)
  }

  end(trailers: HeaderList | null): void {
    this.#sink.end(trailers)
  }

  fail(error: Error): void {
    this.#owner.broke(error)
    this.#sink.fail(error)
  }
}
