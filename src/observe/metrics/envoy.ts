/** Envoy's counters as `envoy_*` families for Prometheus and as the lines of `/stats`, both from the rows of envoy-stats.ts. */
import type { Registry } from 'prom-client'
import type { ClusterStats, ListenerStats } from '../../core/stats.ts'
import { CLUSTER_STATS, HTTP_STATS, LISTENER_STATS, type StatRow } from './envoy-stats.ts'
import { addFamily, type LabelSet, type MetricRow, type Sample } from './family.ts'
import { labelValue } from './series.ts'

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
