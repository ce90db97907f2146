/**
 * What a verified token says: matchers over its claims (behaviour §1.3; istio pilot/pkg/security/authz/model/generator.go).
 * A request without a token has none of them, so that no condition on it holds. `wide` as in conditions.ts: where a match
 * refuses, numbers and booleans count by their text and a list by its joined text as well, which Istio's matchers pass over.
 */
import type { TokenFacts } from '../core/attributes.ts'
import { compilePatterns, parsePattern, type StringMatcher } from '../core/pattern.ts'
import type { Matcher } from './identity.ts'

type SplitMatcher = (issuer: string, subject: string) => boolean

/** `requestPrincipals`: patterns over `iss/sub`. `*` is any token that has both. */
export function compileTokenPrincipals(values: readonly string[], wide: boolean): Matcher {
  const split = values.map((value) => splitPrincipal(value, wide))
  const whole = compilePatterns(values)
  return ({ attributes: { token } }) => {
    if (token === null) return false
    const { iss, sub } = token.claims
    if (typeof iss === 'string' && typeof sub === 'string')
      for (const matches of split) if (matches(iss, sub)) return true
    return wide && token.principal !== null && whole(token.principal)
  }
}

export function compileTokenAudiences(values: readonly string[], wide: boolean): Matcher {
  return overClaim(values, wide, (token) => token.audiences)
}

export function compileTokenPresenter(values: readonly string[], wide: boolean): Matcher {
  return overClaim(values, wide, (token) => claimAt(token, ['azp']))
}

/** @param argument what stands between the outermost brackets of `request.auth.claims[a][b]` */
export function compileTokenClaim(values: readonly string[], wide: boolean, argument: string): Matcher {
  const path = claimPath(argument)
  return overClaim(values, wide, (token) => claimAt(token, path))
}

/** For `explain`; null: there is no token, or no such claim. */
export function claimSeen(token: TokenFacts | null, argument: string): string | null {
  const value = token === null ? undefined : claimAt(token, claimPath(argument))
  if (value === undefined || value === null) return null
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** `a][b` → a, b. */
function claimPath(argument: string): readonly string[] {
  return argument.split('][')
}

function claimAt({ claims }: TokenFacts, path: readonly string[]): unknown {
  let value: unknown = claims
  for (const name of path) {
    if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, name))
      return undefined
    value = (value as Readonly<Record<string, unknown>>)[name]
  }
  return value
}

/** A string claim, or a list with such a string in it. */
function overClaim(values: readonly string[], wide: boolean, claim: (token: TokenFacts) => unknown): Matcher {
  const matches = compilePatterns(values)
  return ({ attributes: { token } }) => {
    if (token === null) return false
    const value = claim(token)
    if (!Array.isArray(value)) return scalarMatches(value, matches, wide)
    for (const each of value as readonly unknown[]) if (scalarMatches(each, matches, wide)) return true
    return wide && matches(value.filter((each) => typeof each === 'string').join(' '))
  }
}

function scalarMatches(value: unknown, matches: StringMatcher, wide: boolean): boolean {
  if (typeof value === 'string') return matches(value)
  return wide && (typeof value === 'number' || typeof value === 'boolean') && matches(String(value))
}

/** Istio splits at the last `/`, since issuers are URLs; a star is one only at the ends of the whole value. */
function splitPrincipal(value: string, wide: boolean): SplitMatcher {
  if (value === '*') return (issuer, subject) => issuer !== '' && subject !== ''
  const slash = value.lastIndexOf('/')
  const issuer = slash < 0 ? '' : value.slice(0, slash)
  const subject = slash < 0 ? '' : value.slice(slash + 1)
  const read = (text: string): StringMatcher => (text === '*' ? (subject) => subject !== '' : compilePatterns([text]))
  const exactly =
    (text: string): StringMatcher =>
    (subject) =>
      subject === text
  // Read by a human, both halves are patterns; a refusal takes it so.
  if (wide && slash >= 0) return both(read(issuer), read(subject))
  switch (parsePattern(value).kind) {
    case 'suffix':
      return slash < 0 ? both(read('*'), read(value)) : both(read(issuer), exactly(subject))
    case 'prefix':
      return slash < 0 ? both(read(value), read('*')) : both(exactly(issuer), read(subject))
    case 'exact':
    case 'present':
      return slash < 0 ? both(exactly(value), exactly('')) : both(exactly(issuer), exactly(subject))
  }
}

function both(issuer: StringMatcher, subject: StringMatcher): SplitMatcher {
  return (iss, sub) => issuer(iss) && subject(sub)
}
