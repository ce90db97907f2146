/** The head of an HTTP/1.1 request, read strictly (RFC 9112 §3): what is not plainly a request is none. */
import { type Bytes, CR, type HeadFault, LF, SP, TOKEN } from './bytes.ts'
import { readFields } from './field-lines.ts'

/** How the body behind a head is framed: a length in bytes, by chunks, or so that nobody can say. */
export type Framing = number | 'chunked' | 'invalid'

export type RequestHead = {
  readonly method: string
  /** Byte for byte as received: visible ASCII. */
  readonly target: string
  readonly minorVersion: 0 | 1
  /** Flat, lower-case names, in order; values without white space around them. */
  readonly fields: readonly string[]
  readonly framing: Framing
}

/**
 * TABLE of methods that can be forwarded: those of the IANA registry that Node's parser knows, so that both engines take
 * the same. Frequent ones first; CONNECT and TRACE are refused where requests are judged.
 */
export const METHODS =
  'GET POST PUT HEAD DELETE PATCH OPTIONS ACL BIND CHECKOUT CONNECT COPY LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY PROPFIND PROPPATCH PURGE QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE'.split(
    ' ',
  )
/** ` HTTP/1.` */
const VERSION = [32, 72, 84, 84, 80, 47, 49, 46] as const
const SLASH = 47
/** Origin-form, asterisk-form, or absolute-form with an authority; behind which Node takes no fragment. */
const TARGET = /^(?:\/|\*$|https?:\/\/[^/?#]+(?:[/?]|$))/i
const MAX_LENGTH_DIGITS = 15

/** `start`…`end` is a whole head, its empty line included (headEnd). Never throws. */
export function readRequestHead(buffer: Bytes, start: number, end: number): RequestHead | HeadFault {
  let at = start
  while (TOKEN[buffer[at] as number] !== 0) at++
  if (at === start || buffer[at] !== SP) return 'INVALID_METHOD'
  const method = methodAt(buffer, start, at)
  if (method === null) return 'INVALID_METHOD'
  at++
  const targetStart = at
  // Visible ASCII only: what a URI consists of (RFC 3986 §2), and what no reader downstream can take for white space.
  for (let byte = buffer[at] as number; byte > SP && byte < 127; byte = buffer[at] as number) at++
  if (at === targetStart) return 'INVALID_TARGET'
  if (buffer[at] !== SP) return buffer[at] === CR || buffer[at] === LF ? 'INVALID_VERSION' : 'INVALID_TARGET'
  const text = buffer.toString('latin1', targetStart, end)
  const target = text.slice(0, at - targetStart)
  // Authority-form is CONNECT's alone (RFC 9112 §3.2.3).
  if (buffer[targetStart] !== SLASH && !TARGET.test(target) && method !== 'CONNECT') return 'INVALID_TARGET'
  for (let i = 0; i < VERSION.length; i++) if (buffer[at++] !== VERSION[i]) return 'INVALID_VERSION'
  const minor = (buffer[at++] as number) - 48
  if (minor !== 0 && minor !== 1) return 'INVALID_VERSION'
  if (buffer[at] !== CR || buffer[at + 1] !== LF) {
    return buffer[at] === CR || buffer[at] === LF ? 'INVALID_LINE_END' : 'INVALID_VERSION'
  }
  const fields = readFields(buffer, at + 2, end, text, targetStart)
  if (typeof fields === 'string') return fields
  // Without a length and a coding a request has no body (RFC 9112 §6.3).
  return { method, target, minorVersion: minor, fields, framing: framingOf(fields) ?? 0 }
}

function methodAt(buffer: Bytes, start: number, end: number): string | null {
  for (let at = 0; at < METHODS.length; at++) {
    const method = METHODS[at] as string
    if (method.length !== end - start) continue
    let i = 0
    while (i < method.length && buffer[start + i] === method.charCodeAt(i)) i++
    if (i === method.length) return method
  }
  return null
}

/** What the fields say; null: nothing. With more than one length or coding, nobody knows. By names: a value may say anything. */
export function framingOf(fields: readonly string[]): Framing | null {
  let framing: Framing | null = null
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]
    if (name === 'content-length') {
      const value = fields[i + 1] as string
      const length = decimalOf(value)
      // With zeros in front some would take it for octal.
      if (framing !== null || length === -1 || (value.length > 1 && value.startsWith('0'))) return 'invalid'
      framing = length
    } else if (name === 'transfer-encoding') {
      if (framing !== null || (fields[i + 1] as string).toLowerCase() !== 'chunked') return 'invalid'
      framing = 'chunked'
    }
  }
  return framing
}

/** One to fifteen digits as a number, which is exact; -1: anything else. By hand, as every answer's length is read twice. */
export function decimalOf(text: string): number {
  if (text === '' || text.length > MAX_LENGTH_DIGITS) return -1
  let value = 0
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48
    if (digit < 0 || digit > 9) return -1
    value = value * 10 + digit
  }
  return value
}
