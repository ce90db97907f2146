/**
 * Keep-alive connections to one address under one TLS profile. The pool owns its connections from dialling to closing
 * and knows nothing of HTTP: an engine borrows a verified socket and gives it back when the exchange on it is complete.
 */
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ClusterStats } from '../core/stats.ts'
import type { Breakers } from './breakers.ts'
import { BulkReader } from './bulk-reader.ts'
import type { TunnelTarget } from './connect-tunnel.ts'
import { type DialFailure, type DialHandlers, type DialTarget, dial } from './dial.ts'
import { armIdle, disarmIdle, newIdleTimer, type Resting, removeIdle } from './idle-timers.ts'
import type { PoolIdentity } from './pool-identity.ts'
import { Inlet } from './wire/inlet.ts'

/** Idle connections kept per pool; as many as Node's own agent keeps. */
const MAX_IDLE = 256
const CLOSING_MARGIN_MS = 1_000
/** What a Node timer can wait; beyond that it would not wait at all. */
const MAX_TIMER_MS = 2 ** 31 - 1

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

/** Given back in this turn of the event loop. */
let givenBack: PooledConnection[] = []

function keepGivenBack(): void {
  const connections = givenBack
  givenBack = []
  for (const connection of connections) connection.rested()
}

export class PooledConnection implements Resting {
  readonly socket: Socket
  /** Who alone may read the socket; null: it is read as a stream. */
  readonly reader: BulkReader | null
  /** The bytes of a tunnel; else the socket itself. */
  readonly stream: Duplex
  /** `ip:port` of our end. */
  readonly localAddress: string
  readonly #pool: UpstreamPool
  #uses = 0
  #resting = false
  /** Has reached its age: it carries what it carries, and nothing more. */
  #old = false
  #age: NodeJS.Timeout | null = null
  /** Called at that age, by which it should end as soon as it carries nothing. */
  onOld: (() => void) | null = null
  #countedRead = 0
  #countedWritten = 0
  readonly #idle = newIdleTimer(this)
  /** Who reads it from its beginning to its end; null: those who carry, each for as long as that takes. */
  #inlet: Inlet | null
  readonly #die = (): void => {
    this.destroy()
  }

  constructor(pool: UpstreamPool, socket: Socket, reader: BulkReader | null, inlet: Inlet | null, stream: Duplex) {
    this.#inlet = inlet
    this.#pool = pool
    this.socket = socket
    this.reader = reader
    this.stream = stream
    this.localAddress = hostPort(socket.localAddress ?? '', socket.localPort ?? 0)
    socket.once('close', () => {
      if (this.#age !== null) clearTimeout(this.#age)
      removeIdle(this.#idle)
      this.account()
      pool.forget(this)
    })
    const { maxDurationMs } = pool.identity
    // An upstream alone must not keep a process alive that has nothing else to do.
    if (maxDurationMs > 0) this.#age = setTimeout(this.#retire, Math.min(maxDurationMs, MAX_TIMER_MS)).unref()
  }

  readonly #retire = (): void => {
    this.#old = true
    this.#pool.stats.upstream_cx_max_duration_reached++
    if (this.#resting) this.destroy()
    else this.onOld?.()
  }

  /** From now on only by this one. */
  takeInlet(): Inlet {
    if (this.#inlet === null) {
      this.#inlet = new Inlet()
      this.#inlet.attach(this.socket, false)
    }
    return this.#inlet
  }

  /** Of its idle timer. */
  tire(): void {
    if (!this.#resting) return
    this.#pool.stats.upstream_cx_idle_timeout++
    this.destroy()
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
    const { idleTimeoutMs, maxRequests } = this.#pool.identity
    const spent = maxRequests !== null && this.#uses >= maxRequests
    if (spent) this.#pool.stats.upstream_cx_max_requests++
    // 0 means no limit, as in DestinationRule.
    const own = idleTimeoutMs || Number.POSITIVE_INFINITY
    const restMs = keepAliveMs === null ? own : Math.min(own, keepAliveMs - CLOSING_MARGIN_MS)
    const usable = !spent && !this.#old && !this.#pool.retired
    if (!usable || restMs <= 0 || socket.destroyed || !socket.writable || !socket.readable) {
      this.destroy()
      return
    }
    this.#resting = true
    if (restMs !== Number.POSITIVE_INFINITY) armIdle(this.#idle, restMs)
    if (this.#inlet === null) {
      socket.on('data', this.#die)
      socket.on('end', this.#die)
      socket.resume()
      // An idle upstream must not keep a process alive that has nothing else to do.
      socket.unref()
    }
    if (givenBack.push(this) === 1) setImmediate(keepGivenBack)
  }

  /** A turn of the event loop has passed. */
  rested(): void {
    if (this.#resting && !this.socket.destroyed) this.#pool.keep(this)
  }

  /** Called by the pool when the connection is taken again; false: it died at rest. */
  wake(): boolean {
    const { socket } = this
    if (socket.destroyed || !socket.readable || !socket.writable || socket.readableLength > 0) {
      this.destroy()
      return false
    }
    this.#resting = false
    disarmIdle(this.#idle)
    if (this.#inlet === null) {
      socket.removeListener('data', this.#die)
      socket.removeListener('end', this.#die)
      socket.ref()
    }
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
