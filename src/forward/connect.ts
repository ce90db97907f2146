/**
 * A verified connection to one of a cluster's judged addresses: happy eyeballs (RFC 8305) over addresses that the guard
 * has passed, never over anything else. For tunnels, and for requests that find no idle connection.
 */
import type { UpstreamCluster } from './cluster.ts'
import { UpstreamEndpoint } from './endpoints.ts'
import type { ConnectTarget, UpstreamFailure } from './forwarder.ts'
import type { AcquireHandlers, Reading } from './pool.ts'
import type { PooledConnection } from './pooled-connection.ts'
import { UPSTREAM_OVERFLOW } from './transport-failure.ts'

/** RFC 8305 §5: how long the first address has before the next is tried beside it, milliseconds. */
const ATTEMPT_DELAY_MS = 250
/** Addresses tried before giving up. */
export const MAX_ATTEMPTS = 3

export type ConnectHandlers<C = PooledConnection> = {
  /** The connection is the caller's now; `endpoint.active` counts it until `released` is called. */
  readonly onConnected: (connection: C, endpoint: UpstreamEndpoint, released: () => void) => void
  readonly onFailed: (failure: UpstreamFailure) => void
  /** One address could not be connected to; others may follow. */
  readonly onAttemptFailed?: (endpoint: UpstreamEndpoint) => void
  /** For a tunnel: the connection has a reader if it can, leads through the cluster's proxy if there is one, and is not waited for. */
  readonly bulk?: true
}

/**
 * Exactly one handler is called, later, unless cancelled. Where the cluster has as many connections as it may, a request
 * waits for its turn, and may get one that has been used; a tunnel fails (Envoy's TCP proxy).
 * Counts `upstream_cx_*`, and a tunnel that is on its way as pending.
 * `first`: an endpoint that was picked already. `addresses`: how many may be tried.
 */
export function connectUpstream(
  cluster: UpstreamCluster,
  target: ConnectTarget,
  handlers: ConnectHandlers,
  first: UpstreamEndpoint | null = null,
  addresses: number = MAX_ATTEMPTS,
): { cancel(): void } {
  const race = new Race(
    cluster,
    target,
    handlers,
    poolDoor(cluster, target, handlers.bulk === true ? 'bulk' : 'stream'),
    addresses,
  )
  if (first === null) process.nextTick(() => race.next())
  else race.begin(first)
  return race
}

/** The same by another door, for a request. */
export function connectBy<C extends Destroyable>(
  door: Door<C>,
  cluster: UpstreamCluster,
  target: ConnectTarget,
  handlers: ConnectHandlers<C>,
  first: UpstreamEndpoint,
  addresses: number,
): { cancel(): void } {
  const race = new Race(cluster, target, handlers, door, addresses)
  race.begin(first)
  return race
}

type Destroyable = { destroy(): void }

/** How a connection to one endpoint is come by. */
export type Door<C> = {
  /** Exactly one handler is called, later, unless cancelled. null: one more connection would be too many. */
  dial(endpoint: UpstreamEndpoint, handlers: AcquireHandlers<C>): { cancel(): void } | null
  /** After a null: either is called when its turn comes. Where this is null nobody waits. */
  readonly wait:
    | ((endpoint: UpstreamEndpoint, take: (connection: C) => void, connect: () => void) => { cancel(): void })
    | null
}

/** Connections of an endpoint's pool. `fresh`: one that others have used will not do, not even after a wait. */
export function poolDoor(
  cluster: UpstreamCluster,
  { caller }: ConnectTarget,
  reading: Reading,
  fresh = false,
): Door<PooledConnection> {
  const tunnel = reading === 'bulk'
  return {
    dial: (endpoint, handlers) =>
      endpoint.poolFor(caller).dial(handlers, reading, tunnel ? cluster.model.tunnel : null),
    wait: tunnel
      ? null
      : (endpoint, take, connect) => cluster.breakers.wait({ pool: endpoint.poolFor(caller), take, connect, fresh }),
  }
}

class Race<C extends Destroyable> {
  readonly #cluster: UpstreamCluster
  readonly #target: ConnectTarget
  readonly #handlers: ConnectHandlers<C>
  readonly #door: Door<C>
  readonly #addresses: number
  readonly #tried: UpstreamEndpoint[] = []
  /** Being dialled, or waited for. */
  readonly #dialling = new Map<UpstreamEndpoint, { cancel(): void }>()
  #timer: NodeJS.Timeout | null = null
  #lastFailure: UpstreamFailure | null = null
  #picking = false
  #pending = false
  #exhausted = false
  #done = false

  constructor(
    cluster: UpstreamCluster,
    target: ConnectTarget,
    handlers: ConnectHandlers<C>,
    door: Door<C>,
    addresses: number,
  ) {
    this.#cluster = cluster
    this.#target = target
    this.#handlers = handlers
    this.#door = door
    this.#addresses = addresses
  }

  begin(first: UpstreamEndpoint): void {
    this.#use(first)
  }

  next(): void {
    if (this.#done || this.#picking || this.#exhausted) return
    const picked = this.#cluster.pick(this.#target, this.#tried)
    if (!(picked instanceof Promise)) return this.#use(picked)
    this.#picking = true
    void picked.then((later) => {
      this.#picking = false
      this.#use(later)
    })
  }

  /** Ends every attempt; nothing is reported afterwards. Idempotent. */
  cancel(): void {
    this.#done = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    if (this.#pending) this.#cluster.breakers.releasePending()
    this.#pending = false
    for (const [endpoint, dialling] of this.#dialling) {
      endpoint.active--
      dialling.cancel()
    }
    this.#dialling.clear()
  }

  #use(picked: UpstreamEndpoint | UpstreamFailure): void {
    if (this.#done) return
    if (!(picked instanceof UpstreamEndpoint)) {
      this.#exhausted = true
      this.#lastFailure ??= picked
      return this.#giveUpIfIdle()
    }
    picked.active++
    if (this.#admitted() && this.#connect(picked)) return
    // Beside another attempt there is no hurry.
    if (this.#dialling.size > 0) {
      picked.active--
      return
    }
    if (this.#door.wait !== null) return this.#wait(picked, this.#door.wait)
    this.#exhausted = true
    this.#lost(picked, UPSTREAM_OVERFLOW)
  }

  /** A tunnel counts as pending until it is connected, as in Envoy; of requests delivery.ts takes care. */
  #admitted(): boolean {
    if (this.#handlers.bulk === true && !this.#pending) this.#pending = this.#cluster.breakers.admitPending()
    return this.#handlers.bulk !== true || this.#pending
  }

  /** False: one more connection would be too many. */
  #connect(endpoint: UpstreamEndpoint): boolean {
    const dialling = this.#door.dial(endpoint, {
      onReady: (connection) => this.#won(endpoint, connection),
      onFailed: ({ failure }) => this.#lost(endpoint, failure),
    })
    if (dialling === null) return false
    this.#tried.push(endpoint)
    if (this.#tried.length >= this.#addresses) this.#exhausted = true
    this.#dialling.set(endpoint, dialling)
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.next(), ATTEMPT_DELAY_MS)
    return true
  }

  #wait(endpoint: UpstreamEndpoint, wait: NonNullable<Door<C>['wait']>): void {
    const connect = (): void => {
      this.#dialling.delete(endpoint)
      if (!this.#connect(endpoint)) this.#wait(endpoint, wait)
    }
    this.#dialling.set(
      endpoint,
      wait(endpoint, (connection) => this.#won(endpoint, connection), connect),
    )
  }

  #won(endpoint: UpstreamEndpoint, connection: C): void {
    this.#dialling.delete(endpoint)
    if (this.#done) {
      endpoint.active--
      return connection.destroy()
    }
    this.cancel()
    let released = false
    this.#handlers.onConnected(connection, endpoint, () => {
      if (released) return
      released = true
      endpoint.active--
    })
  }

  #lost(endpoint: UpstreamEndpoint, failure: UpstreamFailure): void {
    this.#dialling.delete(endpoint)
    endpoint.active--
    if (this.#done) return
    // An overflow is this gateway's own doing.
    const dialled = failure.kind !== 'upstream_overflow'
    if (dialled) endpoint.failed()
    this.#lastFailure = dialled ? { ...failure, host: endpoint.text } : failure
    this.#handlers.onAttemptFailed?.(endpoint)
    this.next()
    this.#giveUpIfIdle()
  }

  #giveUpIfIdle(): void {
    if (this.#done || this.#picking || this.#dialling.size > 0 || !this.#exhausted || this.#lastFailure === null) return
    const failure = this.#lastFailure
    this.cancel()
    this.#handlers.onFailed(failure)
  }
}
