/**
 * DNS as a component: a bounded cache over `dns.Resolver` that honours TTLs within limits, asks once however many wait,
 * remembers failures briefly and keeps the last good answer for a bounded time when DNS fails (contract §2 dns).
 * Never `dns.lookup`: it ignores TTLs, applies search domains and occupies libuv's four threads.
 */
import { Resolver } from 'node:dns/promises'
import { canonicalHost } from '../core/authority.ts'
import type { Settings } from '../model/settings.ts'

/** Times are milliseconds of the resolver's monotonic clock. An answer never changes: a new one is a new object. */
export type DnsAnswer = {
  readonly name: string
  /** IPv4 first, then IPv6, each in the order of the answer; empty exactly when `failure` is set. */
  readonly addresses: readonly string[]
  /** `ENOTFOUND`, `ENODATA`, `ESERVFAIL`, `ETIMEOUT`, `EBADNAME`, `EOVERLOAD` …; null: an answer. */
  readonly failure: string | null
  readonly expiresAt: number
  /** True: DNS fails at present and this is the last good answer. */
  readonly stale: boolean
}

/** Plain counters, read at scrape. */
export type DnsCounters = { queries: number; failures: number; stale: number; overload: number }

export type NameResolver = {
  /** `name`: a host name, always taken as absolute. Synchronous when the cache can answer; never throws, never rejects. */
  readonly lookup: (name: string) => DnsAnswer | Promise<DnsAnswer>
  readonly counters: DnsCounters
  readonly size: () => number
}

type Entry = {
  good: DnsAnswer | null
  /** The same addresses, marked stale; built once per failure so that its identity is stable. */
  stale: DnsAnswer | null
  failed: DnsAnswer | null
  /** From here on a refresh runs in the background while the answer is still served. */
  refreshAt: number
  pending: Promise<DnsAnswer> | null
}

const MAX_NAMES = 10_000
const MAX_PENDING = 1_000
/** Of one name; more are not dialled. */
const MAX_ADDRESSES = 256
/** How long a refusal (no such name) and a failure (no or broken answer) are remembered. */
const NEGATIVE_MS = 5_000
const FAILURE_MS = 1_000
/** A query that has not ended by then has failed. */
const QUERY_MS = 5_000
/** How long to wait for AAAA once A is there (RFC 8305 §3, with room for slow resolvers). */
const RESOLUTION_DELAY_MS = 200
/** How long a request waits for a refresh when a stale answer would do. */
const STALE_WAIT_MS = 250

/**
 * `now` is a monotonic clock in milliseconds. Throws when a server in `settings.servers` is not `IP` or `IP:port`.
 * `/etc/hosts` is not read: what it says is not what the mesh's DNS says.
 */
export function createNameResolver(settings: Settings['dns'], now: () => number): NameResolver {
  // c-ares retries each server; two tries of a second leave room for a second server within QUERY_MS.
  const dns = new Resolver({ timeout: 1_000, tries: 2 })
  if (settings.servers.length > 0) dns.setServers(settings.servers)
  const entries = new Map<string, Entry>()
  const counters: DnsCounters = { queries: 0, failures: 0, stale: 0, overload: 0 }
  let pending = 0

  const clampTtl = (ms: number): number => Math.min(Math.max(ms, settings.minTtlMs), settings.maxTtlMs)

  const failure = (name: string, code: string): DnsAnswer => {
    const refused = code === 'ENOTFOUND' || code === 'ENODATA'
    const forMs = refused ? clampTtl(NEGATIVE_MS) : FAILURE_MS
    return { name, addresses: [], failure: code, expiresAt: now() + forMs, stale: false }
  }

  /** What may be said although the last look-up failed: the old answer while `staleFor` lasts. */
  const despite = (entry: Entry, failed: DnsAnswer): DnsAnswer => {
    const good = entry.good
    if (good === null) return failed
    // A name that is gone counts as failing DNS too: a flapping resolver must not cut a working upstream (threats 44).
    if (now() >= good.expiresAt + settings.staleForMs) {
      entry.good = null
      entry.stale = null
      return failed
    }
    counters.stale++
    entry.stale ??= { ...good, stale: true }
    return entry.stale
  }

  const refresh = (name: string, entry: Entry): Promise<DnsAnswer> => {
    if (entry.pending !== null) return entry.pending
    if (pending >= MAX_PENDING) {
      counters.overload++
      return Promise.resolve(despite(entry, failure(name, 'EOVERLOAD')))
    }
    pending++
    counters.queries++
    entry.pending = query(dns, name).then((result) => {
      pending--
      entry.pending = null
      if ('failure' in result) {
        counters.failures++
        entry.failed = failure(name, result.failure)
        return despite(entry, entry.failed)
      }
      const ttl = clampTtl(result.ttlMs)
      const at = now()
      entry.good = { name, addresses: result.addresses, failure: null, expiresAt: at + ttl, stale: false }
      entry.stale = null
      entry.failed = null
      // A name in use is refreshed ahead of time, so that no request waits for it.
      entry.refreshAt = at + ttl - Math.min(ttl / 5, 5_000)
      return entry.good
    })
    return entry.pending
  }

  const lookup = (name: string): DnsAnswer | Promise<DnsAnswer> => {
    let entry = entries.get(name)
    if (entry === undefined) {
      const host = canonicalHost(name)
      if (host === null || host.isIp) return failure(name, 'EBADNAME')
      entry = { good: null, stale: null, failed: null, refreshAt: 0, pending: null }
      if (entries.size >= MAX_NAMES) evict(entries)
      entries.set(name, entry)
    }
    const at = now()
    if (entry.failed !== null && at < entry.failed.expiresAt) {
      // While a refresh ahead of time has failed but the answer is still good, it is simply good.
      if (entry.good !== null && at < entry.good.expiresAt) return entry.good
      return despite(entry, entry.failed)
    }
    if (entry.good !== null && at < entry.good.expiresAt) {
      if (at >= entry.refreshAt) void refresh(name, entry)
      return entry.good
    }
    const answer = refresh(name, entry)
    if (entry.good === null || at >= entry.good.expiresAt + settings.staleForMs) return answer
    // A resolver that stalls must not stall the data path while we know an address.
    const current = entry
    return within(answer, STALE_WAIT_MS, () => despite(current, failure(name, 'ETIMEOUT')))
  }

  return { lookup, counters, size: () => entries.size }
}

/** Drops the oldest name that nobody waits for. */
function evict(entries: Map<string, Entry>): void {
  for (const [name, entry] of entries) {
    if (entry.pending !== null) continue
    entries.delete(name)
    return
  }
}

type Found = { readonly addresses: readonly string[]; readonly ttlMs: number } | { readonly failure: string }
type Family = {
  readonly records: readonly { readonly address: string; readonly ttl: number }[]
  readonly failure: string | null
}

/** Both families. A single trailing dot keeps c-ares from ever trying a search domain. Never rejects. */
async function query(dns: Resolver, name: string): Promise<Found> {
  const absolute = `${name}.`
  const v4 = family(dns.resolve4(absolute, { ttl: true }))
  const v6 = family(dns.resolve6(absolute, { ttl: true }))
  const timeout: Family = { records: [], failure: 'ETIMEOUT' }
  const first = await within(v4, QUERY_MS, () => timeout)
  // IPv4 is preferred where there is any, as Istio's default lookup family is; then IPv6 is only a spare.
  const second = await within(v6, first.records.length > 0 ? RESOLUTION_DELAY_MS : QUERY_MS, () => timeout)
  const addresses = new Set<string>()
  let ttl = Number.POSITIVE_INFINITY
  for (const record of [...first.records, ...second.records]) {
    if (addresses.size >= MAX_ADDRESSES) break
    addresses.add(record.address)
    ttl = Math.min(ttl, record.ttl)
  }
  if (addresses.size > 0) return { addresses: [...addresses], ttlMs: ttl * 1_000 }
  // "No such name" only when both families agree; otherwise the failure is what matters.
  const failures = [first.failure, second.failure]
  const broken = failures.find((code) => code !== null && code !== 'ENODATA' && code !== 'ENOTFOUND')
  return { failure: broken ?? (failures.includes('ENOTFOUND') ? 'ENOTFOUND' : 'ENODATA') }
}

async function family(
  records: Promise<readonly { readonly address: string; readonly ttl: number }[]>,
): Promise<Family> {
  try {
    const found = await records
    return { records: found, failure: found.length === 0 ? 'ENODATA' : null }
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'ESERVFAIL'
    return { records: [], failure: code }
  }
}

/** The promise's value, or the fallback's after `ms`. The promise must not reject. */
function within<T>(promise: Promise<T>, ms: number, fallback: () => T): Promise<T> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(fallback()), ms)
    void promise.then((value) => {
      clearTimeout(timer)
      resolve(value)
    })
  })
}
