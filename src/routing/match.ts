/**
 * One HTTPMatchRequest compiled to a predicate (behaviour §4.4, Envoy RouteMatch). All fields of a match are ANDed;
 * gateways, ports and source labels were decided when the table was built. Nothing here may allocate per request
 * beyond the joined value of a repeated header.
 */
import { type HttpAttributes, headerValues } from '../core/attributes.ts'
import { compileRegex } from '../core/regex.ts'
import type { MatchModel, NamedMatch, StringMatch } from '../model/route.ts'

export type CompiledMatch = {
  readonly model: MatchModel
  readonly test: (http: HttpAttributes) => boolean
  /** The first field that does not hold and the value it saw, or null when all hold. For `explain` only. */
  readonly whyNot: (http: HttpAttributes) => string | null
}

type Condition = {
  /** Field as written in the YAML, with what it wants. */
  readonly label: string
  readonly read: (http: HttpAttributes) => string | null
  readonly holds: (value: string | null) => boolean
}

/** Compiles one match. Throws RegexError for a pattern that config should have refused. */
export function compileMatch(model: MatchModel): CompiledMatch {
  const conditions = conditionsOf(model)
  const test = (http: HttpAttributes): boolean => {
    for (const condition of conditions) if (!condition.holds(condition.read(http))) return false
    return true
  }
  const whyNot = (http: HttpAttributes): string | null => {
    for (const { label, read, holds } of conditions) {
      const value = read(http)
      if (!holds(value)) return `${label} does not hold for ${value === null ? '(absent)' : JSON.stringify(value)}`
    }
    return null
  }
  return { model, test, whyNot }
}

function conditionsOf(model: MatchModel): Condition[] {
  const conditions: Condition[] = []
  const field = (label: string, match: StringMatch | null, read: (http: HttpAttributes) => string) => {
    if (match === null) return
    const accepts = compileStringMatch(match)
    conditions.push({ label: `${label} ${show(match)}`, read, holds: (value) => value !== null && accepts(value) })
  }
  field('method', model.method, (http) => http.method)
  if (model.uri !== null) conditions.push(uriCondition(model.uri, model.ignoreUriCase))
  field('scheme', model.scheme, (http) => http.scheme)
  field('authority', model.authority, (http) => http.authority.text)
  for (const { name, match } of model.headers) {
    const accepts = compileStringMatch(match)
    const holds = (value: string | null) => value !== null && accepts(value)
    conditions.push({ label: `header ${name} ${show(match)}`, read: headerReader(name), holds })
  }
  for (const { name, match } of model.withoutHeaders) {
    // Envoy: invert_match with treat_missing_header_as_empty; the presence form does not treat missing as empty.
    const accepts = compileStringMatch(match)
    const holds =
      match.kind === 'present'
        ? (value: string | null) => value === null
        : (value: string | null) => !accepts(value ?? '')
    conditions.push({ label: `without header ${name} ${show(match)}`, read: headerReader(name), holds })
  }
  for (const query of model.queryParams) conditions.push(queryCondition(query))
  return conditions
}

/** `ignoreUriCase` concerns exact and prefix only, as in Istio. */
function uriCondition(match: StringMatch, ignoreCase: boolean): Condition {
  const label = `uri ${show(match)}`
  if (ignoreCase && (match.kind === 'exact' || match.kind === 'prefix')) {
    const accepts = compileStringMatch({ kind: match.kind, value: match.value.toLowerCase() })
    const holds = (value: string | null) => value !== null && accepts(value.toLowerCase())
    return { label: `${label} (any case)`, read: (http) => http.path, holds }
  }
  const accepts = compileStringMatch(match)
  return { label, read: (http) => http.path, holds: (value) => value !== null && accepts(value) }
}

/** Throws RegexError for a pattern that config should have refused. */
export function compileStringMatch(match: StringMatch): (value: string) => boolean {
  switch (match.kind) {
    case 'exact': {
      const wanted = match.value
      return (value) => value === wanted
    }
    case 'prefix': {
      const wanted = match.value
      return (value) => value.startsWith(wanted)
    }
    case 'regex':
      return compileRegex(match.value).matches
    case 'present':
      return () => true
    default:
      return match satisfies never
  }
}

/** TABLE of names that are no header fields in HTTP/2 terms; Envoy's header map answers for them, so do we. */
const PSEUDO: Readonly<Record<string, (http: HttpAttributes) => string>> = {
  ':method': (http) => http.method,
  ':scheme': (http) => http.scheme,
  ':authority': (http) => http.authority.text,
  host: (http) => http.authority.text,
  ':path': (http) => (http.query === null ? http.path : `${http.path}?${http.query}`),
}

/** A repeated field is one value joined by commas (Envoy HeaderUtility::getAllOfHeaderAsString). */
function headerReader(name: string): (http: HttpAttributes) => string | null {
  const pseudo = Object.hasOwn(PSEUDO, name) ? PSEUDO[name] : undefined
  if (pseudo !== undefined) return pseudo
  return (http) => {
    const values = headerValues(http.headers, name)
    return values.length === 0 ? null : values.length === 1 ? (values[0] as string) : values.join(',')
  }
}

function queryCondition({ name, match }: NamedMatch): Condition {
  const accepts = compileStringMatch(match)
  const holds = (value: string | null) => value !== null && accepts(value)
  return { label: `query parameter ${name} ${show(match)}`, read: (http) => queryParam(http.query, name), holds }
}

/**
 * The first value of a parameter, raw (Envoy matches without percent-decoding and looks at the first occurrence only);
 * '' for a name without `=`; null when absent.
 */
export function queryParam(query: string | null, name: string): string | null {
  if (query === null) return null
  for (let start = 0; start <= query.length; ) {
    const next = query.indexOf('&', start)
    const end = next === -1 ? query.length : next
    const equals = query.indexOf('=', start)
    const nameEnd = equals === -1 || equals > end ? end : equals
    if (nameEnd - start === name.length && query.startsWith(name, start)) {
      return nameEnd === end ? '' : query.slice(nameEnd + 1, end)
    }
    start = end + 1
  }
  return null
}

function show(match: StringMatch): string {
  return match.kind === 'present' ? 'present' : `${match.kind} ${JSON.stringify(match.value)}`
}
