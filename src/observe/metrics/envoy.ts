/**
 * Envoy's counters (behaviour §9.2): TABLES that give each slot of core/stats.ts its Envoy name. The same rows make
 * `envoy_*` families for Prometheus and the lines of `/stats`. A slot without a row does not compile.
 */
import type { Registry } from 'prom-client'
import type { ClusterStats, ListenerStats } from '../../core/stats.ts'
import { addFamily, type LabelSet, type MetricRow, type Sample } from './family.ts'
import { labelValue } from './series.ts'

type Slot<T> = { readonly [K in keyof T]: T[K] extends number ? K : never }[keyof T]

type StatRow = {
  /** Envoy's name below the scope: `ssl.handshake`. */
  readonly stat: string
  readonly type: 'counter' | 'gauge'
  readonly help: string
}

const counter = (stat: string, help: string): StatRow => ({ stat, type: 'counter', help })
const gauge = (stat: string, help: string): StatRow => ({ stat, type: 'gauge', help })

/** `address_denied` is ours, not Envoy's: sallyport_address_denied_total. */
const CLUSTER_STATS = {
  upstream_cx_total: counter('upstream_cx_total', 'Connections opened to the upstream.'),
  upstream_cx_active: gauge('upstream_cx_active', 'Connections open to the upstream.'),
  upstream_cx_connect_fail: counter('upstream_cx_connect_fail', 'Connections that failed.'),
  upstream_cx_connect_timeout: counter('upstream_cx_connect_timeout', 'Connections that timed out.'),
  upstream_cx_destroy: counter('upstream_cx_destroy', 'Connections closed.'),
  upstream_cx_rx_bytes_total: counter('upstream_cx_rx_bytes_total', 'Bytes received from the upstream.'),
  upstream_cx_tx_bytes_total: counter('upstream_cx_tx_bytes_total', 'Bytes sent to the upstream.'),
  upstream_rq_total: counter('upstream_rq_total', 'Requests sent to the upstream.'),
  upstream_rq_active: gauge('upstream_rq_active', 'Requests in flight to the upstream.'),
  upstream_rq_completed: counter('upstream_rq_completed', 'Requests answered by the upstream.'),
  upstream_rq_timeout: counter('upstream_rq_timeout', 'Requests that timed out.'),
  upstream_rq_per_try_timeout: counter('upstream_rq_per_try_timeout', 'Tries that took longer than perTryTimeout.'),
  upstream_rq_retry: counter('upstream_rq_retry', 'Requests sent again.'),
  upstream_rq_retry_success: counter('upstream_rq_retry_success', 'Requests that succeeded when sent again.'),
  upstream_rq_retry_overflow: counter('upstream_rq_retry_overflow', 'Retries that maxRetries or retryBudget forbade.'),
  upstream_rq_retry_limit_exceeded: counter('upstream_rq_retry_limit_exceeded', 'Requests that ran out of retries.'),
  upstream_rq_retry_backoff_exponential: counter(
    'upstream_rq_retry_backoff_exponential',
    'Retries that waited for an exponential back-off.',
  ),
  retry_or_shadow_abandoned: counter(
    'retry_or_shadow_abandoned',
    'Requests whose body was too large to be kept for a retry.',
  ),
  upstream_rq_rx_reset: counter('upstream_rq_rx_reset', 'Requests reset by the upstream.'),
  upstream_rq_cancelled: counter('upstream_rq_cancelled', 'Requests given up before a connection was there.'),
  upstream_rq_pending_total: counter('upstream_rq_pending_total', 'Requests that had to wait for a connection.'),
  upstream_rq_pending_active: gauge('upstream_rq_pending_active', 'Requests waiting for a connection.'),
  upstream_rq_pending_failure_eject: counter(
    'upstream_rq_pending_failure_eject',
    'Requests that failed because no connection could be made.',
  ),
  ssl_handshake: counter('ssl.handshake', 'TLS handshakes with the upstream.'),
  ssl_connection_error: counter('ssl.connection_error', 'TLS errors that are not of verification.'),
  ssl_fail_verify_error: counter('ssl.fail_verify_error', 'Upstream certificates that did not verify.'),
  ssl_fail_verify_san: counter('ssl.fail_verify_san', 'Upstream certificates for another name.'),
  membership_total: gauge('membership_total', 'Endpoints known.'),
  membership_healthy: gauge('membership_healthy', 'Endpoints in use.'),
  membership_excluded: gauge('membership_excluded', 'Endpoints that the address guard refuses.'),
  outlier_ejections_active: gauge('outlier_detection.ejections_active', 'Endpoints ejected at present.'),
  outlier_ejections_enforced_total: counter('outlier_detection.ejections_enforced_total', 'Ejections.'),
  outlier_ejections_enforced_consecutive_5xx: counter(
    'outlier_detection.ejections_enforced_consecutive_5xx',
    'Ejections for consecutive 5xx answers.',
  ),
  outlier_ejections_enforced_consecutive_gateway_failure: counter(
    'outlier_detection.ejections_enforced_consecutive_gateway_failure',
    'Ejections for consecutive answers 502, 503 or 504.',
  ),
  outlier_ejections_enforced_consecutive_local_origin_failure: counter(
    'outlier_detection.ejections_enforced_consecutive_local_origin_failure',
    'Ejections for consecutive failures to connect, time-outs and resets.',
  ),
  outlier_ejections_overflow: counter(
    'outlier_detection.ejections_overflow',
    'Ejections that maxEjectionPercent forbade.',
  ),
} as const satisfies Record<Exclude<Slot<ClusterStats>, 'address_denied'>, StatRow>

const LISTENER_STATS = {
  downstream_cx_total: counter('downstream_cx_total', 'Connections accepted.'),
  downstream_cx_active: gauge('downstream_cx_active', 'Connections open.'),
  downstream_cx_destroy: counter('downstream_cx_destroy', 'Connections closed.'),
  downstream_cx_overflow: counter('downstream_cx_overflow', 'Connections refused by the connection limit.'),
  downstream_pre_cx_timeout: counter('downstream_pre_cx_timeout', 'Connections that never got past the handshake.'),
  no_filter_chain_match: counter('no_filter_chain_match', 'Connections that no server claims.'),
  ssl_handshake: counter('ssl.handshake', 'TLS handshakes with callers.'),
  ssl_connection_error: counter('ssl.connection_error', 'TLS errors that are not of verification.'),
  ssl_fail_verify_no_cert: counter('ssl.fail_verify_no_cert', 'Callers without a certificate.'),
  ssl_fail_verify_error: counter('ssl.fail_verify_error', 'Client certificates that did not verify.'),
  ssl_fail_verify_san: counter('ssl.fail_verify_san', 'Client certificates of another identity than configured.'),
} as const satisfies Partial<Record<Slot<ListenerStats>, StatRow>>

const HTTP_STATS = {
  downstream_rq_total: counter('downstream_rq_total', 'Requests received.'),
  downstream_rq_active: gauge('downstream_rq_active', 'Requests in flight.'),
  downstream_rq_rx_reset: counter('downstream_rq_rx_reset', 'Requests reset by the caller.'),
  downstream_rq_timeout: counter('downstream_rq_timeout', 'Requests that timed out.'),
  downstream_rq_too_large: counter('downstream_rq_too_large', 'Requests over a size limit.'),
  no_route: counter('no_route', 'Requests no route matched.'),
  no_cluster: counter('no_cluster', 'Requests whose route names no cluster.'),
  rq_direct_response: counter('rq_direct_response', 'Requests answered by a route itself.'),
  rbac_allowed: counter('rbac.allowed', 'Requests and tunnels allowed by policy.'),
  rbac_denied: counter('rbac.denied', 'Requests and tunnels refused by policy.'),
  rbac_shadow_allowed: counter('rbac.shadow_allowed', 'What dry-run policies would have allowed.'),
  rbac_shadow_denied: counter('rbac.shadow_denied', 'What dry-run policies would have refused.'),
} as const satisfies Record<Exclude<Slot<ListenerStats>, keyof typeof LISTENER_STATS>, StatRow>

const CLUSTER_LABELS = ['cluster_name'] as const
const LISTENER_LABELS = ['listener_address'] as const
const HTTP_LABELS = ['http_conn_manager_prefix'] as const

const metricName = (scope: string, stat: string) => `envoy_${scope}_${stat.replaceAll('.', '_')}`

function rowsOf(scope: string, labels: readonly string[], stats: Readonly<Record<string, StatRow>>) {
  return Object.values(stats).map(
    ({ stat, type, help }) => [metricName(scope, stat), { type, help, labels }] as const satisfies [string, MetricRow],
  )
}

const RQ_CODE: MetricRow = {
  type: 'counter',
  help: 'Responses by status code.',
  labels: [...CLUSTER_LABELS, 'response_code'],
}
const RQ_CLASS: MetricRow = {
  type: 'counter',
  help: 'Responses by class of status code.',
  labels: [...CLUSTER_LABELS, 'response_code_class'],
}
const DOWNSTREAM_CLASS: MetricRow = {
  type: 'counter',
  help: 'Responses by class of status code.',
  labels: [...HTTP_LABELS, 'response_code_class'],
}
const LIVE: MetricRow = { type: 'gauge', help: '1 once a configuration is active.', labels: [] }
const UPTIME: MetricRow = { type: 'gauge', help: 'Seconds since the gateway started.', labels: [] }
const ACTIVE_CLUSTERS: MetricRow = { type: 'gauge', help: 'Clusters of the active configuration.', labels: [] }
const ACTIVE_LISTENERS: MetricRow = { type: 'gauge', help: 'Listeners bound.', labels: [] }

/** TABLE of Envoy's families. */
export const ENVOY_METRICS: Readonly<Record<string, MetricRow>> = Object.fromEntries([
  ...rowsOf('cluster', CLUSTER_LABELS, CLUSTER_STATS),
  ['envoy_cluster_upstream_rq', RQ_CODE],
  ['envoy_cluster_upstream_rq_xx', RQ_CLASS],
  ...rowsOf('listener', LISTENER_LABELS, LISTENER_STATS),
  ...rowsOf('http', HTTP_LABELS, HTTP_STATS),
  ['envoy_http_downstream_rq_xx', DOWNSTREAM_CLASS],
  ['envoy_server_live', LIVE],
  ['envoy_server_uptime', UPTIME],
  ['envoy_cluster_manager_active_clusters', ACTIVE_CLUSTERS],
  ['envoy_listener_manager_total_listeners_active', ACTIVE_LISTENERS],
])

export type EnvoySources = {
  readonly clusters: () => Iterable<ClusterStats>
  readonly listeners: () => Iterable<ListenerStats>
  readonly live: () => boolean
  /** Seconds. */
  readonly uptime: () => number
}

/** Envoy writes `:` as `_` in the names of statistics. */
const statName = (name: string) => name.replaceAll(':', '_')
export const httpPrefix = (address: string) => `outbound_${address}`

const CLASSES = [1, 2, 3, 4, 5] as const

function byClass(codes: ReadonlyMap<number, number>, digit: number): number {
  let sum = 0
  for (const [code, count] of codes) if (Math.floor(code / 100) === digit) sum += count
  return sum
}

/** Label objects are kept by name, since prom-client caches their text by identity; names come from configuration. */
class LabelCache {
  readonly #sets = new Map<string, LabelSet>()
  get(key: string, make: () => LabelSet): LabelSet {
    let set = this.#sets.get(key)
    if (set === undefined) {
      // Long after many reloads most names are gone: start afresh rather than grow.
      if (this.#sets.size >= 50_000) this.#sets.clear()
      set = make()
      this.#sets.set(key, set)
    }
    return set
  }
}

/** Two stats of one name would make a scrape invalid; the later one wins, as it belongs to the newer configuration. */
function byName<T>(all: Iterable<T>, name: (each: T) => string): readonly T[] {
  return [...new Map([...all].map((each) => [name(each), each])).values()]
}

/** Registers all `envoy_*` families. */
export function registerEnvoy(registry: Registry, sources: EnvoySources): void {
  const cache = new LabelCache()
  const clusters = () => byName(sources.clusters(), (each) => each.name)
  const listeners = () => byName(sources.listeners(), (each) => each.address)
  const row = (name: string): MetricRow => ENVOY_METRICS[name] as MetricRow
  const family = (name: string, collect: () => Iterable<Sample>) => addFamily(registry, name, row(name), collect)

  const scope = <T, K extends keyof T>(
    prefix: string,
    stats: Readonly<Record<string, StatRow>>,
    all: () => readonly T[],
    labels: (each: T) => LabelSet,
  ) => {
    for (const [slot, { stat }] of Object.entries(stats)) {
      family(metricName(prefix, stat), () =>
        all().map((each) => ({ labels: labels(each), value: each[slot as K] as number })),
      )
    }
  }
  const clusterLabels = ({ name }: ClusterStats) => cache.get(`c${name}`, () => ({ cluster_name: labelValue(name) }))
  const listenerLabels = ({ address }: ListenerStats) =>
    cache.get(`l${address}`, () => ({ listener_address: labelValue(address) }))
  const httpLabels = ({ address }: ListenerStats) =>
    cache.get(`h${address}`, () => ({ http_conn_manager_prefix: labelValue(httpPrefix(address)) }))

  scope('cluster', CLUSTER_STATS, clusters, clusterLabels)
  family('envoy_cluster_upstream_rq', () =>
    clusters().flatMap((each) =>
      [...each.upstream_rq].map(([code, value]) => ({
        labels: cache.get(`r${each.name}\0${code}`, () => ({ ...clusterLabels(each), response_code: String(code) })),
        value,
      })),
    ),
  )
  family('envoy_cluster_upstream_rq_xx', () =>
    clusters().flatMap((each) =>
      CLASSES.map((digit) => ({
        labels: cache.get(`x${each.name}\0${digit}`, () => ({
          ...clusterLabels(each),
          response_code_class: String(digit),
        })),
        value: byClass(each.upstream_rq, digit),
      })),
    ),
  )
  scope('listener', LISTENER_STATS, listeners, listenerLabels)
  scope('http', HTTP_STATS, listeners, httpLabels)
  family('envoy_http_downstream_rq_xx', () =>
    listeners().flatMap((each) =>
      CLASSES.map((digit) => ({
        labels: cache.get(`d${each.address}\0${digit}`, () => ({
          ...httpLabels(each),
          response_code_class: String(digit),
        })),
        value: each.downstream_rq_xx[digit] ?? 0,
      })),
    ),
  )
  const one = (value: () => number) => () => [{ labels: {}, value: value() }]
  family(
    'envoy_server_live',
    one(() => (sources.live() ? 1 : 0)),
  )
  family('envoy_server_uptime', one(sources.uptime))
  family(
    'envoy_cluster_manager_active_clusters',
    one(() => clusters().length),
  )
  family(
    'envoy_listener_manager_total_listeners_active',
    one(() => listeners().length),
  )
}

/** Name and value of every Envoy statistic, as `/stats` prints them; unsorted. */
export function* envoyStats(sources: EnvoySources): Generator<readonly [name: string, value: number]> {
  for (const each of byName(sources.clusters(), (stats) => stats.name)) {
    const prefix = `cluster.${statName(each.name)}.`
    for (const [slot, { stat }] of Object.entries(CLUSTER_STATS)) {
      yield [prefix + stat, each[slot as keyof typeof CLUSTER_STATS]]
    }
    for (const [code, count] of each.upstream_rq) yield [`${prefix}upstream_rq_${code}`, count]
    for (const digit of CLASSES) yield [`${prefix}upstream_rq_${digit}xx`, byClass(each.upstream_rq, digit)]
  }
  for (const each of byName(sources.listeners(), (stats) => stats.address)) {
    const listener = `listener.${statName(each.address)}.`
    const http = `http.${statName(httpPrefix(each.address))}.`
    for (const [slot, { stat }] of Object.entries(LISTENER_STATS)) {
      yield [listener + stat, each[slot as keyof typeof LISTENER_STATS]]
    }
    for (const [slot, { stat }] of Object.entries(HTTP_STATS))
      yield [http + stat, each[slot as keyof typeof HTTP_STATS]]
    for (const digit of CLASSES) yield [`${http}downstream_rq_${digit}xx`, each.downstream_rq_xx[digit] ?? 0]
  }
  yield ['server.live', sources.live() ? 1 : 0]
  yield ['server.uptime', sources.uptime()]
}
