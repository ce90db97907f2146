/**
 * Keys that are fetched: cached, refreshed behind the back of requests, kept when a refresh fails, asked for again when a
 * token names one that is not there. Nobody waits longer than the rule's timeout, and however many wait, one asks.
 */
import type { KeySourceModel } from '../../model/token.ts'
import type { Log } from '../../observe/log.ts'
import type { TokenKeyState } from '../../observe/metrics/tokens.ts'
import type { FetchDocument } from './fetch.ts'
import { type KeySet, parseKeySet } from './key-set.ts'

export type RemoteSource = Exclude<KeySourceModel, { readonly kind: 'inline' }>

/** Where a gate has its keys from. */
export type KeySource = {
  /** The keys at hand; null: none yet. */
  readonly peek: () => KeySet | null
  /** The keys to verify with, fetched first where there are none or they are old; null: there are none to be had. */
  readonly current: () => KeySet | Promise<KeySet | null>
  /** After a token that no key of `stale` fits: what has changed since. null: nothing, or it was asked for too recently. */
  readonly newer: (stale: KeySet) => Promise<KeySet | null>
}

/** Milliseconds. */
export type KeyTimes = {
  /** PILOT_JWT_PUB_KEY_REFRESH_INTERVAL. Older keys are used while new ones are fetched. */
  readonly refreshMs: number
  /** After that nobody has asked for them for a while: the next one waits for new ones, if they can be had. */
  readonly staleMs: number
  /** Between two fetches that tokens with unknown keys have caused. */
  readonly rotationMs: number
  /** After a failure; doubles up to the other. */
  readonly retryMs: number
  readonly maxRetryMs: number
}

export const KEY_TIMES: KeyTimes = {
  refreshMs: 20 * 60_000,
  staleMs: 60 * 60_000,
  rotationMs: 30_000,
  retryMs: 2_000,
  maxRetryMs: 60_000,
}

export class RemoteKeys implements KeySource {
  readonly #fetchDocument: FetchDocument
  readonly #timeoutMs: number
  readonly #source: RemoteSource
  readonly #log: Log
  readonly #times: KeyTimes
  #keys: KeySet | null = null
  #fetchedAt = Number.NEGATIVE_INFINITY
  #rotatedAt = Number.NEGATIVE_INFINITY
  #notBefore = Number.NEGATIVE_INFINITY
  /** In a row. */
  #failures = 0
  #fetched = 0
  #failed = 0
  #pending: Promise<void> | null = null

  constructor(
    source: RemoteSource,
    timeoutMs: number,
    fetchDocument: FetchDocument,
    log: Log,
    times: KeyTimes = KEY_TIMES,
  ) {
    this.#source = source
    this.#timeoutMs = timeoutMs
    this.#fetchDocument = fetchDocument
    this.#log = log
    this.#times = times
  }

  /** Goes on with what another has fetched from the same place. */
  inherit(other: RemoteKeys): void {
    this.#keys = other.#keys
    this.#fetchedAt = other.#fetchedAt
    this.#rotatedAt = other.#rotatedAt
  }

  peek = (): KeySet | null => this.#keys

  current = (): KeySet | Promise<KeySet | null> => {
    const age = performance.now() - this.#fetchedAt
    // While nothing answers there, nobody waits again and again for what he has.
    if (this.#keys !== null && (age < this.#times.staleMs || this.#failures > 0)) {
      if (age >= this.#times.refreshMs && this.#mayFetch()) void this.#fetch()
      return this.#keys
    }
    if (!this.#mayFetch()) return this.#keys ?? Promise.resolve(null)
    return this.#fetch().then(this.peek)
  }

  newer = async (stale: KeySet): Promise<KeySet | null> => {
    if (this.#keys === stale) {
      const now = performance.now()
      if (this.#pending === null && now - this.#rotatedAt < this.#times.rotationMs) return null
      if (this.#pending === null && !this.#mayFetch()) return null
      if (this.#pending === null) this.#rotatedAt = now
      await this.#fetch()
    }
    return this.#keys === stale ? null : this.#keys
  }

  state(): TokenKeyState {
    return {
      uri: this.#source.kind === 'uri' ? this.#source.uri : this.#source.issuer,
      keys: this.#keys?.keys.length ?? 0,
      ageMs: this.#keys === null ? null : performance.now() - this.#fetchedAt,
      fetched: this.#fetched,
      failed: this.#failed,
    }
  }

  #mayFetch(): boolean {
    return this.#pending !== null || performance.now() >= this.#notBefore
  }

  /** One at a time, however many ask. Never rejects. */
  #fetch(): Promise<void> {
    this.#pending ??= this.#load()
      .then(
        (keys) => this.#succeed(keys),
        (error: unknown) => this.#fail(error instanceof Error ? error.message : String(error)),
      )
      .finally(() => {
        this.#pending = null
      })
    return this.#pending
  }

  async #load(): Promise<KeySet> {
    const startedAt = performance.now()
    const uri = await this.#keysUri()
    const leftMs = Math.max(Math.round(this.#timeoutMs - (performance.now() - startedAt)), 1)
    const text = await this.#fetchDocument(uri, leftMs)
    // Unchanged keys stay the same object: what they have verified stays verified.
    return this.#keys?.text === text ? this.#keys : parseKeySet(text)
  }

  /** OpenID Connect Discovery 1.0 §4.3: the document must be the issuer's own. */
  async #keysUri(): Promise<string> {
    const source = this.#source
    if (source.kind === 'uri') return source.uri
    const document: unknown = JSON.parse(await this.#fetchDocument(source.uri, this.#timeoutMs))
    if (typeof document !== 'object' || document === null) throw new Error('the discovery document is no object')
    const { issuer, jwks_uri: uri } = document as Readonly<Record<string, unknown>>
    if (issuer !== undefined && issuer !== source.issuer)
      throw new Error(`the discovery document is of the issuer ${JSON.stringify(issuer)}`)
    if (typeof uri !== 'string' || !URL.canParse(uri)) throw new Error('the discovery document has no jwks_uri')
    const { protocol } = new URL(uri)
    const downgraded = protocol !== 'https:' && source.uri.startsWith('https:')
    if (downgraded || !['http:', 'https:'].includes(protocol))
      throw new Error(`the discovery document leads to ${protocol} (${uri})`)
    return uri
  }

  #succeed(keys: KeySet): void {
    this.#fetched += 1
    if (this.#failures > 0 || this.#keys !== keys)
      this.#log.info('keys for tokens fetched', { uri: this.#source.uri, keys: keys.keys.length })
    this.#keys = keys
    this.#fetchedAt = performance.now()
    this.#failures = 0
    this.#notBefore = Number.NEGATIVE_INFINITY
  }

  #fail(error: string): void {
    this.#failed += 1
    const { retryMs, maxRetryMs } = this.#times
    this.#notBefore = performance.now() + Math.min(retryMs * 2 ** this.#failures, maxRetryMs)
    this.#failures += 1
    this.#log.warning('keys for tokens could not be fetched', {
      uri: this.#source.uri,
      error,
      kept: this.#keys === null ? 'none: tokens are refused' : 'the last good ones',
    })
  }
}
