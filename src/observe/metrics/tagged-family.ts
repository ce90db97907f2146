/**
 * One of Istio's families with labels that Telemetry changed (`tagOverrides`). It counts for itself, from the reload that
 * brought it; the family as it is without Telemetry goes on being counted beside it and comes back with the old numbers.
 */
import type { MetricOverride } from '../../model/telemetry.ts'
import { compileTag } from '../cel-attributes.ts'
import type { ExchangeRecord } from '../record.ts'
import { type Buckets, type LabelSet, labelSet, newBuckets, observe } from './family.ts'
import { COMMON_LABELS, fixedLabels, HTTP_LABELS, type IstioLabel, type IstioSource, VARYING } from './istio-labels.ts'
import { type Labels, labelValue, OTHER, SeriesMap } from './series.ts'

type FamilyRow = { readonly kind: 'http' | 'tcp'; readonly amount: (record: ExchangeRecord) => number }

/** TABLE of the families that can be changed, and what each adds up. */
const FAMILIES = {
  istio_requests_total: { kind: 'http', amount: () => 1 },
  istio_request_duration_milliseconds: { kind: 'http', amount: (r) => r.durationMs },
  istio_request_bytes: { kind: 'http', amount: (r) => r.bytesReceived },
  istio_response_bytes: { kind: 'http', amount: (r) => r.bytesSent },
  istio_tcp_sent_bytes_total: { kind: 'tcp', amount: (r) => r.bytesSent },
  istio_tcp_received_bytes_total: { kind: 'tcp', amount: (r) => r.bytesReceived },
  istio_tcp_connections_opened_total: { kind: 'tcp', amount: () => 1 },
  istio_tcp_connections_closed_total: { kind: 'tcp', amount: () => 1 },
} as const satisfies Record<string, FamilyRow>

export type TaggableFamily = keyof typeof FAMILIES

export function isTaggable(name: string): name is TaggableFamily {
  return Object.hasOwn(FAMILIES, name)
}

/** As many as of the plain families: counters, histograms. */
const MAX_SERIES = 2000
const MAX_HISTOGRAMS = 400

type Series = { readonly labels: LabelSet; total: number; readonly buckets: Buckets }
type Reader = (record: ExchangeRecord) => string

export class TaggedFamily {
  /** What it was made of, as text. */
  readonly tags: string
  readonly #kind: 'http' | 'tcp'
  readonly #amount: (record: ExchangeRecord) => number
  /** Of the labels that vary, in the order of the keys of `#series`. */
  readonly #readers: readonly Reader[]
  readonly #series: SeriesMap<Series>

  /** @throws CelError */
  constructor(family: TaggableFamily, tags: MetricOverride['tags'], source: IstioSource, histogram: boolean) {
    this.tags = JSON.stringify(tags)
    const { kind, amount } = FAMILIES[family]
    this.#kind = kind
    this.#amount = amount
    const changed = new Set(tags.map(({ name }) => name))
    const standard: readonly IstioLabel[] = (kind === 'http' ? HTTP_LABELS : COMMON_LABELS).filter(
      (name) => !changed.has(name),
    )
    const fixed = Object.entries(fixedLabels(source)).filter(([name]) => !changed.has(name))
    const varying = standard.flatMap((name) => (name in VARYING ? [name as keyof typeof VARYING] : []))
    const added = tags.flatMap(({ name, value }) => (value === null ? [] : [{ name, read: compileTag(value) }]))
    this.#readers = [
      ...varying.map((name) => VARYING[name]),
      ...added.map(
        ({ read }): Reader =>
          (record) =>
            labelValue(read(record)),
      ),
    ]
    const names = [...fixed.map(([name]) => name), ...varying, ...added.map(({ name }) => name)]
    const values = fixed.map(([, value]) => value)
    this.#series = new SeriesMap(
      histogram ? MAX_HISTOGRAMS : MAX_SERIES,
      (labels: Labels) => ({ labels: labelSet(names, [...values, ...labels]), total: 0, buckets: newBuckets() }),
      (labels) =>
        labels.map((label, index) => {
          const name = varying[index]
          // What a caller can choose, and only that.
          return name === undefined || name === 'destination_service' || name === 'destination_service_name'
            ? OTHER
            : label
        }),
    )
  }

  record(record: ExchangeRecord): void {
    if (record.kind !== this.#kind || (record.kind === 'tcp' && record.upstreamCluster === null)) return
    const series = this.#series.resolve(this.#readers.map((read) => read(record)))
    const amount = this.#amount(record)
    series.total += amount
    observe(series.buckets, amount)
  }

  series(): readonly Series[] {
    return [...this.#series.values()]
  }
}
