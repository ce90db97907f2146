/**
 * Keep-alive connections to one address under one TLS profile. The pool owns its connections from dialling to closing
 * and knows nothing of HTTP: an engine borrows a verified socket and gives it back when the exchange on it is complete.
 */
import type { Socket } from 'node:net'
import type { ClusterStats } from '../core/stats.ts'
import { type DialFailure, type DialTarget, dial } from './dial.ts'

/** Everything that makes two connections interchangeable, and nothing else. */
export type PoolIdentity = {
  /** Counters and limits are per cluster, so its name is part of the identity. */
  readonly cluster: string
  readonly address: string
  readonly port: number
  readonly connectTimeoutMs: number
  readonly idleTimeoutMs: number
  readonly tls: {
    readonly mode: string
    readonly serverName: string | null
    readonly names: readonly string[]
    readonly skipVerify: boolean
    /** Hash over CA bundle, client certificate and key. */
    readonly materialHash: string
  } | null
}

/** Structured, never joined strings: no value can be mistaken for two. */
export function poolKey(identity: PoolIdentity): string {
  const { cluster, address, port, connectTimeoutMs, idleTimeoutMs, tls } = identity
  return JSON.stringify([
    cluster,
    address,
    port,
    connectTimeoutMs,
    idleTimeoutMs,
    tls === null ? null : [tls.mode, tls.serverName, tls.names, tls.skipVerify, tls.materialHash],
  ])
}

/** Idle connections kept per pool; as many as Node's own agent keeps. */
const MAX_IDLE = 256
const CLOSING_MARGIN_MS = 1_000

export type AcquireHandlers = {
  readonly onReady: (connection: PooledConnection) => void
  readonly onFailed: (failure: DialFailure) => void
}

export class UpstreamPool {
  readonly key: string
  readonly identity: PoolIdentity
  readonly stats: ClusterStats
  readonly #target: DialTarget
  readonly #idle: PooledConnection[] = []
  #open = 0
  #dialling = 0
  #retired = false
  /** Latest TLS session of this very profile: resuming it cannot skip a check that this pool would make. */
  #session: Buffer | null = null

  constructor(key: string, identity: PoolIdentity, target: DialTarget, stats: ClusterStats) {
    this.key = key
    this.identity = identity
    this.#target = target
    this.stats = stats
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

  /** A fresh connection. Exactly one handler is called, later, unless cancelled. */
  dial(handlers: AcquireHandlers): { cancel(): void } {
    const { stats } = this
    stats.upstream_cx_total++
    stats.upstream_cx_active++
    this.#dialling++
    const ended = () => {
      this.#dialling--
      stats.upstream_cx_active--
      stats.upstream_cx_destroy++
    }
    const attempt = dial(this.#target, this.#session, {
      onReady: (socket) => {
        if (this.#target.tls !== null) stats.ssl_handshake++
        this.#dialling--
        this.#open++
        handlers.onReady(new PooledConnection(this, socket))
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
    })
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
    if (this.#retired || this.#idle.length >= MAX_IDLE) connection.destroy()
    else this.#idle.push(connection)
  }

  /** Called by a connection that has closed. */
  forget(connection: PooledConnection): void {
    this.#open--
    this.stats.upstream_cx_active--
    this.stats.upstream_cx_destroy++
    const index = this.#idle.indexOf(connection)
    if (index >= 0) this.#idle.splice(index, 1)
  }

  /** Idle connections close now, those in use when they are given back. Still dials for requests that began earlier. */
  retire(): void {
    this.#retired = true
    for (const connection of this.#idle.splice(0)) connection.destroy()
  }
}

export class PooledConnection {
  readonly socket: Socket
  /** `ip:port` of our end. */
  readonly localAddress: string
  readonly #pool: UpstreamPool
  #uses = 0
  #resting = false
  #countedRead = 0
  #countedWritten = 0
  readonly #die = (): void => {
    this.destroy()
  }

  constructor(pool: UpstreamPool, socket: Socket) {
    this.#pool = pool
    this.socket = socket
    this.localAddress = hostPort(socket.localAddress ?? '', socket.localPort ?? 0)
    socket.once('close', () => {
      this.account()
      pool.forget(this)
    })
  }

  /** True once a request has been carried before the present one. */
  get reused(): boolean {
    return this.#uses > 0
  }

  /** Bytes received so far; compare before and after to know whether the upstream has said anything. */
  get bytesRead(): number {
    return this.socket.bytesRead
  }

  /**
   * Gives the connection back after a complete exchange. It becomes available one turn of the event loop later, and
   * only if nothing arrived meanwhile: bytes nobody asked for would be read as the answer to the next request.
   * `keepAliveMs`: how long the upstream says it will keep the connection; we let go a second earlier, so that a
   * request that cannot be repeated does not meet its closing.
   */
  release(keepAliveMs: number | null = null): void {
    this.account()
    this.#uses++
    const { socket } = this
    // 0 means no limit, as in DestinationRule.
    const own = this.#pool.identity.idleTimeoutMs || Number.POSITIVE_INFINITY
    const restMs = keepAliveMs === null ? own : Math.min(own, keepAliveMs - CLOSING_MARGIN_MS)
    if (restMs <= 0 || socket.destroyed || !socket.writable || !socket.readable || this.#pool.retired) {
      this.destroy()
      return
    }
    this.#resting = true
    socket.on('data', this.#die)
    socket.on('end', this.#die)
    socket.on('timeout', this.#die)
    socket.setTimeout(restMs === Number.POSITIVE_INFINITY ? 0 : restMs)
    socket.resume()
    // An idle upstream must not keep a process alive that has nothing else to do.
    socket.unref()
    setImmediate(() => {
      if (this.#resting && !socket.destroyed) this.#pool.keep(this)
    })
  }

  /** Called by the pool when the connection is taken again; false: it died at rest. */
  wake(): boolean {
    const { socket } = this
    if (socket.destroyed || !socket.readable || !socket.writable || socket.readableLength > 0) {
      this.destroy()
      return false
    }
    this.#resting = false
    socket.removeListener('data', this.#die)
    socket.removeListener('end', this.#die)
    socket.removeListener('timeout', this.#die)
    socket.setTimeout(0)
    socket.ref()
    return true
  }

  destroy(): void {
    this.#resting = false
    this.socket.destroy()
  }

  /** Adds what this connection has carried since the last time to the cluster's byte counters. */
  account(): void {
    const { bytesRead, bytesWritten } = this.socket
    this.#pool.stats.upstream_cx_rx_bytes_total += bytesRead - this.#countedRead
    this.#pool.stats.upstream_cx_tx_bytes_total += bytesWritten - this.#countedWritten
    this.#countedRead = bytesRead
    this.#countedWritten = bytesWritten
  }
}

/** `ip:port` with brackets around IPv6, as logs and `/clusters` print it. */
export function hostPort(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}
