/**
 * The bytes of HTTP/1.1 heads (RFC 9112, RFC 9110 §5): which may stand where, and field lines read from a buffer.
 * Every leniency of the RFCs is off: no obs-fold, no bare CR or LF, no space before the colon, no empty name.
 */

/** Why a head is refused; goes into `response_code_details`. */
export type HeadFault =
  | 'INVALID_METHOD'
  | 'INVALID_TARGET'
  | 'INVALID_VERSION'
  | 'INVALID_STATUS'
  | 'INVALID_LINE_END'
  | 'INVALID_FIELD_NAME'
  | 'INVALID_FIELD_VALUE'
  | 'OBSOLETE_LINE_FOLDING'
  | 'TOO_MANY_FIELDS'

/** A type alone: `core` makes no buffers. */
export type Bytes = Buffer

export const CR = 13
export const LF = 10
export const SP = 32
export const HTAB = 9
export const COLON = 58

/** RFC 9110 §5.6.2 tchar: the byte's lower-case form; 0: not allowed. */
export const TOKEN = new Uint8Array(256)
for (const char of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") TOKEN[char.charCodeAt(0)] = char.charCodeAt(0)
for (const char of 'ABCDEFGHIJKLMNOPQRSTUVWXYZ') TOKEN[char.charCodeAt(0)] = char.charCodeAt(0) + 32

/** RFC 9110 §5.5 field-content, with SP and HTAB: 1 where allowed. */
const VALUE = new Uint8Array(256).fill(1)
for (let byte = 0; byte < 32; byte++) VALUE[byte] = byte === HTAB ? 1 : 0
VALUE[127] = 0

/** Most fields a head may have here: as many as the gateway's own limit can be set to, which the exchange judges (431). */
const MAX_FIELDS = 10_000

/** Names met all the time, so that no string is made for them. */
const KNOWN = [
  'host',
  'user-agent',
  'accept',
  'accept-encoding',
  'accept-language',
  'accept-ranges',
  'access-control-allow-origin',
  'age',
  'authorization',
  'b3',
  'cache-control',
  'connection',
  'content-encoding',
  'content-language',
  'content-length',
  'content-type',
  'cookie',
  'date',
  'etag',
  'expect',
  'expires',
  'grpc-status',
  'if-modified-since',
  'if-none-match',
  'keep-alive',
  'last-modified',
  'link',
  'location',
  'origin',
  'pragma',
  'range',
  'referer',
  'server',
  'server-timing',
  'set-cookie',
  'strict-transport-security',
  'te',
  'traceparent',
  'tracestate',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'vary',
  'via',
  'x-b3-parentspanid',
  'x-b3-sampled',
  'x-b3-spanid',
  'x-b3-traceid',
  'x-content-type-options',
  'x-envoy-attempt-count',
  'x-envoy-decorator-operation',
  'x-envoy-peer-metadata',
  'x-envoy-peer-metadata-id',
  'x-forwarded-client-cert',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-frame-options',
  'x-powered-by',
  'x-request-id',
]
const BUCKETS = 512
const buckets: { readonly name: string; readonly bytes: Uint8Array }[][] = Array.from({ length: BUCKETS }, () => [])
for (const name of KNOWN) {
  const bytes = Uint8Array.from(name, (char) => char.charCodeAt(0))
  let hash = 0
  for (const byte of bytes) hash = (Math.imul(hash, 31) + byte) | 0
  buckets[hash & (BUCKETS - 1)]?.push({ name, bytes })
}

/** The lower-case name at `start`…`end`, whose bytes are tokens and hash to `hash`. */
function nameAt(buffer: Bytes, start: number, end: number, hash: number): string {
  const length = end - start
  const bucket = buckets[hash & (BUCKETS - 1)] as (typeof buckets)[number]
  candidates: for (const { name, bytes } of bucket) {
    if (bytes.length !== length) continue
    for (let i = 0; i < length; i++) if (TOKEN[buffer[start + i] as number] !== bytes[i]) continue candidates
    return name
  }
  return buffer.toString('latin1', start, end).toLowerCase()
}

/**
 * Field lines from `start` up to and including the empty line that must end exactly at `end`. Appends lower-case names
 * and trimmed values to `fields` (flat). null: well formed.
 */
export function readFields(buffer: Bytes, start: number, end: number, fields: string[]): HeadFault | null {
  // One string for all values: a slice of it costs a fraction of a string made from bytes.
  const text = buffer.toString('latin1', start, end)
  let at = start
  while (at < end) {
    const first = buffer[at] as number
    if (first === CR) return at + 2 === end && buffer[at + 1] === LF ? null : 'INVALID_LINE_END'
    if (first === SP || first === HTAB) return 'OBSOLETE_LINE_FOLDING'
    if (first === LF) return 'INVALID_LINE_END'
    const nameStart = at
    let hash = 0
    for (;;) {
      const lower = TOKEN[buffer[at] as number] as number
      if (lower === 0) break
      hash = (Math.imul(hash, 31) + lower) | 0
      at++
    }
    if (at === nameStart || buffer[at] !== COLON) return 'INVALID_FIELD_NAME'
    const name = nameAt(buffer, nameStart, at, hash)
    at++
    const afterColon = at
    while (buffer[at] === SP || buffer[at] === HTAB) at++
    const valueStart = at
    while (VALUE[buffer[at] as number] === 1) at++
    if (buffer[at] !== CR) return buffer[at] === LF ? 'INVALID_LINE_END' : 'INVALID_FIELD_VALUE'
    if (buffer[at + 1] !== LF) return 'INVALID_LINE_END'
    let valueEnd = at
    while (valueEnd > valueStart && (buffer[valueEnd - 1] === SP || buffer[valueEnd - 1] === HTAB)) valueEnd--
    // Node reads `chunked` with a tab behind it as no coding at all: what frames a message must not depend on the reader.
    if ((name === 'transfer-encoding' || name === 'content-length') && hasTab(buffer, afterColon, at))
      return 'INVALID_FIELD_VALUE'
    fields.push(name, valueEnd === valueStart ? '' : text.slice(valueStart - start, valueEnd - start))
    if (fields.length > MAX_FIELDS * 2) return 'TOO_MANY_FIELDS'
    at += 2
  }
  return 'INVALID_LINE_END'
}

function hasTab(buffer: Bytes, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (buffer[at] === HTAB) return true
  return false
}

const EMPTY_LINE = Uint8Array.of(CR, LF, CR, LF)

/** Index behind the first empty line that begins at or after `from`; -1: not there yet. */
export function headEnd(buffer: Bytes, from: number, end: number): number {
  const at = buffer.indexOf(EMPTY_LINE, from)
  return at === -1 || at + 4 > end ? -1 : at + 4
}

/** True when an incomplete head already holds a line end that cannot become CRLF: no reason to wait for the rest. */
export function hasBareLineEnd(buffer: Bytes, from: number, end: number): boolean {
  for (let at = from; at < end; at++) {
    const byte = buffer[at]
    if (byte === LF && (at === from || buffer[at - 1] !== CR)) return true
    if (byte === CR && at + 1 < end && buffer[at + 1] !== LF) return true
  }
  return false
}
