/**
 * HTTP/1.1 to upstreams, the engine `wire`: our own strict framing on pooled sockets, without Node's http (contract §10).
 * Which endpoint, what is counted and what is tried again is delivery.ts, as with every engine.
 */
import { type Carrier, HTTP1_LINES } from '../carrier.ts'
import { connectBy, poolDoor } from '../connect.ts'
import { Delivery } from '../delivery.ts'
import type { Forwarder } from '../engine.ts'
import type { PooledConnection } from '../pooled-connection.ts'
import { WireAttempt } from './attempt.ts'

const CARRIER: Carrier<PooledConnection> = {
  ...HTTP1_LINES,
  connect: (cluster, request, handlers, first, addresses) =>
    connectBy(poolDoor(cluster, request, 'inlet'), cluster, request, handlers, first, addresses),
  carry: (connection, request, limits, events) => {
    const attempt = new WireAttempt(connection, connection.takeInlet(), request, limits, events)
    attempt.start()
    return attempt
  },
}

/** One forwarder serves every cluster. */
export function createWireForwarder(): Forwarder {
  return {
    send: (cluster, request, handlers, attempt = null) => new Delivery(CARRIER, cluster, request, handlers, attempt),
  }
}
