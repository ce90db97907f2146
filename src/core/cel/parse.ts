/**
 * Parses and checks an expression of the Common Expression Language, as far as Istio's users write it for
 * Telemetry: attributes, literals, `! && || ?:`, comparisons, `in`, arithmetic, `has`, the functions of functions.ts. Anything
 * else (macros over lists, map literals, messages) is an error with its column, never something that quietly does nothing.
 */
import { CEL_ATTRIBUTES, type CelAttribute, type CelType, celAttribute } from './attributes.ts'
import { CelError } from './error.ts'
import { callNode } from './functions.ts'
import type { Arithmetic, CelNode, Comparison } from './node.ts'
import { type Token, tokenise } from './tokens.ts'

const MAX_LENGTH = 4096
/** Brackets and operators within each other: deeper ones are no filter, and the parser is recursive. */
const MAX_DEPTH = 100

const COMPARISONS: readonly string[] = ['==', '!=', '<', '<=', '>', '>=']
const NUMBERS: readonly CelType[] = ['int', 'double']
const ORDERED: readonly CelType[] = ['int', 'double', 'string', 'bool', 'duration', 'timestamp']
const MACROS: readonly string[] = ['all', 'exists', 'exists_one', 'map', 'filter']

/** @throws CelError */
export function parseCel(text: string): CelNode {
  if (text.length > MAX_LENGTH) throw new CelError(`longer than ${MAX_LENGTH} characters`, MAX_LENGTH)
  return new Parser(tokenise(text)).whole()
}

class Parser {
  readonly #tokens: readonly Token[]
  #next = 0
  #depth = 0

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens
  }

  whole(): CelNode {
    const node = this.#expression()
    const rest = this.#peek()
    if (rest.kind !== 'end') throw new CelError(`unexpected ${JSON.stringify(rest.text)}`, rest.at)
    return node
  }

  #peek(): Token {
    return this.#tokens[Math.min(this.#next, this.#tokens.length - 1)] as Token
  }

  #take(): Token {
    const token = this.#peek()
    this.#next += 1
    return token
  }

  #accept(...texts: readonly string[]): Token | null {
    const token = this.#peek()
    const isIn = token.kind === 'name' && token.text === 'in' && texts.includes('in')
    if (!isIn && (token.kind !== 'operator' || !texts.includes(token.text))) return null
    return this.#take()
  }

  #expect(text: string): Token {
    const token = this.#accept(text)
    if (token !== null) return token
    const { text: found, at, kind } = this.#peek()
    throw new CelError(`expected ${text}, found ${kind === 'end' ? 'the end' : JSON.stringify(found)}`, at)
  }

  #expression(): CelNode {
    this.#depth += 1
    if (this.#depth > MAX_DEPTH) throw new CelError('nested too deep', this.#peek().at)
    const test = this.#or()
    let node = test
    const mark = this.#accept('?')
    if (mark !== null) {
      need(test, 'bool')
      const yes = this.#or()
      this.#expect(':')
      const no = this.#expression()
      if (yes.type !== no.type && !(isNumber(yes) && isNumber(no)))
        throw new CelError(`? gives ${yes.type} or ${no.type}: write one type`, mark.at)
      node = { kind: 'choose', test, yes, no, type: yes.type, at: test.at }
    }
    this.#depth -= 1
    return node
  }

  #or(): CelNode {
    let left = this.#and()
    while (this.#accept('||') !== null) left = logical('or', left, this.#and())
    return left
  }

  #and(): CelNode {
    let left = this.#relation()
    while (this.#accept('&&') !== null) left = logical('and', left, this.#relation())
    return left
  }

  #relation(): CelNode {
    let left = this.#sum()
    for (;;) {
      const operator = this.#accept(...COMPARISONS, 'in')
      if (operator === null) return left
      const right = this.#sum()
      left =
        operator.text === 'in'
          ? membership(left, right, operator.at)
          : comparison(operator.text as Comparison, left, right, operator.at)
    }
  }

  #sum(): CelNode {
    let left = this.#product()
    for (let operator = this.#accept('+', '-'); operator !== null; operator = this.#accept('+', '-'))
      left = arithmetic(operator, left, this.#product())
    return left
  }

  #product(): CelNode {
    let left = this.#unary()
    for (let operator = this.#accept('*', '/', '%'); operator !== null; operator = this.#accept('*', '/', '%'))
      left = arithmetic(operator, left, this.#unary())
    return left
  }

  #unary(): CelNode {
    const operator = this.#accept('!', '-')
    if (operator === null) return this.#member()
    this.#depth += 1
    if (this.#depth > MAX_DEPTH) throw new CelError('nested too deep', operator.at)
    const of = this.#unary()
    this.#depth -= 1
    if (operator.text === '!') return { kind: 'not', of: need(of, 'bool'), type: 'bool', at: operator.at }
    if (!isNumber(of) && of.type !== 'duration') throw new CelError(`- takes a number, not ${of.type}`, of.at)
    return { kind: 'negate', of, type: of.type, at: operator.at }
  }

  #member(): CelNode {
    let node = this.#primary()
    for (;;) {
      if (this.#accept('.') !== null) node = this.#selected(node)
      else if (this.#accept('[') !== null) {
        const key = this.#expression()
        this.#expect(']')
        node = entry(node, key)
      } else return node
    }
  }

  #selected(of: CelNode): CelNode {
    const name = this.#name()
    if (this.#accept('(') === null) return entry(of, { kind: 'literal', value: name.text, type: 'string', at: name.at })
    if (MACROS.includes(name.text)) throw new CelError(`the macro ${name.text} is not supported`, name.at)
    return callNode(name.text, [of, ...this.#list(')')], true, name.at)
  }

  #name(): Token {
    const token = this.#take()
    if (token.kind !== 'name') throw new CelError('expected a name', token.at)
    return token
  }

  #list(closing: string): CelNode[] {
    const items: CelNode[] = []
    if (this.#accept(closing) !== null) return items
    do items.push(this.#expression())
    while (this.#accept(',') !== null)
    this.#expect(closing)
    return items
  }

  #primary(): CelNode {
    const token = this.#take()
    const { at, text } = token
    if (token.kind === 'string') return { kind: 'literal', value: text, type: 'string', at }
    if (token.kind === 'int') return { kind: 'literal', value: integer(token), type: 'int', at }
    if (token.kind === 'double') return { kind: 'literal', value: Number(text), type: 'double', at }
    if (token.kind === 'name') return this.#named(token)
    if (text === '(') {
      const node = this.#expression()
      this.#expect(')')
      return node
    }
    if (text === '[') return { kind: 'list', items: this.#list(']'), type: 'list', at }
    if (text === '{') throw new CelError('map literals are not supported', at)
    throw new CelError(`unexpected ${token.kind === 'end' ? 'end' : JSON.stringify(text)}`, at)
  }

  #named(token: Token): CelNode {
    const { at, text } = token
    if (text === 'true' || text === 'false') return { kind: 'literal', value: text === 'true', type: 'bool', at }
    if (text === 'null') return { kind: 'literal', value: null, type: 'null', at }
    if (this.#accept('(') !== null) return text === 'has' ? this.#has(at) : callNode(text, this.#list(')'), false, at)
    let path = text
    for (;;) {
      const row = celAttribute(path)
      if (row !== null) return { kind: 'attribute', name: path as CelAttribute, type: row.type, at }
      if (this.#accept('.') === null) throw new CelError(unknown(path), at)
      path += `.${this.#name().text}`
      if (!isPrefix(path)) throw new CelError(unknown(path), at)
    }
  }

  #has(at: number): CelNode {
    const of = this.#expression()
    this.#expect(')')
    const isField = of.kind === 'attribute' || (of.kind === 'entry' && of.key.kind === 'literal')
    if (!isField) throw new CelError("has takes a field, as has(request.headers.name); else write 'name' in map", at)
    return { kind: 'has', of, type: 'bool', at }
  }
}

const isPrefix = (path: string) =>
  Object.keys(CEL_ATTRIBUTES).some((name) => name === path || name.startsWith(`${path}.`))

function unknown(path: string): string {
  const root = path.split('.', 1)[0] ?? path
  const near = Object.keys(CEL_ATTRIBUTES).filter((name) => name.startsWith(`${root}.`))
  return `unknown attribute ${path}${near.length === 0 ? '' : `; there are ${near.join(', ')}`}`
}

function integer({ text, at }: Token): number {
  const value = Number(text.replace(/[uU]$/, ''))
  if (!Number.isSafeInteger(value)) throw new CelError('the number is too large', at)
  return value
}

const isNumber = ({ type }: CelNode) => NUMBERS.includes(type)

function need(node: CelNode, type: CelType): CelNode {
  if (node.type !== type) throw new CelError(`expected ${type}, found ${node.type}`, node.at)
  return node
}

function logical(kind: 'and' | 'or', left: CelNode, right: CelNode): CelNode {
  return { kind, left: need(left, 'bool'), right: need(right, 'bool'), type: 'bool', at: left.at }
}

function comparison(operator: Comparison, left: CelNode, right: CelNode, at: number): CelNode {
  const equality = operator === '==' || operator === '!='
  const same = left.type === right.type || (isNumber(left) && isNumber(right))
  const withNull = equality && (left.type === 'null' || right.type === 'null')
  if (!withNull && !(same && ORDERED.includes(left.type)))
    throw new CelError(`${operator} cannot compare ${left.type} with ${right.type}`, at)
  return { kind: 'compare', operator, left, right, type: 'bool', at }
}

function membership(left: CelNode, right: CelNode, at: number): CelNode {
  if (right.type === 'map') need(left, 'string')
  else if (right.kind !== 'list') throw new CelError(`in takes a list or a map, not ${right.type}`, at)
  else for (const item of right.items) comparison('==', left, item, item.at)
  return { kind: 'in', left, right, type: 'bool', at }
}

function arithmetic({ text, at }: Token, left: CelNode, right: CelNode): CelNode {
  const operator = text as Arithmetic
  const texts = operator === '+' && left.type === 'string' && right.type === 'string'
  const times = (operator === '+' || operator === '-') && left.type === 'duration' && right.type === 'duration'
  if (!texts && !times && !(isNumber(left) && left.type === right.type))
    throw new CelError(`${operator} cannot take ${left.type} and ${right.type}`, at)
  return { kind: 'arithmetic', operator, left, right, type: left.type, at }
}

function entry(map: CelNode, key: CelNode): CelNode {
  if (map.type !== 'map') throw new CelError(`${map.type} has no fields`, key.at)
  return { kind: 'entry', map, key: need(key, 'string'), type: 'string', at: map.at }
}
