/** Who speaks for an open connection by a configuration that may be newer than it, and what is judged of a request on it. */
import type { HttpAttributes, TokenFacts } from '../core/attributes.ts'
import type { Refusal } from '../core/refusal.ts'
import type { HttpRequestAttributes } from '../runtime/judge.ts'
import { currentServer, type ServerPlan, type Snapshot } from '../runtime/snapshot.ts'
import type { Downstream } from './downstream.ts'
import type { HttpConnection } from './environment.ts'
import { type Normalised, normaliseRequest } from './normalise.ts'

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

/** A normalised request, who speaks for it, and under which snapshot. */
export type Asked = { readonly normal: Normalised; readonly server: ServerPlan; readonly snapshot: Snapshot }

/** @param instance see `normaliseRequest` */
export function askedOf(
  http: HttpConnection,
  downstream: Downstream,
  snapshot: Snapshot,
  instance: string,
): Asked | Refusal | 'untrusted' {
  const server = serverOf(http, snapshot)
  if (server === 'misdirected') return { kind: 'misdirected' }
  if (server === 'untrusted') return server
  const { tls } = server.model
  const compared = tls?.mode === 'SIMPLE' ? (http.tls?.sni ?? null) : null
  const normal = normaliseRequest(downstream, tls === null ? 'http' : 'https', snapshot.settings, compared, instance)
  return 'kind' in normal ? normal : { normal, server, snapshot }
}

/** `token`: of a request that is judged again, what was verified when it came. */
export function attributesOf(
  { connection, gatewayPort }: HttpConnection,
  http: HttpAttributes,
  token: TokenFacts | null = null,
): HttpRequestAttributes {
  return {
    peer: connection.peer,
    sourceIp: connection.remoteAddress,
    remoteIp: connection.remoteAddress,
    destinationIp: connection.localAddress,
    destinationPort: connection.localPort,
    gatewayPort,
    sni: connection.tls?.sni ?? null,
    token,
    http,
  }
}
