/** The head of an HTTP/1.1 response, read strictly (RFC 9112 §4). What an upstream says is hostile until it has been read. */
import { type Bytes, CR, type HeadFault, HTAB, LF, SP } from './bytes.ts'
import { readFields } from './field-lines.ts'
import { framingOf } from './request-head.ts'

/** `close`: the body ends with the connection (RFC 9112 §6.3). */
export type ResponseFraming = number | 'chunked' | 'close' | 'invalid'

export type ResponseHead = {
  /** 100 to 599. */
  readonly status: number
  readonly minorVersion: 0 | 1
  /** Flat, lower-case names, in order; values without white space around them. */
  readonly fields: string[]
  /** Of a final response to a request that was not HEAD; interim ones, 204 and 304 have no body whatever it says. */
  readonly framing: ResponseFraming
}

/** `HTTP/1.` */
const VERSION = [72, 84, 84, 80, 47, 49, 46] as const

/** `start`…`end` is a whole head, its empty line included (headEnd). Never throws. */
export function readResponseHead(buffer: Bytes, start: number, end: number): ResponseHead | HeadFault {
  let at = start
  for (let i = 0; i < VERSION.length; i++) if (buffer[at++] !== VERSION[i]) return 'INVALID_VERSION'
  const minor = (buffer[at++] as number) - 48
  if ((minor !== 0 && minor !== 1) || buffer[at++] !== SP) return 'INVALID_VERSION'
  let status = 0
  for (let i = 0; i < 3; i++) {
    const digit = (buffer[at++] as number) - 48
    if (digit < 0 || digit > 9) return 'INVALID_STATUS'
    status = status * 10 + digit
  }
  if (status < 100 || status > 599) return 'INVALID_STATUS'
  // The reason is nobody's business; some servers leave out the space before an empty one.
  if (buffer[at] === SP) {
    at++
    for (let byte = buffer[at] as number; (byte >= SP && byte !== 127) || byte === HTAB; byte = buffer[at] as number)
      at++
  }
  if (buffer[at] !== CR || buffer[at + 1] !== LF) {
    return buffer[at] === CR || buffer[at] === LF ? 'INVALID_LINE_END' : 'INVALID_STATUS'
  }
  const linesAt = at + 2
  const fields = readFields(buffer, linesAt, end, buffer.toString('latin1', linesAt, end), linesAt)
  if (typeof fields === 'string') return fields
  return { status, minorVersion: minor, fields, framing: framingOf(fields) ?? 'close' }
}
