/** Who speaks for an open connection by a configuration that may be newer than it, and what is judged of a request on it. */
import type { HttpAttributes } from '../core/attributes.ts'
import type { HttpRequestAttributes } from '../runtime/judge.ts'
import { currentServer, type ServerPlan, type Snapshot } from '../runtime/snapshot.ts'
import type { HttpConnection } from './environment.ts'

/**
 * `misdirected`: nobody speaks that way on this port any more. `untrusted`: the trust this caller was accepted under has
 * changed, and its certificate does not stand up under the new one.
 */
export function serverOf(http: HttpConnection, snapshot: Snapshot): ServerPlan | 'misdirected' | 'untrusted' {
  const server = currentServer(snapshot, http.gatewayPort, http.tls)
  if (server === null || server.model.application !== 'http') return 'misdirected'
  if (server.trustKey === http.trustKey) return server
  const again = http.reidentify(server)
  if (again === null) return 'untrusted'
  http.connection = again
  http.trustKey = server.trustKey
  http.peerRules = server.peerRules
  return server
}

export function attributesOf({ connection, gatewayPort }: HttpConnection, http: HttpAttributes): HttpRequestAttributes {
  return {
    peer: connection.peer,
    sourceIp: connection.remoteAddress,
    remoteIp: connection.remoteAddress,
    destinationIp: connection.localAddress,
    destinationPort: connection.localPort,
    gatewayPort,
    sni: connection.tls?.sni ?? null,
    http,
  }
}
