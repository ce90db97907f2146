/** Families that show the gateway's state at the moment of a scrape: configuration, certificates, connections, DNS, process. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Registry } from 'prom-client'
import type { ClusterStats } from '../../core/stats.ts'
import { addFamily, type MetricRow, type Sample } from './family.ts'
import { labelValue } from './series.ts'

const gauge = (help: string, labels: readonly string[] = []): MetricRow => ({ type: 'gauge', help, labels })
const counter = (help: string, labels: readonly string[] = []): MetricRow => ({ type: 'counter', help, labels })

/** TABLE of state families. */
export const STATE_METRICS = {
  sallyport_build_info: gauge('Always 1; versions are in the labels.', ['version', 'node_version']),
  sallyport_config_last_reload_successful: gauge(
    '1 when the last attempt to load the configuration succeeded, else 0.',
  ),
  sallyport_config_generation: gauge('Number of configurations activated since the start.'),
  sallyport_config_last_reload_timestamp_seconds: gauge('Unix time of the last attempt to load the configuration.'),
  sallyport_config_info: gauge('Always 1; the content hash of the active configuration is in the label.', [
    'config_version',
  ]),
  sallyport_certificate_expiry_seconds: gauge(
    'Unix time in seconds at which the credential expires (the earliest of its certificates). Time left: this minus time().',
    ['credential'],
  ),
  sallyport_certificate_issued_seconds: gauge(
    'Unix time in seconds at which the certificate that expires first began. What is left of its life: (expiry - time()) / (expiry - issued).',
    ['credential'],
  ),
  sallyport_access_log_dropped_total: counter(
    'Access log lines dropped because the reader of the log was too slow or gone.',
  ),
  sallyport_audit_failed: gauge(
    '1 while lines of the audit stream cannot be written (they are kept, and readiness fails), else 0.',
  ),
  sallyport_spans_exported_total: counter('Spans that the collector has taken.'),
  sallyport_spans_dropped_total: counter(
    'Spans that the collector has refused, or for which there was no room while it took none.',
  ),
  sallyport_upstream_insecure_clusters: gauge(
    'Upstream clusters whose server certificates are not verified (insecureSkipVerify).',
  ),
  sallyport_open_connections: gauge('Connections from callers now open.'),
  sallyport_open_tunnels: gauge('Tunnels now open.'),
  sallyport_address_denied_total: counter('Resolved addresses that the address guard refused.', ['cluster_name']),
  sallyport_dns_queries_total: counter('Names looked up in DNS (answers from the cache do not count).'),
  sallyport_dns_failures_total: counter('DNS look-ups that failed.'),
  sallyport_dns_stale_answers_total: counter('Answers kept in use past their time because DNS failed.'),
  sallyport_dns_overload_total: counter('DNS look-ups refused because too many were under way.'),
  sallyport_event_loop_delay_seconds: gauge(
    'Delay of the event loop since the last scrape: statistic p50, p99 or max.',
    ['statistic'],
  ),
  nodejs_heap_used_bytes: gauge('JavaScript heap in use.'),
  nodejs_heap_size_bytes: gauge('JavaScript heap reserved.'),
  nodejs_external_memory_bytes: gauge('Memory of objects bound to JavaScript objects, buffers included.'),
  process_resident_memory_bytes: gauge('Resident memory.'),
  process_cpu_seconds_total: counter('User and system CPU time.'),
  process_start_time_seconds: gauge('Unix time at which the process started.'),
} as const satisfies Record<string, MetricRow>

/** Structurally forward/resolve.ts' counters. */
type DnsCounts = {
  readonly queries: number
  readonly failures: number
  readonly stale: number
  readonly overload: number
}

/** Milliseconds since the epoch. */
type CertificateLife = { readonly credential: string; readonly notBefore: number; readonly notAfter: number }

type ConfigState = {
  readonly generation: number
  readonly lastReloadSuccessful: boolean
  /** Milliseconds since the epoch. */
  readonly lastReloadAt: number
  /** Content hash of the active configuration. */
  readonly version: string
}

export type StateSources = {
  readonly clusters: () => Iterable<ClusterStats>
  readonly certificates: () => Iterable<CertificateLife>
  readonly accessLogDropped: () => number
  /** Absent: there is no audit stream. */
  readonly auditFailed?: () => boolean
  /** Absent: nothing is traced. */
  readonly spans?: { readonly exported: number; readonly dropped: number }
  readonly openConnections: () => number
  readonly openTunnels: () => number
  readonly config: () => ConfigState
  /** Absent: none. */
  readonly insecureClusters?: () => number
  /** Absent: no sallyport_dns_* families. */
  readonly dns?: () => DnsCounts
  readonly buildVersion: string
}

type Name = keyof typeof STATE_METRICS

/** How often the loop is looked at. */
const LOOP_RESOLUTION_MS = 20

/** Registers all state families. */
export function registerState(registry: Registry, sources: StateSources): void {
  const family = (name: Name, collect: () => Iterable<Sample>) =>
    addFamily(registry, name, STATE_METRICS[name], collect)
  const one = (name: Name, value: () => number) => family(name, () => [{ labels: {}, value: value() }])

  const build: Sample = { labels: { version: sources.buildVersion, node_version: process.version }, value: 1 }
  family('sallyport_build_info', () => [build])
  one('sallyport_config_last_reload_successful', () => (sources.config().lastReloadSuccessful ? 1 : 0))
  one('sallyport_config_generation', () => sources.config().generation)
  one('sallyport_config_last_reload_timestamp_seconds', () => sources.config().lastReloadAt / 1000)
  family('sallyport_config_info', () => [
    { labels: { config_version: labelValue(sources.config().version) }, value: 1 },
  ])
  const certificates = (name: Name, time: (life: CertificateLife) => number) =>
    family(name, () =>
      earliest(sources.certificates()).map(([credential, life]) => ({
        labels: { credential },
        value: Math.floor(time(life) / 1000),
      })),
    )
  certificates('sallyport_certificate_expiry_seconds', ({ notAfter }) => notAfter)
  certificates('sallyport_certificate_issued_seconds', ({ notBefore }) => notBefore)
  one('sallyport_access_log_dropped_total', sources.accessLogDropped)
  const { auditFailed } = sources
  one('sallyport_audit_failed', () => (auditFailed?.() === true ? 1 : 0))
  const { spans } = sources
  one('sallyport_spans_exported_total', () => spans?.exported ?? 0)
  one('sallyport_spans_dropped_total', () => spans?.dropped ?? 0)
  one('sallyport_upstream_insecure_clusters', sources.insecureClusters ?? (() => 0))
  one('sallyport_open_connections', sources.openConnections)
  one('sallyport_open_tunnels', sources.openTunnels)
  family('sallyport_address_denied_total', () => {
    const byCluster = new Map([...sources.clusters()].map((stats) => [labelValue(stats.name), stats.address_denied]))
    return [...byCluster].map(([name, value]) => ({ labels: { cluster_name: name }, value }))
  })
  const { dns } = sources
  if (dns !== undefined) {
    one('sallyport_dns_queries_total', () => dns().queries)
    one('sallyport_dns_failures_total', () => dns().failures)
    one('sallyport_dns_stale_answers_total', () => dns().stale)
    one('sallyport_dns_overload_total', () => dns().overload)
  }
  registerProcess(family, one)
}

function registerProcess(
  family: (name: Name, collect: () => Iterable<Sample>) => void,
  one: (name: Name, value: () => number) => void,
): void {
  const loop = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS })
  loop.enable()
  family('sallyport_event_loop_delay_seconds', () => {
    // Node measures from one look to the next: an idle loop would show the resolution itself as delay.
    const seconds = (nanoseconds: number) =>
      loop.count === 0 ? 0 : Math.max(0, nanoseconds / 1e9 - LOOP_RESOLUTION_MS / 1000)
    const samples = [
      { labels: { statistic: 'p50' }, value: seconds(loop.percentile(50)) },
      { labels: { statistic: 'p99' }, value: seconds(loop.percentile(99)) },
      { labels: { statistic: 'max' }, value: seconds(loop.max) },
    ]
    loop.reset()
    return samples
  })
  one('nodejs_heap_used_bytes', () => process.memoryUsage().heapUsed)
  one('nodejs_heap_size_bytes', () => process.memoryUsage().heapTotal)
  one('nodejs_external_memory_bytes', () => process.memoryUsage().external)
  one('process_resident_memory_bytes', () => process.memoryUsage.rss())
  one('process_cpu_seconds_total', () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1e6
  })
  const startedAt = Date.now() / 1000 - process.uptime()
  one('process_start_time_seconds', () => startedAt)
}

/** Of each credential the certificate that expires first. */
function earliest(certificates: Iterable<CertificateLife>): readonly (readonly [string, CertificateLife])[] {
  const found = new Map<string, CertificateLife>()
  for (const life of certificates) {
    const label = labelValue(life.credential)
    const known = found.get(label)
    if (known === undefined || life.notAfter < known.notAfter) found.set(label, life)
  }
  return [...found]
}
