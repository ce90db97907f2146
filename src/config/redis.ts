/**
 * `spec.redis` of the bootstrap: where gateways share limits and blocks. Its addresses are the operator's own word: like
 * the gateway's own files, and unlike what resources name, they are not subject to the address guard.
 */
import { isIP } from 'node:net'
import { z } from 'zod'
import type { SourceRef } from '../core/attributes.ts'
import type { RedisNode, RedisSettings, RedisTls } from '../model/redis.ts'
import type { Report } from './resource.ts'
import { duration, int, text } from './schema.ts'

const DEFAULT_PORT = 6379
const SENTINEL_PORT = 26_379

const filePath = text.min(1)
const between = (shortest: number, longest: number, words: string) =>
  duration.refine((ms) => ms >= shortest && ms <= longest, words)

/** `host`, `host:port`, `[v6]:port`. The value is not in the message: somebody may have put a password into it. */
const node = text.refine((value) => parseNode(value, 1) !== null, 'must be HOST, HOST:PORT or [IPv6]:PORT')
const nodes = z.array(node).min(1, 'must name at least one node')

/** Of `spec.redis`; closed. Exactly one of url, sentinel and cluster (`lowerRedis`). */
export const REDIS = z.object({
  url: text
    .refine((value) => parseUrl(value) !== null, 'must be redis://HOST:PORT/DB or rediss://… (TLS), without a query')
    .optional(),
  sentinel: z
    .object({
      master: text.min(1),
      nodes,
      username: text.min(1).optional(),
      passwordFile: filePath.optional(),
    })
    .optional(),
  cluster: z.object({ nodes }).optional(),
  db: int(0, 65_535).optional(),
  username: text.min(1).optional(),
  passwordFile: filePath.optional(),
  tls: z
    .object({
      ca: filePath.optional(),
      cert: filePath.optional(),
      key: filePath.optional(),
      serverName: text.min(1).optional(),
    })
    .optional(),
  keyPrefix: text
    .regex(/^[A-Za-z0-9:._-]{1,64}$/, 'must be 1 to 64 letters, digits, colons, dots, dashes, underscores')
    .default('sallyport'),
  timeout: between(1, 1000, 'must be 1ms to 1s').prefault('20ms'),
  connectTimeout: between(50, 60_000, 'must be 50ms to 1m').prefault('1s'),
  breaker: z
    .object({
      failures: int(1, 1000).default(3),
      probeInterval: between(50, 60_000, 'must be 50ms to 1m').prefault('250ms'),
    })
    .prefault({}),
  leases: z
    .object({
      max: int(1, 10_000).default(50),
      share: int(1, 100).default(2),
      ttl: between(50, 10_000, 'must be 50ms to 10s').prefault('1s'),
    })
    .prefault({}),
})

type RedisSpec = z.infer<typeof REDIS>
type At = (...path: (string | number)[]) => SourceRef

/** `host:port`; null: none. Names are whatever the system resolves. */
function parseNode(value: string, defaultPort: number): RedisNode | null {
  if (isIP(value) === 6) return { host: value, port: defaultPort }
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(value)
  if (match === null) return null
  const [, v6, name, digits] = match
  const port = digits === undefined ? defaultPort : Number(digits)
  if (port < 1 || port > 65_535 || (v6 !== undefined && isIP(v6) !== 6)) return null
  return { host: v6 ?? name ?? '', port }
}

type ParsedUrl = {
  readonly node: RedisNode
  readonly tls: boolean
  readonly db: number | null
  readonly username: string | null
  readonly password: string | null
}

function parseUrl(value: string): ParsedUrl | null {
  let url: URL
  try {
    url = new URL(value)
  } catch {
    return null
  }
  if ((url.protocol !== 'redis:' && url.protocol !== 'rediss:') || url.search !== '' || url.hash !== '') return null
  const found = parseNode(url.host, DEFAULT_PORT)
  const db = /^\/?(\d{0,5})$/.exec(url.pathname)
  if (found === null || db === null) return null
  try {
    return {
      node: found,
      tls: url.protocol === 'rediss:',
      db: db[1] === '' || db[1] === undefined ? null : Number(db[1]),
      username: url.username === '' ? null : decodeURIComponent(url.username),
      password: url.password === '' ? null : decodeURIComponent(url.password),
    }
  } catch {
    return null
  }
}

/** What the fields mean together; null: reported, or there is none. `at` is below `spec.redis`. */
export function lowerRedis(
  spec: RedisSpec | undefined,
  at: At,
  report: Report,
  resolve: (given: string) => string,
): RedisSettings | null {
  if (spec === undefined) return null
  const { url, sentinel, cluster } = spec
  const chosen = (['url', 'sentinel', 'cluster'] as const).filter((name) => spec[name] !== undefined)
  if (chosen.length !== 1) {
    const message =
      chosen.length === 0 ? 'spec.redis names no server' : `spec.redis has ${chosen.join(' and ')}: which one counts?`
    report('SP8100', at(...chosen.slice(1, 2)), message, { fix: 'write exactly one of url, sentinel and cluster' })
    return null
  }
  const parsed = url === undefined ? null : parseUrl(url)
  checkTogether(spec, parsed, at, report)
  const path = (given: string | undefined) => (given === undefined ? null : resolve(given))
  return {
    mode: sentinel !== undefined ? 'sentinel' : cluster !== undefined ? 'cluster' : 'standalone',
    nodes:
      parsed !== null
        ? [parsed.node]
        : (sentinel?.nodes ?? cluster?.nodes ?? [])
            .map((each) => parseNode(each, sentinel === undefined ? DEFAULT_PORT : SENTINEL_PORT))
            .filter((each) => each !== null),
    master: sentinel?.master ?? null,
    db: spec.db ?? parsed?.db ?? 0,
    username: spec.username ?? parsed?.username ?? null,
    password: parsed?.password ?? null,
    passwordFile: path(spec.passwordFile),
    sentinelUsername: sentinel?.username ?? null,
    sentinelPasswordFile: path(sentinel?.passwordFile),
    tls: lowerTls(spec, parsed, path),
    keyPrefix: spec.keyPrefix,
    timeoutMs: spec.timeout,
    connectTimeoutMs: spec.connectTimeout,
    breaker: { failures: spec.breaker.failures, probeIntervalMs: spec.breaker.probeInterval },
    leases: { max: spec.leases.max, share: spec.leases.share, ttlMs: spec.leases.ttl },
  }
}

function lowerTls(
  { tls }: RedisSpec,
  parsed: ParsedUrl | null,
  path: (given: string | undefined) => string | null,
): RedisTls | null {
  if (tls === undefined && parsed?.tls !== true) return null
  return { ca: path(tls?.ca), cert: path(tls?.cert), key: path(tls?.key), serverName: tls?.serverName ?? null }
}

function checkTogether(spec: RedisSpec, parsed: ParsedUrl | null, at: At, report: Report): void {
  const { tls } = spec
  if (parsed !== null && !parsed.tls && tls !== undefined)
    report('SP8101', at('tls'), 'spec.redis has tls, but its url is redis://, which is plaintext', {
      fix: 'write rediss:// in the url',
    })
  if (tls !== undefined && (tls.cert === undefined) !== (tls.key === undefined))
    report('SP8101', at('tls'), 'spec.redis.tls has one of cert and key; a client certificate needs both')
  for (const name of ['username', 'db'] as const) {
    const inUrl = parsed?.[name] ?? null
    if (spec[name] !== undefined && inUrl !== null && inUrl !== spec[name])
      report('SP8101', at(name), `spec.redis.${name} is not the one in spec.redis.url`, { fix: 'write it once' })
  }
  if (parsed !== null && parsed.password !== null && spec.passwordFile !== undefined)
    report('SP8101', at('passwordFile'), 'spec.redis has a password in its url and a passwordFile', {
      fix: 'take it out of the url',
    })
  else if (parsed !== null && parsed.password !== null)
    report('SP8102', at('url'), 'a password stands in the bootstrap file', {
      fix: 'put it into a file of its own and name that in spec.redis.passwordFile',
    })
  if (spec.cluster !== undefined && spec.db !== undefined && spec.db !== 0)
    report('SP8101', at('db'), 'a Redis Cluster has only database 0')
}
