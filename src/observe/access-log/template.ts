/**
 * Reads one format string into literals and operators (Envoy, substitution_format_utility):
 * `%NAME%`, `%NAME(argument)%`, `%NAME(argument):MAXLENGTH%`, and `%%` for a percent sign. An argument ends at the first
 * `)` that ends the operator too, so that it may hold percent signs (times) and brackets (expressions).
 */
import { AccessLogFormatError } from './error.ts'
import { type Lifetime, lifetimeOf } from './lifetimes.ts'
import { findOperator, type Reader } from './operators.ts'

/** A literal, or an operator with its compiled reader. */
export type TemplatePart = string | { readonly name: string; readonly lasts: Lifetime; readonly read: Reader }

const OPERATOR = /%([A-Z][A-Z0-9_]*)(?:\((.*?)\))?(?::([0-9]{1,9}))?%/sy

/** Parses and compiles; adjacent literals are joined. Throws AccessLogFormatError naming the column (from 1). */
export function parseTemplate(format: string): readonly TemplatePart[] {
  const parts: TemplatePart[] = []
  const literal = (text: string) => {
    const last = parts.at(-1)
    if (typeof last === 'string') parts[parts.length - 1] = last + text
    else parts.push(text)
  }
  for (let i = 0; i < format.length; ) {
    if (format[i] !== '%') {
      const next = format.indexOf('%', i)
      const end = next === -1 ? format.length : next
      literal(format.slice(i, end))
      i = end
    } else if (format[i + 1] === '%') {
      literal('%')
      i += 2
    } else {
      OPERATOR.lastIndex = i
      const found = OPERATOR.exec(format)
      if (found === null) {
        throw new AccessLogFormatError(
          `column ${i + 1}: "%" starts no operator (${JSON.stringify(format.slice(i, i + 20))}); write %NAME%, %NAME(argument):LENGTH%, or %% for a percent sign`,
        )
      }
      const [text, name = '', argument, length] = found
      parts.push({ name, lasts: lifetimeOf(name, argument ?? ''), read: limited(operator(name, argument, i), length) })
      i += text.length
    }
  }
  return parts
}

function operator(name: string, argument: string | undefined, at: number): Reader {
  const where = `column ${at + 1}: %${name}%`
  const row = findOperator(name)
  if (row === null) throw new AccessLogFormatError(`${where}: unknown operator`)
  if (row.argument === 'required' && !argument)
    throw new AccessLogFormatError(`${where}: needs an argument in parentheses`)
  if (row.argument === 'none' && argument !== undefined) throw new AccessLogFormatError(`${where}: takes no argument`)
  try {
    return row.build(argument ?? '')
  } catch (error) {
    if (error instanceof AccessLogFormatError) throw new AccessLogFormatError(`${where}: ${error.message}`)
    throw error
  }
}

/** `:Z`: strings are cut to Z bytes (header text is one character per byte). */
function limited(read: Reader, length: string | undefined): Reader {
  if (length === undefined) return read
  const most = Number(length)
  return (record) => {
    const value = read(record)
    return typeof value === 'string' && value.length > most ? value.slice(0, most) : value
  }
}
