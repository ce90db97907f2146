/**
 * Two-way copy between two streams: back-pressure and half-close both ways, one idle limit, one age limit, byte counts.
 * Both streams must keep half-open (`allowHalfOpen`) and have error listeners; this owns their end.
 */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'

/** Why a copy ended. `down` is the caller's side, `up` the outside. */
export type SpliceEnd = 'finished' | 'down-failed' | 'up-failed' | 'idle' | 'max-duration' | 'closed'

export type SpliceLimits = {
  /** No byte in either direction for this long, milliseconds; 0: no limit. */
  readonly idleMs: number
  /** Age of the copy, milliseconds; 0: no limit. */
  readonly maxMs: number
}

/** Node's timers overflow beyond this. */
const MAX_TIMER_MS = 2 ** 31 - 1

export class Splice {
  /** Bytes read from the caller's side and from the outside. */
  bytesUp = 0
  bytesDown = 0
  readonly #down: Duplex
  readonly #up: Duplex
  readonly #onEnd: (why: SpliceEnd) => void
  #idle: NodeJS.Timeout | null = null
  #age: NodeJS.Timeout | null = null
  #seen = -1
  #open = 2
  #why: SpliceEnd = 'finished'

  /** Starts copying. `onEnd` is called once, when both sides have closed. */
  constructor(down: Duplex, up: Duplex, limits: SpliceLimits, onEnd: (why: SpliceEnd) => void) {
    this.#down = down
    this.#up = up
    this.#onEnd = onEnd
    this.#copy(down, up, (count) => (this.bytesUp += count))
    this.#copy(up, down, (count) => (this.bytesDown += count))
    down.once('error', () => this.end('down-failed'))
    up.once('error', () => this.end('up-failed'))
    down.once('close', () => this.#closed(up))
    up.once('close', () => this.#closed(down))
    if (limits.idleMs > 0) this.#watchIdle(Math.min(limits.idleMs, MAX_TIMER_MS))
    if (limits.maxMs > 0) this.#age = setTimeout(() => this.end('max-duration'), Math.min(limits.maxMs, MAX_TIMER_MS))
    if (down.destroyed || up.destroyed) this.end('closed')
  }

  /** Ends both sides now. The first reason given is the one reported. */
  end(why: SpliceEnd): void {
    if (this.#why === 'finished') this.#why = why
    if (why === 'up-failed') abort(this.#down)
    else this.#down.destroy()
    if (why === 'down-failed') abort(this.#up)
    else this.#up.destroy()
  }

  #copy(from: Duplex, to: Duplex, count: (bytes: number) => void): void {
    from.on('data', (chunk: Buffer) => {
      count(chunk.length)
      if (!to.write(chunk)) from.pause()
    })
    to.on('drain', () => from.resume())
    // FIN goes on as FIN; the other direction stays open until its own end.
    from.once('end', () => to.end())
  }

  /** A side that went away without having ended takes the other with it; after a clean end the other may still drain. */
  #closed(other: Duplex): void {
    this.#open -= 1
    if (this.#open > 0) {
      if (!other.destroyed && !(other.writableEnded && other.readableEnded)) {
        if (other.writableLength > 0) other.end(() => other.destroy())
        else other.destroy()
      }
      return
    }
    if (this.#idle !== null) clearTimeout(this.#idle)
    if (this.#age !== null) clearTimeout(this.#age)
    this.#onEnd(this.#why)
  }

  /** One timer per tunnel, not one per chunk: it looks whether anything has moved since it was set. */
  #watchIdle(idleMs: number): void {
    this.#seen = this.bytesUp + this.bytesDown
    this.#idle = setTimeout(() => {
      if (this.bytesUp + this.bytesDown === this.#seen) this.end('idle')
      else this.#watchIdle(idleMs)
    }, idleMs)
  }
}

/**
 * What was cut on one side must not look like a clean end on the other: RST is passed on as RST, as Envoy does since 1.28.
 * TLS tells by the close_notify that is missing.
 */
function abort(side: Duplex): void {
  if (side instanceof Socket && !(side instanceof TLSSocket) && !side.destroyed) side.resetAndDestroy()
  else side.destroy()
}
