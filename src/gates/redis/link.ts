/**
 * One process's way to the shared store: every question has a deadline, at most one is left waiting once the store has
 * failed (the probe), and nothing is ever queued. When answers stop, the breaker opens: questions then fail at once,
 * without being sent, until a probe is answered in time.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { RedisSettings } from '../../model/redis.ts'
import type { Log } from '../../observe/log.ts'
import { type ClientEvents, createRedisClient, type RedisClient } from './client.ts'
import { evaluate } from './evaluate.ts'
import { PROBE, type Script, slotOf } from './scripts.ts'

/** Why a question has no answer. */
export type LinkFailure = 'closed' | 'deadline' | 'busy' | 'connection' | 'refused' | 'garbage'

export type LinkState = {
  readonly up: boolean
  /** Questions without an answer since the start, by cause. */
  readonly failures: Readonly<Record<LinkFailure, number>>
  /** How often the breaker has opened. */
  readonly outages: number
  readonly questions: number
}

/** Without an answer. `message` holds what the server or connection said, never a password. */
export class Unanswered extends Error {
  override readonly name = 'Unanswered'
  readonly failure: LinkFailure
  constructor(failure: LinkFailure, message: string) {
    super(message)
    this.failure = failure
  }
}

/** Questions under way at a time; beyond that the store is taken to be too slow for what is asked of it. */
const MAX_UNANSWERED = 1024
/** An outage so soon after a recovery makes the next recovery take longer: up to 16 probe intervals. */
const FLAP_MS = 5000
/** A connection that has not answered anything for so long while the breaker is open is given up. */
const GIVE_UP_MS = 3000

export class RedisLink {
  readonly #settings: RedisSettings
  readonly #log: Log
  readonly #client: RedisClient
  readonly #onUp = new Set<() => void>()
  readonly #failures: Record<LinkFailure, number> = {
    closed: 0,
    deadline: 0,
    busy: 0,
    connection: 0,
    refused: 0,
    garbage: 0,
  }
  /** Not before the first probe: until then there is no store. */
  #up = false
  #everUp = false
  #complained = false
  /** Outages in a row that came soon after the one before: a store that is now just fast enough, now not. */
  #flaps = 0
  #upAt = 0
  #connected = false
  #missed = 0
  #unanswered = 0
  #outages = 0
  #questions = 0
  /** Runs while the breaker is open. */
  #probing: NodeJS.Timeout | null = null
  #probeUnderWay = false
  /** performance.now() of the last sign of life, or of the last attempt to get one. */
  #heardAt = performance.now()
  /** Where it failed last: in a Cluster another node's health says nothing. */
  #slot = 'probe'
  #closed = false

  /** @param connect another client, in tests of the breaker alone */
  constructor(
    settings: RedisSettings,
    log: Log,
    connect: (settings: RedisSettings, events: ClientEvents) => RedisClient = createRedisClient,
  ) {
    this.#settings = settings
    this.#log = log
    this.#client = connect(settings, {
      ready: () => {
        this.#connected = true
        this.#heardAt = performance.now()
        if (!this.#up && this.#flaps === 0) this.#probe()
      },
      lost: (error) => {
        this.#connected = false
        if (this.#closed) return
        if (this.#everUp) this.#trip('connection', error.message)
        else this.#complainOnce(error)
      },
    })
    this.#startProbing()
  }

  get state(): LinkState {
    return { up: this.#up, failures: this.#failures, outages: this.#outages, questions: this.#questions }
  }

  get up(): boolean {
    return this.#up
  }

  /** Called each time the store answers again. */
  onUp(listener: () => void): void {
    this.#onUp.add(listener)
  }

  /**
   * Runs a script over one key. Rejects with Unanswered: at once while the breaker is open, after the deadline at the
   * latest. What was not answered in time may have been done all the same; `late` then gets the answer.
   */
  async ask(
    script: Script,
    key: string,
    args: readonly string[],
    late: ((reply: unknown) => void) | null = null,
  ): Promise<unknown> {
    if (!this.#up) throw this.#unansweredBecause('closed', 'the store is not answering')
    if (this.#unanswered >= MAX_UNANSWERED) throw this.#unansweredBecause('busy', 'too many questions under way')
    this.#questions += 1
    return this.#send(script, key, args, late)
  }

  /** The reply was not what the script gives: this is not our store, or no Redis. */
  garbage(what: string): Unanswered {
    this.#trip('garbage', what)
    return this.#unansweredBecause('garbage', what)
  }

  /** Resolves when the store answers, at the latest after `timeoutMs`. */
  async ready(timeoutMs: number): Promise<void> {
    const until = performance.now() + timeoutMs
    while (!this.#up && performance.now() < until) await delay(5)
  }

  /** Resolves once nothing is under way, at the latest after `timeoutMs`. */
  async quiet(timeoutMs: number): Promise<void> {
    const until = performance.now() + timeoutMs
    while (this.#unanswered > 0 && performance.now() < until) await delay(5)
  }

  /** For good. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#up = false
    if (this.#probing !== null) clearTimeout(this.#probing)
    this.#probing = null
    this.#client.close()
  }

  #unansweredBecause(failure: LinkFailure, message: string): Unanswered {
    this.#failures[failure] += 1
    return new Unanswered(failure, message)
  }

  #send(
    script: Script,
    key: string,
    args: readonly string[],
    late: ((reply: unknown) => void) | null,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      let over = false
      this.#unanswered += 1
      const missed = (): void => {
        if (over) return
        over = true
        this.#slot = slotOf(key)
        this.#missed += 1
        const error = this.#unansweredBecause('deadline', `no answer within ${this.#settings.timeoutMs} ms`)
        if (this.#missed >= this.#settings.breaker.failures) this.#trip('deadline', error.message)
        reject(error)
      }
      // An answer that has arrived while this process was busy counts: sockets are read between the timer and this.
      const timer = setTimeout(() => setImmediate(missed), this.#settings.timeoutMs)
      const settled = (): boolean => {
        this.#unanswered -= 1
        clearTimeout(timer)
        const inTime = !over
        over = true
        return inTime
      }
      evaluate(this.#client, script, key, args).then(
        (reply) => {
          this.#heardAt = performance.now()
          if (settled()) {
            this.#missed = 0
            resolve(reply)
          } else late?.(reply)
        },
        (error: unknown) => {
          const message = error instanceof Error ? error.message : String(error)
          // Servers begin their refusals with a word in capitals: READONLY, OOM, LOADING, NOAUTH, CLUSTERDOWN …
          const failure = /^-?[A-Z]{2,}\b/.test(message) ? 'refused' : 'connection'
          if (failure === 'refused') this.#heardAt = performance.now()
          if (!settled()) return
          this.#slot = slotOf(key)
          this.#trip(failure, message)
          reject(this.#unansweredBecause(failure, message))
        },
      )
    })
  }

  #trip(failure: LinkFailure, message: string): void {
    if (!this.#up) return
    this.#up = false
    this.#outages += 1
    this.#flaps = performance.now() - this.#upAt < FLAP_MS ? Math.min(this.#flaps + 1, 4) : 0
    this.#heardAt = performance.now()
    // Once per outage: what follows is the same outage.
    this.#log.error('the shared store does not answer: limits act as onStoreFailure says', {
      store: 'redis',
      cause: failure,
      error: message,
    })
    this.#startProbing()
  }

  #startProbing(): void {
    if (this.#probing !== null || this.#closed) return
    const every = this.#settings.breaker.probeIntervalMs * 2 ** this.#flaps
    // Jitter: gateways that lost it together must not all knock together.
    const next = (): NodeJS.Timeout =>
      setTimeout(
        () => {
          this.#probing = null
          if (this.#up || this.#closed) return
          this.#probe()
          this.#probing = next()
        },
        every * (0.75 + Math.random() * 0.5),
      ).unref()
    this.#probing = next()
  }

  /** Writes, since a replica or a full server would answer reads; one at a time, so that nothing piles up. */
  #probe(): void {
    if ((this.#connected || this.#client.stuck) && performance.now() - this.#heardAt > GIVE_UP_MS) {
      this.#heardAt = performance.now()
      this.#client.reconnect()
      return
    }
    if (!this.#connected || this.#probeUnderWay) return
    this.#probeUnderWay = true
    const askedAt = performance.now()
    evaluate(this.#client, PROBE, `${this.#settings.keyPrefix}:{${this.#slot}}:probe`, [])
      .then((reply) => {
        this.#heardAt = performance.now()
        if (reply === PROBE.reply && performance.now() - askedAt <= this.#settings.timeoutMs) this.#answered()
      })
      .catch((error: unknown) => {
        if (error instanceof Error && /^[A-Z]{2,}\b/.test(error.message)) this.#heardAt = performance.now()
        if (!this.#everUp) this.#complainOnce(error)
      })
      .finally(() => {
        this.#probeUnderWay = false
      })
  }

  #answered(): void {
    if (this.#up || this.#closed) return
    this.#up = true
    this.#upAt = performance.now()
    this.#missed = 0
    if (this.#probing !== null) clearTimeout(this.#probing)
    this.#probing = null
    this.#log.info(this.#everUp ? 'the shared store answers again' : 'the shared store answers', { store: 'redis' })
    this.#everUp = true
    for (const listener of this.#onUp) listener()
  }

  /** A store that never answered is no outage that began; it is said once all the same. */
  #complainOnce(error: unknown): void {
    if (this.#complained) return
    this.#complained = true
    this.#log.error('the shared store does not answer: limits act as onStoreFailure says', {
      store: 'redis',
      cause: 'start',
      error: error instanceof Error ? error.message : String(error),
    })
  }
}
