/** What makes two connections interchangeable: the key of a pool (architecture §6, after pingora's `HttpPeer`). */
import type { ClusterModel, ConnectionPoolModel } from '../model/cluster.ts'
import type { CallerAddresses } from './forwarder.ts'

/** Everything that makes two connections interchangeable, and nothing else. Times are milliseconds. */
export type PoolIdentity = {
  /** Counters and limits are per cluster, so its name is part of the identity. */
  readonly cluster: string
  readonly address: string
  readonly port: number
  readonly connectTimeoutMs: number
  /** 0: no limit. */
  readonly idleTimeoutMs: number
  /** Requests that one connection may carry; null: any number. */
  readonly maxRequests: number | null
  /** Age at which it is carried no further; 0: no limit. */
  readonly maxDurationMs: number
  /** Silence after which TCP asks whether the other end is still there. */
  readonly keepAliveMs: number
  /** HTTP/2 is spoken on it, with these PINGs. null: anything else. */
  readonly http2: { readonly keepAlive: ConnectionPoolModel['http2KeepAlive'] } | null
  /** Whom the PROXY protocol tells of: nobody else may use the connection. null: it is not spoken. */
  readonly proxy: (CallerAddresses & { readonly version: 'V1' | 'V2' }) | null
  readonly tls: {
    readonly mode: string
    readonly serverName: string | null
    readonly names: readonly string[]
    readonly skipVerify: boolean
    readonly alpn: readonly string[] | null
    /** Hash over CA bundle, client certificate and key. */
    readonly materialHash: string
  } | null
}

/** Structured, never joined strings: no value can be mistaken for two. */
export function poolKey(identity: PoolIdentity): string {
  const { cluster, address, port, tls, proxy, http2 } = identity
  return JSON.stringify([
    cluster,
    address,
    port,
    settingsOf(identity),
    http2 === null ? null : keepAliveKey(http2.keepAlive),
    proxy === null
      ? null
      : [proxy.version, proxy.sourceIp, proxy.sourcePort, proxy.destinationIp, proxy.destinationPort],
    tls === null ? null : [tls.mode, tls.serverName, tls.names, tls.skipVerify, tls.alpn, tls.materialHash],
  ])
}

/** What a DestinationRule says about each connection. */
export type ConnectionSettings = Pick<
  PoolIdentity,
  'connectTimeoutMs' | 'idleTimeoutMs' | 'maxRequests' | 'maxDurationMs' | 'keepAliveMs'
>

/** True when a cluster sends some of its requests over such connections. */
export function speaksOn({ protocol, pool }: ClusterModel, { http2 }: PoolIdentity): boolean {
  if (http2 === null) return protocol !== 'http2'
  return protocol !== 'http1' && keepAliveKey(http2.keepAlive) === keepAliveKey(pool.http2KeepAlive)
}

function keepAliveKey(keepAlive: ConnectionPoolModel['http2KeepAlive']): string {
  return keepAlive === null ? '' : `${keepAlive.intervalMs}/${keepAlive.timeoutMs}`
}

/** The gateway's own; and Linux's default, which Node knows no way to leave alone. */
const KEEP_ALIVE_MS = 30_000
const SYSTEM_KEEP_ALIVE_MS = 7_200_000
/** What TCP_KEEPIDLE takes: whole seconds in 15 bits. */
const MIN_KEEP_ALIVE_MS = 1_000
const MAX_KEEP_ALIVE_MS = 32_767_000
/** A connection that tells of one caller is of no use once that caller has gone, which nobody says here. */
const MAX_CALLER_IDLE_MS = 30_000

/** `idleTimeoutMs`: the gateway's own, where the rule says nothing. */
export function connectionSettings(
  { connectTimeoutMs, pool, proxyProtocol }: ClusterModel,
  idleTimeoutMs: number,
): ConnectionSettings {
  const idle = pool.httpIdleTimeoutMs ?? idleTimeoutMs
  return {
    connectTimeoutMs,
    idleTimeoutMs: proxyProtocol === null ? idle : Math.min(idle || MAX_CALLER_IDLE_MS, MAX_CALLER_IDLE_MS),
    maxRequests: pool.maxRequestsPerConnection,
    maxDurationMs: pool.maxConnectionDurationMs ?? 0,
    keepAliveMs: pool.keepAlive === null ? KEEP_ALIVE_MS : settable(pool.keepAlive.timeMs ?? SYSTEM_KEEP_ALIVE_MS),
  }
}

function settable(keepAliveMs: number): number {
  return Math.min(Math.max(keepAliveMs, MIN_KEEP_ALIVE_MS), MAX_KEEP_ALIVE_MS)
}

export function sameSettings(one: ConnectionSettings, other: ConnectionSettings): boolean {
  return settingsOf(one).every((value, i) => value === settingsOf(other)[i])
}

function settingsOf(settings: ConnectionSettings): readonly (number | null)[] {
  const { connectTimeoutMs, idleTimeoutMs, maxRequests, maxDurationMs, keepAliveMs } = settings
  return [connectTimeoutMs, idleTimeoutMs, maxRequests, maxDurationMs, keepAliveMs]
}
