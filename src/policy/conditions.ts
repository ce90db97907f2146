/**
 * TABLE of condition keys: scope, how its values are compiled, and what `explain` says it saw. A new match condition is
 * a new row (and a key in config/kinds/authorization-policy.ts).
 *
 * `wide` says which way to err: true where a match refuses (DENY XOR `not…`), false where a match permits. A wide matcher
 * may hold for more than Istio's, a narrow one for less; never the other way round.
 */
import type { Attributes } from '../core/attributes.ts'
import { compileIpSet } from '../core/cidr.ts'
import { compilePathTemplate, isPathTemplate } from '../core/path-template.ts'
import { compilePatterns, type StringMatcher } from '../core/pattern.ts'
import { claimedNames } from './facts.ts'
import { compileHeader, headerOf } from './header.ts'
import { compileHosts } from './host.ts'
import {
  compileNamespaces,
  compilePrincipals,
  compileServiceAccounts,
  compileTrustDomains,
  type Matcher,
} from './identity.ts'
import {
  claimSeen,
  compileTokenAudiences,
  compileTokenClaim,
  compileTokenPresenter,
  compileTokenPrincipals,
} from './token.ts'

export type ConditionRow = {
  /** `http` conditions do not exist on tunnels (behaviour §1.6). */
  readonly scope: 'connection' | 'http'
  /** `argument` is what stands in brackets: the header name; for `claims[a][b]`: `a][b`. */
  readonly compile: (values: readonly string[], wide: boolean, argument: string) => Matcher
  /** The value seen, for `explain`; null: there is none. */
  readonly seen: (attributes: Attributes, argument: string) => string | null
}

export const CONDITIONS = {
  'source.principal': { scope: 'connection', compile: compilePrincipals, seen: principalSeen },
  'source.namespace': {
    scope: 'connection',
    compile: compileNamespaces,
    seen: ({ peer }) => (peer.kind === 'spiffe' ? peer.id.namespace : null),
  },
  'source.serviceAccount': {
    scope: 'connection',
    compile: compileServiceAccounts,
    seen: ({ peer }) =>
      peer.kind === 'spiffe' && peer.id.serviceAccount !== null
        ? `${peer.id.namespace}/${peer.id.serviceAccount}`
        : null,
  },
  'source.trustDomain': {
    scope: 'connection',
    compile: compileTrustDomains,
    seen: ({ peer }) => (peer.kind === 'spiffe' ? peer.id.trustDomain : null),
  },
  'source.ip': { scope: 'connection', compile: ipRow((a) => a.sourceIp), seen: (a) => a.sourceIp },
  'remote.ip': { scope: 'connection', compile: ipRow((a) => a.remoteIp), seen: (a) => a.remoteIp },
  'destination.ip': { scope: 'connection', compile: ipRow((a) => a.destinationIp), seen: (a) => a.destinationIp },
  'destination.port': { scope: 'connection', compile: compilePorts, seen: (a) => String(a.destinationPort) },
  'connection.sni': { scope: 'connection', compile: compileSni, seen: (a) => a.sni },
  host: { scope: 'http', compile: compileHosts, seen: (a) => a.http?.authority.text ?? null },
  method: { scope: 'http', compile: compileMethods, seen: (a) => a.http?.method ?? null },
  path: { scope: 'http', compile: compilePaths, seen: (a) => a.http?.path ?? null },
  'request.headers[]': {
    scope: 'http',
    compile: (values, wide, name) => compileHeader(name, values, wide),
    seen: ({ http }, name) => (http === null ? null : headersSeen(headerOf(http, name.toLowerCase()))),
  },
  'request.auth.principal': {
    scope: 'http',
    compile: compileTokenPrincipals,
    seen: ({ token }) => token?.principal ?? null,
  },
  'request.auth.audiences': {
    scope: 'http',
    compile: compileTokenAudiences,
    seen: ({ token }) => (token === null || token.audiences.length === 0 ? null : token.audiences.join(', ')),
  },
  'request.auth.presenter': {
    scope: 'http',
    compile: compileTokenPresenter,
    seen: ({ token }) => token?.presenter ?? null,
  },
  'request.auth.claims[]': {
    scope: 'http',
    compile: compileTokenClaim,
    seen: ({ token }, argument) => claimSeen(token, argument),
  },
  /**
   * Envoy's dynamic metadata, which does not exist here: an ALLOW rule with it never matches, in a DENY rule it holds
   * (contract §3). As both follow from the direction alone, the matcher is the direction.
   */
  'experimental.[]': { scope: 'connection', compile: (_values, wide) => () => wide, seen: () => null },
} as const satisfies Record<string, ConditionRow>

const BRACKETED = ['request.headers', 'request.auth.claims'] as const

/** The row of a key such as `method` or `request.headers[x-tenant]`; null: no such condition. */
export function findCondition(key: string): { readonly row: ConditionRow; readonly argument: string } | null {
  for (const name of BRACKETED)
    if (key.startsWith(`${name}[`) && key.endsWith(']'))
      return { row: CONDITIONS[`${name}[]`], argument: key.slice(name.length + 1, -1) }
  if (key.startsWith('experimental.')) return { row: CONDITIONS['experimental.[]'], argument: key }
  if (key.endsWith('[]') || !Object.hasOwn(CONDITIONS, key)) return null
  return { row: CONDITIONS[key as keyof typeof CONDITIONS], argument: '' }
}

function ipRow(address: (attributes: Attributes) => string): ConditionRow['compile'] {
  return (values, wide) => {
    const set = compileIpSet(values)
    return (facts) => {
      const ip = facts.ip(address(facts.attributes))
      // Not an address at all (it comes from a socket, so this should not be): the refusing side wins.
      return ip === null ? wide : set.hasAddress(ip)
    }
  }
}

/** The port really bound (contract §4), as in Istio; the Gateway port is not looked at. */
function compilePorts(values: readonly string[]): Matcher {
  const ports = new Set(values.map(Number))
  return ({ attributes }) => ports.has(attributes.destinationPort)
}

/**
 * `attributes.sni` is the inner SNI where there is one. Once tunnels exist, a wide match must test the outer SNI as well
 * (contract §4, Names). Names have no case, so a refusal ignores it; a permission compares as Istio does.
 */
function compileSni(values: readonly string[], wide: boolean): Matcher {
  if (!wide) {
    const matches = compilePatterns(values)
    return ({ attributes: { sni } }) => sni !== null && matches(sni)
  }
  const folded = compilePatterns(values.map(withoutDot))
  return ({ attributes: { sni } }) => sni !== null && folded(withoutDot(sni))
}

function withoutDot(name: string): string {
  const lower = name.toLowerCase()
  return lower.length > 1 && lower.endsWith('.') ? lower.slice(0, -1) : lower
}

function compileMethods(values: readonly string[]): Matcher {
  const matches = compilePatterns(values)
  return ({ attributes: { http } }) => http !== null && matches(http.method)
}

/** `attributes.http.path` is normalised and has no query. */
function compilePaths(values: readonly string[], wide: boolean): Matcher {
  const plain = compilePatterns(values.filter((value) => !isPathTemplate(value)))
  const templates: StringMatcher[] = values.filter(isPathTemplate).map((value) => compilePathTemplate(value, wide))
  return ({ attributes: { http } }) => {
    if (http === null) return false
    if (plain(http.path)) return true
    for (const matches of templates) if (matches(http.path)) return true
    return false
  }
}

function principalSeen({ peer }: Attributes): string | null {
  switch (peer.kind) {
    case 'none':
      return null
    case 'spiffe':
      return peer.id.uri.replace(/^spiffe:\/\//, '')
    case 'certificate':
      return `a certificate without SPIFFE ID (${claimedNames(peer).join(', ')})`
  }
}

function headersSeen(values: readonly string[]): string | null {
  return values.length === 0 ? null : values.join(', ')
}
