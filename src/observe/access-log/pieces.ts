/**
 * A compiled line: pieces that each write their part of it. Neighbours whose values last (lifetimes.ts) are one piece, which
 * keeps the bytes that it wrote and copies them as long as the values are the same.
 */
import type { Connection } from '../../core/attributes.ts'
import type { ExchangeRecord } from '../record.ts'
import type { Lifetime } from './lifetimes.ts'
import { LineBuffer } from './line-buffer.ts'
import type { LogValue, Reader } from './operators.ts'

/** Writes a line, or one part of it. */
export type Piece = (record: ExchangeRecord, line: LineBuffer) => void
/** Writes one value, whatever it holds; nothing but the value decides what. */
export type Print = (value: LogValue, line: LineBuffer) => void

type Field = { readonly lasts: Lifetime; readonly read: Reader | null; readonly write: Piece }

/** How many sets of values a piece of `few` keeps; more would cost more to look through than they save. */
const MAX_KEPT = 8
/** One set in so many that are not kept is: keeping costs more than writing, and some never come again. */
const MISSES_PER_KEPT = 8
/** Connections whose bytes are kept, by the last digits of their numbers. A power of 2. */
const CONNECTIONS = 256
/** Milliseconds whose bytes are kept, in the same way. */
const MOMENTS = 64
/** Texts whose bytes are kept, by their ends. A power of 2. */
const TEXTS = 256
/** Characters of a text that is worth keeping. With what stands around and escapes it that is half a megabyte for a field at most. */
const MAX_TEXT = 256

/** Literal text and fields in the order of the line. */
export class PieceBuilder {
  readonly #fields: Field[] = []
  #literal = ''

  literal(text: string): void {
    this.#literal += text
  }

  field(lasts: Lifetime, read: Reader, print: Print): void {
    const literal = this.#takeLiteral()
    const nothing = bytesOf((line) => {
      line.run(literal)
      print(null, line)
    })
    const write: Piece = (record, line) => {
      const value = read(record)
      if (value === null) return line.run(nothing)
      line.run(literal)
      print(value, line)
    }
    this.#fields.push({ lasts, read, write })
  }

  build(): Piece {
    const pieces = this.#grouped()
    return (record, line) => {
      for (const piece of pieces) piece(record, line)
    }
  }

  #grouped(): readonly Piece[] {
    const end = this.#takeLiteral()
    const groups: Field[][] = []
    for (const field of this.#fields) {
      const group = groups.at(-1)
      if (group !== undefined && group[0]?.lasts === field.lasts) group.push(field)
      else groups.push([field])
    }
    const write: Piece = (_, line) => line.run(end)
    const last = groups.at(-1)
    // The end of the line is kept with what stands before it.
    if (last !== undefined) last.push({ lasts: last[0]?.lasts ?? 'line', read: null, write })
    else return [write]
    return groups.flatMap((group) => KEEP[group[0]?.lasts ?? 'line'](group))
  }

  #takeLiteral(): Uint8Array {
    const bytes = Buffer.from(this.#literal)
    this.#literal = ''
    return bytes
  }
}

/** How the bytes of neighbours are kept. */
const KEEP: Readonly<Record<Lifetime, (fields: readonly Field[]) => readonly Piece[]>> = {
  line: (fields) => fields.map(({ write }) => write),
  few: (fields) => [keptByValues(fields)],
  often: (fields) => fields.map(keptByText),
  moment: (fields) => [keptByKey(fields, MOMENTS, momentOf, Math.floor)],
  connection: (fields) => [keptByKey(fields, CONNECTIONS, connectionOf, numberOf)],
}

function bytesOf(write: (line: LineBuffer) => void): Uint8Array {
  const line = new LineBuffer()
  write(line)
  return line.since(0)
}

function keptByValues(fields: readonly Field[]): Piece {
  const pieces = fields.map(({ write }) => write)
  const readers = fields.flatMap(({ read }) => (read === null ? [] : [read]))
  const kept: { readonly values: readonly LogValue[]; readonly bytes: Uint8Array }[] = []
  let misses = 0
  return (record, line) => {
    for (const { values, bytes } of kept) if (areValues(values, readers, record)) return line.run(bytes)
    const start = line.length
    for (const piece of pieces) piece(record, line)
    if (misses % MISSES_PER_KEPT === 0)
      kept[(misses / MISSES_PER_KEPT) % MAX_KEPT] = {
        values: readers.map((read) => read(record)),
        bytes: line.since(start),
      }
    misses += 1
  }
}

function areValues(values: readonly LogValue[], readers: readonly Reader[], record: ExchangeRecord): boolean {
  for (let i = 0; i < readers.length; i += 1) if (values[i] !== (readers[i] as Reader)(record)) return false
  return true
}

const connectionOf = ({ connection }: ExchangeRecord): Connection => connection
const numberOf = ({ id }: Connection): number => id
const momentOf = ({ startedAt }: ExchangeRecord): number => startedAt

/**
 * By what alone decides the values. Where it is kept say the last digits of its number, so that it takes neither a search
 * nor memory for all of them. `slots` is a power of 2.
 */
function keptByKey<K>(
  fields: readonly Field[],
  slots: number,
  keyOf: (record: ExchangeRecord) => K,
  digitsOf: (key: K) => number,
): Piece {
  const pieces = fields.map(({ write }) => write)
  const kept = Array.from({ length: slots }, (): { readonly of: K; readonly bytes: Uint8Array } | null => null)
  return (record, line) => {
    const key = keyOf(record)
    const slot = digitsOf(key) & (slots - 1)
    const known = kept[slot]
    if (known?.of === key) return line.run(known.bytes)
    const start = line.length
    for (const piece of pieces) piece(record, line)
    kept[slot] = { of: key, bytes: line.since(start) }
  }
}

type KeptText = { readonly text: string; readonly bytes: Uint8Array }

/** By what the text ends with: a search through all of them, or a table that hashes, would cost what is to be saved. */
function keptByText({ read, write }: Field): Piece {
  if (read === null) return write
  const kept = Array.from({ length: TEXTS }, (): KeptText | null => null)
  let misses = 0
  return (record, line) => {
    const text = read(record)
    if (typeof text !== 'string' || text === '' || text.length > MAX_TEXT) return write(record, line)
    const slot = slotOf(text)
    const known = kept[slot]
    if (known?.text === text) return line.run(known.bytes)
    const start = line.length
    write(record, line)
    if (misses % MISSES_PER_KEPT === 0) kept[slot] = keptText(text, line.since(start))
    misses += 1
  }
}

function slotOf(text: string): number {
  const last = text.length - 1
  const before = last === 0 ? 0 : text.charCodeAt(last - 1)
  return (text.charCodeAt(last) + before * 10 + last * 100) & (TEXTS - 1)
}

/** A copy: the text itself is a slice of a whole head, which would be kept with it. null: it does not consist of bytes. */
function keptText(text: string, bytes: Uint8Array): KeptText | null {
  const copy = Buffer.from(text, 'latin1').toString('latin1')
  return copy === text ? { text: copy, bytes } : null
}
