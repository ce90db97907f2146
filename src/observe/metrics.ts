/**
 * Everything that is counted, behind one object: `record` per request, `prometheus` per scrape, `stats` for the admin
 * port. A record costs a few map lookups and additions; names, labels and text are made at scrape.
 */
import type { Reason } from '../core/reasons.ts'
import type { ListenerStats } from '../core/stats.ts'
import { VERSION } from '../core/version.ts'
import type { MetricOverride } from '../model/telemetry.ts'
import { type EnvoySources, envoyStats, registerEnvoy } from './metrics/envoy.ts'
import { newRegistry, renderRegistry } from './metrics/family.ts'
import { IstioMetrics } from './metrics/istio.ts'
import { type LimitSources, registerLimits } from './metrics/limits.ts'
import { type CallerCount, RequestMetrics } from './metrics/own.ts'
import { registerShared, type SharedSources } from './metrics/shared.ts'
import { registerState, type StateSources } from './metrics/state.ts'
import { registerTokens, type TokenKeyState } from './metrics/tokens.ts'
import { RecentRecords } from './recent-records.ts'
import type { ExchangeRecord } from './record.ts'

export type MetricsSources = Omit<StateSources, 'buildVersion'> & {
  readonly listeners: () => Iterable<ListenerStats>
  /** Absent: no families of limits. */
  readonly limits?: LimitSources
  /** Absent: nothing is shared, nothing blocked. */
  readonly shared?: SharedSources
  /** Absent: no families of keys. */
  readonly tokenKeys?: () => Iterable<TokenKeyState>
  readonly gatewayName: string
  readonly gatewayNamespace: string
  /** Default: the version of this build. */
  readonly buildVersion?: string
}

type StatsOptions = {
  /** Which names to print; null: all. Must not be a backtracking expression: the text comes from outside. */
  readonly filter: ((name: string) => boolean) | null
  readonly format: 'text' | 'json'
  /** Only what is not 0. */
  readonly usedOnly: boolean
}

export type Metrics = {
  /** Counts one finished request or tunnel. */
  record(record: ExchangeRecord): void
  /** What Telemetry says about Istio's families; at every reload. @throws CelError */
  configure(overrides: readonly MetricOverride[]): void
  /** Counts a connection that was closed before a request was read. */
  connectionRefused(reason: Reason): void
  /** The exposition of all families, text format 0.0.4. */
  prometheus(): Promise<string>
  /** Envoy's `/stats`: `cluster.outbound|443||edition.cnn.com.upstream_cx_total: 2`, sorted by name. */
  stats(options: StatsOptions): string
  /** The last requests and tunnels, the newest first. */
  recent(): readonly ExchangeRecord[]
  /** Who called what how often, since the start; of labels like those of sallyport_requests_total. */
  callers(): readonly CallerCount[]
  /** What is open now. */
  open(): { readonly connections: number; readonly tunnels: number }
}

/** Content-Type of `prometheus()`. */
export const PROMETHEUS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/** The sources are read at scrape; none may throw. */
export function createMetrics(sources: MetricsSources): Metrics {
  const startedAt = performance.now()
  const buildVersion = sources.buildVersion ?? VERSION
  const registry = newRegistry()
  const requests = new RequestMetrics()
  const recent = new RecentRecords()
  const istio = new IstioMetrics({
    gatewayName: sources.gatewayName,
    gatewayNamespace: sources.gatewayNamespace,
    version: buildVersion,
  })
  const envoy: EnvoySources = {
    clusters: () => sources.clusters(),
    listeners: () => sources.listeners(),
    live: () => sources.config().generation > 0,
    uptime: () => Math.floor((performance.now() - startedAt) / 1000),
  }
  requests.register(registry)
  registerState(registry, { ...sources, buildVersion })
  if (sources.shared !== undefined) registerShared(registry, sources.shared)
  if (sources.limits !== undefined) registerLimits(registry, sources.limits)
  if (sources.tokenKeys !== undefined) registerTokens(registry, sources.tokenKeys)
  istio.register(registry)
  registerEnvoy(registry, envoy)

  let rendering: Promise<string> | null = null
  return {
    record(record) {
      requests.record(record)
      istio.record(record)
      recent.add(record)
    },
    configure: (overrides) => istio.configure(overrides),
    connectionRefused: (reason) => requests.connectionRefused(reason),
    prometheus() {
      // Scrapes that overlap share one rendering: the work of a scrape must not be for a caller to multiply.
      rendering ??= renderRegistry(registry).finally(() => {
        rendering = null
      })
      return rendering
    },
    stats: (options) => printStats([...envoyStats(envoy)], options),
    recent: () => recent.list(),
    callers: () => requests.callers(),
    open: () => ({ connections: sources.openConnections(), tunnels: sources.openTunnels() }),
  }
}

function printStats(all: readonly (readonly [string, number])[], options: StatsOptions): string {
  const { filter, format, usedOnly } = options
  const chosen = all.filter(([name, value]) => (!usedOnly || value !== 0) && (filter === null || filter(name)))
  chosen.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  if (format === 'json') return `${JSON.stringify({ stats: chosen.map(([name, value]) => ({ name, value })) })}\n`
  return chosen.map(([name, value]) => `${name}: ${value}\n`).join('')
}
