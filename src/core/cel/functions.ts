/** Functions of expressions: what they take, checked at load. */
import { checkRegex } from '../regex.ts'
import type { CelType } from './attributes.ts'
import { CelError } from './error.ts'
import type { CelFunction, CelNode } from './node.ts'

type Signature = {
  readonly args: readonly (readonly CelType[])[]
  readonly type: CelType
  /** May be written `a.f(b)`. */
  readonly method: boolean
}

const TEXT: readonly CelType[] = ['string']

/** TABLE (cel-spec, Standard Definitions). */
const SIGNATURES: Readonly<Record<CelFunction, Signature>> = {
  startsWith: { args: [TEXT, TEXT], type: 'bool', method: true },
  endsWith: { args: [TEXT, TEXT], type: 'bool', method: true },
  contains: { args: [TEXT, TEXT], type: 'bool', method: true },
  matches: { args: [TEXT, TEXT], type: 'bool', method: true },
  size: { args: [['string', 'map', 'list']], type: 'int', method: true },
  string: { args: [['string', 'int', 'double', 'bool', 'duration', 'timestamp']], type: 'string', method: false },
  int: { args: [['int', 'double', 'string']], type: 'int', method: false },
  double: { args: [['int', 'double', 'string']], type: 'double', method: false },
}

const FUNCTION_NAMES: readonly string[] = [...Object.keys(SIGNATURES), 'has', 'duration', 'timestamp']

/** @throws CelError for an unknown function, or arguments it does not take */
export function callNode(name: string, args: readonly CelNode[], method: boolean, at: number): CelNode {
  if (name === 'duration' || name === 'timestamp') return constantNode(name, args, at)
  if (!Object.hasOwn(SIGNATURES, name))
    throw new CelError(`unknown function ${name}; there are ${FUNCTION_NAMES.join(', ')}`, at)
  const known = name as CelFunction
  const signature = SIGNATURES[known]
  if (method && !signature.method) throw new CelError(`${name} is no method: write ${name}(value)`, at)
  if (!method && signature.args.length === 2 && name !== 'matches')
    throw new CelError(`${name} is a method: write text.${name}(other)`, at)
  if (args.length !== signature.args.length)
    throw new CelError(`${name} takes ${signature.args.length - (method ? 1 : 0)} argument(s)`, at)
  for (const [index, types] of signature.args.entries()) {
    const arg = args[index]
    if (arg !== undefined && !types.includes(arg.type))
      throw new CelError(`${name} takes ${types.join(' or ')} here, not ${arg.type}`, arg.at)
  }
  const pattern = known === 'matches' ? args[1] : undefined
  if (pattern !== undefined) {
    // Compiled at load: an expression that makes patterns out of requests would compile per request.
    if (pattern.kind !== 'literal') throw new CelError('the pattern of matches must be a literal', pattern.at)
    const written = String(pattern.value)
    const problem = checkRegex(written) ?? checkRegex(anywhere(written))
    if (problem !== null) throw new CelError(`not an RE2 pattern: ${problem}`, pattern.at)
  }
  return { kind: 'call', name: known, args, type: signature.type, at }
}

/** CEL finds a pattern anywhere; our regular expressions match whole texts. */
export function anywhere(pattern: string): string {
  return `(?s:.*)(?:${pattern})(?s:.*)`
}

const MILLISECONDS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1, us: 1e-3, ns: 1e-6 }

/** `duration('1.5s')`, `timestamp('2024-01-01T00:00:00Z')` of literals, as milliseconds. */
function constantNode(name: 'duration' | 'timestamp', args: readonly CelNode[], at: number): CelNode {
  const [arg] = args
  if (arg?.kind !== 'literal' || typeof arg.value !== 'string' || args.length !== 1)
    throw new CelError(`${name} takes one literal text`, at)
  const value = name === 'timestamp' ? Date.parse(arg.value) : milliseconds(arg.value)
  if (Number.isNaN(value)) throw new CelError(`${JSON.stringify(arg.value)} is no ${name}`, arg.at)
  return { kind: 'literal', value, type: name, at }
}

function milliseconds(text: string): number {
  if (!/^-?(?:\d+(?:\.\d+)?(?:h|ms|m|s|us|ns))+$/.test(text)) return Number.NaN
  let total = 0
  for (const [, digits, unit = ''] of text.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s|us|ns)/g))
    total += Number(digits) * (MILLISECONDS[unit] ?? Number.NaN)
  return text.startsWith('-') ? -total : total
}
