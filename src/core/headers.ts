/**
 * Which header fields may cross the gateway, and in what form they leave (behaviour §7.4, §10.4; threats 11–14).
 * Lists are flat (name, value, …) with lower-case names; incoming lists are never edited, outgoing ones are built.
 */
import { type HeaderList, headerValue } from './attributes.ts'

/** RFC 9110 §7.6.1 and its usual company. `te: trailers` is handled apart. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'expect',
])

export function isHopByHop(name: string): boolean {
  return HOP_BY_HOP.has(name)
}

/** Trace context of the common systems; stays by default, goes with `tracing.propagate: false`. */
const TRACE: ReadonlySet<string> = new Set([
  'traceparent',
  'tracestate',
  'baggage',
  'b3',
  'x-ot-span-context',
  'grpc-trace-bin',
  'x-cloud-trace-context',
  'sw8',
  'sw8-correlation',
  'sw8-x',
  'uber-trace-id',
  'jaeger-baggage',
  'jaeger-debug-id',
  'x-amzn-trace-id',
  'x-client-trace-id',
  'elastic-apm-traceparent',
  'newrelic',
])
/** Families of them: Zipkin, Lightstep, Jaeger, Datadog, Instana. */
const TRACE_FAMILY = /^(?:x-b3-|ot-tracer-|ot-baggage-|uberctx-|x-datadog-|x-instana-)/

function isTraceHeader(name: string): boolean {
  return TRACE.has(name) || TRACE_FAMILY.test(name)
}

/** Fields of the mesh and of other proxies: never leave for a MESH_EXTERNAL destination, and callers cannot steer us with them. */
export function isMeshHeader(name: string): boolean {
  return (
    name.startsWith('x-envoy-') ||
    name.startsWith('x-forwarded-') ||
    name === 'forwarded' ||
    name.startsWith('x-sallyport-')
  )
}

/** RFC 9110 §5.6.2 token. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9a-z-]+$/
/** Fields that `Connection` may not name: dropping them would change meaning or framing (Envoy refuses the same). */
const NOT_NOMINABLE: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'transfer-encoding',
  'authorization',
  'cookie',
])

/**
 * Names that `Connection` lists, lower case; null: refuse with 400 (ten or more names, a pseudo or forwarding field,
 * or one whose removal would change what is sent; behaviour §10.4).
 */
export function connectionNominations(headers: HeaderList): ReadonlySet<string> | null {
  let names: Set<string> | null = null
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== 'connection') continue
    for (const part of (headers[i + 1] as string).split(',')) {
      const name = part.trim().toLowerCase()
      if (name === '') continue
      if (!TOKEN.test(name) || name.startsWith('x-forwarded-') || NOT_NOMINABLE.has(name)) return null
      names ??= new Set()
      names.add(name)
    }
  }
  if (names === null) return NONE
  return names.size >= 10 ? null : names
}
const NONE: ReadonlySet<string> = new Set()

/** RFC 9110 §7.6.1: `Connection` is a list of options. */
export function lists(value: string, option: string): boolean {
  // What nearly everybody says.
  if (value === 'keep-alive') return false
  return value.split(',').some((each) => each.trim().toLowerCase() === option)
}

const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

/** A field name as RFC 9110 §5.6.2 allows it, in lower case. */
export function isFieldName(text: string): boolean {
  return TOKEN.test(text)
}

/** A field value as RFC 9110 §5.5 allows it: no control characters but tab, one character per byte. */
export function isFieldValue(text: string): boolean {
  return VALUE.test(text)
}

/** True when every field can be carried unchanged by either engine. `__proto__` cannot be an object key safely. */
export function fieldsAreCarriable(headers: HeaderList): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name === '__proto__' || !TOKEN.test(name) || !VALUE.test(headers[i + 1] as string)) return false
  }
  return true
}

/** What decides the outgoing list besides the incoming one. */
export type OutgoingRules = {
  /** Canonical authority to send as `host`. */
  readonly authority: string
  readonly nominated: ReadonlySet<string>
  /** MESH_EXTERNAL: nothing of the mesh leaks. */
  readonly external: boolean
  readonly propagateTrace: boolean
  readonly requestId: string
  /** For mesh-internal destinations only. */
  readonly xForwardedFor: string
  readonly scheme: 'http' | 'https'
  /** `te: trailers` may go on: the request came by HTTP/2 and leaves by HTTP/2, so trailers reach whoever asks for them. */
  readonly te: boolean
  /** Our name in `via`, so that a request that comes back is known; null: the destination cannot lead back. */
  readonly via: string | null
}

/** True when a `via` field says that the request has passed through `name` before (RFC 9110 §7.6.3). */
export function hasPassedThrough(headers: HeaderList, name: string): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== 'via') continue
    for (const hop of (headers[i + 1] as string).split(','))
      if (hop.trim().split(/\s+/)[1]?.toLowerCase() === name) return true
  }
  return false
}

/** Two `cookie` fields as one. An empty one adds nothing: `a=b; ` would not be read as it was sent. */
export function joinCookies(before: string, value: string): string {
  if (before === '' || value === '') return before + value
  return `${before}; ${value}`
}

/** Builds the request fields that go out: `host` first, nothing hop-by-hop, nothing of the mesh to the outside. */
export function outgoingHeaders(headers: HeaderList, rules: OutgoingRules): string[] {
  const out: string[] = ['host', rules.authority]
  let cookie = -1
  if (rules.te && headerValue(headers, 'te')?.toLowerCase() === 'trailers') out.push('te', 'trailers')
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    const value = headers[i + 1] as string
    if (
      name === 'host' ||
      name === 'x-request-id' ||
      HOP_BY_HOP.has(name) ||
      isMeshHeader(name) ||
      rules.nominated.has(name)
    )
      continue
    if (!rules.propagateTrace && isTraceHeader(name)) continue
    if (name === 'cookie') {
      // HTTP/2 may split cookies into several fields; HTTP/1.1 wants one (RFC 9113 §8.2.3).
      if (cookie >= 0) {
        out[cookie] = joinCookies(out[cookie] as string, value)
        continue
      }
      cookie = out.length + 1
    }
    out.push(name, value)
  }
  out.push('x-request-id', rules.requestId)
  if (rules.via !== null) out.push('via', `1.1 ${rules.via}`)
  if (!rules.external) out.push('x-forwarded-for', rules.xForwardedFor, 'x-forwarded-proto', rules.scheme)
  return out
}

/**
 * Response fields without those that must not reach the caller from outside: ours alone to say. `bodiless`: a status that
 * has no body either way (204, 205), so a length would make the caller wait or read on too far (RFC 9110 §8.6, §15.3.6).
 */
export function returnedHeaders(headers: HeaderList, bodiless = false): string[] {
  const out: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name === 'server' || HOP_BY_HOP.has(name) || name.startsWith('x-envoy-') || name.startsWith('x-sallyport-'))
      continue
    if (bodiless && name === 'content-length') continue
    out.push(name, headers[i + 1] as string)
  }
  return out
}

/** The shape that Node wants trailers in. Names are such as `fieldsAreCarriable` lets pass. */
export function fieldsByName(headers: HeaderList): Record<string, string[]> {
  const fields: Record<string, string[]> = Object.create(null)
  for (let i = 0; i < headers.length; i += 2) {
    const values = fields[headers[i] as string]
    if (values === undefined) fields[headers[i] as string] = [headers[i + 1] as string]
    else values.push(headers[i + 1] as string)
  }
  return fields
}

/**
 * What no trailer may say, because it would frame, route, authenticate or describe a message that has been read already
 * (RFC 9110 §6.5.1). An upstream that merges trailers into the head would take it for what policy has judged.
 */
const NOT_IN_TRAILERS: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'content-type',
  'content-encoding',
  'content-range',
  'authorization',
  'cookie',
  'cache-control',
  'max-forwards',
  'range',
  'via',
  'x-request-id',
])

/** Request trailers that may go out: `omitted` are names that the route has its own word on. null: none are left. */
export function outgoingTrailers(
  trailers: HeaderList | null,
  nominated: ReadonlySet<string>,
  omitted: (name: string) => boolean,
): HeaderList | null {
  if (trailers === null || !fieldsAreCarriable(trailers)) return null
  const out: string[] = []
  for (let i = 0; i < trailers.length; i += 2) {
    const name = trailers[i] as string
    if (NOT_IN_TRAILERS.has(name) || HOP_BY_HOP.has(name) || name.startsWith('if-') || isTraceHeader(name)) continue
    if (isMeshHeader(name) || nominated.has(name) || omitted(name)) continue
    out.push(name, trailers[i + 1] as string)
  }
  return out.length === 0 ? null : out
}
