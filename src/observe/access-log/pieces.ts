/**
 * A compiled line: pieces that each write their part of it. Neighbours whose values last (lifetimes.ts) are one piece, which
 * keeps the bytes that it wrote and copies them as long as the values are the same.
 */
import type { Connection } from '../../core/attributes.ts'
import type { ExchangeRecord } from '../record.ts'
import type { Lifetime } from './lifetimes.ts'
import type { LineBuffer } from './line-buffer.ts'
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

/** Literal text and fields in the order of the line. */
export class PieceBuilder {
  readonly #fields: Field[] = []
  #literal = ''

  literal(text: string): void {
    this.#literal += text
  }

  field(lasts: Lifetime, read: Reader, print: Print): void {
    const literal = this.#takeLiteral()
    const write: Piece = (record, line) => {
      line.run(literal)
      print(read(record), line)
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
  connection: (fields) => [keptByConnection(fields)],
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

type Kept = { readonly of: Connection; readonly bytes: Uint8Array }

/** By the last digits of the connection's number, so that it takes neither a search nor memory for all of them. */
function keptByConnection(fields: readonly Field[]): Piece {
  const pieces = fields.map(({ write }) => write)
  const kept = Array.from({ length: CONNECTIONS }, (): Kept | null => null)
  return (record, line) => {
    const { connection } = record
    const slot = connection.id & (CONNECTIONS - 1)
    const known = kept[slot]
    if (known?.of === connection) return line.run(known.bytes)
    const start = line.length
    for (const piece of pieces) piece(record, line)
    kept[slot] = { of: connection, bytes: line.since(start) }
  }
}
