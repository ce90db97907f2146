/** The open access logs: a sink per file, kept over reloads as long as a log names it. */
import { type Scribe, turn } from '../forward/turn.ts'
import { createSink, type LineSink } from '../observe/access-log/sink.ts'
import type { ExchangeRecord } from '../observe/record.ts'
import type { LogPlan } from '../runtime/snapshot.ts'

/** Sinks by path: what a snapshot needs. */
export type Sinks = ReadonlyMap<string, LineSink>

type Logs = { readonly accessLogs: readonly LogPlan[] }
type Destination = LogPlan & { readonly sink: LineSink }

export class AccessLog implements Scribe {
  readonly #onError: (error: Error) => void
  #sinks: Sinks = new Map()
  #destinations: readonly Destination[] = []
  #droppedBefore = 0
  /** Of this turn of the event loop: their lines are made together, when it ends. */
  #ended: ExchangeRecord[] = []
  readonly #onExit = (): void => this.settle()

  constructor(onError: (error: Error) => void) {
    this.#onError = onError
  }

  /** Opens the files that `next` names and that are not open yet. @throws SinkError when one cannot be opened */
  prepare(next: Logs): Sinks {
    const sinks = new Map<string, LineSink>()
    try {
      for (const { path } of next.accessLogs)
        if (!sinks.has(path)) sinks.set(path, this.#sinks.get(path) ?? createSink({ path, onError: this.#onError }))
    } catch (error) {
      void this.discard(sinks)
      throw error
    }
    // Before the sinks, which write at the end of the process what they have.
    process.removeListener('exit', this.#onExit)
    process.prependListener('exit', this.#onExit)
    return sinks
  }

  /** Prepared sinks that will not be used after all. */
  async discard(sinks: Sinks): Promise<void> {
    const unused = [...sinks].filter(([path, sink]) => this.#sinks.get(path) !== sink)
    await Promise.all(unused.map(async ([, sink]) => sink.close()))
  }

  /** From now on lines go to the prepared sinks; those no log names any more are flushed and closed. */
  adopt(sinks: Sinks, next: Logs): void {
    this.settle()
    const before = this.#sinks
    this.#sinks = sinks
    this.#destinations = next.accessLogs.flatMap((plan) => {
      const sink = sinks.get(plan.path)
      return sink === undefined ? [] : [{ ...plan, sink }]
    })
    for (const [path, sink] of before) {
      if (sinks.get(path) === sink) continue
      // At once, and what is lost while it closes later: the counter must not fall in between.
      const counted = sink.dropped()
      this.#droppedBefore += counted
      void sink.close().then(() => {
        this.#droppedBefore += sink.dropped() - counted
      })
    }
  }

  /** Its line is made when this turn of the event loop ends. */
  write(record: ExchangeRecord): void {
    if (this.#ended.push(record) === 1) turn.settle(this)
  }

  /** Of Turn; and before the logs change, or end. */
  settle(): void {
    const records = this.#ended
    if (records.length === 0) return
    this.#ended = []
    let printed = 0
    try {
      while (printed < records.length) this.#print(records[printed++] as ExchangeRecord)
    } finally {
      // One that cannot be printed costs the others nothing.
      if (printed < records.length) {
        this.#ended = [...records.slice(printed), ...this.#ended]
        turn.settle(this)
      }
    }
  }

  #print(record: ExchangeRecord): void {
    for (const { filter, print, sink } of this.#destinations)
      if (filter === null || filter(record)) sink.writeBytes(print, record)
  }

  /** Resolves when everything so far is written, or after a while. */
  async flush(): Promise<void> {
    this.settle()
    await Promise.all([...this.#sinks.values()].map(async (sink) => sink.flush()))
  }

  /** Lines that could not be written, over the life of the process. */
  get dropped(): number {
    let dropped = this.#droppedBefore
    for (const sink of this.#sinks.values()) dropped += sink.dropped()
    return dropped
  }

  async close(): Promise<void> {
    this.settle()
    process.removeListener('exit', this.#onExit)
    await Promise.all([...this.#sinks.values()].map(async (sink) => sink.close()))
  }
}
