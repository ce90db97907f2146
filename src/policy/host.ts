/**
 * `hosts` of AuthorizationPolicy (contract §4 Names, behaviour §1.4, threats 20). Istio compares the raw `:authority`,
 * while routing ignores its port, so there a DENY is dodged by `Host: name:80`. Here a refusal looks at every spelling of
 * the same destination, and a permission without port covers only the ports the request could mean anyway.
 */
import { parseAuthority } from '../core/authority.ts'
import { anyPattern, parsePattern, type StringMatcher, type StringPattern } from '../core/pattern.ts'
import { bareHost, defaultPort, type Facts } from './facts.ts'
import type { Matcher } from './identity.ts'

type HostRule = {
  readonly pattern: StringPattern
  /** The value itself speaks of a port: `name:80`, `name:*`, `*:80`. */
  readonly port: boolean
}

/** Lower case, one trailing dot off, and an exact value in the canonical form of core/authority.ts where it has one. */
export function parseHostRule(value: string): HostRule {
  const pattern = parsePattern(value.toLowerCase())
  switch (pattern.kind) {
    case 'present':
      return { pattern, port: false }
    case 'exact': {
      const authority = parseAuthority(pattern.text)
      if (authority !== null) return { pattern: { kind: 'exact', text: authority.text }, port: authority.port !== null }
      return { pattern, port: hasPort(pattern.text) }
    }
    case 'prefix':
      return { pattern: { kind: 'prefix', text: pattern.text.replace('.:', ':') }, port: hasPort(pattern.text) }
    case 'suffix':
      return {
        pattern: { kind: 'suffix', text: pattern.text.replace(/(?<=.)\.(?=$|:)/, '') },
        port: hasPort(pattern.text),
      }
  }
}

/** A colon outside brackets. */
function hasPort(text: string): boolean {
  const colon = text.lastIndexOf(':')
  if (colon < 0) return false
  const open = text.lastIndexOf('[')
  return open < 0 ? !text.includes(']', colon) : text.indexOf(']', open) >= 0 && text.indexOf(']', open) < colon
}

export function compileHosts(values: readonly string[], wide: boolean): Matcher {
  const rules = values.map(parseHostRule)
  if (wide) return wideHosts(anyPattern(rules.map((rule) => rule.pattern)))
  // `*` says any host; it is not a rule without port.
  const full = anyPattern(rules.filter((rule) => rule.port || rule.pattern.kind === 'present').map((r) => r.pattern))
  const bare = anyPattern(rules.filter((rule) => !rule.port && rule.pattern.kind !== 'present').map((r) => r.pattern))
  return (facts) => {
    const { http } = facts.attributes
    if (http === null) return false
    if (full(http.authority.text)) return true
    const { port } = http.authority
    if (port !== null && port !== facts.attributes.gatewayPort && port !== defaultPort(http)) return false
    return bare(bareHost(http.authority))
  }
}

function wideHosts(matches: StringMatcher): Matcher {
  return (facts: Facts) => {
    const { http } = facts.attributes
    if (http === null) return false
    for (const form of facts.hostForms(http)) if (matches(form)) return true
    return false
  }
}
