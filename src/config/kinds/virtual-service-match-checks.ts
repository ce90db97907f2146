/** What is wrong with `match` in the http rules of a VirtualService (behaviour §4.4, 4.8; Istio validateHTTPRouteMatchRequest). */
import type { SourceRef } from '../../core/attributes.ts'
import { checkRegex } from '../../core/regex.ts'
import { isLabel } from '../hostname.ts'
import type { Report } from '../resource.ts'
import { labelsProblem } from './labels-check.ts'
import type { HttpMatch, HttpRule, StringMatchSpec } from './virtual-service-schema.ts'

export type At = (...path: readonly (string | number)[]) => SourceRef

const IGNORED_HEADER_KEYS: readonly string[] = ['uri', 'scheme', 'method', 'authority']

/** `delegating`: the rule delegates, or belongs to a delegate; then matches are compared, which expressions cannot be. */
export function checkMatch(match: HttpMatch, delegating: boolean, at: At, report: Report): void {
  const told = delegating ? tellingOfExpressions(report) : report
  for (const field of ['uri', 'scheme', 'method', 'authority'] as const) {
    const value = match[field]
    if (value !== undefined) checkString(value, false, at(field), told)
    if (delegating && value?.regex !== undefined) refuseExpression(at(field), report)
  }
  checkCase(match, at, report)
  for (const field of ['headers', 'withoutHeaders', 'queryParams'] as const) {
    for (const [name, value] of Object.entries(match[field] ?? {})) {
      const place = at(field, name)
      if (value === null) report('SP4000', place, `the match on ${name} has no value`, { fix: 'write {} for presence' })
      else checkString(value, true, place, told)
      if (delegating && value?.regex !== undefined) refuseExpression(place, report)
      if (field === 'queryParams') continue
      if (IGNORED_HEADER_KEYS.includes(name))
        report('SP4011', place, `a header match on "${name}" is ignored, as in Istio; use the field ${name}`)
      else if (!/^(?::(?:method|scheme|authority|path|status)|[!#$%&'*+.^_`|~0-9A-Za-z-]+)$/.test(name))
        report('SP4000', place, `${JSON.stringify(name)} is not a header name`)
    }
  }
  checkNamespace(match.sourceNamespace, at, report)
  checkSourceLabels(match.sourceLabels, at, report)
  checkGateways(match.gateways, (index) => at('gateways', index), report)
}

export function checkNamespace(sourceNamespace: string | undefined, at: At, report: Report): void {
  if (sourceNamespace !== undefined && sourceNamespace !== '' && !isLabel(sourceNamespace))
    report('SP4000', at('sourceNamespace'), `${JSON.stringify(sourceNamespace)} is not a namespace`)
}

export function checkSourceLabels(labels: HttpMatch['sourceLabels'], at: At, report: Report): void {
  const problem = labelsProblem(labels ?? {})
  if (problem !== null) report('SP4000', at('sourceLabels', problem.key), problem.message)
}

/** Istio validateGatewayNames: `mesh`, `name`, `./name`, `ns/name` (and the legacy `name.ns…`). */
export function checkGateways(
  names: readonly string[] | undefined,
  at: (index: number) => SourceRef,
  report: Report,
): void {
  for (const [index, name] of (names ?? []).entries()) {
    const [first = '', second, ...rest] = name.split('/')
    const legal =
      second === undefined
        ? first.split('.').every(isLabel)
        : rest.length === 0 && (first === '.' || isLabel(first)) && isLabel(second)
    if (!legal)
      report('SP4000', at(index), `${JSON.stringify(name)} is not the name of a Gateway`, { fix: 'namespace/name' })
    else if (second === undefined && first.includes('.')) {
      const [gateway = '', namespace = ''] = first.split('.')
      report('SP7023', at(index), `${name} is the old way to name a Gateway`, { fix: `write ${namespace}/${gateway}` })
    }
  }
}

/** One finding is enough for an expression that may not be there at all. */
function tellingOfExpressions(report: Report): Report {
  return (code, ...rest) => {
    if (code !== 'SP4023') report(code, ...rest)
  }
}

function refuseExpression(at: SourceRef, report: Report): void {
  report('SP4023', at, 'delegation compares matches, which it cannot do with expressions (Istio refuses this)', {
    fix: 'use exact or prefix',
  })
}

function checkCase({ authority: match }: HttpMatch, at: At, report: Report): void {
  const authority = match?.exact ?? match?.prefix ?? ''
  if (authority === authority.toLowerCase()) return
  report('SP4030', at('authority'), `authorities are compared in lower case; ${authority} never matches`, {
    fix: `write ${authority.toLowerCase()}`,
  })
}

/** An empty prefix is refused of paths too, where Istio takes it: it is more often a deleted value than a wish. */
function checkString(match: StringMatchSpec, mayBePresence: boolean, at: SourceRef, report: Report): void {
  const given = (['exact', 'prefix', 'regex'] as const).filter((kind) => match[kind] !== undefined)
  if (given.length > 1) report('SP4000', at, `one of ${given.join(', ')}, not several`)
  if (given.length === 0 && !mayBePresence) report('SP4000', at, 'one of exact, prefix, regex is needed')
  if (match.prefix === '') report('SP4000', at, 'an empty prefix matches everything; leave the match out instead')
  // Istio reads the regex `*` as presence where presence can be asked for.
  if (match.regex === undefined || (match.regex === '*' && mayBePresence)) return
  checkExpression(match.regex, at, report)
}

/** Istio validateStringRegexp: Envoy limits the size of programs, and Istio the length instead. */
const MAX_EXPRESSION_LENGTH = 1024

export function checkExpression(regex: string, at: SourceRef, report: Report): void {
  const problem =
    regex === ''
      ? 'an empty expression'
      : regex.length > MAX_EXPRESSION_LENGTH
        ? `longer than ${MAX_EXPRESSION_LENGTH} characters`
        : checkRegex(regex)
  if (problem !== null) report('SP4023', at, `regex ${JSON.stringify(regex)}: ${problem}`)
}

/** Rules that an earlier one keeps from ever being reached, in part or whole (Istio analyzeUnreachableHTTPRules). */
export function checkReach(rules: readonly HttpRule[], at: (index: number) => At, report: Report): void {
  const seen = new Map<string, number>()
  const prefixes: Prefixes = new Map()
  let all: number | null = null
  for (const [index, rule] of rules.entries()) {
    if (all !== null) report('SP4022', at(index)(), `rule ${index} is never reached: rule ${all} matches every request`)
    else if (isMatchAll(rule)) all = index
    const matches = rule.match ?? []
    const taken = matches.map((match) => seen.get(matchKey(match)))
    if (matches.length > 0 && taken.every((other) => other !== undefined)) {
      if (all === null || all === index)
        report('SP4022', at(index)(), `rule ${index} is never reached: earlier rules have all its matches`)
    } else {
      for (const [matchIndex, other] of taken.entries())
        if (other !== undefined)
          report('SP4047', at(index)('match', matchIndex), `rule ${other} has the same match and comes first`)
    }
    for (const match of matches) if (!seen.has(matchKey(match))) seen.set(matchKey(match), index)
    if (all === null || all === index) checkCovered(matches, prefixes, at(index), report)
    for (const match of matches) addPrefix(match, index, prefixes)
  }
}

/** What a match asks besides its path → the prefixes that rules have asked for with it. */
type Prefixes = Map<string, { readonly prefix: string; readonly rule: number }[]>

const everythingElse = ({ uri: _uri, ...rest }: HttpMatch) => matchKey(rest)

function addPrefix(match: HttpMatch, rule: number, prefixes: Prefixes): void {
  const prefix = match.uri?.prefix
  // A path of "/" alone is everything, which has been said.
  if (prefix === undefined || prefix === '/' || match.ignoreUriCase === true) return
  const key = everythingElse(match)
  prefixes.set(key, [...(prefixes.get(key) ?? []), { prefix, rule }])
}

/** Paths below a prefix that an earlier rule has (Istio coveredValidation). What else they ask has to be the same, or more. */
function checkCovered(matches: readonly HttpMatch[], prefixes: Prefixes, at: At, report: Report): void {
  for (const [index, match] of matches.entries()) {
    const path = match.uri?.prefix ?? match.uri?.exact
    if (path === undefined) continue
    const asked = [everythingElse(match), matchKey({})]
    const found = asked
      .flatMap((key) => prefixes.get(key) ?? [])
      .find(({ prefix }) => path.startsWith(prefix) && prefix !== match.uri?.prefix)
    if (found !== undefined)
      report('SP4047', at('match', index), `rule ${found.rule} has the prefix ${found.prefix} and comes first`)
  }
}

/** What a match says, whatever it is called. */
export function matchKey(match: Readonly<Record<string, unknown>>): string {
  const { name: _name, statPrefix: _stat, ...rest } = match
  return JSON.stringify(rest, (_key, value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  )
}

/** No match, or one that holds whatever is asked on whatever gateway and port. */
function isMatchAll(rule: HttpRule): boolean {
  if (rule.match === undefined || rule.match.length === 0) return true
  return rule.match.some(
    (match) => isEverywhere(match) && (match.uri === undefined || match.uri.prefix === '/' || match.uri.regex === '.*'),
  )
}

function isEverywhere(match: HttpMatch): boolean {
  const { name: _name, uri: _uri, ignoreUriCase: _case, statPrefix: _stat, ...rest } = match
  return Object.values(rest).every((value) => value === undefined || (typeof value === 'object' && isEmpty(value)))
}

function isEmpty(value: object): boolean {
  return Object.keys(value).length === 0
}
