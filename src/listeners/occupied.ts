/**
 * An accepted connection in the registry of open ones: it counts until it has closed and every tunnel over it has written
 * its record, which may come later, while what the caller sent last still goes out.
 */
import type { Socket } from 'node:net'
import type { Connections, OpenConnection } from '../runtime/connections.ts'
import type { OpenTunnel } from '../runtime/tunnels.ts'

/** A tunnel over this connection: all of it, or a request that has changed its protocol. */
type Carried = Pick<OpenTunnel, 'close'>

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
