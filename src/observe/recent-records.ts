/** The last requests and tunnels, for the status page: a ring in memory. One array store per request, nothing else. */
import type { ExchangeRecord } from './record.ts'

const CAPACITY = 50

export class RecentRecords {
  readonly #ring: ExchangeRecord[] = []
  #next = 0

  /** The record must be finished: it is kept as it is. */
  add(record: ExchangeRecord): void {
    this.#ring[this.#next] = record
    this.#next = this.#next === CAPACITY - 1 ? 0 : this.#next + 1
  }

  /** At most 50, the newest first. */
  list(): readonly ExchangeRecord[] {
    return [...this.#ring.slice(this.#next), ...this.#ring.slice(0, this.#next)].reverse()
  }
}
