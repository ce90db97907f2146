/** The open access log: one sink, exchanged when a reload names another file. */
import { createSink, type LineSink } from '../observe/access-log/sink.ts'
import type { ExchangeRecord } from '../observe/record.ts'
import type { Snapshot } from '../runtime/snapshot.ts'

export class AccessLog {
  readonly #onError: (error: Error) => void
  #sink: LineSink | null = null
  #path = ''
  #droppedBefore = 0

  constructor(onError: (error: Error) => void) {
    this.#onError = onError
  }

  /** Opens what `next` names if that is another file. @throws SinkError when it cannot be opened */
  prepare(next: Snapshot): LineSink | null {
    const path = next.settings.mesh.accessLogFile
    if (path === this.#path) return this.#sink
    return path === '' ? null : createSink({ path, onError: this.#onError })
  }

  /** A prepared sink that will not be used after all. */
  async discard(sink: LineSink | null): Promise<void> {
    if (sink !== this.#sink) await sink?.close()
  }

  /** From now on lines go to the prepared sink; the one before is flushed and closed. */
  adopt(sink: LineSink | null, path: string): void {
    if (sink === this.#sink) return
    const before = this.#sink
    this.#sink = sink
    this.#path = path
    if (before === null) return
    // At once, and what is lost while it closes later: the counter must not fall in between.
    const counted = before.dropped()
    this.#droppedBefore += counted
    void before.close().then(() => {
      this.#droppedBefore += before.dropped() - counted
    })
  }

  write(record: ExchangeRecord, format: Snapshot['accessLog']): void {
    if (format !== null && this.#sink !== null) this.#sink.write(format(record))
  }

  /** Lines that could not be written, over the life of the process. */
  get dropped(): number {
    return this.#droppedBefore + (this.#sink?.dropped() ?? 0)
  }

  async close(): Promise<void> {
    await this.#sink?.close()
  }
}
