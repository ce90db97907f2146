/**
 * Tracing: which requests have a span, with our span in the fields that go out (they are judged as they go), and the span
 * to the exporter when the request has ended. Refuses nothing. A request that is not sampled goes on as it came.
 */
import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import type { HttpAttributes } from '../../core/attributes.ts'
import { type OutgoingSpan, parentOf, withSpan } from '../../core/trace-context.ts'
import type { UpstreamCluster } from '../../forward/cluster.ts'
import type { GatewayModel } from '../../model/gateway.ts'
import type { TracingModel } from '../../model/tracing.ts'
import type { ExchangeRecord } from '../../observe/record.ts'
import { type Encoding, encodingFor } from '../../observe/tracing/encode.ts'
import { compileTags } from '../../observe/tracing/tags.ts'
import type { Gate, Passage } from '../../runtime/gate.ts'
import type { SpanDestination, SpanExporter } from './exporter.ts'

/** null: no request has a span. */
export function createTraceGate(
  { settings, tracing }: GatewayModel,
  exporter: SpanExporter,
  clusterOf: (name: string) => UpstreamCluster | null,
): Gate | null {
  const cluster = tracing === null ? null : clusterOf(tracing.cluster)
  return tracing === null || cluster === null ? null : new TraceGate(settings, tracing, exporter, cluster)
}

class TraceGate implements Gate {
  readonly name = 'tracing'
  readonly #model: TracingModel
  readonly #exporter: SpanExporter
  readonly #destination: SpanDestination
  readonly #tags: ReturnType<typeof compileTags>
  readonly #encoding: Encoding
  readonly #forms: { readonly w3c: boolean; readonly b3: boolean }

  constructor(
    settings: GatewayModel['settings'],
    model: TracingModel,
    exporter: SpanExporter,
    cluster: UpstreamCluster,
  ) {
    const { provider } = model
    const { labels, mesh, name, namespace } = settings
    const identity = { name, namespace, labels, trustDomain: mesh.trustDomain, hostname: hostname() }
    this.#model = model
    this.#exporter = exporter
    this.#encoding = encodingFor(provider, identity)
    this.#tags = compileTags({
      identity,
      istioTags: model.istioTags,
      customTags: model.customTags,
      maxPathLength: provider.maxTagLength,
    })
    // Zipkin's tracer speaks B3, OpenTelemetry's W3C (Envoy).
    this.#forms = { w3c: provider.type === 'opentelemetry', b3: provider.type === 'zipkin' }
    const { host, port } = provider.service
    const own = provider.type === 'opentelemetry' ? provider.headers : []
    const { source: _, ...meaning } = provider
    this.#destination = {
      key: JSON.stringify(meaning),
      name: provider.name,
      cluster,
      path: provider.path,
      headers: [
        'host',
        port === 80 ? host : `${host.includes(':') ? `[${host}]` : host}:${port}`,
        'content-type',
        'application/json',
        ...own.flatMap(({ env, name: field, valueSecret }) => [
          field,
          valueSecret ?? process.env[env ?? '']?.trim() ?? '',
        ]),
      ],
      timeoutMs: provider.timeoutMs,
      batch: (spans) => this.#encoding.batch(spans),
    }
  }

  admit(passage: Passage): null {
    const { http } = passage.attributes
    if (http === null) return null
    const { record } = passage
    // Asked again after a reload, it is still one span.
    if (record.span === null) this.#begin(passage, http)
    if (record.span !== null && this.#model.propagate) {
      const headers = withSpan(http.headers, record.span, this.#forms)
      passage.attributes = { ...passage.attributes, http: { ...http, headers } }
    }
    return null
  }

  #begin({ endings, record }: Passage, { headers }: HttpAttributes): void {
    const parent = parentOf(headers)
    const sampled = parent?.sampled ?? Math.random() * 100 < this.#model.samplingPercent
    if (!sampled) return
    const ids = parent?.ids ?? null
    const span = {
      traceId: ids?.traceId ?? this.#newTraceId(),
      spanId: randomId(8),
      parentSpanId: ids?.spanId ?? null,
    }
    record.span = span
    record.traceId = span.traceId
    endings.push((finished) => this.#end(finished, span))
  }

  #end(record: ExchangeRecord, span: OutgoingSpan): void {
    this.#exporter.add(this.#encoding.span(record, span, this.#tags(record)), this.#destination)
  }

  #newTraceId(): string {
    const { provider } = this.#model
    return randomId(provider.type === 'zipkin' && provider.ids64 ? 8 : 16)
  }
}

/** All zeros is no id. */
function randomId(bytes: number): string {
  for (;;) {
    const id = randomBytes(bytes)
    if (id.some((byte) => byte !== 0)) return id.toString('hex')
  }
}
