/**
 * The bridge to prom-client (the only importer, with metrics.ts): families whose samples are read from plain slots when
 * a scrape asks. prom-client keeps the registry and writes the exposition format; nothing of it runs per request
 * (six `labels()` calls cost 5.7 µs, integer slots 0.15 µs: bench/README.md).
 */
import { type Metric, Registry } from 'prom-client'

type MetricType = 'counter' | 'gauge' | 'histogram'

/** A row of the metrics tables. */
export type MetricRow = {
  readonly type: MetricType
  readonly help: string
  readonly labels: readonly string[]
}

export type LabelSet = Readonly<Record<string, string>>

/** One line of a scrape. The same `labels` object every time: prom-client keeps its text. */
export type Sample = { readonly labels: LabelSet; readonly value: number }

export type HistogramSample = { readonly labels: LabelSet; readonly buckets: Buckets }

/** Upper bounds of Istio's histograms (Envoy's defaults), for milliseconds and bytes alike. */
const BUCKET_BOUNDS = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000,
  3_600_000,
] as const

/** A histogram's own numbers: one slot per bound and one for +Inf, not cumulative. */
export type Buckets = { readonly counts: Float64Array; sum: number }

export function newBuckets(): Buckets {
  return { counts: new Float64Array(BUCKET_BOUNDS.length + 1), sum: 0 }
}

export function observe(buckets: Buckets, value: number): void {
  let index = 0
  while (index < BUCKET_BOUNDS.length && value > (BUCKET_BOUNDS[index] as number)) index += 1
  buckets.counts[index] = (buckets.counts[index] as number) + 1
  buckets.sum += value
}

/** The object prom-client's label cache is keyed by; made once per series. */
export function labelSet(names: readonly string[], values: readonly string[]): LabelSet {
  return Object.fromEntries(names.map((name, index) => [name, values[index] ?? '']))
}

/** A registry that is never the library's default one. */
export function newRegistry(): Registry {
  return new Registry()
}

type PromValue = {
  readonly metricName?: string
  readonly labels: LabelSet
  readonly sharedLabels: LabelSet
  readonly value: number
}

const NO_LABELS: LabelSet = {}
const BOUND_LABELS: readonly LabelSet[] = [...BUCKET_BOUNDS.map((bound) => ({ le: String(bound) })), { le: '+Inf' }]

/** Adds a counter or gauge family. `collect` runs once per scrape. */
export function addFamily(registry: Registry, name: string, row: MetricRow, collect: () => Iterable<Sample>): void {
  add(registry, name, row, () => {
    const values: PromValue[] = []
    for (const { labels, value } of collect()) values.push({ labels: NO_LABELS, sharedLabels: labels, value })
    return values
  })
}

/** Adds a histogram family; `collect` runs once per scrape. */
export function addHistogram(
  registry: Registry,
  name: string,
  row: MetricRow,
  collect: () => Iterable<HistogramSample>,
): void {
  add(registry, name, row, () => {
    const values: PromValue[] = []
    for (const { labels, buckets } of collect()) {
      let count = 0
      for (let i = 0; i < BOUND_LABELS.length; i += 1) {
        count += buckets.counts[i] as number
        values.push({
          metricName: `${name}_bucket`,
          labels: BOUND_LABELS[i] as LabelSet,
          sharedLabels: labels,
          value: count,
        })
      }
      values.push({ metricName: `${name}_sum`, labels: NO_LABELS, sharedLabels: labels, value: buckets.sum })
      values.push({ metricName: `${name}_count`, labels: NO_LABELS, sharedLabels: labels, value: count })
    }
    return values
  })
}

function add(registry: Registry, name: string, row: MetricRow, values: () => readonly PromValue[]): void {
  const family = {
    name,
    help: row.help,
    type: row.type,
    aggregator: 'sum',
    get: () => Promise.resolve({ name, help: row.help, type: row.type, aggregator: 'sum', values: values() }),
    // prom-client asks this on `resetMetrics`, which we never call: counters must not fall.
    reset: () => undefined,
  }
  // prom-client types a registered metric as one of its own classes, but uses only `name` and `get()` of it.
  registry.registerMetric(family as unknown as Metric)
}

/** The whole exposition. Each family is rendered in its own turn of the event loop, so that traffic goes on in between. */
export async function renderRegistry(registry: Registry): Promise<string> {
  let text = ''
  for (const { name } of registry.getMetricsAsArray()) {
    text += `${await registry.getSingleMetricAsString(name)}\n`
    await new Promise((resolve) => setImmediate(resolve))
  }
  return text
}
