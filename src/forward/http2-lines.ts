/**
 * The HTTP/2 connections of one pool, and who waits for room on them. Connections are filled one after the other, so that
 * those beyond need can rest and go; more are dialled when more requests wait than those on their way could carry.
 */

import type { ResponseLimits } from './cluster.ts'
import type { DialFailure } from './dial.ts'
import { type Http2Line, UpstreamSession } from './http2-session.ts'
import type { AcquireHandlers, Sharing, UpstreamPool } from './pool.ts'
import type { PooledConnection } from './pooled-connection.ts'
import { protocolFailure } from './transport-failure.ts'

/** Streams taken for granted until the other side has said how many it allows (RFC 9113 §6.5.2 recommends no fewer). */
const ASSUMED_STREAMS = 100

type Waiter = AcquireHandlers<Http2Line>

const byPool = new WeakMap<UpstreamPool, Http2Lines>()

/** Those of a pool for HTTP/2. */
export function http2Lines(pool: UpstreamPool, limits: ResponseLimits): Http2Lines {
  let lines = byPool.get(pool)
  if (lines === undefined) {
    lines = new Http2Lines(pool)
    byPool.set(pool, lines)
    pool.sharing = lines
  }
  lines.limits = limits
  return lines
}

export class Http2Lines implements Sharing {
  /** For connections to come. */
  limits: ResponseLimits = { maxHeaderBytes: 0, maxHeaders: 0 }
  readonly #pool: UpstreamPool
  /** Those that lend streams. */
  readonly #sessions = new Set<UpstreamSession>()
  /** In the order they came. */
  readonly #queue = new Set<Waiter>()
  readonly #dials = new Set<{ cancel(): void }>()
  #providing = false
  /** The cluster has as many connections as it may. */
  #awaited: { cancel(): void } | null = null
  /** What the other side allowed last, and is taken to allow on the next connection. */
  #peerLimit = ASSUMED_STREAMS

  constructor(pool: UpstreamPool) {
    this.#pool = pool
  }

  /** Room on a connection that is there; null: `acquire`. */
  take(): Http2Line | null {
    // Whoever came first is served first.
    return this.#queue.size > 0 ? null : this.#lend()
  }

  /** Exactly one handler is called, later, unless cancelled. */
  acquire(handlers: Waiter): { cancel(): void } {
    this.#queue.add(handlers)
    this.#provideSoon()
    return {
      cancel: () => {
        if (this.#queue.delete(handlers) && this.#queue.size === 0) this.#giveUp()
      },
    }
  }

  closeIdle(): boolean {
    for (const session of this.#sessions) if (session.closeIdle()) return true
    return false
  }

  retire(): void {
    for (const session of [...this.#sessions]) session.retire()
  }

  get #limit(): number {
    return this.#pool.breakers.limits.maxConcurrentStreams ?? Number.POSITIVE_INFINITY
  }

  #lend(): Http2Line | null {
    for (const session of this.#sessions) {
      const line = session.lend(this.#limit)
      if (line !== null) return line
    }
    return null
  }

  /** Not at once: whoever is served may give back what it got, and that would be the next one's turn, and so on. */
  #provideSoon(): void {
    if (this.#providing) return
    this.#providing = true
    process.nextTick(() => {
      this.#providing = false
      this.#provide()
    })
  }

  #provide(): void {
    for (const waiter of this.#queue) {
      const line = this.#lend()
      if (line === null) break
      this.#queue.delete(waiter)
      waiter.onReady(line)
    }
    const each = Math.max(1, Math.min(this.#limit, this.#peerLimit))
    while (this.#dials.size * each < this.#queue.size && this.#awaited === null && this.#dial());
  }

  /** False: no further connection, at present. */
  #dial(): boolean {
    const dialling = this.#pool.dial({
      onReady: (connection) => {
        if (dialling !== null) this.#dials.delete(dialling)
        this.#connected(connection)
      },
      onFailed: ({ failure, cause }) => {
        if (dialling !== null) this.#dials.delete(dialling)
        this.#failed({ failure, cause })
      },
    })
    if (dialling !== null) {
      this.#dials.add(dialling)
      return true
    }
    // Otherwise those that there are will have room some time.
    if (this.#sessions.size === 0 && this.#dials.size === 0) this.#wait()
    return false
  }

  #wait(): void {
    const go = (): void => {
      this.#awaited = null
      this.#provide()
    }
    this.#awaited = this.#pool.breakers.wait({ pool: this.#pool, take: go, connect: go })
  }

  #connected(connection: PooledConnection): void {
    const { identity, retired, stats } = this.#pool
    const { socket } = connection
    if (identity.tls !== null && !('alpnProtocol' in socket && socket.alpnProtocol === 'h2')) {
      connection.destroy()
      return this.#failed({ failure: protocolFailure('no_h2'), cause: 'other' })
    }
    const session: UpstreamSession = new UpstreamSession({
      connection,
      identity,
      limits: this.limits,
      stats,
      peerLimit: this.#peerLimit,
      onRoom: () => {
        this.#peerLimit = session.peerLimit
        if (this.#queue.size > 0) this.#provideSoon()
        else if (session.open === 0) this.#makeWay(session)
      },
      onLeft: () => {
        this.#sessions.delete(session)
        if (this.#queue.size > 0) this.#provideSoon()
      },
    })
    this.#sessions.add(session)
    this.#provide()
    // A request that began before the pool was retired has its connection; it is nobody's after that.
    if (retired) session.retire()
  }

  /** For those who wait for a connection that leads elsewhere. */
  #makeWay(session: UpstreamSession): void {
    if (this.#pool.breakers.next(this.#pool) === 'make-way') session.closeIdle()
  }

  /** As Envoy: nobody who waits is made to wait for the next attempt. */
  #failed(failure: DialFailure): void {
    const waiting = [...this.#queue]
    this.#queue.clear()
    for (const waiter of waiting) waiter.onFailed(failure)
  }

  #giveUp(): void {
    for (const dialling of this.#dials) dialling.cancel()
    this.#dials.clear()
    this.#awaited?.cancel()
    this.#awaited = null
  }
}
