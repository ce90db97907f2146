/**
 * One tunnel from its first bytes to its record: judge → connect → copy → record. Policy and registry have decided
 * before anything is dialled; after a reload it is judged again. Exactly one record, at the end (behaviour §8.4).
 */
import type { Socket } from 'node:net'
import type { Attributes, Connection } from '../core/attributes.ts'
import type { Reason } from '../core/reasons.ts'
import { REFUSALS } from '../core/refusal.ts'
import type { ListenerStats } from '../core/stats.ts'
import type { UpstreamCluster } from '../forward/cluster.ts'
import { connectUpstream } from '../forward/connect.ts'
import type { ConnectTarget, UpstreamFailure } from '../forward/forwarder.ts'
import type { PooledConnection } from '../forward/pooled-connection.ts'
import { Splice, type SpliceEnd, type SpliceLimits } from '../forward/splice.ts'
import type { ConnectionPoolModel } from '../model/cluster.ts'
import type { Settings } from '../model/settings.ts'
import { type ExchangeRecord, newRecord } from '../observe/record.ts'
import { type Gate, type LiveTunnel, Passage, passThrough } from '../runtime/gate.ts'
import { hashOf } from '../runtime/hash-key.ts'
import { judgeTunnel, type TunnelJudgement } from '../runtime/judge-tunnel.ts'
import type { ServerPlan, Snapshot } from '../runtime/snapshot.ts'
import type { OpenTunnel, TunnelClosing } from '../runtime/tunnels.ts'
import { countDecision } from './count-decision.ts'
import { callerOf } from './describe-socket.ts'
import type { Environment } from './environment.ts'
import { refusalRow } from './reply.ts'

export type TunnelStart = {
  readonly connection: Connection
  readonly stats: ListenerStats
  readonly gatewayPort: number
  /** The caller's side: decrypted where TLS was terminated. Keeps half-open, has an error listener. */
  readonly socket: Socket
  /** Of the ClientHello that routes: the inner one, or the only one. `undefined`: the bytes are no ClientHello. */
  readonly sni: string | null | undefined
  /** TLS around it was terminated here, with this SNI. null: the bytes are as the caller sent them. */
  readonly outer: { readonly sni: string | null } | null
  /** The server that speaks for this connection under a snapshot; null: none, or its caller is no longer who it was. */
  readonly serverUnder: (snapshot: Snapshot) => ServerPlan | null
  /** Called once, when the record has been handed over. */
  readonly onEnd: () => void
}

/** Starts a tunnel; it ends and records by itself, at once when it is closed. */
export function startTunnel(environment: Environment, start: TunnelStart): Pick<OpenTunnel, 'close'> {
  const tunnel = new Tunnel(environment, start)
  tunnel.begin()
  return tunnel
}

class Tunnel implements OpenTunnel, LiveTunnel {
  readonly #environment: Environment
  readonly #start: TunnelStart
  readonly #record: ExchangeRecord
  #passage: Passage | null = null
  #splice: Splice | null = null
  #connecting: { cancel(): void } | null = null
  #finished = false

  constructor(environment: Environment, start: TunnelStart) {
    this.#environment = environment
    this.#start = start
    this.#record = newRecord('tcp', start.connection, start.connection.openedAt)
    this.#record.innerServerName = start.outer === null ? null : (start.sni ?? null)
  }

  begin(): void {
    const snapshot = this.#environment.active()
    const { socket } = this.#start
    // Registered before it is judged: a reload in between judges it again.
    this.#environment.tunnels.add(this)
    // The server was chosen when the ClientHello came: seconds ago, perhaps, and under another configuration.
    const server = this.#start.serverUnder(snapshot)
    if (server === null) return this.#refuse('policy_changed', null, 'policy_changed')
    if (server.tunnels === null) return this.#refuse('protocol_mismatch', 'NR', 'no_tunnel_server')
    socket.once('close', () => this.#gone())
    const passage = new Passage(this.#start.connection, this.#record, this.#attributes(), null, this.close)
    passage.sni = this.#start.sni ?? null
    this.#passage = passage
    this.#ask(snapshot.gates.before, snapshot, () => this.#decide(snapshot, server, passage))
  }

  /** What a gate had to wait for may have outlived the configuration that asked it. */
  #ask(gates: readonly Gate[], snapshot: Snapshot, then: () => void): void {
    const passage = this.#passage as Passage
    passThrough(
      gates,
      passage,
      (refusal) => {
        if (this.#finished) return
        if (refusal === null && this.#environment.active() !== snapshot && this.forbiddenBy(this.#environment.active()))
          return this.#refuse('policy_changed', null, 'policy_changed')
        if (refusal === null) return then()
        const row = refusalRow(refusal)
        this.#refuse(row.reason, row.flag, refusal.details ?? row.details)
      },
      (error) => {
        this.#environment.warn(`a tunnel was closed: ${String(error)}`, {})
        this.#refuse(null, 'LR', 'internal_error')
      },
    )
  }

  #decide(snapshot: Snapshot, server: ServerPlan, passage: Passage): void {
    const { stats } = this.#start
    const judgement = this.#judge(snapshot, server)
    if (judgement === null) return this.#refuse('protocol_mismatch', 'NR', 'no_tunnel_server')
    this.#record.decision = judgement.decision
    const { clusterName } = judgement
    // A variant for tunnels is nothing to whoever reads the log.
    this.#record.upstreamCluster = snapshot.clusters.get(clusterName ?? '')?.model.statName ?? clusterName
    this.#record.routeName = judgement.route?.name ?? null
    countDecision(stats, judgement.decision)
    const { refusal } = judgement
    if (refusal !== null) return this.#refuse(refusal.reason, refusal.flag, refusal.details)
    const { clusters, settings } = snapshot
    const cluster = judgement.passthrough ? clusters.passthrough : clusters.get(judgement.clusterName ?? '')
    if (cluster === null) {
      stats.no_cluster += 1
      return this.#refuse(null, 'NC', 'cluster_not_found')
    }
    passage.judgement = judgement
    this.#ask(snapshot.gates.after, snapshot, () => this.#dial(cluster, judgement, settings))
  }

  #dial(cluster: UpstreamCluster, judgement: TunnelJudgement, settings: Settings): void {
    const target: ConnectTarget = {
      requestedHost: this.#start.sni ?? cluster.model.host,
      portOverride: judgement.passthrough ? 443 : null,
      hash: hashOf(cluster.model.loadBalancer, this.#start.connection.remoteAddress, null),
      caller: callerOf(this.#start.connection),
    }
    this.#connecting = connectUpstream(cluster, target, {
      onConnected: (connection, endpoint, released) => {
        this.#connecting = null
        endpoint.connected(true)
        this.#record.upstreamHost = endpoint.text
        this.#record.upstreamLocalAddress = connection.localAddress
        this.#record.upstreamAttempts = 1
        this.#copy(connection, limitsOf(cluster.model.pool, settings.tunnels), released)
      },
      onFailed: (failure) => this.#unreachable(failure),
      bulk: true,
    })
  }

  /** null: the server carries no tunnels. */
  #judge(snapshot: Snapshot, server: ServerPlan): TunnelJudgement | null {
    if (server.tunnels === null) return null
    const { sni, outer } = this.#start
    const own = snapshot.ownNames
    const names = { sni, outerSni: outer?.sni ?? null, isOwnName: (name: string) => own.has(name) }
    return judgeTunnel(snapshot.judge, server.tunnels, this.#attributes(), names, Math.random())
  }

  #attributes(): Attributes {
    const { connection, gatewayPort, sni, outer } = this.#start
    return {
      peer: connection.peer,
      sourceIp: connection.remoteAddress,
      remoteIp: connection.remoteAddress,
      destinationIp: connection.localAddress,
      destinationPort: connection.localPort,
      gatewayPort,
      sni: sni ?? outer?.sni ?? null,
      token: null,
      http: null,
    }
  }

  forbiddenBy = (snapshot: Snapshot): boolean => {
    if (this.#finished) return false
    const server = this.#start.serverUnder(snapshot)
    return server === null || this.#judge(snapshot, server)?.refusal !== null
  }

  close = (reason: TunnelClosing, details?: string): void => {
    if (this.#finished) return
    this.#record.reason = reason
    if (details !== undefined) this.#record.responseCodeDetails = details
    if (reason === 'rate_limited') this.#record.flags.push('RL')
    if (this.#splice !== null) return this.#splice.end('closed')
    this.#connecting?.cancel()
    this.#start.socket.destroy()
    this.#finish()
  }

  #copy(connection: PooledConnection, limits: SpliceLimits, released: () => void): void {
    const up = connection.stream
    up.allowHalfOpen = true
    up.removeAllListeners('end')
    const splice = new Splice(
      this.#start.socket,
      up,
      limits,
      (why) => {
        connection.account()
        released()
        this.#record.bytesReceived = splice.bytesUp
        this.#record.bytesSent = splice.bytesDown
        this.#note(why)
        this.#finish()
      },
      connection.reader,
    )
    this.#splice = splice
    this.#passage?.opened(this)
  }

  get record(): ExchangeRecord {
    return this.#record
  }

  get bytesUp(): number {
    return this.#splice?.bytesUp ?? 0
  }

  get bytesDown(): number {
    return this.#splice?.bytesDown ?? 0
  }

  /** How the copy ended, in Envoy's words. */
  #note(why: SpliceEnd): void {
    const record = this.#record
    if (record.reason !== null) return
    if (this.#environment.cutting()) record.reason = 'draining'
    else if (why === 'down-failed') record.flags.push('DC')
    else if (why === 'up-failed') record.flags.push('UC')
    else if (why === 'idle') record.connectionTerminationDetails = 'tcp_session_idle_timeout'
    else if (why === 'max-duration') {
      record.flags.push('DT')
      record.connectionTerminationDetails = 'max_connection_duration_reached'
    }
  }

  #unreachable(failure: UpstreamFailure): void {
    this.#connecting = null
    const row = REFUSALS[failure.kind]
    this.#record.upstreamTransportFailure = failure.transportFailure
    if (failure.host !== undefined) this.#record.upstreamHost = failure.host
    // Envoy's TCP lines have no response code details; the transport's own words stand in their field (behaviour §8.4).
    this.#refuse(row.reason, row.flag, row.reason === null ? null : (failure.details ?? row.details))
  }

  #refuse(reason: Reason | null, flag: ExchangeRecord['flags'][number] | null, details: string | null): void {
    const record = this.#record
    if (flag !== null) record.flags.push(flag)
    record.reason = reason
    if (reason === 'rbac_denied') record.connectionTerminationDetails = details
    else if (reason !== 'not_registered' && reason !== 'caller_not_listed') record.responseCodeDetails = details
    this.#start.socket.destroy()
    this.#finish()
  }

  /** The caller left before there was an outside to copy to. */
  #gone(): void {
    if (this.#splice !== null || this.#finished) return
    this.#connecting?.cancel()
    if (this.#environment.cutting()) this.#record.reason = 'draining'
    else this.#record.flags.push('DC')
    this.#finish()
  }

  #finish(): void {
    if (this.#finished) return
    this.#finished = true
    this.#environment.tunnels.delete(this)
    this.#record.durationMs = Date.now() - this.#start.connection.openedAt
    this.#passage?.end()
    this.#environment.finish(this.#record)
    this.#start.onEnd()
  }
}

/** The DestinationRule's word on idleness counts before the gateway's; of two ages the lower one. */
function limitsOf(pool: ConnectionPoolModel, own: Settings['tunnels']): SpliceLimits {
  const ages = [pool.maxConnectionDurationMs ?? 0, own.maxDurationMs].filter((age) => age > 0)
  return { idleMs: pool.tcpIdleTimeoutMs ?? own.idleTimeoutMs, maxMs: ages.length === 0 ? 0 : Math.min(...ages) }
}
