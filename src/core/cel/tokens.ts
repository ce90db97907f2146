/** Words of the Common Expression Language (cel-spec, doc/langdef.md, Syntax). */
import { CelError } from './error.ts'

export type Token = {
  readonly kind: 'name' | 'int' | 'double' | 'string' | 'operator' | 'end'
  /** Of a string its value, of anything else as written. */
  readonly text: string
  /** Offset in the expression. */
  readonly at: number
}

const OPERATORS = ['&&', '||', '==', '!=', '<=', '>=', '<', '>', '!', '?', ':', '+', '-', '*', '/', '%', '.', ',']
const BRACKETS = ['(', ')', '[', ']', '{', '}']
const BLANK = /[ \t\r\n\f]+|\/\/[^\n]*/y
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y
const NUMBER = /0[xX][0-9a-fA-F]+[uU]?|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?[uU]?/y
const ESCAPES: Readonly<Record<string, string>> = {
  a: '\u0007',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
  '?': '?',
  '"': '"',
  "'": "'",
  '`': '`',
}
/** Hexadecimal digits after each letter. */
const CODES: Readonly<Record<string, number>> = { x: 2, X: 2, u: 4, U: 8 }

/** Ends with one token of kind `end`. @throws CelError */
export function tokenise(text: string): readonly Token[] {
  const tokens: Token[] = []
  const sticky = (pattern: RegExp, at: number) => {
    pattern.lastIndex = at
    return pattern.exec(text)?.[0] ?? null
  }
  for (let at = 0; at < text.length; ) {
    const blank = sticky(BLANK, at)
    if (blank !== null) {
      at += blank.length
      continue
    }
    const raw = /^[rR](?=["'])/.test(text.slice(at, at + 2))
    const quote = text[raw ? at + 1 : at]
    if (quote === '"' || quote === "'") {
      const { value, end } = readString(text, raw ? at + 1 : at, quote, raw)
      tokens.push({ kind: 'string', text: value, at })
      at = end
      continue
    }
    const number = sticky(NUMBER, at)
    const name = number === null ? sticky(NAME, at) : null
    const found = number ?? name ?? [...OPERATORS, ...BRACKETS].find((each) => text.startsWith(each, at))
    if (found === undefined) throw new CelError(`unexpected ${JSON.stringify(text[at])}`, at)
    const kind = number !== null ? numberKind(number) : name !== null ? 'name' : 'operator'
    tokens.push({ kind, text: found, at })
    at += found.length
  }
  tokens.push({ kind: 'end', text: '', at: text.length })
  return tokens
}

function numberKind(text: string): 'int' | 'double' {
  return /^0[xX]/.test(text) || !/[.eE]/.test(text) ? 'int' : 'double'
}

function readString(text: string, start: number, quote: string, raw: boolean): { value: string; end: number } {
  const triple = text.startsWith(quote.repeat(3), start)
  const closing = triple ? quote.repeat(3) : quote
  let value = ''
  let at = start + closing.length
  while (!text.startsWith(closing, at)) {
    const char = text[at]
    if (char === undefined || (!triple && /[\r\n]/.test(char))) throw new CelError('a string is not closed', start)
    if (char !== '\\' || raw) {
      value += char
      at += 1
      continue
    }
    const next = text[at + 1] ?? ''
    const plain = ESCAPES[next]
    const digits = CODES[next]
    const octal = /^[0-3][0-7]{2}/.exec(text.slice(at + 1, at + 4))?.[0]
    if (plain !== undefined) {
      value += plain
      at += 2
    } else if (octal !== undefined) {
      value += String.fromCharCode(Number.parseInt(octal, 8))
      at += 4
    } else if (digits !== undefined) {
      const code = text.slice(at + 2, at + 2 + digits)
      const point = /^[0-9a-fA-F]+$/.test(code) && code.length === digits ? Number.parseInt(code, 16) : Number.NaN
      if (!(point <= 0x10ffff)) throw new CelError(`\\${next} needs ${digits} hexadecimal digits`, at)
      value += String.fromCodePoint(point)
      at += 2 + digits
    } else throw new CelError(`unknown escape ${JSON.stringify(`\\${next}`)}`, at)
  }
  return { value, end: at + closing.length }
}
