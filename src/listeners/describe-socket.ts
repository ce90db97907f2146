/** An accepted socket in the words of policy and log, before anything is known of its caller. */
import type { Socket } from 'node:net'
import { type Connection, NO_PEER } from '../core/attributes.ts'
import type { CallerAddresses } from '../forward/forwarder.ts'

let lastId = 0

/** Reads what must be read while the socket is open; identity and TLS are filled in later. */
export function describeSocket(raw: Socket, gatewayPort: number): Connection {
  lastId += 1
  return {
    id: lastId,
    openedAt: Date.now(),
    remoteAddress: plainAddress(raw.remoteAddress),
    remotePort: raw.remotePort ?? 0,
    localAddress: plainAddress(raw.localAddress),
    localPort: raw.localPort ?? 0,
    gatewayPort,
    peer: NO_PEER,
    tls: null,
  }
}

/** Both ends of the caller's connection, as an upstream may be told of them. */
export function callerOf(connection: Connection): CallerAddresses {
  return {
    sourceIp: connection.remoteAddress,
    sourcePort: connection.remotePort,
    destinationIp: connection.localAddress,
    destinationPort: connection.localPort,
  }
}

/** v4-mapped addresses as IPv4, as Envoy logs them. */
function plainAddress(address: string | undefined): string {
  if (address === undefined) return ''
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}
