/**
 * Istio's standard metrics as an egress gateway reports them (behaviour §9.1): `reporter="source"`, the gateway itself
 * as source workload, the registered host as destination. Who called is not in them; see sallyport_requests_total.
 * Not kept: istio_request_messages_total and istio_response_messages_total (gRPC messages are not counted here).
 */
import type { Registry } from 'prom-client'
import { formatFlags } from '../../core/flags.ts'
import type { MetricOverride } from '../../model/telemetry.ts'
import type { ExchangeRecord } from '../record.ts'
import {
  addFamily,
  addHistogram,
  type Buckets,
  type LabelSet,
  labelSet,
  type MetricRow,
  newBuckets,
  observe,
  type Sample,
} from './family.ts'
import { COMMON_LABELS, destinationOf, fixedLabels, HTTP_LABELS, type IstioSource, protocolOf } from './istio-labels.ts'
import { type Labels, OTHER, Recent, SeriesMap } from './series.ts'
import { isTaggable, TaggedFamily } from './tagged-family.ts'

/** TABLE of Istio's families. */
export const ISTIO_METRICS = {
  istio_requests_total: { type: 'counter', help: 'Requests handled (HTTP and gRPC).', labels: HTTP_LABELS },
  istio_request_duration_milliseconds: {
    type: 'histogram',
    help: 'Milliseconds from the start of a request to the last byte of its response.',
    labels: HTTP_LABELS,
  },
  istio_request_bytes: { type: 'histogram', help: 'Body bytes of requests.', labels: HTTP_LABELS },
  istio_response_bytes: { type: 'histogram', help: 'Body bytes of responses.', labels: HTTP_LABELS },
  istio_tcp_sent_bytes_total: {
    type: 'counter',
    help: 'Bytes sent to callers through tunnels, counted when the tunnel ends.',
    labels: COMMON_LABELS,
  },
  istio_tcp_received_bytes_total: {
    type: 'counter',
    help: 'Bytes received from callers through tunnels, counted when the tunnel ends.',
    labels: COMMON_LABELS,
  },
  istio_tcp_connections_opened_total: {
    type: 'counter',
    help: 'Tunnels opened, counted when the tunnel ends; see sallyport_open_tunnels for those still open.',
    labels: COMMON_LABELS,
  },
  istio_tcp_connections_closed_total: { type: 'counter', help: 'Tunnels ended.', labels: COMMON_LABELS },
  istio_build: { type: 'gauge', help: 'Always 1; the version is in the label tag.', labels: ['component', 'tag'] },
} as const satisfies Record<string, MetricRow>

/** More label sets than this share `other` as destination … */
const MAX_SERIES = 2000
/** … in histograms sooner: each set is 66 lines of some 650 bytes there, so these are 17 MB of a scrape. */
const MAX_HISTOGRAMS = 400

type Histograms = {
  readonly labels: LabelSet
  readonly duration: Buckets
  readonly requestBytes: Buckets
  readonly responseBytes: Buckets
}
type HttpSeries = { readonly labels: LabelSet; total: number; readonly histograms: Histograms }
type SeenHttp = { readonly code: number; readonly flags: string; readonly grpc: string; readonly series: HttpSeries }
type TcpSeries = { readonly labels: LabelSet; total: number; sent: number; received: number }

export class IstioMetrics {
  readonly #source: IstioSource
  readonly #histograms = new SeriesMap<Histograms>(
    MAX_HISTOGRAMS,
    (labels) => ({
      labels: this.#labels(labels),
      duration: newBuckets(),
      requestBytes: newBuckets(),
      responseBytes: newBuckets(),
    }),
    withoutDestination,
  )
  readonly #http = new SeriesMap<HttpSeries>(
    MAX_SERIES,
    (labels) => ({ labels: this.#labels(labels), total: 0, histograms: this.#histograms.resolve(labels) }),
    withoutDestination,
  )
  readonly #recent = new Recent<SeenHttp>(MAX_SERIES * 2)
  readonly #tcp = new SeriesMap<TcpSeries>(
    MAX_SERIES,
    (labels) => ({ labels: this.#labels(labels), total: 0, sent: 0, received: 0 }),
    withoutDestination,
  )

  #hidden: ReadonlySet<string> = new Set()
  #tagged: ReadonlyMap<string, TaggedFamily> = new Map()
  #taggedFamilies: readonly TaggedFamily[] = []

  constructor(source: IstioSource) {
    this.#source = source
  }

  /** Families that are not reported, or with other labels. One that does not change goes on counting. @throws CelError */
  configure(overrides: readonly MetricOverride[]): void {
    const before = this.#tagged
    const tagged = new Map<string, TaggedFamily>()
    for (const override of overrides) {
      const { metric, disabled, tags } = override
      if (disabled || tags.length === 0 || !isTaggable(metric)) continue
      const known = before.get(metric)
      const histogram = ISTIO_METRICS[metric].type === 'histogram'
      tagged.set(
        metric,
        known?.tags === JSON.stringify(tags) ? known : new TaggedFamily(metric, tags, this.#source, histogram),
      )
    }
    this.#hidden = new Set(overrides.filter(({ disabled }) => disabled).map(({ metric }) => metric))
    this.#tagged = tagged
    this.#taggedFamilies = [...tagged.values()]
  }

  record(r: ExchangeRecord): void {
    for (const family of this.#taggedFamilies) family.record(r)
    if (r.kind === 'http') this.#recordHttp(r)
    else if (r.upstreamCluster !== null) this.#recordTcp(r)
  }

  #recordHttp(r: ExchangeRecord): void {
    const flags = r.flags.length === 0 ? '-' : formatFlags(r.flags)
    const grpc = r.isGrpc ? String(r.grpcStatus ?? '') : ''
    const series = this.#find(r, flags, grpc) ?? this.#resolve(r, flags, grpc)
    series.total += 1
    const { duration, requestBytes, responseBytes } = series.histograms
    observe(duration, r.durationMs)
    observe(requestBytes, r.bytesReceived)
    observe(responseBytes, r.bytesSent)
  }

  #find(r: ExchangeRecord, flags: string, grpc: string): HttpSeries | null {
    for (const seen of this.#recent.get(protocolOf(r), r.upstreamCluster ?? '')) {
      if (seen.code === r.responseCode && seen.flags === flags && seen.grpc === grpc) return seen.series
    }
    return null
  }

  #resolve(r: ExchangeRecord, flags: string, grpc: string): HttpSeries {
    const { responseCode: code, upstreamCluster } = r
    const protocol = protocolOf(r)
    const series = this.#http.resolve([destinationOf(upstreamCluster), protocol, flags, String(code), grpc])
    this.#recent.add(protocol, upstreamCluster ?? '', { code, flags, grpc, series })
    return series
  }

  #recordTcp(r: ExchangeRecord): void {
    const series = this.#tcp.resolve([destinationOf(r.upstreamCluster), 'tcp', formatFlags(r.flags)])
    series.total += 1
    series.sent += r.bytesSent
    series.received += r.bytesReceived
  }

  register(registry: Registry): void {
    const { version } = this.#source
    const build: readonly Sample[] = [{ labels: { component: 'proxy', tag: version }, value: 1 }]
    addFamily(registry, 'istio_build', ISTIO_METRICS.istio_build, () => build)
    this.#counter(registry, 'istio_requests_total', this.#http, (s) => s.total)
    this.#histogram(registry, 'istio_request_duration_milliseconds', (s) => s.duration)
    this.#histogram(registry, 'istio_request_bytes', (s) => s.requestBytes)
    this.#histogram(registry, 'istio_response_bytes', (s) => s.responseBytes)
    this.#counter(registry, 'istio_tcp_sent_bytes_total', this.#tcp, (s) => s.sent)
    this.#counter(registry, 'istio_tcp_received_bytes_total', this.#tcp, (s) => s.received)
    this.#counter(registry, 'istio_tcp_connections_opened_total', this.#tcp, (s) => s.total)
    this.#counter(registry, 'istio_tcp_connections_closed_total', this.#tcp, (s) => s.total)
  }

  #counter<S extends { readonly labels: LabelSet }>(
    registry: Registry,
    name: keyof typeof ISTIO_METRICS,
    series: SeriesMap<S>,
    read: (series: S) => number,
  ): void {
    addFamily(registry, name, ISTIO_METRICS[name], () => {
      if (this.#hidden.has(name)) return []
      const tagged = this.#tagged.get(name)
      if (tagged !== undefined) return tagged.series().map(({ labels, total }) => ({ labels, value: total }))
      return [...series.values()].map((each) => ({ labels: each.labels, value: read(each) }))
    })
  }

  #histogram(registry: Registry, name: keyof typeof ISTIO_METRICS, read: (series: Histograms) => Buckets): void {
    addHistogram(registry, name, ISTIO_METRICS[name], () => {
      if (this.#hidden.has(name)) return []
      const tagged = this.#tagged.get(name)
      if (tagged !== undefined) return tagged.series()
      return [...this.#histograms.values()].map((each) => ({ labels: each.labels, buckets: read(each) }))
    })
  }

  /** All labels of a series from the few that differ: destination, protocol, flags and, for HTTP, code and gRPC status. */
  #labels([destination = '', protocol = '', flags = '', code, grpc]: Labels): LabelSet {
    const common: Readonly<Record<(typeof COMMON_LABELS)[number], string>> = {
      ...fixedLabels(this.#source),
      destination_service: destination,
      destination_service_name: destination,
      request_protocol: protocol,
      response_flags: flags,
    }
    const values = COMMON_LABELS.map((name) => common[name])
    return code === undefined ? labelSet(COMMON_LABELS, values) : labelSet(HTTP_LABELS, [...values, code, grpc ?? ''])
  }
}

function withoutDestination([, ...rest]: Labels): Labels {
  return [OTHER, ...rest]
}
