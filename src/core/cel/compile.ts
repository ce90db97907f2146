/**
 * A checked expression → a function of what is asked about. Nothing is allocated per evaluation but texts that are put
 * together. A value that is missing is an error in CEL's sense: `undefined` here. `&&` and `||` need only the side that decides.
 */
import type { HeaderList } from '../attributes.ts'
import { compileRegex } from '../regex.ts'
import type { CelAttribute } from './attributes.ts'
import { anywhere } from './functions.ts'
import type { CelNode } from './node.ts'

/** `undefined`: it cannot be evaluated. Durations and timestamps are milliseconds, maps are header lists. */
export type CelValue = string | number | boolean | null | undefined | HeaderList
export type CelReaders<Subject> = Readonly<Record<CelAttribute, (subject: Subject) => CelValue>>
type Run<Subject> = (subject: Subject) => CelValue

/** Of a node of parse.ts; what it checked is not checked again. */
export function compileCel<Subject>(node: CelNode, readers: CelReaders<Subject>): Run<Subject> {
  const compile = (each: CelNode) => compileCel(each, readers)
  switch (node.kind) {
    case 'literal': {
      const { value } = node
      return () => value
    }
    case 'attribute':
      return readers[node.name]
    case 'entry':
      return entryOf(node.key, compile(node.map), compile(node.key))
    case 'has': {
      const of = compile(node.of)
      return (subject) => of(subject) !== undefined
    }
    case 'not': {
      const of = compile(node.of)
      return (subject) => {
        const value = of(subject)
        return value === undefined ? undefined : value !== true
      }
    }
    case 'negate': {
      const of = compile(node.of)
      return (subject) => numeric(of(subject), 0, (value) => -value)
    }
    case 'and':
      return decide(false, compile(node.left), compile(node.right))
    case 'or':
      return decide(true, compile(node.left), compile(node.right))
    case 'choose': {
      const [test, yes, no] = [compile(node.test), compile(node.yes), compile(node.no)]
      return (subject) => {
        const value = test(subject)
        return value === undefined ? undefined : value === true ? yes(subject) : no(subject)
      }
    }
    case 'compare':
      return compare(COMPARE[node.operator], compile(node.left), compile(node.right))
    case 'in':
      return node.right.kind === 'list'
        ? inList(compile(node.left), node.right.items.map(compile))
        : inMap(compile(node.left), compile(node.right))
    case 'arithmetic':
      return calculate(node, compile(node.left), compile(node.right))
    case 'list':
      // Only `in` and `size` take lists, and both look at the items themselves.
      return () => undefined
    case 'call':
      return call(node, node.args.map(compile))
  }
}

/** Several fields of one name are one value with commas, as in Envoy. */
function fieldOf(headers: CelValue, name: CelValue): string | undefined {
  if (!Array.isArray(headers) || typeof name !== 'string') return undefined
  let value: string | undefined
  for (let i = 0; i < headers.length; i += 2)
    if (headers[i] === name) value = value === undefined ? headers[i + 1] : `${value},${headers[i + 1]}`
  return value
}

function entryOf<S>(key: CelNode, map: Run<S>, name: Run<S>): Run<S> {
  if (key.kind !== 'literal') return (subject) => fieldOf(map(subject), lower(name(subject)))
  const fixed = lower(String(key.value))
  return (subject) => fieldOf(map(subject), fixed)
}

/** Envoy looks header names up without regard to case. */
const lower = (value: CelValue) => (typeof value === 'string' ? value.toLowerCase() : undefined)

function decide<S>(decisive: boolean, left: Run<S>, right: Run<S>): Run<S> {
  return (subject) => {
    const first = left(subject)
    if (first === decisive) return decisive
    const second = right(subject)
    if (second === decisive) return decisive
    return first === undefined || second === undefined ? undefined : !decisive
  }
}

type Scalar = string | number | boolean | null
const COMPARE = {
  '==': (a: Scalar, b: Scalar) => a === b,
  '!=': (a: Scalar, b: Scalar) => a !== b,
  '<': (a: Scalar, b: Scalar) => (a as number) < (b as number),
  '<=': (a: Scalar, b: Scalar) => (a as number) <= (b as number),
  '>': (a: Scalar, b: Scalar) => (a as number) > (b as number),
  '>=': (a: Scalar, b: Scalar) => (a as number) >= (b as number),
} as const

function compare<S>(test: (a: Scalar, b: Scalar) => boolean, left: Run<S>, right: Run<S>): Run<S> {
  return (subject) => {
    const a = left(subject)
    const b = right(subject)
    return a === undefined || b === undefined ? undefined : test(a as Scalar, b as Scalar)
  }
}

function inList<S>(left: Run<S>, items: readonly Run<S>[]): Run<S> {
  return (subject) => {
    const value = left(subject)
    if (value === undefined) return undefined
    let missing = false
    for (const item of items) {
      const other = item(subject)
      if (other === value) return true
      if (other === undefined) missing = true
    }
    return missing ? undefined : false
  }
}

function inMap<S>(left: Run<S>, map: Run<S>): Run<S> {
  return (subject) => {
    const headers = map(subject)
    const name = lower(left(subject))
    return headers === undefined || name === undefined ? undefined : fieldOf(headers, name) !== undefined
  }
}

function numeric(a: CelValue, b: CelValue, operate: (a: number, b: number) => number): number | undefined {
  if (typeof a !== 'number' || typeof b !== 'number') return undefined
  const result = operate(a, b)
  return Number.isFinite(result) ? result : undefined
}

const OPERATE = {
  '+': (a: number, b: number) => a + b,
  '-': (a: number, b: number) => a - b,
  '*': (a: number, b: number) => a * b,
  '/': (a: number, b: number) => a / b,
  // Truncated like CEL's: -7 % 2 is -1. By zero it is not finite, and so an error.
  '%': (a: number, b: number) => a % b,
} as const

function calculate<S>(node: CelNode & { readonly kind: 'arithmetic' }, left: Run<S>, right: Run<S>): Run<S> {
  if (node.type === 'string')
    return (subject) => {
      const a = left(subject)
      const b = right(subject)
      return typeof a === 'string' && typeof b === 'string' ? a + b : undefined
    }
  const operate = OPERATE[node.operator]
  const whole = node.operator === '/' && node.type === 'int'
  const exact = whole ? (a: number, b: number) => Math.trunc(a / b) : operate
  return (subject) => numeric(left(subject), right(subject), exact)
}

type Call = CelNode & { readonly kind: 'call' }

function call<S>(node: Call, args: readonly Run<S>[]): Run<S> {
  const [first = () => undefined, second = () => undefined] = args
  const texts = (test: (a: string, b: string) => boolean) => (subject: S) => {
    const a = first(subject)
    const b = second(subject)
    return typeof a === 'string' && typeof b === 'string' ? test(a, b) : undefined
  }
  switch (node.name) {
    case 'startsWith':
      return texts((a, b) => a.startsWith(b))
    case 'endsWith':
      return texts((a, b) => a.endsWith(b))
    case 'contains':
      return texts((a, b) => a.includes(b))
    case 'matches':
      return matching(node, first)
    case 'size':
      return sizeOf(node, first)
    case 'string':
      return printing(node, first)
    case 'int':
      return (subject) => number(first(subject), Math.trunc)
    case 'double':
      return (subject) => number(first(subject), (value) => value)
  }
}

function matching<S>({ args }: Call, first: Run<S>): Run<S> {
  const pattern = args[1]
  const regex = compileRegex(anywhere(pattern?.kind === 'literal' ? String(pattern.value) : ''))
  return (subject) => {
    const value = first(subject)
    return typeof value === 'string' ? regex.matches(value) : undefined
  }
}

function sizeOf<S>({ args }: Call, first: Run<S>): Run<S> {
  const [of] = args
  if (of?.kind === 'list') {
    const { length } = of.items
    return () => length
  }
  return (subject) => {
    const value = first(subject)
    if (typeof value === 'string') return value.length
    return Array.isArray(value) ? new Set(value.filter((_, index) => index % 2 === 0)).size : undefined
  }
}

function printing<S>({ args }: Call, first: Run<S>): Run<S> {
  const type = args[0]?.type
  if (type === 'timestamp')
    return (subject) => {
      const value = first(subject)
      return typeof value === 'number' ? new Date(value).toISOString() : undefined
    }
  const unit = type === 'duration' ? 's' : ''
  return (subject) => {
    const value = first(subject)
    if (value === undefined) return undefined
    return unit === '' ? String(value) : `${Number(value) / 1000}s`
  }
}

function number(value: CelValue, make: (value: number) => number): number | undefined {
  const result =
    typeof value === 'number' ? value : typeof value === 'string' && value !== '' ? Number(value) : Number.NaN
  return Number.isFinite(result) ? make(result) : undefined
}
