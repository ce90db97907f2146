/**
 * One connection of a pool: what carries on it, for how long it rests, and when it has to go. Given back, it is offered
 * again one turn of the event loop later, and only if nothing arrived meanwhile.
 */
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { BulkReader } from './bulk-reader.ts'
import { armIdle, disarmIdle, newIdleTimer, type Resting, removeIdle } from './idle-timers.ts'
import type { UpstreamPool } from './pool.ts'
import { Inlet } from './wire/inlet.ts'

const CLOSING_MARGIN_MS = 1_000
/** What a Node timer can wait; beyond that it would not wait at all. */
const MAX_TIMER_MS = 2 ** 31 - 1

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
    if (!usable || restMs <= 0 || !this.#alive) {
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
    if (this.#resting && this.#alive) this.#pool.keep(this)
  }

  /** Called by the pool when the connection is taken again; false: it died at rest. */
  wake(): boolean {
    const { socket } = this
    if (!this.#alive || (this.#inlet === null && socket.readableLength > 0)) {
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

  get #alive(): boolean {
    const { socket } = this
    if (socket.destroyed) return false
    return this.#inlet === null ? socket.writable && socket.readable : this.#inlet.alive
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
