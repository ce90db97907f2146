/**
 * Who is calling: matchers over the peer's SPIFFE ID (behaviour §1.3). Each comes in two widths. `wide` is used where a
 * match refuses (DENY, or a `not…` list of an ALLOW): it holds for everything Istio's expression holds for. The narrow
 * one is used where a match permits: it needs a verified SPIFFE ID, and never reads across a `/` of it.
 */
import type { SpiffeId } from '../core/attributes.ts'
import { anyPattern, compileGlob, parsePattern, type StringMatcher, type StringPattern } from '../core/pattern.ts'
import { claimedNames, type Facts } from './facts.ts'

export type Matcher = (facts: Facts) => boolean

const SCHEME = 'spiffe://'

/** `principals`: patterns over the SPIFFE ID without `spiffe://`. `*` is any authenticated peer. */
export function compilePrincipals(values: readonly string[], wide: boolean): Matcher {
  const patterns: StringPattern[] = []
  const suffixes: string[] = []
  for (const value of values) {
    const pattern = parsePattern(value)
    if (pattern.kind === 'present') patterns.push(pattern)
    else if (pattern.kind === 'suffix') suffixes.push(pattern.text)
    else {
      patterns.push({ kind: pattern.kind, text: SCHEME + pattern.text })
      // In Istio a value with `spiffe://` never matches. A DENY that says so is taken at its word instead.
      if (wide && pattern.text.startsWith(SCHEME)) patterns.push(pattern)
    }
  }
  const direct = anyPattern(patterns)
  const matches: StringMatcher = (uri) => {
    if (direct(uri)) return true
    for (const suffix of suffixes)
      if (uri.length >= SCHEME.length + suffix.length && uri.startsWith(SCHEME) && uri.endsWith(suffix)) return true
    return false
  }
  return overUri(matches, wide)
}

/**
 * `namespaces`: Istio's expression is `.*\/ns/VALUE/.*` with `*` → `.*`, which may run across the `/` into the service
 * account. The wide matcher does the same; the narrow one compares the namespace alone.
 */
export function compileNamespaces(values: readonly string[], wide: boolean): Matcher {
  const inNamespace = anyOf(values.map(compileGlob))
  if (!wide) return overId((id) => id.namespace !== null && inNamespace(id.namespace))
  const inUri = anyOf(values.map((value) => compileGlob(`*/ns/${value}/*`)))
  return overUri(inUri, true)
}

/** `serviceAccounts`: `NS/SA` (lowering has filled in the namespace). */
export function compileServiceAccounts(values: readonly string[], wide: boolean): Matcher {
  if (!wide) {
    const exact = new Set(values)
    return overId((id) => id.serviceAccount !== null && exact.has(`${id.namespace}/${id.serviceAccount}`))
  }
  return overUri(anyOf(values.map(serviceAccountInUri)), true)
}

/** `trustDomains`: exact, `*`, or a star within the name (it never crosses a `/`). */
export function compileTrustDomains(values: readonly string[], wide: boolean): Matcher {
  const inDomain = anyOf(values.map(compileGlob))
  if (!wide) return overId((id) => inDomain(id.trustDomain))
  return overUri((uri) => {
    if (!uri.startsWith(SCHEME)) return false
    const slash = uri.indexOf('/', SCHEME.length)
    return inDomain(slash < 0 ? uri.slice(SCHEME.length) : uri.slice(SCHEME.length, slash))
  }, true)
}

/** `spiffe://.+/ns/NS/(.+/|)sa/SA(/.+)?`, a full match, without the expression. */
function serviceAccountInUri(value: string): StringMatcher {
  const slash = value.indexOf('/')
  const namespace = `/ns/${value.slice(0, slash)}/`
  const account = `sa/${value.slice(slash + 1)}`
  const endsHere = (uri: string, end: number) => end === uri.length || (uri[end] === '/' && end + 1 < uri.length)
  return (uri) => {
    if (!uri.startsWith(SCHEME)) return false
    for (let ns = uri.indexOf(namespace, SCHEME.length + 1); ns >= 0; ns = uri.indexOf(namespace, ns + 1)) {
      const rest = ns + namespace.length
      if (uri.startsWith(account, rest) && endsHere(uri, rest + account.length)) return true
      for (let sa = uri.indexOf(`/${account}`, rest + 1); sa >= 0; sa = uri.indexOf(`/${account}`, sa + 1))
        if (endsHere(uri, sa + 1 + account.length)) return true
    }
    return false
  }
}

function anyOf(matchers: readonly StringMatcher[]): StringMatcher {
  if (matchers.length === 1) return matchers[0] as StringMatcher
  return (subject) => {
    for (const matches of matchers) if (matches(subject)) return true
    return false
  }
}

function overId(matches: (id: SpiffeId) => boolean): Matcher {
  return ({ attributes: { peer } }) => peer.kind === 'spiffe' && matches(peer.id)
}

function overUri(matches: StringMatcher, wide: boolean): Matcher {
  if (!wide) return overId((id) => matches(id.uri))
  return ({ attributes: { peer } }) => {
    if (peer.kind === 'none') return false
    if (peer.kind === 'spiffe') return matches(peer.id.uri)
    for (const name of claimedNames(peer)) if (matches(name)) return true
    return false
  }
}
