/** The head of an answer as bytes on the wire: built from status and fields, framing always our own (RFC 9112 §4, §6). */
import { STATUS_CODES } from 'node:http'
import type { HeaderList } from '../../core/attributes.ts'
import { isFieldValue } from '../../core/headers.ts'
import { lineStart } from '../../core/http1/field-names.ts'
import { decimalOf } from '../../core/http1/request-head.ts'

/** How a caller knows where the answer's body ends. `none`: it has no body, whatever its fields say. */
export type AnswerFraming = 'none' | 'counted' | 'chunked'

export type ResponseHead = {
  /** One character per byte, empty line included. */
  readonly text: string
  readonly framing: AnswerFraming
  /** Bytes of body to come; 0 unless `counted`. */
  readonly length: number
}

/** As decimalOf says it. */
const NO_LENGTH = -1

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
  // Grown piece by piece: it is made flat once, when it is written; joining an array costs half as much again.
  let text = statusLine(status)
  let length = NO_LENGTH
  let dated = false
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string
    const value = fields[i + 1] as string
    const start = lineStart(name)
    // Checked where they come from; a line end here would be an answer of somebody else's.
    if (start === null || !isFieldValue(value)) return null
    if (name === 'content-length') {
      if (length !== NO_LENGTH) return null
      length = decimalOf(value)
      if (length === NO_LENGTH) return null
    } else if (name === 'date') dated = true
    // Ours alone to say.
    else if (name === 'transfer-encoding' || name === 'connection') continue
    text = text + start + value
  }
  if (closes) text += '\r\nconnection: close'
  if (!dated) text += dateLine(nowMs)
  const bodiless = toHead || status === 204 || status === 304
  const chunked = !bodiless && length === NO_LENGTH
  text += chunked ? '\r\ntransfer-encoding: chunked\r\n\r\n' : '\r\n\r\n'
  if (bodiless) return { text, framing: 'none', length: 0 }
  return chunked ? { text, framing: 'chunked', length: 0 } : { text, framing: 'counted', length }
}

const statusLines: ReadonlyMap<number, string> = new Map(
  Object.entries(STATUS_CODES).map(([status, reason]) => [Number(status), `HTTP/1.1 ${status} ${reason}`]),
)

function statusLine(status: number): string {
  return statusLines.get(status) ?? `HTTP/1.1 ${status} `
}

let datedSecond = -1
let line = ''

/** Written once per second, for everybody. */
function dateLine(nowMs: number): string {
  const second = Math.floor(nowMs / 1000)
  if (second !== datedSecond) {
    datedSecond = second
    line = `\r\ndate: ${new Date(nowMs).toUTCString()}`
  }
  return line
}
