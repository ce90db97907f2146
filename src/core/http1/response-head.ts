/** The head of an HTTP/1.1 response, read strictly (RFC 9112 §4). What an upstream says is hostile until it has been read. */
import { type Bytes, CR, type HeadFault, HTAB, LF, readFields, SP } from './bytes.ts'
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
  for (const expected of VERSION) if (buffer[at++] !== expected) return 'INVALID_VERSION'
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
  const fields: string[] = []
  const fault = readFields(buffer, at + 2, end, fields)
  if (fault !== null) return fault
  return { status, minorVersion: minor, fields, framing: isFramed(fields) ? framingOf(fields) : 'close' }
}

/** By its names: a value may say anything (`connection: content-length`). */
function isFramed(fields: readonly string[]): boolean {
  for (let i = 0; i < fields.length; i += 2)
    if (fields[i] === 'content-length' || fields[i] === 'transfer-encoding') return true
  return false
}
