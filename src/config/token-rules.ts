/**
 * The RequestAuthentications of this gateway as rules for tokens (istio pilot/pkg/security/authn/policy_applier.go): which
 * apply (as for AuthorizationPolicies, behaviour §1.7), where tokens are looked for, and where their keys come from.
 */
import type { Settings } from '../model/settings.ts'
import type { KeySourceModel, TokenLocation, TokenRuleModel } from '../model/token.ts'
import type { JwtRuleSpec, RequestAuthenticationSpec } from './kinds/request-authentication.ts'
import { selectsGateway } from './policy-target.ts'
import type { Report, Resource } from './resource.ts'

type Authentication = Resource<RequestAuthenticationSpec>

/** Where Envoy looks for a token when a rule does not say (jwt_authn). */
const DEFAULT_LOCATIONS: readonly TokenLocation[] = [
  { in: 'header', name: 'authorization', prefix: 'Bearer ' },
  { in: 'param', name: 'access_token' },
]

/** Istio's own list (policy_applier.go); `spaceDelimitedClaims` adds to it. */
const WORD_CLAIMS: readonly string[] = ['permission', 'scope']

/** As istiod's client for keys (jwks_resolver.go), milliseconds. */
const DEFAULT_TIMEOUT_MS = 5_000

/** Ordered by issuer, then resource and position. */
export function lowerTokenRules(
  settings: Settings,
  resources: readonly Resource[],
  report: Report,
): readonly TokenRuleModel[] {
  const rules: TokenRuleModel[] = []
  for (const resource of resources) {
    if (resource.kind !== 'RequestAuthentication' || !resource.apiVersion.startsWith('security.istio.io/')) continue
    const authentication = resource as Authentication
    if (!selectsGateway(authentication, settings, report)) continue
    for (const [i, rule] of (authentication.spec.jwtRules ?? []).entries()) {
      const lowered = lowerRule(authentication, rule, i)
      if (lowered !== null) rules.push(lowered)
    }
  }
  // A stable sort: rules of one resource keep their order.
  return rules.sort((a, b) => compare(a.issuer ?? '', b.issuer ?? '') || compare(a.name, b.name))
}

/** By code unit, so that the order depends on no locale. */
function compare(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}

/** null: it says too little, which the check of its kind has reported. */
function lowerRule(resource: Authentication, rule: JwtRuleSpec, index: number): TokenRuleModel | null {
  const keys = keysOf(rule)
  if (keys === null) return null
  return {
    name: `${resource.namespace}/${resource.name}`,
    issuer: rule.issuer === undefined || rule.issuer === '' ? null : rule.issuer,
    audiences: rule.audiences ?? [],
    keys,
    locations: locationsOf(rule),
    forward: rule.forwardOriginalToken ?? false,
    payloadHeader: lowerOrNull(rule.outputPayloadToHeader),
    claimHeaders: (rule.outputClaimToHeaders ?? []).map(({ header = '', claim = '' }) => ({
      header: header.toLowerCase(),
      claim,
    })),
    wordClaims: [...new Set([...WORD_CLAIMS, ...(rule.spaceDelimitedClaims ?? [])])].sort(),
    timeoutMs: rule.timeout === undefined || rule.timeout === 0 ? DEFAULT_TIMEOUT_MS : rule.timeout,
    source: resource.at('spec', 'jwtRules', index),
  }
}

function lowerOrNull(text: string | undefined): string | null {
  return text === undefined || text === '' ? null : text.toLowerCase()
}

function locationsOf({ fromHeaders = [], fromParams = [], fromCookies = [] }: JwtRuleSpec): readonly TokenLocation[] {
  if (fromHeaders.length + fromParams.length + fromCookies.length === 0) return DEFAULT_LOCATIONS
  return [
    ...fromHeaders.map(({ name = '', prefix = '' }) => ({ in: 'header' as const, name: name.toLowerCase(), prefix })),
    ...fromParams.map((name) => ({ in: 'param' as const, name })),
    ...fromCookies.map((name) => ({ in: 'cookie' as const, name })),
  ]
}

/** As istiod: jwks, else jwksUri, else what OpenID Connect Discovery says of the issuer. */
function keysOf({ jwks = '', jwksUri = '', issuer = '' }: JwtRuleSpec): KeySourceModel | null {
  if (jwks !== '') return { kind: 'inline', jwks }
  if (jwksUri !== '') return keyUri(jwksUri) === null ? null : { kind: 'uri', uri: jwksUri }
  if (keyUri(issuer) === null) return null
  return { kind: 'discovery', uri: `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, issuer }
}

/** An absolute http or https URI that keys can be fetched from; null: it is none. */
export function keyUri(text: string): URL | null {
  if (!/^https?:\/\/[^\s]+$/.test(text) || !URL.canParse(text)) return null
  const url = new URL(text)
  return url.username === '' && url.password === '' && url.hash === '' && url.hostname !== '' ? url : null
}
