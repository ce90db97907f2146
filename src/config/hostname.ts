/** Host names as resources write them: canonical form, validity, Kubernetes short names, wildcard order. */

import { canonicalHostPattern } from '../core/host-pattern.ts'

const LABEL = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/

/** Lower case, one trailing dot off (Istio's `ValidateFQDN` allows the dot; registries compare without it). */
export function canonicalHost(text: string): string {
  const lower = text.toLowerCase()
  return lower.endsWith('.') ? lower.slice(0, -1) : lower
}

export function isWildcard(host: string): boolean {
  return host.startsWith('*')
}

/**
 * What is wrong with a host of a resource, or null. Exact names and `*.suffix` are legal. A bare `*` is not: it would
 * register every host there is. Istio also knows `*-foo.suffix`; we refuse it rather than match it loosely.
 */
export function hostProblem(text: string): string | null {
  const host = canonicalHost(text)
  if (host === '*') return '"*" would name every host; name the hosts or a *.suffix'
  const exact = host.startsWith('*.') ? host.slice(2) : host
  if (exact.includes('*')) return `"${text}": a wildcard is a leading "*." only`
  if (exact.length > 253) return `"${text.slice(0, 40)}…" is longer than 253 characters`
  if (!exact.split('.').every((label) => LABEL.test(label)))
    return `"${text}" is not a host name (letters, digits and hyphens between dots; no scheme, port or path)`
  // What requests are compared with: `127.1`, `0x7f.1` and their like have no canonical form.
  if (canonicalHostPattern(text) === null) return `"${text}" is an ambiguous spelling of an IP address`
  return null
}

/** A Kubernetes namespace or another DNS-1123 label. */
export function isLabel(text: string): boolean {
  return LABEL.test(text)
}

/**
 * The full name of a destination: a name without a dot is a Kubernetes service of `namespace` (Istio's
 * `ResolveShortnameToFQDN`, with its default domain). `*` stays as it is.
 */
export function qualify(text: string, namespace: string): string {
  const host = canonicalHost(text)
  return host.includes('.') || isWildcard(host) ? host : `${host}.${namespace}.svc.cluster.local`
}

/** The patterns that cover `host`, most specific first: itself, `*.` and each shorter suffix, `*`. */
export function patternsFor(host: string): string[] {
  const patterns = [host]
  let rest = host.startsWith('*.') ? host.slice(2) : host
  for (let dot = rest.indexOf('.'); dot >= 0; dot = rest.indexOf('.')) {
    rest = rest.slice(dot + 1)
    patterns.push(`*.${rest}`)
  }
  if (host !== '*') patterns.push('*')
  return patterns
}
