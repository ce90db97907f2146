/** Names of fields as they stand in a head: looked up by their bytes, so that no string is made for those met all the time. */
import { isFieldName } from '../headers.ts'
import { type Bytes, TOKEN } from './bytes.ts'

/** Met all the time; nothing else is said of them here. */
export const KNOWN_NAMES = [
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
] as const

/** Open addressing, a power of two and sparse: a name that is not there usually meets an empty slot at once. */
const SLOTS = 512
/** Flat, as a bucket of objects costs more to walk than a name to compare. */
const names: string[] = Array.from({ length: SLOTS }, () => '')
/** Where the bytes of a slot's name begin in `bytes`. */
const starts = new Uint16Array(SLOTS)
const bytes = Uint8Array.from(KNOWN_NAMES.join(''), (char) => char.charCodeAt(0))

let start = 0
for (const name of KNOWN_NAMES) {
  let slot = slotOf(bytes, start, start + name.length)
  while (names[slot] !== '') slot = (slot + 1) & (SLOTS - 1)
  names[slot] = name
  starts[slot] = start
  start += name.length
}

/** From length, first, middle and last byte: enough to tell the known ones apart, and never a second look at all bytes. */
function slotOf(buffer: Uint8Array, from: number, to: number): number {
  const length = to - from
  const first = TOKEN[buffer[from] as number] as number
  const middle = TOKEN[buffer[from + (length >> 1)] as number] as number
  const last = TOKEN[buffer[to - 1] as number] as number
  return (length * 131 + first * 31 + middle * 7 + last * 67) & (SLOTS - 1)
}

/** The lower-case name at `from`…`to`, all of whose bytes are tokens; null: not one of the known. */
export function knownName(buffer: Bytes, from: number, to: number): string | null {
  const length = to - from
  for (let slot = slotOf(buffer, from, to); ; slot = (slot + 1) & (SLOTS - 1)) {
    const name = names[slot] as string
    if (name.length === 0) return null
    if (name.length !== length) continue
    let at = starts[slot] as number
    let i = from
    while (i < to && TOKEN[buffer[i] as number] === bytes[at]) {
      i++
      at++
    }
    if (i === to) return name
  }
}

const LINE_STARTS: ReadonlyMap<string, string> = new Map(KNOWN_NAMES.map((name) => [name, `\r\n${name}: `]))

/** How a line of this name begins on the wire, with the end of the line before it. null: no lower-case token, so none can. */
export function lineStart(name: string): string | null {
  return LINE_STARTS.get(name) ?? (isFieldName(name) ? `\r\n${name}: ` : null)
}
