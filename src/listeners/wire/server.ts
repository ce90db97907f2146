/**
 * HTTP/1.1 from callers, the engine `wire`: our own strict framing on the sockets, without Node's http. Stands where
 * listeners/http1.ts stands for the other engine (contract §10).
 */
import type { Socket } from 'node:net'
import { TimerWheel } from '../../core/timer-wheel.ts'
import type { Settings } from '../../model/settings.ts'
import type { Http1Handlers, Http1Server } from '../http1.ts'
import { WireConnection } from './connection.ts'
import type { WireHost } from './host.ts'

/** How coarse the time-outs are, milliseconds. */
const TICK_MS = 200
/** The wheel sees 100 s ahead: an idle connection is looked at once per round. */
const SLOTS = 512

export function createWireServer(limits: Settings['http'], handlers: Http1Handlers): Http1Server {
  const host = new Host(limits, handlers)
  return {
    accept: (socket, beneath = socket) => host.accept(socket, beneath),
    apply: (next) => {
      host.limits = next
    },
    closeIdle: () => host.closeIdle(),
    close: () => host.closeIdle(),
  }
}

class Host implements WireHost {
  limits: Settings['http']
  readonly handlers: Http1Handlers
  readonly wheel: TimerWheel<WireConnection>
  readonly #connections = new Set<WireConnection>()
  #ticking: NodeJS.Timeout | null = null

  constructor(limits: Settings['http'], handlers: Http1Handlers) {
    this.limits = limits
    this.handlers = handlers
    this.wheel = new TimerWheel<WireConnection>(TICK_MS, SLOTS, performance.now(), expire)
  }

  accept(socket: Socket, beneath: Socket): void {
    // Gone while it was being peeled: its close has been told, or will be, to whoever holds it.
    if (socket.destroyed || socket.readableEnded) return void socket.destroy()
    if (this.#ticking === null) {
      this.wheel.advance(performance.now())
      this.#ticking = setInterval(() => this.wheel.advance(performance.now()), TICK_MS)
      this.#ticking.unref()
    }
    const connection = new WireConnection(this, socket, beneath)
    this.#connections.add(connection)
    connection.begin()
  }

  forget(connection: WireConnection): void {
    this.#connections.delete(connection)
    if (this.#connections.size > 0 || this.#ticking === null) return
    clearInterval(this.#ticking)
    this.#ticking = null
  }

  closeIdle(): void {
    for (const connection of this.#connections) connection.closeIfIdle()
  }
}

function expire(connection: WireConnection): void {
  connection.expired()
}
