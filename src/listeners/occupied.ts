/**
 * An accepted connection in the registry of open ones: it counts until it has closed and every tunnel over it has written
 * its record, which may come later, while what the caller sent last still goes out.
 */
import type { Socket } from 'node:net'
import type { Refusal } from '../core/refusal.ts'
import type { ExchangeRecord } from '../observe/record.ts'
import type { Connections, OpenConnection } from '../runtime/connections.ts'
import type { OpenTunnel } from '../runtime/tunnels.ts'

/** A tunnel over this connection: all of it, or a request that has changed its protocol. */
type Carried = Pick<OpenTunnel, 'close'>

/** A request as far as blocks are concerned. */
type CoveredRequest = {
  readonly record: ExchangeRecord
  readonly started: boolean
  cut(refusal: Refusal): void
}

export class Occupied implements OpenConnection {
  readonly #connections: Connections
  readonly #raw: Socket
  readonly #tunnels = new Set<Carried>()

  /** `drain`: what ends it once nothing runs on it any more. */
  constructor(connections: Connections, raw: Socket, drain: () => void) {
    this.#connections = connections
    this.#raw = raw
    this.drain = drain
    connections.add(this)
    raw.once('close', () => this.#forget())
  }

  drain: () => void
  /** Requests that run on it or wait for their turn; none while it carries no HTTP. */
  exchanges: Iterable<CoveredRequest> = []

  cutCovered(verdict: (record: ExchangeRecord) => string | null): void {
    for (const exchange of [...this.exchanges]) {
      const { record, started } = exchange
      // What waits for its turn is judged when it comes; what has been refused is over; what has changed its protocol is a tunnel.
      const underWay = started && record.reason === null && record.responseCode !== 101
      const details = underWay ? verdict(record) : null
      if (details !== null) exchange.cut({ kind: 'blocked', details })
    }
  }

  destroy(): void {
    for (const tunnel of [...this.#tunnels]) tunnel.close('draining')
    this.#raw.destroy()
  }

  add(tunnel: Carried): void {
    this.#tunnels.add(tunnel)
  }

  /** Its record has been handed over. */
  delete(tunnel: Carried): void {
    this.#tunnels.delete(tunnel)
    this.#forget()
  }

  #forget(): void {
    if (this.#raw.closed && this.#tunnels.size === 0) this.#connections.delete(this)
  }
}
