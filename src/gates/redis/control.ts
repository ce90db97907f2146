/**
 * What operators ask of the shared store, and what is read of it in the background: few questions, on a connection of
 * their own, with a deadline of seconds. A store that is too slow for limits still carries a kill switch.
 */
import type { RedisSettings } from '../../model/redis.ts'
import { createRedisClient, type RedisClient } from './client.ts'
import { evaluate } from './evaluate.ts'
import type { Script } from './scripts.ts'

const DEADLINE_MS = 2000
/** Waiting does not help. */
const REFUSED = /^(?:NOAUTH|WRONGPASS|NOPERM)\b/

export class ControlLink {
  readonly #client: RedisClient
  readonly #onReady = new Set<() => void>()
  #ready = false
  #lastError: Error = new Error('not connected yet')
  #onRefused: (error: Error) => void = () => undefined

  constructor(settings: RedisSettings) {
    this.#client = createRedisClient(settings, {
      ready: () => {
        this.#ready = true
        for (const listener of this.#onReady) listener()
      },
      lost: (error) => {
        this.#ready = false
        // What a close says is less than what came before it.
        if (error.message !== 'the connection was closed') this.#lastError = error
        if (REFUSED.test(error.message)) this.#onRefused(error)
      },
    })
  }

  /** Called at every (re)connection. */
  onReady(listener: () => void): void {
    this.#onReady.add(listener)
    if (this.#ready) listener()
  }

  /** Waits for a connection. @throws an Error with what is wrong after `timeoutMs` */
  async ready(timeoutMs: number): Promise<void> {
    if (this.#ready) return
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const timer = setTimeout(() => reject(this.#lastError), timeoutMs)
    this.onReady(resolve)
    this.#onRefused = reject
    try {
      await promise
    } finally {
      clearTimeout(timer)
      this.#onReady.delete(resolve)
    }
  }

  /** Rejects with what the server or the connection says, or after two seconds; then the connection is given up. */
  async ask(script: Script, key: string, args: readonly string[]): Promise<unknown> {
    const { promise, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(() => {
      reject(new Error(`Redis has not answered for ${DEADLINE_MS} ms`))
      this.#client.reconnect()
    }, DEADLINE_MS)
    const answer = evaluate(this.#client, script, key, args)
    try {
      return await Promise.race([answer, promise])
    } finally {
      clearTimeout(timer)
      answer.catch(() => undefined)
    }
  }

  /** For good. Idempotent. */
  close(): void {
    this.#client.close()
  }
}

/** A connection that only listens. `onSubscribed`: (again), so what was said meanwhile has been missed. */
export function listenTo(
  settings: RedisSettings,
  channel: string,
  onMessage: () => void,
): { close(): void; recover(): void } {
  const client = createRedisClient(settings, { ready: onMessage, lost: () => undefined })
  client.subscribe(channel, onMessage)
  return { close: () => client.close(), recover: () => client.reconnect() }
}
