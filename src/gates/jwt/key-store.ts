/** Key sources by what they are fetched from: a reload goes on with the keys that are there. */
import { readFileSync } from 'node:fs'
import { getCACertificates } from 'node:tls'
import { CredentialLoader } from '../../identity/credential-loader.ts'
import type { Settings } from '../../model/settings.ts'
import type { TokenRuleModel } from '../../model/token.ts'
import type { Log } from '../../observe/log.ts'
import type { TokenKeyState } from '../../observe/metrics/tokens.ts'
import { createDocumentFetcher, type FetchDocument } from './fetch.ts'
import { type KeySet, parseKeySet } from './key-set.ts'
import { type KeySource, RemoteKeys, type RemoteSource } from './remote-keys.ts'

/** How documents are come by, and what that was made from. */
type Fetcher = { readonly key: string; readonly fetchDocument: FetchDocument }

export class KeyStore {
  readonly #log: Log
  readonly #isSelf: (address: string, port: number) => boolean
  /** By place, timeout and fetcher. */
  #remote: ReadonlyMap<string, RemoteKeys> = new Map()
  #fetcher: Fetcher | null = null

  constructor(log: Log, isSelf: (address: string, port: number) => boolean) {
    this.#log = log
    this.#isSelf = isSelf
  }

  /** The source of each rule's keys, in their order. Fetching begins at once; sources of no rule are forgotten. */
  use(rules: readonly TokenRuleModel[], settings: Settings): readonly KeySource[] {
    const patience = new Map<string, number>()
    for (const { keys, timeoutMs } of rules) {
      const place = JSON.stringify(keys)
      patience.set(place, Math.max(timeoutMs, patience.get(place) ?? 0))
    }
    const known = this.#remote
    const remote = new Map<string, RemoteKeys>()
    const sources = rules.map(({ keys }) => {
      if (keys.kind === 'inline') return inlineKeys(keys.jwks)
      const place = JSON.stringify(keys)
      const timeoutMs = patience.get(place) as number
      const fetcher = this.#fetcherFor(settings)
      const id = `${place} ${timeoutMs} ${fetcher.key}`
      const source = remote.get(id) ?? known.get(id) ?? this.#open(keys, timeoutMs, fetcher, place)
      remote.set(id, source)
      void source.current()
      return source
    })
    this.#remote = remote
    return sources
  }

  #open(keys: RemoteSource, timeoutMs: number, { fetchDocument }: Fetcher, place: string): RemoteKeys {
    const source = new RemoteKeys(keys, timeoutMs, fetchDocument, this.#log)
    for (const [id, before] of this.#remote) if (id.startsWith(`${place} `)) source.inherit(before)
    return source
  }

  /** Read at scrape. */
  *states(): Generator<TokenKeyState> {
    for (const source of this.#remote.values()) yield source.state()
  }

  #fetcherFor(settings: Settings): Fetcher {
    const key = JSON.stringify([settings.dns, settings.addressGuard])
    if (this.#fetcher?.key !== key) {
      const authorities = () => systemAuthorities(settings)
      this.#fetcher = { key, fetchDocument: createDocumentFetcher(settings, this.#isSelf, authorities) }
    }
    return this.#fetcher
  }
}

/** What the checks of configuration have let pass with a warning may hold no key that can verify. */
function inlineKeys(jwks: string): KeySource {
  let keys: KeySet
  try {
    keys = parseKeySet(jwks)
  } catch {
    keys = { keys: [], text: jwks }
  }
  return { peek: () => keys, current: () => keys, newer: () => Promise.resolve(null) }
}

/** As for upstreams with system CAs; and what NODE_EXTRA_CA_CERTS and SSL_CERT_FILE add. */
function systemAuthorities(settings: Settings): readonly string[] {
  const system = new CredentialLoader(settings, Date.now()).system().map(String)
  const file = process.env['SSL_CERT_FILE'] ?? ''
  return [...system, ...getCACertificates('extra'), ...(file === '' ? [] : [readFileSync(file, 'utf8')])]
}
