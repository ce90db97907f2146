/**
 * Spans as collectors read them. TABLE of two encodings: OTLP in JSON (opentelemetry.io, OTLP specification, JSON Protobuf
 * encoding: ids in hexadecimal, 64-bit integers as text, enums as numbers) and Zipkin's (openzipkin/zipkin-api, v2).
 * Each span is made into text when its request ends, so that what waits for the collector holds nothing else.
 */

import type { OutgoingSpan } from '../../core/trace-context.ts'
import { VERSION } from '../../core/version.ts'
import type { OpenTelemetryProvider, TracingProvider } from '../../model/extension-providers.ts'
import type { ExchangeRecord } from '../record.ts'
import { isError, type SpanIdentity, serviceName, spanName, type Tag } from './tags.ts'

export type Encoding = {
  /** One span, as a JSON object. */
  span(record: ExchangeRecord, ids: OutgoingSpan, tags: readonly Tag[]): string
  /** What is posted. */
  batch(spans: readonly string[]): string
}

/** The encoding that a provider takes. */
export function encodingFor(provider: TracingProvider, identity: SpanIdentity): Encoding {
  return provider.type === 'opentelemetry' ? otlp(provider, identity) : zipkin(identity)
}

const attributes = (tags: readonly Tag[]) => tags.map(([key, value]) => ({ key, value: { stringValue: value } }))

/** SPAN_KIND_CLIENT: what goes through an egress gateway is on its way out, as in Envoy. */
const CLIENT = 3
const STATUS_ERROR = 2

function otlp({ resource }: OpenTelemetryProvider, identity: SpanIdentity): Encoding {
  const own = new Map<string, string>([['service.name', serviceName(identity)], ...resource])
  const head =
    `{"resourceSpans":[{"resource":{"attributes":${JSON.stringify(attributes([...own]))}},` +
    `"scopeSpans":[{"scope":{"name":"sallyport","version":${JSON.stringify(VERSION)}},"spans":[`
  return {
    span: (record, { parentSpanId, spanId, traceId }, tags) =>
      JSON.stringify({
        traceId: traceId.padStart(32, '0'),
        spanId,
        ...(parentSpanId === null ? {} : { parentSpanId }),
        name: spanName(record),
        kind: CLIENT,
        startTimeUnixNano: `${record.startedAt}000000`,
        endTimeUnixNano: `${record.startedAt + record.durationMs}000000`,
        attributes: attributes(tags),
        status: isError(record) ? { code: STATUS_ERROR } : {},
      }),
    batch: (spans) => `${head}${spans.join(',')}]}]}]}`,
  }
}

function zipkin(identity: SpanIdentity): Encoding {
  const localEndpoint = { serviceName: serviceName(identity) }
  return {
    span: (record, { parentSpanId, spanId, traceId }, tags) =>
      JSON.stringify({
        traceId,
        id: spanId,
        ...(parentSpanId === null ? {} : { parentId: parentSpanId }),
        name: spanName(record),
        kind: 'CLIENT',
        // Microseconds.
        timestamp: record.startedAt * 1000,
        duration: Math.max(1, record.durationMs * 1000),
        localEndpoint,
        tags: Object.fromEntries(tags),
      }),
    batch: (spans) => `[${spans.join(',')}]`,
  }
}
