/**
 * Which DestinationRule speaks for a host and port (behaviour §5.1, §5.2; istio pilot/pkg/model/push_context.go
 * `destinationRule()`): gateway namespace, service namespace, root namespace; in the first of them that has a match the
 * most specific host; of several rules for that host the first traffic policy. Port-level settings replace it whole.
 */
import type { SourceRef } from '../core/attributes.ts'
import type { Settings } from '../model/settings.ts'
import { canonicalHost, patternsFor, qualify } from './hostname.ts'
import { type DestinationRuleSpec, destinationRule, type PortTrafficPolicy } from './kinds/destination-rule.ts'
import { byNamespaceAndName, ofKind } from './of-kind.ts'
import type { Report, Resource } from './resource.ts'
import { isExportedTo, isPrivate } from './visibility.ts'

type Rule = Resource<DestinationRuleSpec>
type Path = readonly (string | number)[]

/** The policy in force for one port, and where it stands. */
export type PortPolicy = {
  readonly policy: PortTrafficPolicy
  readonly at: (...path: Path) => SourceRef
  /** `NS/NAME` of the rule. */
  readonly rule: string
}

export type DestinationRules = {
  /** The policy for `port` of `host`, a service of `serviceNamespace`; null when no rule sets one. */
  policyFor(host: string, serviceNamespace: string, port: number): PortPolicy | null
}

export function indexDestinationRules(
  settings: Settings,
  resources: readonly Resource[],
  report: Report,
): DestinationRules {
  const index = new Map<string, Map<string, Rule[]>>()
  for (const rule of [...ofKind(resources, destinationRule)].sort(byNamespaceAndName)) {
    if (!isExportedTo(rule.spec.exportTo, rule.namespace, settings.namespace) || !selectsUs(rule, settings)) continue
    const host = qualify(rule.spec.host, rule.namespace)
    const inNamespace = index.get(rule.namespace) ?? new Map<string, Rule[]>()
    index.set(rule.namespace, inNamespace)
    inNamespace.set(host, [...(inNamespace.get(host) ?? []), rule])
  }

  const matching = (namespace: string, host: string, accept: (rule: Rule) => boolean): readonly Rule[] => {
    const inNamespace = index.get(namespace)
    if (inNamespace === undefined) return []
    for (const pattern of patternsFor(canonicalHost(host))) {
      const rules = (inNamespace.get(pattern) ?? []).filter(accept)
      // Rules that select our workload by label go before those that select everyone.
      if (rules.length > 0) return rules.sort((a, b) => rank(a) - rank(b))
    }
    return []
  }

  const lookup = (host: string, serviceNamespace: string): readonly Rule[] => {
    const { namespace } = settings
    const { rootNamespace } = settings.mesh
    // In the root namespace rules are mesh-wide defaults; at this step only those meant for itself count.
    const own = matching(
      namespace,
      host,
      namespace === rootNamespace ? (rule) => isPrivate(rule.spec.exportTo, rule.namespace) : () => true,
    )
    if (own.length > 0) return own
    const ofService = matching(serviceNamespace, host, () => true)
    return ofService.length > 0 ? ofService : matching(rootNamespace, host, () => true)
  }

  const told = new Set<string>()
  const tellOnce = (key: string, tell: () => void) => {
    if (!told.has(key)) tell()
    told.add(key)
  }

  return {
    policyFor(host, serviceNamespace, port) {
      const [rule, ...ignored] = lookup(host, serviceNamespace).filter((each) => each.spec.trafficPolicy !== undefined)
      if (rule === undefined) return null
      const name = `${rule.namespace}/${rule.name}`
      for (const other of ignored)
        tellOnce(`${name} ${other.name} ${encrypts(other, port) && !encrypts(rule, port)}`, () =>
          report(
            'SP7007',
            other.at('spec', 'trafficPolicy'),
            `the trafficPolicy of DestinationRule ${other.namespace}/${other.name} is not used: ${name} speaks for ${rule.spec.host}`,
            // Istio goes by age, which files have not: losing TLS must not depend on a name.
            { fix: 'merge the two rules into one', ...(encrypts(other, port) && !encrypts(rule, port) ? LOST : {}) },
          ),
        )
      const top = rule.spec.trafficPolicy
      const levels = top?.portLevelSettings ?? []
      const i = levels.findIndex((level) => level.port.number === port)
      const level = levels[i]
      if (level === undefined)
        return top === undefined
          ? null
          : { policy: top, at: (...path) => rule.at('spec', 'trafficPolicy', ...path), rule: name }
      if (level.tls === undefined && top?.tls !== undefined && (top.tls.mode ?? 'DISABLE') !== 'DISABLE')
        tellOnce(`${name} tls ${port}`, () =>
          report(
            'SP7018',
            rule.at('spec', 'trafficPolicy', 'portLevelSettings', i),
            `port-level settings replace the whole policy: the tls of ${name} does not apply to port ${port}`,
            { fix: 'repeat tls in the port-level settings' },
          ),
        )
      return {
        policy: level,
        at: (...path) => rule.at('spec', 'trafficPolicy', 'portLevelSettings', i, ...path),
        rule: name,
      }
    },
  }
}

/** A rule with a workloadSelector is for proxies of its own namespace that carry the labels. */
function selectsUs(rule: Rule, settings: Settings): boolean {
  if (rule.spec.workloadSelector === undefined) return true
  if (rule.namespace !== settings.namespace) return false
  const labels = rule.spec.workloadSelector.matchLabels ?? {}
  return Object.entries(labels).every(([key, value]) => settings.labels[key] === value)
}

const LOST = { severity: 'error' } as const

/** Whether the rule originates TLS for the port. */
function encrypts({ spec: { trafficPolicy: top } }: Rule, port: number): boolean {
  const level = top?.portLevelSettings?.find((each) => each.port.number === port)
  return ((level ?? top)?.tls?.mode ?? 'DISABLE') !== 'DISABLE'
}

function rank(rule: Rule): number {
  return rule.spec.workloadSelector === undefined ? 1 : 0
}
