/**
 * Host patterns of Gateway, VirtualService, ServiceEntry and egress policies: `*`, `*.suffix` or an exact name.
 * Pure string parts, shared by `config` (which intersects patterns) and `routing` (which looks names up).
 * `*.x` stands for one or more labels before `.x`: it covers `a.x` and `a.b.x`, not `x` and not `badx`
 * (Envoy virtual host domains, Istio pkg/config/host).
 */
import { canonicalHost } from './authority.ts'

/**
 * Lower case, one trailing dot off; null when `text` is neither `*`, `*.name` nor a name or IPv4 address.
 * Istio also takes `*foo.com` and `*-foo.com`; Envoy's SNI matching does not, and neither do we.
 */
export function canonicalHostPattern(text: string): string | null {
  if (text === '*') return text
  if (!text.startsWith('*.')) return canonicalHost(text)?.host ?? null
  const suffix = canonicalHost(text.slice(2))
  return suffix === null || suffix.isIp ? null : `*.${suffix.host}`
}

/** True when every name that `inner` stands for is one that `pattern` stands for. Both canonical. */
export function hostCovers(pattern: string, inner: string): boolean {
  if (pattern === '*' || pattern === inner) return true
  if (!pattern.startsWith('*.')) return false
  const name = inner.startsWith('*.') ? inner.slice(1) : inner
  // A wildcard's own suffix counts as one more label: `*.a.x` has `.a.x`, longer than `.x`.
  return name.length >= pattern.length && name.endsWith(pattern.slice(1))
}

/** The narrower of two patterns when one covers the other, else null (they have no name in common). */
export function intersectHosts(a: string, b: string): string | null {
  if (hostCovers(a, b)) return b
  if (hostCovers(b, a)) return a
  return null
}

/** Orders patterns from most to least specific: exact names, longest suffix first, `*` last; ties by text. */
export function compareSpecificity(a: string, b: string): number {
  return rank(a) - rank(b) || b.length - a.length || (a < b ? -1 : a > b ? 1 : 0)
}

function rank(pattern: string): number {
  if (pattern === '*') return 2
  return pattern.startsWith('*.') ? 1 : 0
}

/** Names that only mean something inside a cluster or network: never looked up on a caller's word (threats 42). */
const INSIDE = ['svc', 'cluster.local', 'local', 'localhost', 'localdomain', 'internal', 'home.arpa'] as const

/** True for a name of one label, or under a suffix that belongs to a cluster or private network. `host`: canonical. */
export function isInsideName(host: string): boolean {
  return !host.includes('.') || INSIDE.some((suffix) => host === suffix || host.endsWith(`.${suffix}`))
}
