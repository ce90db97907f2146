/**
 * Copies of requests for mirrors (VirtualService `mirror`, `mirrors`): fire and forget. A copy never delays, changes or
 * ends the request it was made of, and its answer is dropped. What it may cost is bounded: copies under way, bytes that a
 * slow mirror is behind, the time it takes.
 */
import { Readable } from 'node:stream'
import type { UpstreamCluster } from '../forward/cluster.ts'
import type { Forwarder } from '../forward/engine.ts'
import type { ForwardHandle, OutgoingRequest, UpstreamResponse } from '../forward/forwarder.ts'
import { MAX_TIMER_MS } from './timer.ts'

/** What copies may cost. Bytes and milliseconds. */
export type MirrorLimits = {
  /** Copies under way at once in this process. */
  readonly underWay: number
  /** Of a body, that its copy may be behind; and all copies together. */
  readonly behind: number
  readonly allBehind: number
  /** From the end of the request, when the route has no timeout of its own. */
  readonly timeoutMs: number
  /** Of an answer that nobody reads: more costs more than a new connection. */
  readonly answer: number
}

/** Of Envoy's own defaults: requests a circuit breaker lets through, buffer limit, route timeout. */
const LIMITS: MirrorLimits = {
  underWay: 1024,
  behind: 1024 * 1024,
  allBehind: 64 * 1024 * 1024,
  timeoutMs: 15_000,
  answer: 1024 * 1024,
}

/** What all copies share. */
type Budget = { readonly limits: MirrorLimits; behind: number }

/** `cut()`: the request has ended; a copy of a body that did not is worth nothing. Idempotent. */
export type Mirror = { cut(): void }

/** One per gateway. */
export class Mirrors {
  readonly #forwarder: Forwarder
  readonly #budget: Budget
  readonly #open = new Set<Copy>()

  constructor(forwarder: Forwarder, limits: MirrorLimits = LIMITS) {
    this.#forwarder = forwarder
    this.#budget = { limits, behind: 0 }
  }

  /** Copies under way. */
  get size(): number {
    return this.#open.size
  }

  /**
   * Sends a copy; its body is read from `request.body` as that flows, and never makes it flow. null: too many are under
   * way (counted as cancelled). `timeoutMs`: from the end of the request, null: the default.
   */
  send(cluster: UpstreamCluster, request: OutgoingRequest, timeoutMs: number | null): Mirror | null {
    if (this.#open.size >= this.#budget.limits.underWay) {
      cluster.stats.upstream_rq_cancelled += 1
      return null
    }
    const copy = new Copy(request, timeoutMs, this.#budget, () => this.#open.delete(copy))
    this.#open.add(copy)
    copy.send(this.#forwarder, cluster)
    return copy
  }

  /** The gateway ends: nothing waits for copies. */
  destroy(): void {
    for (const copy of [...this.#open]) copy.end()
  }
}

class Copy implements Mirror {
  readonly #request: OutgoingRequest
  readonly #timeoutMs: number
  readonly #maxAnswer: number
  readonly #body: BodyCopy | null
  readonly #onEnd: () => void
  #handle: ForwardHandle | null = null
  #timer: NodeJS.Timeout | null = null
  #ended = false

  constructor(request: OutgoingRequest, timeoutMs: number | null, budget: Budget, onEnd: () => void) {
    const { limits } = budget
    this.#request = request
    this.#timeoutMs = Math.min(timeoutMs === null || timeoutMs === 0 ? limits.timeoutMs : timeoutMs, MAX_TIMER_MS)
    this.#maxAnswer = limits.answer
    this.#onEnd = onEnd
    this.#body = request.body === null ? null : new BodyCopy(request.body, budget)
  }

  send(forwarder: Forwarder, cluster: UpstreamCluster): void {
    const body = this.#body
    // Too far behind, or the original broke off: delivery lets the upstream go by itself.
    body?.once('error', () => this.end())
    this.#handle = forwarder.send(
      cluster,
      { ...this.#request, body },
      { onConnected: () => {}, onResponse: (response) => this.#drop(response), onFailure: () => this.end() },
    )
    if (body === null) this.#arm()
    else body.once('whole', () => this.#arm())
  }

  cut(): void {
    if (this.#body !== null && !this.#body.whole) this.end()
  }

  end(): void {
    if (this.#ended) return
    this.#ended = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#handle?.abort()
    this.#body?.destroy()
    this.#onEnd()
  }

  #arm(): void {
    if (this.#ended) return
    this.#timer = setTimeout(() => this.end(), this.#timeoutMs)
    // Nobody waits for a copy, the end of the process least of all.
    this.#timer.unref()
  }

  #drop({ body }: UpstreamResponse): void {
    if (this.#ended) return void body.destroy()
    let bytes = 0
    body.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes > this.#maxAnswer) this.end()
    })
    body.on('error', () => this.end())
    // A mirror that has answered before it has read everything does not want the rest.
    body.once('end', () => {
      if (this.#body?.readableEnded === false) this.end()
    })
    // By now the connection has been given back, so ending frees nothing that could be used again.
    body.once('close', () => this.end())
  }
}

/** The same bytes again, for a reader that may be slower or gone. Errors when it gets too far behind, or the original is cut. */
class BodyCopy extends Readable {
  readonly #budget: Budget
  readonly #waiting: Buffer[] = []
  #behind = 0
  #hungry = false
  /** All of the original has been seen. */
  whole = false

  constructor(original: Readable, budget: Budget) {
    super()
    this.#budget = budget
    // Not before: a listener for data would set the original flowing, which waits for its own upstream.
    original.once('resume', () => original.on('data', (chunk: Buffer) => this.#take(chunk)))
    original.once('end', () => {
      if (this.destroyed) return
      this.whole = true
      this.emit('whole')
      if (this.#hungry && this.#waiting.length === 0) this.push(null)
    })
    original.once('close', () => {
      if (!this.whole) this.destroy(new Error('the request was cut'))
    })
  }

  #take(chunk: Buffer): void {
    if (this.destroyed) return
    if (this.#hungry) {
      this.#hungry = this.push(chunk)
      return
    }
    this.#behind += chunk.length
    this.#budget.behind += chunk.length
    this.#waiting.push(chunk)
    const { limits, behind } = this.#budget
    if (this.#behind > limits.behind || behind > limits.allBehind) this.destroy(new Error('too far behind'))
  }

  override _read(): void {
    this.#hungry = true
    while (this.#hungry && this.#waiting.length > 0) {
      const chunk = this.#waiting.shift() as Buffer
      this.#behind -= chunk.length
      this.#budget.behind -= chunk.length
      this.#hungry = this.push(chunk)
    }
    if (this.whole && this.#waiting.length === 0 && this.#hungry) this.push(null)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#budget.behind -= this.#behind
    this.#behind = 0
    this.#waiting.length = 0
    done(error)
  }
}
