/** What listeners are given: functions of the running gateway, not the gateway. */
import type { Connection } from '../core/attributes.ts'
import type { Reason } from '../core/reasons.ts'
import type { ListenerStats } from '../core/stats.ts'
import type { Forwarder } from '../forward/engine.ts'
import type { PeerRules } from '../identity/peer.ts'
import type { ExchangeRecord } from '../observe/record.ts'
import type { Connections } from '../runtime/connections.ts'
import type { ServerPlan, Snapshot } from '../runtime/snapshot.ts'
import type { OpenTunnel, Tunnels } from '../runtime/tunnels.ts'
import type { Exchanges } from './exchanges.ts'
import type { Http1Server } from './http1.ts'
import type { Mirrors } from './mirror.ts'
import type { Terminator } from './terminate.ts'

export type Environment = {
  /** The active snapshot. A request reads it once and keeps it. */
  readonly active: () => Snapshot
  readonly forwarder: Forwarder
  /** What this process calls itself in `via`: its own, so that only a real loop is taken for one. Lower case. */
  readonly instance: string
  readonly connections: Connections
  readonly tunnels: Tunnels
  readonly mirrors: Mirrors
  /** Access log and metrics; called exactly once per record. */
  readonly finish: (record: ExchangeRecord) => void
  readonly refusedConnection: (reason: Reason) => void
  readonly draining: () => boolean
  /** True once the drain deadline has passed and what is left is being cut. */
  readonly cutting: () => boolean
  /** The terminator for a server's TLS configuration; one per `tlsKey`. */
  readonly terminator: (plan: ServerPlan) => Terminator
  readonly http1: Http1Server
  readonly warn: (message: string, fields: Readonly<Record<string, unknown>>) => void
}

/** A connection whose outer layers are peeled and that speaks HTTP. */
export type HttpConnection = {
  /** Replaced when a reload made us look at the certificate again. */
  connection: Connection
  readonly stats: ListenerStats
  readonly gatewayPort: number
  /** How the server was chosen, to find it again after a reload; null: plaintext. */
  readonly tls: { readonly sni: string | null; readonly mesh: boolean } | null
  /** Under which trust the peer was accepted (ServerPlan.trustKey), and the rules it stands for. */
  trustKey: string
  peerRules: PeerRules | null
  /** Judges the certificate again under a new trust; null: refused now. */
  readonly reidentify: (plan: ServerPlan) => Connection | null
  readonly exchanges: Exchanges
  /** Requests on it that have changed their protocol: it counts as open until they have ended. */
  readonly upgrades: { add(tunnel: Pick<OpenTunnel, 'close'>): void; delete(tunnel: Pick<OpenTunnel, 'close'>): void }
  /** A malformed request was seen: whatever follows on this connection is not read as requests. */
  poisoned: boolean
  /** Called when the last running exchange has ended; null: nothing waits for that. */
  whenIdle: (() => void) | null
}
