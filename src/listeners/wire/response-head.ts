/** The head of an answer as bytes on the wire: built from status and fields, framing always our own (RFC 9112 §4, §6). */
import { STATUS_CODES } from 'node:http'
import type { HeaderList } from '../../core/attributes.ts'
import { isFieldValue } from '../../core/headers.ts'

/** How a caller knows where the answer's body ends. `none`: it has no body, whatever its fields say. */
export type AnswerFraming = 'none' | 'counted' | 'chunked'

export type ResponseHead = {
  /** One character per byte, empty line included. */
  readonly text: string
  readonly framing: AnswerFraming
  /** Bytes of body to come; 0 unless `counted`. */
  readonly length: number
}

/** No length, or one that is not the length of anything: two of them, or not a number. */
const NO_LENGTH = -1
const LENGTH = /^\d{1,15}$/

/**
 * `fields` are flat with lower-case names. Adds `date`, `connection: close` when `closes`, and `transfer-encoding` where a
 * body has no length. Field order is that of the other engine.
 * @returns null when the fields cannot be sent as they are: two lengths, or bytes that no field may hold
 */
export function responseHead(
  status: number,
  fields: HeaderList,
  toHead: boolean,
  closes: boolean,
  nowMs: number,
): ResponseHead | null {
  // Joined once: a string grown field by field leaves four others behind for each.
  const parts = ['HTTP/1.1 ', String(status), ' ', STATUS_CODES[status] ?? '', '\r\n']
  let length = NO_LENGTH
  let dated = false
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string
    const value = fields[i + 1] as string
    // Checked where they come from; a line end here would be an answer of somebody else's.
    if (!isFieldValue(value)) return null
    if (name === 'content-length') {
      if (length !== NO_LENGTH || !LENGTH.test(value)) return null
      length = Number(value)
    } else if (name === 'date') dated = true
    // Ours alone to say.
    else if (name === 'transfer-encoding' || name === 'connection') continue
    parts.push(name, ': ', value, '\r\n')
  }
  if (closes) parts.push('connection: close\r\n')
  if (!dated) parts.push(dateLine(nowMs))
  const bodiless = toHead || status === 204 || status === 304
  const chunked = !bodiless && length === NO_LENGTH
  parts.push(chunked ? 'transfer-encoding: chunked\r\n\r\n' : '\r\n')
  const text = parts.join('')
  if (bodiless) return { text, framing: 'none', length: 0 }
  return chunked ? { text, framing: 'chunked', length: 0 } : { text, framing: 'counted', length }
}

let datedSecond = -1
let line = ''

/** Written once per second, for everybody. */
function dateLine(nowMs: number): string {
  const second = Math.floor(nowMs / 1000)
  if (second !== datedSecond) {
    datedSecond = second
    line = `date: ${new Date(nowMs).toUTCString()}\r\n`
  }
  return line
}
