/**
 * A verified connection to one of a cluster's judged addresses: happy eyeballs (RFC 8305) over addresses that the guard
 * has passed, never over anything else. For tunnels, and for requests that find no idle connection.
 */
import type { UpstreamCluster } from './cluster.ts'
import { UpstreamEndpoint } from './endpoints.ts'
import type { ConnectTarget, UpstreamFailure } from './forwarder.ts'
import type { PooledConnection } from './pool.ts'

/** RFC 8305 §5: how long the first address has before the next is tried beside it, milliseconds. */
const ATTEMPT_DELAY_MS = 250
/** Addresses tried before giving up. */
export const MAX_ATTEMPTS = 3

export type ConnectHandlers = {
  /** The connection is the caller's now; `endpoint.active` counts it until `released` is called. */
  readonly onConnected: (connection: PooledConnection, endpoint: UpstreamEndpoint, released: () => void) => void
  readonly onFailed: (failure: UpstreamFailure) => void
  /** One address could not be connected to; others may follow. */
  readonly onAttemptFailed?: (endpoint: UpstreamEndpoint) => void
}

/**
 * Exactly one handler is called, later, unless cancelled.
 * Counts `upstream_cx_*`; the cluster's request counters are not touched: a tunnel has no requests.
 * `first`: an endpoint that was picked already. `addresses`: how many may be tried.
 */
export function connectUpstream(
  cluster: UpstreamCluster,
  target: ConnectTarget,
  handlers: ConnectHandlers,
  first: UpstreamEndpoint | null = null,
  addresses: number = MAX_ATTEMPTS,
): { cancel(): void } {
  const race = new Race(cluster, target, handlers, addresses)
  if (first === null) process.nextTick(() => race.next())
  else race.begin(first)
  return race
}

class Race {
  readonly #cluster: UpstreamCluster
  readonly #target: ConnectTarget
  readonly #handlers: ConnectHandlers
  readonly #addresses: number
  readonly #tried: UpstreamEndpoint[] = []
  readonly #dialling = new Map<UpstreamEndpoint, { cancel(): void }>()
  #timer: NodeJS.Timeout | null = null
  #lastFailure: UpstreamFailure | null = null
  #picking = false
  #exhausted = false
  #done = false

  constructor(cluster: UpstreamCluster, target: ConnectTarget, handlers: ConnectHandlers, addresses: number) {
    this.#cluster = cluster
    this.#target = target
    this.#handlers = handlers
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
    this.#tried.push(picked)
    if (this.#tried.length >= this.#addresses) this.#exhausted = true
    picked.active++
    this.#dialling.set(
      picked,
      picked.pool.dial({
        onReady: (connection) => this.#won(picked, connection),
        onFailed: ({ failure }) => this.#lost(picked, failure),
      }),
    )
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.next(), ATTEMPT_DELAY_MS)
  }

  #won(endpoint: UpstreamEndpoint, connection: PooledConnection): void {
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
    if (failure.kind !== 'upstream_overflow') endpoint.failed()
    this.#lastFailure = failure
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
