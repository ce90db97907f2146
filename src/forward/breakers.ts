/**
 * The circuit breakers of one cluster (DestinationRule connectionPool, behaviour §5.4; Envoy's resource manager): how many
 * connections, waiting requests and requests under way it may have, and who is next for a connection. One object per
 * name, shared by all generations of the cluster and all its pools, whatever engine carries. Retries: retry-budget.ts.
 *
 * Stricter than Envoy in one thing: there an endpoint without any connection gets one beyond `maxConnections`, so that
 * nobody waits for ever; here a connection that is idle, or becomes so, elsewhere in the cluster makes way for it.
 */
import type { ClusterStats } from '../core/stats.ts'
import { type ConnectionPoolModel, UNLIMITED_POOL } from '../model/cluster.ts'
import type { UpstreamPool } from './pool.ts'
import type { PooledConnection } from './pooled-connection.ts'
import { retriesExhausted } from './retry-budget.ts'

/** A request that waits for a connection. */
export type Waiter = {
  /** Whose connections will do. */
  readonly pool: UpstreamPool
  /** It has this one, which had become idle. */
  readonly take: (connection: PooledConnection) => void
  /** One may be dialled now: must ask for admission before it returns. */
  readonly connect: () => void
  /** A connection that others have used will not do. */
  readonly fresh?: boolean
}

/** How far down the queue somebody is looked for who can use what has become idle. */
const MAX_AHEAD = 100

/** Counts are gauges of the cluster's statistics, so that what operators see is what is judged by. */
export class Breakers {
  readonly stats: ClusterStats
  #limits: ConnectionPoolModel = UNLIMITED_POOL
  /** Pools with connections. */
  readonly #pools = new Set<UpstreamPool>()
  /** In the order they came. While somebody waits, no connection is idle for long and none more is admitted. */
  readonly #queue = new Set<Waiter>()

  constructor(stats: ClusterStats) {
    this.stats = stats
  }

  get limits(): ConnectionPoolModel {
    return this.#limits
  }

  /** Those of the configuration in force; what was admitted under others stays. */
  set limits(limits: ConnectionPoolModel) {
    this.#limits = limits
    this.#serveAll()
  }

  /** Requests waiting for a connection, because no more may be opened. */
  get waiting(): number {
    return this.#queue.size
  }

  /** A request is about to be carried. True: `releaseRequest` when it has ended. False: overflow. */
  admitRequest(): boolean {
    const { maxRequests } = this.#limits
    if (maxRequests !== null && this.stats.upstream_rq_active >= maxRequests) {
      this.stats.upstream_rq_pending_overflow++
      return false
    }
    this.stats.upstream_rq_active++
    return true
  }

  releaseRequest(): void {
    this.stats.upstream_rq_active--
  }

  /** Somebody finds no idle connection. True: `releasePending` when there is one, or none is wanted. False: overflow. */
  admitPending(): boolean {
    const { maxPendingRequests } = this.#limits
    if (maxPendingRequests !== null && this.stats.upstream_rq_pending_active >= maxPendingRequests) {
      this.stats.upstream_rq_pending_overflow++
      return false
    }
    this.stats.upstream_rq_pending_total++
    this.stats.upstream_rq_pending_active++
    return true
  }

  releasePending(): void {
    this.stats.upstream_rq_pending_active--
  }

  /** `pool` is about to dial. True: `releaseConnection` when it has come to nothing, or closed. False: wait, or give up. */
  admitConnection(pool: UpstreamPool): boolean {
    if (!this.#mayConnect()) {
      this.stats.upstream_cx_overflow++
      return false
    }
    this.stats.upstream_cx_total++
    this.stats.upstream_cx_active++
    this.#pools.add(pool)
    return true
  }

  /** Call it when `pool` no longer counts the connection. */
  releaseConnection(pool: UpstreamPool): void {
    this.stats.upstream_cx_active--
    this.stats.upstream_cx_destroy++
    if (pool.unused) this.#pools.delete(pool)
    this.#serveAll()
  }

  /** After a refused admission: the waiter's turn comes, later, unless it is cancelled. */
  wait(waiter: Waiter): { cancel(): void } {
    this.#queue.add(waiter)
    for (const pool of this.#pools) if (pool.closeIdle()) break
    return { cancel: () => void this.#queue.delete(waiter) }
  }

  /**
   * `pool` has an idle connection. Null: nobody waits. `make-way`: it is to be closed, for one that leads elsewhere. Else
   * somebody who can use it (`serve`).
   */
  next(pool: UpstreamPool): Waiter | 'make-way' | null {
    if (this.#queue.size === 0) return null
    let ahead = 0
    for (const waiter of this.#queue) {
      if (waiter.pool === pool && waiter.fresh !== true) return waiter
      // The first in the queue is not passed over when nothing that it could use will ever become idle.
      if (ahead === 0 && (waiter.fresh === true || waiter.pool.unused)) break
      if (++ahead === MAX_AHEAD) break
    }
    return 'make-way'
  }

  /** Ends the wait of one whom `next` has named. */
  serve(waiter: Waiter, connection: PooledConnection): void {
    this.#queue.delete(waiter)
    waiter.take(connection)
  }

  /** Connections open to an address, those of retired pools included. */
  openAt(address: string, port: number): number {
    let open = 0
    for (const { identity, open: own } of this.#pools)
      if (identity.address === address && identity.port === port) open += own
    return open
  }

  /** Brings the `circuit_breakers.*` gauges up to date. */
  measure(): void {
    const { stats } = this
    const { maxPendingRequests, maxRequests } = this.#limits
    stats.circuit_breakers_cx_open = this.#mayConnect() ? 0 : 1
    stats.circuit_breakers_rq_pending_open = reached(stats.upstream_rq_pending_active, maxPendingRequests)
    stats.circuit_breakers_rq_open = reached(stats.upstream_rq_active, maxRequests)
    stats.circuit_breakers_rq_retry_open = retriesExhausted(stats, this.#limits) ? 1 : 0
  }

  #mayConnect(): boolean {
    const { maxConnections } = this.#limits
    return maxConnections === null || this.stats.upstream_cx_active < maxConnections
  }

  #serveAll(): void {
    for (const waiter of this.#queue) {
      if (!this.#mayConnect()) return
      this.#queue.delete(waiter)
      waiter.connect()
    }
  }
}

function reached(count: number, limit: number | null): 0 | 1 {
  return limit !== null && count >= limit ? 1 : 0
}
