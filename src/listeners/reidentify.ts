/** A connection under a new trust bundle: is its caller still who it was? */
import type { TLSSocket } from 'node:tls'
import type { Connection } from '../core/attributes.ts'
import { type PeerRules, peerOf, stillHolds } from '../identity/peer.ts'
import type { ServerPlan } from '../runtime/snapshot.ts'

/**
 * The connection with the identity it has now; null: its certificate is no longer accepted. Only mesh trust can be
 * re-established without a handshake. `old`: the rules the present identity was accepted under.
 */
export function reidentify(
  socket: TLSSocket,
  connection: Connection,
  old: PeerRules | null,
  plan: ServerPlan,
): Connection | null {
  const { peerRules: next } = plan
  if (next === null || old === null) return next === old ? connection : null
  if (stillHolds(old, next)) return connection
  if (next.mode !== 'ISTIO_MUTUAL') return null
  // OpenSSL's verdict is of the old bundle: make the chain be worked out against the new one.
  const verdict = peerOf(socket, { ...next, meshVerified: false }, Date.now())
  return 'refuse' in verdict ? null : { ...connection, peer: verdict.peer }
}
