/**
 * Trace context in request fields: W3C (`traceparent`, `tracestate`; w3.org/TR/trace-context) and B3, several fields or one
 * (github.com/openzipkin/b3-propagation). Malformed is none: an id that nobody could find must not look like one.
 */
import { type HeaderList, headerValue } from './attributes.ts'

/** Lower case, 32 hex digits (B3 may have 16) and 16. */
type TraceIds = { readonly traceId: string; readonly spanId: string }

/** What a caller has said. */
export type ParentContext = {
  /** null: only whether it is sampled (B3). */
  readonly ids: TraceIds | null
  /** null: that is left to us. */
  readonly sampled: boolean | null
}

/** How trace context is written: the forms that the caller has used are answered in kind. */
export type TraceForms = { readonly w3c: boolean; readonly b3: boolean; readonly b3Single: boolean }

/** version 00: exactly four parts; of a later one the first four count, of ff none. */
const W3C =
  /^(?:00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})|(?!00|ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?)$/
/** What nearly all callers send: version 00, neither id all zeros. As `W3C` it takes, but for white space around it. */
const PLAIN_W3C = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/
const B3_TRACE = /^(?:[0-9a-f]{16}|[0-9a-f]{32})$/i
const B3_SPAN = /^[0-9a-f]{16}$/i
const ZEROS = /^0+$/

/** The trace id for the log; null: there is no valid one. A 64 bit one stays as it is. */
export function traceIdOf(headers: HeaderList): string | null {
  // One look at each name, on the way of every request.
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]
    if (name === 'traceparent') {
      const value = headers[i + 1] as string
      // Without the match's array and its strings it costs a quarter.
      if (PLAIN_W3C.test(value)) return value.slice(3, 35)
    } else if (name !== 'b3' && name !== 'x-b3-traceid') continue
    return parentOf(headers)?.ids?.traceId ?? null
  }
  return null
}

/** W3C first, else B3 in one field, else in several; null: the caller has said nothing that can be understood. */
export function parentOf(headers: HeaderList): ParentContext | null {
  const w3c = headerValue(headers, 'traceparent')
  const parsed = w3c === null ? null : parseW3c(w3c)
  if (parsed !== null) return parsed
  const single = headerValue(headers, 'b3')
  if (single !== null) return parseSingle(single)
  const traceId = headerValue(headers, 'x-b3-traceid')
  const sampled = sampledOf(headerValue(headers, 'x-b3-flags') === '1' ? 'd' : headerValue(headers, 'x-b3-sampled'))
  const ids = traceId === null ? null : b3Ids(traceId, headerValue(headers, 'x-b3-spanid') ?? '')
  // Ids that are wrong make the decision beside them doubtful too.
  if (ids === null && (traceId !== null || sampled === null)) return null
  return { ids, sampled }
}

function parseW3c(value: string): ParentContext | null {
  const match = W3C.exec(value.trim())
  if (match === null) return null
  const traceId = (match[1] ?? match[4]) as string
  const spanId = (match[2] ?? match[5]) as string
  if (ZEROS.test(traceId) || ZEROS.test(spanId)) return null
  const flags = Number.parseInt((match[3] ?? match[6]) as string, 16)
  return { ids: { traceId, spanId }, sampled: flags % 2 === 1 }
}

/** `TRACE-SPAN[-SAMPLED[-PARENT]]`, or only SAMPLED. */
function parseSingle(value: string): ParentContext | null {
  const [first = '', span, sampled, ...rest] = value.trim().split('-')
  if (span === undefined) {
    const decision = sampledOf(first)
    return decision === null ? null : { ids: null, sampled: decision }
  }
  const ids = b3Ids(first, span)
  const decision = sampled === undefined ? null : sampledOf(sampled)
  if (ids === null || rest.length > 1 || (sampled !== undefined && decision === null)) return null
  return { ids, sampled: decision }
}

function b3Ids(traceId: string, spanId: string): TraceIds | null {
  if (!B3_TRACE.test(traceId) || !B3_SPAN.test(spanId) || ZEROS.test(traceId) || ZEROS.test(spanId)) return null
  return { traceId: traceId.toLowerCase(), spanId: spanId.toLowerCase() }
}

function sampledOf(value: string | null): boolean | null {
  if (value === '1' || value === 'd' || value === 'true') return true
  return value === '0' || value === 'false' ? false : null
}

/** A sampled span of ours, as it goes on. */
export type OutgoingSpan = TraceIds & {
  /** null: the trace begins with us. */
  readonly parentSpanId: string | null
}

const B3_FIELDS: ReadonlySet<string> = new Set([
  'x-b3-traceid',
  'x-b3-spanid',
  'x-b3-parentspanid',
  'x-b3-sampled',
  'x-b3-flags',
])

/**
 * The fields with our span as the parent of whatever comes next, in every form that the caller has used and in `always`.
 * `tracestate` belongs to the caller's `traceparent`: it goes on with that trace, and is gone with a trace of our own.
 */
export function withSpan(headers: HeaderList, span: OutgoingSpan, always: Partial<TraceForms>): HeaderList {
  const forms = { w3c: always.w3c === true, b3: always.b3 === true, b3Single: always.b3Single === true }
  const out: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name === 'traceparent') forms.w3c = true
    else if (name === 'b3') forms.b3Single = true
    else if (B3_FIELDS.has(name)) forms.b3 = true
    else if (name !== 'tracestate' || span.parentSpanId !== null) out.push(name, headers[i + 1] as string)
  }
  const { traceId, spanId, parentSpanId } = span
  if (forms.w3c) out.push('traceparent', `00-${traceId.padStart(32, '0')}-${spanId}-01`)
  if (forms.b3Single) out.push('b3', [traceId, spanId, '1', ...(parentSpanId === null ? [] : [parentSpanId])].join('-'))
  if (forms.b3) {
    out.push('x-b3-traceid', traceId, 'x-b3-spanid', spanId, 'x-b3-sampled', '1')
    if (parentSpanId !== null) out.push('x-b3-parentspanid', parentSpanId)
  }
  return out
}
