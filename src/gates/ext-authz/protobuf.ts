/**
 * Protocol Buffers' wire format, as far as the messages of Envoy's authorization API need it: varints, bytes, text and
 * messages; whatever else stands in a message is passed over (https://protobuf.dev/programming-guides/encoding).
 */

/** Writes one message, field by field. Empty text and zero are left out, as proto3 does. */
export class MessageWriter {
  readonly #pieces: Buffer[] = []

  varint(field: number, value: number): this {
    if (value !== 0) this.#pieces.push(varint(field * 8), varint(value))
    return this
  }

  text(field: number, value: string): this {
    return value === '' ? this : this.bytes(field, Buffer.from(value, 'utf8'))
  }

  /** Also when it is empty: presence counts. */
  bytes(field: number, value: Buffer): this {
    this.#pieces.push(varint(field * 8 + 2), varint(value.length), value)
    return this
  }

  message(field: number, write: (message: MessageWriter) => void): this {
    const inner = new MessageWriter()
    write(inner)
    return this.bytes(field, inner.finish())
  }

  /** `map<string, string>`. */
  entry(field: number, key: string, value: string): this {
    return this.message(field, (entry) => entry.text(1, key).text(2, value))
  }

  finish(): Buffer {
    return Buffer.concat(this.#pieces)
  }
}

/** `value` is a whole number, not negative, below 2^53; -1 is written as the 64-bit -1. */
function varint(value: number): Buffer {
  if (value === -1) return MINUS_ONE
  const bytes: number[] = []
  let rest = value
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80)
    rest = Math.floor(rest / 0x80)
  }
  bytes.push(rest)
  return Buffer.from(bytes)
}
const MINUS_ONE = Buffer.from([255, 255, 255, 255, 255, 255, 255, 255, 255, 1])

/** One field of a message. `bytes` of varints is empty, `number` of the others 0. 64-bit and 32-bit fields come as bytes. */
export type Field = {
  readonly field: number
  readonly wire: 0 | 1 | 2 | 5
  readonly number: number
  readonly bytes: Buffer
}

/** The fields of a message, in order. null: not a message. */
export function readMessage(bytes: Buffer): readonly Field[] | null {
  const fields: Field[] = []
  let at = 0
  while (at < bytes.length) {
    const key = readVarint(bytes, at)
    if (key === null || key.value > 0xffffffff) return null
    at = key.end
    const field = Math.floor(key.value / 8)
    const wire = key.value % 8
    if (field === 0) return null
    if (wire === 0) {
      const read = readVarint(bytes, at)
      if (read === null) return null
      at = read.end
      fields.push({ field, wire, number: read.value, bytes: EMPTY })
      continue
    }
    let length: number
    if (wire === 1) length = 8
    else if (wire === 5) length = 4
    else if (wire === 2) {
      const read = readVarint(bytes, at)
      if (read === null) return null
      at = read.end
      length = read.value
    } else return null
    if (at + length > bytes.length) return null
    fields.push({ field, wire, number: 0, bytes: bytes.subarray(at, at + length) })
    at += length
  }
  return fields
}

const EMPTY = Buffer.alloc(0)

/** At most ten bytes; beyond 2^53 it is only known to be large. */
function readVarint(bytes: Buffer, start: number): { readonly value: number; readonly end: number } | null {
  let value = 0
  let scale = 1
  for (let at = start; at < start + 10 && at < bytes.length; at += 1) {
    const byte = bytes[at] as number
    value += (byte & 0x7f) * scale
    if (byte < 0x80) return { value, end: at + 1 }
    scale *= 0x80
  }
  return null
}
