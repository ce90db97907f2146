/**
 * Compiles an access-log format once into a writer that makes one line per record. Per record: one pass over what is new
 * in it, into bytes; no objects, no `JSON.stringify`.
 */
import type { ExchangeRecord } from '../record.ts'
import { DEFAULT_JSON, DEFAULT_TEXT } from './defaults.ts'
import { AccessLogFormatError } from './error.ts'
import { jsonString, textValue } from './escape.ts'
import { LineBuffer } from './line-buffer.ts'
import type { Reader } from './operators.ts'
import { PieceBuilder, type Print } from './pieces.ts'
import { parseTemplate, type TemplatePart } from './template.ts'

/** Writes a whole line, newline included. Never throws, whatever bytes the record holds. */
export type LineWriter = (record: ExchangeRecord, line: LineBuffer) => void

/** Makes a whole line, newline included, as text; `into` writes the same as bytes, which costs less. */
export type AccessLogWriter = ((record: ExchangeRecord) => string) & { readonly into: LineWriter }

export type AccessLogStyle = {
  /** Missing values have no key (JSON), or print as nothing (TEXT, and within longer texts). */
  readonly omitEmptyValues: boolean
  /** `strings`: every value is text, a missing one `"-"` (Istio before typed JSON; behaviour §8.2). */
  readonly jsonStyle: 'typed' | 'strings'
}

const DEFAULT_STYLE: AccessLogStyle = { omitEmptyValues: false, jsonStyle: 'typed' }

/**
 * Compiles `format` ('' is the default of the encoding). JSON: the text of a JSON object, nested objects and arrays
 * allowed; a string that is exactly one operator keeps the operator's type, anything else is a string (behaviour §8.2).
 * Throws AccessLogFormatError.
 */
export function compileAccessLog(
  encoding: 'JSON' | 'TEXT',
  format: string,
  style: AccessLogStyle = DEFAULT_STYLE,
): AccessLogWriter {
  if (encoding === 'TEXT') return compileText(format === '' ? DEFAULT_TEXT : format, style)
  const object = format === '' ? DEFAULT_JSON : parseJsonFormat(format)
  return style.omitEmptyValues ? compileSparse(object, style) : compileJson(object, style)
}

/** null when the format compiles, else what is wrong with it. */
export function checkAccessLogFormat(encoding: 'JSON' | 'TEXT', format: string): string | null {
  try {
    compileAccessLog(encoding, format)
    return null
  } catch (error) {
    if (error instanceof AccessLogFormatError) return error.message
    throw error
  }
}

function parseJsonFormat(format: string): object {
  let value: unknown
  try {
    value = JSON.parse(format)
  } catch (error) {
    throw new AccessLogFormatError(`with encoding JSON the format must be a JSON object: ${(error as Error).message}`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new AccessLogFormatError(
      'with encoding JSON the format must be a JSON object, e.g. {"code":"%RESPONSE_CODE%"}',
    )
  }
  return value
}

const bytesOf = (text: string): Uint8Array => Buffer.from(text)
const NULL = bytesOf('null')
const COMMA = bytesOf(',')
const OPEN_ARRAY = bytesOf('[')
const CLOSE_ARRAY = bytesOf(']')
const OPEN_OBJECT = bytesOf('{')
const CLOSE_OBJECT = bytesOf('}')

const printJson: Print = (value, line) => {
  if (typeof value === 'string') line.json(value)
  else if (value !== null && Number.isFinite(value)) line.number(value)
  else line.run(NULL)
}

/** For logs whose values are all text. */
const printString: Print = (value, line) => line.json(value === null ? '-' : String(value))

const printerOf = ({ jsonStyle }: AccessLogStyle): Print => (jsonStyle === 'strings' ? printString : printJson)

/** Of several parts. A missing value inside a longer text is `-`, as in Envoy. */
function textOf(parts: readonly TemplatePart[], missing: string): (record: ExchangeRecord) => string {
  return (record) => {
    let text = ''
    for (const part of parts) text += typeof part === 'string' ? part : (part.read(record) ?? missing)
    return text
  }
}

function writerOf(into: LineWriter): AccessLogWriter {
  const line = new LineBuffer()
  const print = (record: ExchangeRecord): string => {
    line.length = 0
    into(record, line)
    return line.text()
  }
  return Object.assign(print, { into })
}

function compileJson(format: object, style: AccessLogStyle): AccessLogWriter {
  const builder = new PieceBuilder()
  const print = printerOf(style)
  walkJson(format, [], {
    literal: (text) => builder.literal(text),
    template: (parts) => {
      const [only] = parts
      if (parts.length === 1 && typeof only === 'object') builder.field(only.lasts, only.read, print)
      else if (parts.every((part) => typeof part === 'string')) builder.literal(jsonString(parts.join('')))
      else {
        builder.field('line', textOf(parts, '-'), printJson)
      }
    },
  })
  builder.literal('\n')
  return writerOf(builder.build())
}

type Visitor = {
  readonly literal: (text: string) => void
  readonly template: (parts: readonly TemplatePart[]) => void
}

/** The format's own text, in order, and its templates. Throws AccessLogFormatError that names the field. */
function walkJson(value: unknown, path: readonly string[], visit: Visitor): void {
  if (typeof value === 'string') visit.template(templateAt(value, path))
  else if (Array.isArray(value)) {
    visit.literal('[')
    for (const [index, item] of value.entries()) {
      if (index > 0) visit.literal(',')
      walkJson(item, [...path, String(index)], visit)
    }
    visit.literal(']')
  } else if (typeof value === 'object' && value !== null) {
    visit.literal('{')
    for (const [index, [key, item]] of Object.entries(value).entries()) {
      visit.literal(`${index > 0 ? ',' : ''}${jsonString(key)}:`)
      walkJson(item, [...path, key], visit)
    }
    visit.literal('}')
  } else visit.literal(JSON.stringify(value))
}

function templateAt(text: string, path: readonly string[]): readonly TemplatePart[] {
  try {
    return parseTemplate(text)
  } catch (error) {
    if (!(error instanceof AccessLogFormatError) || path.length === 0) throw error
    throw new AccessLogFormatError(`${JSON.stringify(path.join('.'))}, ${error.message}`)
  }
}

/** False: the field is left out of its object, and nothing is written. */
type Sparse = (record: ExchangeRecord, line: LineBuffer) => boolean

/** JSON with `omitEmptyValues`: which keys there are is known with the record, so that commas cannot be compiled. */
function compileSparse(format: object, style: AccessLogStyle): AccessLogWriter {
  const write = sparse(format, [], style)
  const end = bytesOf('\n')
  return writerOf((record, line) => {
    write(record, line)
    line.run(end)
  })
}

function sparse(value: unknown, path: readonly string[], style: AccessLogStyle): Sparse {
  if (typeof value === 'string') {
    const parts = templateAt(value, path)
    const [only] = parts
    if (parts.length === 1 && typeof only === 'object') return sparseField(only.read, printerOf(style))
    const text = textOf(parts, '')
    return (record, line) => {
      line.json(text(record))
      return true
    }
  }
  if (Array.isArray(value))
    return sparseArray(value.map((item, index) => sparse(item, [...path, String(index)], style)))
  if (typeof value === 'object' && value !== null)
    return sparseObject(
      Object.entries(value).map(([key, item]) => ({
        first: bytesOf(`${jsonString(key)}:`),
        next: bytesOf(`,${jsonString(key)}:`),
        write: sparse(item, [...path, key], style),
      })),
    )
  if (value === null) return () => false
  const literal = bytesOf(JSON.stringify(value))
  return (_, line) => {
    line.run(literal)
    return true
  }
}

function sparseField(read: Reader, print: Print): Sparse {
  return (record, line) => {
    const value = read(record)
    if (value === null) return false
    print(value, line)
    return true
  }
}

function sparseArray(items: readonly Sparse[]): Sparse {
  return (record, line) => {
    line.run(OPEN_ARRAY)
    for (const [index, write] of items.entries()) {
      if (index > 0) line.run(COMMA)
      if (!write(record, line)) line.run(NULL)
    }
    line.run(CLOSE_ARRAY)
    return true
  }
}

/** `first` and `next`: the key, as it begins the object and as it follows another. */
type SparseField = { readonly first: Uint8Array; readonly next: Uint8Array; readonly write: Sparse }

function sparseObject(fields: readonly SparseField[]): Sparse {
  return (record, line) => {
    line.run(OPEN_OBJECT)
    const begin = line.length
    for (const { first, next, write } of fields) {
      const start = line.length
      line.run(start > begin ? next : first)
      if (!write(record, line)) line.length = start
    }
    line.run(CLOSE_OBJECT)
    return true
  }
}

/** SNI is the one field of Istio's format that stands outside quotes and that a caller chooses: no spaces there. */
const UNQUOTED: ReadonlySet<string> = new Set(['REQUESTED_SERVER_NAME', 'SALLYPORT_INNER_SERVER_NAME'])

function compileText(format: string, { omitEmptyValues }: AccessLogStyle): AccessLogWriter {
  const missing = omitEmptyValues ? '' : '-'
  const text = format.endsWith('\n') ? format.slice(0, -1) : format
  if (/[\r\n]/.test(text)) {
    throw new AccessLogFormatError('a TEXT format must be one line: every request writes exactly one')
  }
  const builder = new PieceBuilder()
  for (const part of parseTemplate(text)) {
    if (typeof part === 'string') builder.literal(part)
    else builder.field(part.lasts, part.read, UNQUOTED.has(part.name) ? bare(missing) : quoted(missing))
  }
  builder.literal('\n')
  return writerOf(builder.build())
}

function quoted(missing: string): Print {
  return (value, line) => {
    if (typeof value === 'number') return line.number(value)
    const text = value ?? missing
    if (!line.plain(text)) line.encoded(textValue(text))
  }
}

const bare =
  (missing: string): Print =>
  (value, line) =>
    line.encoded(textValue(String(value ?? missing)).replaceAll(' ', '\\x20'))
