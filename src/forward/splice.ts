/**
 * Two-way copy between two streams: back-pressure and half-close both ways, one idle limit, one age limit, byte counts.
 * Both streams must keep half-open (`allowHalfOpen`) and have error listeners; this owns their end.
 */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { BulkReader } from './bulk-reader.ts'
import { StreamCopy } from './stream-copy.ts'

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
  /** Closes by itself, by RST, and must not be destroyed before. */
  #resetting: Duplex | null = null

  /** Starts copying. `onEnd` is called once, when both sides have closed. `upReader`: must read `up`, if there is one. */
  constructor(
    down: Duplex,
    up: Duplex,
    limits: SpliceLimits,
    onEnd: (why: SpliceEnd) => void,
    upReader: BulkReader | null = null,
  ) {
    this.#down = down
    this.#up = up
    this.#onEnd = onEnd
    new StreamCopy(down, up, (count) => (this.bytesUp += count))
    const countDown = (count: number) => (this.bytesDown += count)
    if (upReader === null) new StreamCopy(up, down, countDown)
    else upReader.start(down, countDown)
    // FIN goes on as FIN; the other direction stays open until its own end.
    down.once('end', () => up.end())
    up.once('end', () => down.end())
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
    this.#stop(this.#down, why === 'up-failed')
    this.#stop(this.#up, why === 'down-failed')
  }

  /**
   * `reset`: what was cut on one side must not look like a clean end on the other. RST is passed on as RST, as Envoy does
   * since 1.28; TLS tells by the close_notify that is missing.
   */
  #stop(side: Duplex, reset: boolean): void {
    if (side === this.#resetting) return
    // After our FIN there can be no RST: libuv refuses it, and Node would never close the socket.
    if (!reset || !(side instanceof Socket) || side instanceof TLSSocket || side.destroyed || side.writableEnded) {
      side.destroy()
      return
    }
    const waits = side.writableLength > 0
    side.resetAndDestroy()
    if (waits) side.destroy()
    else this.#resetting = side
  }

  /** A side that went away without having ended takes the other with it; after a clean end the other may still drain. */
  #closed(other: Duplex): void {
    this.#open -= 1
    if (this.#open > 0) {
      if (!other.destroyed && other !== this.#resetting && !(other.writableEnded && other.readableEnded)) {
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
