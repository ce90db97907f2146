/** The header fields of an upstream's response, checked for ambiguity and cleaned of what concerns only that hop. */
import type { HeaderList } from '../core/attributes.ts'
import { isHopByHop } from '../core/headers.ts'

/** `null` in `headers`: refuse the response (`why` says so for the log). */
export type CleanedHeaders =
  | {
      readonly headers: HeaderList
      readonly why: null
      /** How long the upstream says it keeps the connection (`Keep-Alive: timeout=N`), milliseconds; null: it does not say. */
      readonly keepAliveMs: number | null
      /** It says that the connection may carry further requests (RFC 9112 §9.3). */
      readonly persistent: boolean
    }
  | { readonly headers: null; readonly why: string }

const KEEP_ALIVE_TIMEOUT = /(?:^|[,;\s])timeout=(\d{1,6})(?:$|[,;\s])/i

/** As the engine `wire` reads it: with zeros in front some would take it for octal. */
const LENGTH = /^(?:0|[1-9]\d{0,14})$/

/** `cleanFields` for names in any case, and for lengths that nobody has read yet. */
export function cleanResponseHeaders(raw: readonly string[], http10: boolean, maxHeaders: number): CleanedHeaders {
  const fields = raw.map((text, i) => (i % 2 === 0 ? text.toLowerCase() : text))
  if (fields.some((text, i) => i % 2 === 1 && fields[i - 1] === 'content-length' && !LENGTH.test(text)))
    return { headers: null, why: 'content_length' }
  return cleanFields(fields, http10, maxHeaders)
}

/**
 * `raw` is flat, with lower-case names, as parsed. Refused: more than `maxHeaders` fields (Envoy's max_headers_count),
 * Content-Length next to Transfer-Encoding, several lengths, any transfer coding but `chunked`, and any at all from an
 * HTTP/1.0 server (RFC 9112 §6.1, §6.3): each of them lets two parties disagree about where the response ends.
 */
export function cleanFields(raw: HeaderList, http10: boolean, maxHeaders: number): CleanedHeaders {
  if (raw.length > maxHeaders * 2) return { headers: null, why: 'too_many_headers' }
  let lengths = 0
  let codings = 0
  let coding = ''
  let nominated: Set<string> | null = null
  let keepsAlive = false
  let keepAliveMs: number | null = null
  let headers: string[] = []
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string
    const value = raw[i + 1] as string
    if (!isHopByHop(name)) {
      if (name === 'content-length') lengths++
      headers.push(name, value)
    } else if (name === 'transfer-encoding') {
      codings++
      coding = value
    } else if (name === 'keep-alive') {
      const seconds = KEEP_ALIVE_TIMEOUT.exec(value)?.[1]
      if (seconds !== undefined) keepAliveMs = Number(seconds) * 1_000
    } else if (name === 'connection') {
      // What nearly everybody says; the field of that name goes anyway.
      if (value === 'keep-alive') keepsAlive = true
      else nominated = nominations(value, nominated)
    }
  }
  if (codings > 0 && lengths > 0) return { headers: null, why: 'content_length_and_transfer_encoding' }
  if (lengths > 1) return { headers: null, why: 'several_content_lengths' }
  if (codings > 0 && (codings > 1 || http10 || coding.trim().toLowerCase() !== 'chunked'))
    return { headers: null, why: 'transfer_encoding' }
  if (nominated !== null) {
    headers = without(headers, nominated)
    keepsAlive ||= nominated.has('keep-alive')
  }
  const persistent = nominated?.has('close') !== true && (!http10 || keepsAlive)
  return { headers, why: null, keepAliveMs, persistent }
}

function without(fields: HeaderList, names: ReadonlySet<string>): string[] {
  const left: string[] = []
  for (let i = 0; i < fields.length; i += 2)
    if (!names.has(fields[i] as string)) left.push(fields[i] as string, fields[i + 1] as string)
  return left
}

function nominations(value: string, before: Set<string> | null): Set<string> {
  const names = before ?? new Set()
  for (const part of value.split(',')) names.add(part.trim().toLowerCase())
  return names
}
