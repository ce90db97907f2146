/** What an operator should know about a policy that loads but may not mean what was meant. Findings only; changes nothing. */
import { parseAuthority } from '../core/authority.ts'
import { isPathTemplate } from '../core/path-template.ts'
import { parsePattern } from '../core/pattern.ts'
import { normalizeTarget, type PathNormalization } from '../core/request-target.ts'
import type { ListenerModel } from '../model/listener.ts'
import type { ConditionModel, PolicyModel, RuleModel } from '../model/policy.ts'
import type { Settings } from '../model/settings.ts'
import { adviseOnListeners, conditionsOf, IDENTITY } from './policy-listener-advice.ts'
import type { Report, Resource } from './resource.ts'

type Ports = readonly Pick<ListenerModel, 'gatewayPort' | 'bindPort'>[]

/** Reports the warnings of one policy that applies to this gateway. */
export function adviseOnPolicy(
  resource: Resource,
  policy: PolicyModel,
  settings: Settings,
  listeners: readonly ListenerModel[],
  report: Report,
): void {
  const name = `${policy.namespace}/${policy.name}`
  if (policy.rules.length === 0 && policy.action === 'ALLOW' && !policy.dryRun)
    report('SP5023', resource.at('spec'), `ALLOW policy ${name} has no rules, so it refuses every request`)
  const ports: Ports = listeners.length > 0 ? listeners : settings.ports
  for (const rule of policy.rules) {
    for (const condition of conditionsOf(rule)) {
      adviseOnPorts(condition, ports, report)
      for (const [values, not] of [
        [condition.values, false],
        [condition.notValues, true],
      ] as const)
        for (const value of values)
          adviseOnValue(condition, value, (policy.action !== 'ALLOW') !== not, settings, report)
    }
    adviseOnListeners(policy, rule, listeners, report)
    if (policy.action === 'ALLOW') adviseOnAnonymous(rule, report)
  }
}

/** Contract §4: `ports` means the port really bound; a mapped Gateway port gets a warning with the fix. */
function adviseOnPorts(condition: ConditionModel, ports: Ports, report: Report): void {
  if (condition.key !== 'destination.port') return
  for (const value of [...condition.values, ...condition.notValues]) {
    const port = Number(value)
    if (ports.some((listener) => listener.bindPort === port)) continue
    const mapped = ports.find((listener) => listener.gatewayPort === port && listener.bindPort !== port)
    if (mapped === undefined) continue
    const bound = mapped.bindPort === 0 ? 'a free port chosen at start-up' : String(mapped.bindPort)
    report('SP5021', condition.source, `port ${port} is the Gateway port; the port really bound is ${bound}`, {
      fix:
        mapped.bindPort === 0
          ? `map it to a fixed port in spec.ports of the bootstrap file and write that one here`
          : `write "${mapped.bindPort}"`,
    })
  }
}

/** `wide`: a match of this value refuses. Then a value that never matches is a hole, not just an oddity. */
function adviseOnValue(
  condition: ConditionModel,
  value: string,
  wide: boolean,
  { mesh }: Settings,
  report: Report,
): void {
  const { key, source } = condition
  if (key === 'source.principal' && value.startsWith('spiffe://')) {
    report('SP5020', source, `principal ${JSON.stringify(value)} never matches in Istio, which adds spiffe:// itself`, {
      fix: `write ${JSON.stringify(value.slice('spiffe://'.length))}`,
    })
    return
  }
  const why = neverMatches(key, value) ?? (key === 'path' ? notNormal(value, mesh.pathNormalization) : null)
  if (why === null) return
  report('SP5026', source, `${key} ${JSON.stringify(value)} can never match: ${why}`, {
    severity: wide ? 'error' : 'warning',
  })
}

function neverMatches(key: string, value: string): string | null {
  const pattern = parsePattern(value)
  if (pattern.kind === 'present') return null
  const { kind, text } = pattern
  if (key.startsWith('request.headers[')) {
    // The parser takes the white space around a value off.
    const before = kind !== 'suffix' && /^[ \t]/.test(text)
    const after = kind !== 'prefix' && /[ \t]$/.test(text)
    return before || after ? 'header values have no white space around them' : null
  }
  const alien = ALPHABETS.find((row) => row.keys.includes(key) && !row.allowed.test(text))
  if (alien !== undefined) return alien.why
  if (key === 'host' && kind === 'exact' && parseAuthority(text.toLowerCase()) === null)
    return 'it is no host name or IP literal in canonical form (no scheme or path, ASCII only, no leading zeros)'
  if (key === 'path') {
    if (text.includes('?')) return 'paths are compared without the query'
    if (text.includes('#')) return 'paths are compared without a fragment'
    if (!value.startsWith('/') && !value.startsWith('*')) return 'paths start with /'
  }
  return null
}

/** An exact path that requests have only before normalisation (`/%61dmin`, `/a//b` with MERGE_SLASHES …). */
function notNormal(value: string, mode: PathNormalization): string | null {
  if (parsePattern(value).kind !== 'exact' || isPathTemplate(value)) return null
  const normal = normalizeTarget(value, mode)?.path ?? null
  if (normal === value) return null
  return normal === null ? 'no request has such a path' : `paths are normalised (${mode}): write ${normal}`
}

/**
 * TABLE: what a value may consist of once its leading or trailing star is off; anything else no request can show. A star
 * that is left stands for itself (behaviour §1.3), except in namespaces and trust domains, where it is one anywhere.
 */
const ALPHABETS: readonly { readonly keys: readonly string[]; readonly allowed: RegExp; readonly why: string }[] = [
  { keys: ['method'], allowed: /^[A-Z-]+$/, why: 'methods are compared with their case: capitals and hyphens' },
  {
    keys: ['host', 'connection.sni'],
    allowed: /^[A-Za-z0-9._:[\]-]*$/,
    why: 'it is no part of a host name (no scheme, path or space, ASCII only; a star counts only at one end)',
  },
  { keys: ['path'], allowed: /^[\x21-\x7e]*$/, why: 'paths are ASCII without spaces; the rest is percent-encoded' },
  {
    keys: ['source.principal', 'source.serviceAccount'],
    allowed: /^[A-Za-z0-9._:/-]*$/,
    why: 'no SPIFFE ID holds such a character (a star counts only at one end)',
  },
  {
    keys: ['source.namespace', 'source.trustDomain'],
    allowed: /^[A-Za-z0-9._*/-]*$/,
    why: 'no SPIFFE ID holds such a character',
  },
]

/** Trap no. 5: `notNamespaces` alone admits callers that have no namespace at all. */
function adviseOnAnonymous(rule: RuleModel, report: Report): void {
  for (const conditions of rule.from ?? []) {
    const identity = conditions.filter((condition) => IDENTITY.includes(condition.key))
    if (identity.length === 0 || identity.some((condition) => condition.values.length > 0)) continue
    const first = identity[0] as ConditionModel
    report('SP5027', first.source, `this ALLOW source only excludes identities, so callers without one match it`, {
      fix: 'add principals: ["*"] to require an authenticated caller',
    })
  }
}
