/**
 * Keep-alive connections to one address under one TLS profile. The pool owns its connections from dialling to closing
 * and knows nothing of HTTP: an engine borrows a verified socket and gives it back when the exchange on it is complete.
 */
import type { ClusterStats } from '../core/stats.ts'
import type { Breakers } from './breakers.ts'
import { BulkReader } from './bulk-reader.ts'
import type { TunnelTarget } from './connect-tunnel.ts'
import { type DialFailure, type DialHandlers, type DialTarget, dial } from './dial.ts'
import type { PoolIdentity } from './pool-identity.ts'
import { PooledConnection } from './pooled-connection.ts'
import { Inlet } from './wire/inlet.ts'

/** Idle connections kept per pool; as many as Node's own agent keeps. */
const MAX_IDLE = 256

/** How a connection is read: as any stream, by a BulkReader, or by an Inlet (where TLS and tunnels leave one the choice). */
export type Reading = 'stream' | 'bulk' | 'inlet'

export type AcquireHandlers<C = PooledConnection> = {
  readonly onReady: (connection: C) => void
  readonly onFailed: (failure: DialFailure) => void
}

export type Sharing = {
  /** Begins to close the one that carries nothing and has done so longest; false: all carry something. */
  closeIdle(): boolean
  /** Each ends when it carries nothing more. */
  retire(): void
}

export class UpstreamPool {
  readonly key: string
  readonly identity: PoolIdentity
  readonly breakers: Breakers
  readonly stats: ClusterStats
  readonly #target: DialTarget
  readonly #idle: PooledConnection[] = []
  #open = 0
  #dialling = 0
  #retired = false
  /** Whoever lets several requests share each connection (http2-lines.ts): such connections are never idle to the pool. */
  sharing: Sharing | null = null
  /** Latest TLS session of this very profile: resuming it cannot skip a check that this pool would make. */
  #session: Buffer | null = null

  constructor(key: string, identity: PoolIdentity, target: DialTarget, breakers: Breakers) {
    this.key = key
    this.identity = identity
    this.#target = target
    this.breakers = breakers
    this.stats = breakers.stats
  }

  get open(): number {
    return this.#open
  }
  get idle(): number {
    return this.#idle.length
  }
  /** Nothing open, nothing on its way: forgetting this pool loses nothing. */
  get unused(): boolean {
    return this.#open === 0 && this.#dialling === 0
  }
  get retired(): boolean {
    return this.#retired
  }

  /** The connection used last, if it still looks alive; null: dial. The caller owns it until it gives it back. */
  takeIdle(): PooledConnection | null {
    for (let connection = this.#idle.pop(); connection !== undefined; connection = this.#idle.pop()) {
      if (connection.wake()) return connection
    }
    return null
  }

  /**
   * A fresh connection; null: the cluster has as many as it may (`breakers.wait`). Exactly one handler is called, later,
   * unless cancelled. `bulk`: it carries opaque bytes. `tunnel`: see connect-tunnel.ts.
   */
  dial(
    handlers: AcquireHandlers,
    reading: Reading = 'stream',
    tunnel: TunnelTarget | null = null,
  ): { cancel(): void } | null {
    const { breakers, stats } = this
    if (!breakers.admitConnection(this)) return null
    this.#dialling++
    const ended = () => {
      this.#dialling--
      breakers.releaseConnection(this)
    }
    const { tls, preface } = this.#target
    const reader = reading === 'bulk' && tls === null && tunnel === null ? new BulkReader() : null
    const inlet = reading === 'inlet' ? new Inlet() : null
    const opened: DialHandlers = {
      onReady: (socket, stream) => {
        if (tls !== null) stats.ssl_handshake++
        this.#dialling--
        this.#open++
        inlet?.attach(socket, tls === null || preface === null)
        handlers.onReady(new PooledConnection(this, socket, reader, inlet, stream))
      },
      onFailed: (failure) => {
        ended()
        // A session that led nowhere is not tried twice.
        this.#session = null
        this.#count(failure)
        handlers.onFailed(failure)
      },
      onSession: (session) => {
        this.#session = session
      },
    }
    const attempt = dial(this.#target, this.#session, opened, inlet ?? reader, tunnel)
    let cancelled = false
    return {
      cancel: () => {
        if (cancelled) return
        cancelled = true
        if (attempt.cancel()) ended()
      },
    }
  }

  #count({ cause }: DialFailure): void {
    const { stats } = this
    stats.upstream_cx_connect_fail++
    if (cause === 'timeout') stats.upstream_cx_connect_timeout++
    else if (cause === 'chain') stats.ssl_fail_verify_error++
    else if (cause === 'name') stats.ssl_fail_verify_san++
    else if (cause === 'other') stats.ssl_connection_error++
  }

  /** Called by a connection that has become idle. */
  keep(connection: PooledConnection): void {
    if (this.#retired || this.#idle.length >= MAX_IDLE) return connection.destroy()
    const waiter = this.breakers.next(this)
    if (waiter === null) this.#idle.push(connection)
    else if (waiter === 'make-way') connection.destroy()
    // One that died in this very moment makes way by itself.
    else if (connection.wake()) this.breakers.serve(waiter, connection)
  }

  /** For a connection that is wanted elsewhere: closes the one that has been idle longest. False: none is. */
  closeIdle(): boolean {
    const connection = this.#idle.shift()
    connection?.destroy()
    return connection !== undefined || this.sharing?.closeIdle() === true
  }

  /** Called by a connection that has closed. */
  forget(connection: PooledConnection): void {
    this.#open--
    const index = this.#idle.indexOf(connection)
    if (index >= 0) this.#idle.splice(index, 1)
    this.breakers.releaseConnection(this)
  }

  /** Idle connections close now, those in use when they are given back. Still dials for requests that began earlier. */
  retire(): void {
    this.#retired = true
    for (const connection of this.#idle.splice(0)) connection.destroy()
    this.sharing?.retire()
  }
}
