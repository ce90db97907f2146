/**
 * The field lines of a head (RFC 9112 §5), read strictly: every leniency of the RFCs is off, so no obs-fold, no bare CR or
 * LF, no space before the colon, no empty name.
 */
import { type Bytes, COLON, CR, type HeadFault, HTAB, LF, SP, TOKEN } from './bytes.ts'
import { knownName } from './field-names.ts'

/** RFC 9110 §5.5 field-content, with SP and HTAB: 1 where allowed. */
const VALUE = new Uint8Array(256).fill(1)
for (let byte = 0; byte < 32; byte++) VALUE[byte] = byte === HTAB ? 1 : 0
VALUE[127] = 0

/** Most fields a head may have here: as many as the gateway's own limit can be set to, which the exchange judges (431). */
const MAX_FIELDS = 10_000

/**
 * Field lines from `at` up to and including the empty line that must end exactly at `end`: lower-case names and trimmed
 * values, flat. `text` is the bytes from `base` to `end` as latin1, of which values are slices: one string made from bytes
 * and a slice for each value cost a fraction of a string made from bytes for each.
 */
export function readFields(buffer: Bytes, at: number, end: number, text: string, base: number): string[] | HeadFault {
  // Made with the first field: an array that begins empty is one of numbers to V8, and is never grown in place.
  let fields: string[] | null = null
  while (at < end) {
    const nameStart = at
    while (TOKEN[buffer[at] as number] !== 0) at++
    if (at === nameStart || buffer[at] !== COLON) {
      if (buffer[nameStart] === CR && nameStart + 2 === end && buffer[nameStart + 1] === LF) return fields ?? []
      return nameFault(buffer[nameStart] as number)
    }
    const name = knownName(buffer, nameStart, at) ?? text.slice(nameStart - base, at - base).toLowerCase()
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
    const value = text.slice(valueStart - base, valueEnd - base)
    if (fields === null) fields = [name, value]
    else if (fields.length < MAX_FIELDS * 2) fields.push(name, value)
    else return 'TOO_MANY_FIELDS'
    at += 2
  }
  return 'INVALID_LINE_END'
}

/** Why no field begins with this byte, or none that has a name. */
function nameFault(first: number): HeadFault {
  if (first === CR || first === LF) return 'INVALID_LINE_END'
  return first === SP || first === HTAB ? 'OBSOLETE_LINE_FOLDING' : 'INVALID_FIELD_NAME'
}

function hasTab(buffer: Bytes, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (buffer[at] === HTAB) return true
  return false
}
