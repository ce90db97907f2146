/**
 * `request.headers[NAME]` (behaviour §1.3, threats 26). Envoy compares all values joined by a comma. Where a match refuses,
 * every value counts by itself too, so that a repeated field cannot hide one; where a match permits, every one must match.
 */
import { type HttpAttributes, headerValues } from '../core/attributes.ts'
import { compilePatterns, type StringMatcher } from '../core/pattern.ts'
import type { Facts } from './facts.ts'
import type { Matcher } from './identity.ts'

/** The values a policy may see under this name, pseudo headers included (Envoy's header map holds them all). */
export function headerOf(http: HttpAttributes, name: string): readonly string[] {
  switch (name) {
    case ':method':
      return [http.method]
    case ':scheme':
      return [http.scheme]
    case ':path':
      return [http.query === null ? http.path : `${http.path}?${http.query}`]
    case ':authority':
    case 'host':
      return [http.authority.text]
    default:
      return headerValues(http.headers, name)
  }
}

/** `name` may be in any case. `*` means: the field is present, even when empty. */
export function compileHeader(name: string, values: readonly string[], wide: boolean): Matcher {
  const lower = name.toLowerCase()
  if (values.includes('*')) return ({ attributes: { http } }) => http !== null && headerOf(http, lower).length > 0
  const isAuthority = lower === ':authority' || lower === 'host'
  const matches = compilePatterns(isAuthority ? values.map((value) => value.toLowerCase()) : values)
  if (!wide)
    return ({ attributes: { http } }) => {
      if (http === null) return false
      const seen = headerOf(http, lower)
      return seen.length > 0 && seen.every(matches) && (seen.length === 1 || matches(seen.join(',')))
    }
  return (facts: Facts) => {
    const { http } = facts.attributes
    if (http === null) return false
    if (isAuthority) return facts.hostForms(http).some(matches)
    const seen = headerOf(http, lower)
    if (lower === ':path' && matches(http.path)) return true
    return anyValue(seen, matches)
  }
}

/** The fields one by one, joined, and the members of comma lists: `X: a, b` is the same message as `X: a` and `X: b`. */
function anyValue(seen: readonly string[], matches: StringMatcher): boolean {
  if (seen.some(matches)) return true
  if (seen.length > 1 && (matches(seen.join(',')) || matches(seen.join(', ')))) return true
  return seen.some((value) => value.includes(',') && value.split(',').some((member) => matches(member.trim())))
}
