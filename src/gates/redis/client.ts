/**
 * The only place that knows ioredis (decision 0013): a client that never queues while there is no connection, never sends
 * a command twice, and comes back by itself, with a password that is read again at every connection.
 */
import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'
import { Cluster, type ClusterOptions, Redis, type RedisOptions } from 'ioredis'
import type { RedisSettings } from '../../model/redis.ts'

/** What we use of a client. */
export type RedisClient = {
  /** Rejects at once without a connection, later with what the server or the connection says. */
  call(command: string, args: readonly string[]): Promise<unknown>
  /** Calls back for every message on the channel, also after reconnections. */
  subscribe(channel: string, onMessage: (message: string) => void): void
  /** There is a connection, and its greeting is not answered. */
  readonly stuck: boolean
  /** Closes the connection and opens a new one: whatever was unanswered is rejected. */
  reconnect(): void
  /** For good. Idempotent. */
  close(): void
}

export type ClientEvents = {
  /** Commands can be sent (again). */
  readonly ready: () => void
  /** They cannot any more. May be called several times for one loss. */
  readonly lost: (error: Error) => void
}

const MAX_BACKOFF_MS = 1000

/** Grows to a second, with jitter, so that many gateways do not come back in one moment. */
function backoff(attempt: number): number {
  const ceiling = Math.min(MAX_BACKOFF_MS, 50 * 2 ** Math.min(attempt, 10))
  return ceiling / 2 + Math.random() * (ceiling / 2)
}

/** Of one server, whoever it is; a Cluster's nodes as well. */
type CommonOptions = NonNullable<ClusterOptions['redisOptions']> & { replyMapping: 'legacy' }

/** Opens a connection in the background. @throws an Error naming the file when a password or TLS file cannot be read */
export function createRedisClient(settings: RedisSettings, events: ClientEvents): RedisClient {
  const tls = tlsOptions(settings)
  const options: CommonOptions = {
    // RESP2 is spoken by every server and proxy there is, Redis 5 included; nothing here needs more.
    protocol: 2,
    replyMapping: 'legacy',
    lazyConnect: true,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: settings.connectTimeoutMs,
    keepAlive: 10_000,
    disableClientInfo: true,
    // A primary that became a replica: ask again who is the primary now.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
    ...credentials(settings),
    ...(tls === null ? {} : { tls }),
  }
  const client = settings.mode === 'cluster' ? cluster(settings, options) : single(settings, options, tls)
  let closed = false
  let ends = 0
  let revival: NodeJS.Timeout | null = null
  const connect = (): void => void client.connect().catch((error: unknown) => events.lost(error as Error))
  // Of a connection that stands, an error is not the end: that comes as `close`.
  client.on('error', (error: Error) => {
    if (client.status !== 'ready') events.lost(error)
  })
  client.on('close', () => events.lost(new Error('the connection was closed')))
  client.on('ready', () => {
    ends = 0
    events.ready()
  })
  // ioredis gives up for good when a Sentinel tells of a new primary while it is connecting: its connector takes its own
  // disconnection for an order.
  client.on('end', () => {
    if (closed || revival !== null) return
    ends += 1
    revival = setTimeout(() => {
      revival = null
      connect()
    }, backoff(ends)).unref()
  })
  connect()
  return {
    call: async (command, args) => client.call(command, ...args),
    subscribe(channel, onMessage) {
      client.on('message', (from: string, message: string) => {
        if (from === channel) onMessage(message)
      })
      // ioredis renews what it has subscribed to; the first time there may be no connection yet.
      const ask = () => void client.subscribe(channel).catch(() => undefined)
      client.on('ready', ask)
      if (client.status === 'ready') ask()
    },
    get stuck() {
      return client.status === 'connect'
    },
    reconnect: () => client.disconnect(true),
    close() {
      closed = true
      if (revival !== null) clearTimeout(revival)
      client.disconnect()
    },
  }
}

type Auth = { username?: string; password?: string }

function credentials(settings: RedisSettings): Auth {
  const { username, passwordFile } = settings
  const password = passwordFile === null ? settings.password : readSecret(passwordFile)
  return { ...(username === null ? {} : { username }), ...(password === null ? {} : { password }) }
}

/** Its last newline is an editor's. */
function readSecret(file: string): string {
  return readFileSync(file, 'utf8').replace(/\r?\n$/, '')
}

function tlsOptions({ tls }: RedisSettings): ConnectionOptions | null {
  if (tls === null) return null
  const { ca, cert, key, serverName } = tls
  return {
    ...(ca === null ? {} : { ca: readFileSync(ca) }),
    ...(cert === null ? {} : { cert: readFileSync(cert) }),
    ...(key === null ? {} : { key: readFileSync(key) }),
    ...(serverName === null ? {} : { servername: serverName }),
  }
}

function single(settings: RedisSettings, options: CommonOptions, tls: ConnectionOptions | null): Redis {
  const [node] = settings.nodes
  const where =
    settings.master === null
      ? { host: node?.host ?? '', port: node?.port ?? 0 }
      : {
          sentinels: settings.nodes.map(({ host, port }) => ({ host, port })),
          name: settings.master,
          ...(settings.sentinelUsername === null ? {} : { sentinelUsername: settings.sentinelUsername }),
          ...(settings.sentinelPasswordFile === null
            ? {}
            : { sentinelPassword: readSecret(settings.sentinelPasswordFile) }),
          ...(tls === null ? {} : { enableTLSForSentinelMode: true, sentinelTLS: tls }),
          sentinelRetryStrategy: backoff,
          sentinelReconnectStrategy: backoff,
          sentinelCommandTimeout: settings.connectTimeoutMs,
          failoverDetector: true,
        }
  const whole: RedisOptions & { replyMapping: 'legacy' } = {
    ...options,
    ...where,
    enableOfflineQueue: false,
    db: settings.db,
    retryStrategy: (attempt) => {
      renew(client.options, settings)
      return backoff(attempt)
    },
  }
  const client: Redis = new Redis(whole)
  return client
}

/** A rotated password counts from the next connection on; a file that is just being replaced leaves the old one. */
function renew(options: object, settings: RedisSettings): void {
  try {
    Object.assign(options, credentials(settings))
  } catch {}
}

function cluster(settings: RedisSettings, options: CommonOptions): Cluster {
  return new Cluster(
    settings.nodes.map(({ host, port }) => ({ host, port })),
    {
      lazyConnect: true,
      enableOfflineQueue: false,
      // A question waits for milliseconds, not for a failover.
      maxRedirections: 3,
      retryDelayOnFailover: 50,
      retryDelayOnClusterDown: 50,
      slotsRefreshTimeout: settings.connectTimeoutMs,
      clusterRetryStrategy: (attempt) => {
        renew(options, settings)
        return backoff(attempt)
      },
      clusterNodeRetryStrategy: backoff,
      redisOptions: options,
      // With TLS, nodes are known by name.
      ...(options.tls === undefined
        ? {}
        : { dnsLookup: (name: string, done: (error: null, address: string) => void) => done(null, name) }),
    },
  )
}
