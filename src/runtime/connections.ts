/** Every open downstream connection: counted for limits and metrics, told to finish or end when the gateway drains. */
import type { ExchangeRecord } from '../observe/record.ts'

export type OpenConnection = {
  /** Finish what is running, take nothing new (GOAWAY; idle HTTP/1.1 connections close at once). */
  readonly drain: () => void
  /** End now. */
  readonly destroy: () => void
  /** Ends the requests under way that `verdict` answers details for: blocked. Tunnels are not its business. */
  readonly cutCovered: (verdict: (record: ExchangeRecord) => string | null) => void
}

export class Connections {
  readonly #open = new Set<OpenConnection>()
  readonly #empty: (() => void)[] = []

  get size(): number {
    return this.#open.size
  }

  add(connection: OpenConnection): void {
    this.#open.add(connection)
  }

  delete(connection: OpenConnection): void {
    this.#open.delete(connection)
    if (this.#open.size === 0) for (const resolve of this.#empty.splice(0)) resolve()
  }

  drain(): void {
    for (const connection of [...this.#open]) connection.drain()
  }

  destroy(): void {
    for (const connection of [...this.#open]) connection.destroy()
  }

  cutCovered(verdict: (record: ExchangeRecord) => string | null): void {
    for (const connection of [...this.#open]) connection.cutCovered(verdict)
  }

  /** Resolves once no connection is open. */
  async whenEmpty(): Promise<void> {
    if (this.#open.size === 0) return
    await new Promise<void>((resolve) => this.#empty.push(resolve))
  }
}
