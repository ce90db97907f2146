/**
 * Which DestinationRules speak for a host (behaviour §5.1, §5.2; istio pilot/pkg/model/push_context.go
 * `destinationRule()`): gateway namespace, service namespace, root namespace; in the first of them that has a match the
 * most specific host; the rules for that host are one: subsets put together, the first traffic policy.
 */
import type { SourceRef } from '../core/attributes.ts'
import type { Settings } from '../model/settings.ts'
import { canonicalHost, patternsFor, qualify } from './hostname.ts'
import { destinationRule } from './kinds/destination-rule.ts'
import type { DestinationRuleSpec } from './kinds/destination-rule-schema.ts'
import { byNamespaceAndName, ofKind } from './of-kind.ts'
import type { Report, Resource } from './resource.ts'
import { encrypts, type PlacedPolicy, policyForPort } from './traffic-policy.ts'
import { isExportedTo, isPrivate } from './visibility.ts'

type Rule = Resource<DestinationRuleSpec>
type Labels = Readonly<Record<string, string>>

/** The policy in force for one port, and where its blocks stand. `rule`: `NS/NAME` of the rule, for messages. */
export type PortPolicy = PlacedPolicy & { readonly rule: string }

export type Subset = {
  readonly name: string
  readonly labels: Labels
  readonly source: SourceRef
  readonly rule: Rule
  readonly index: number
}

export type DestinationRules = {
  /** The policy for `port` of `host`, a service of `serviceNamespace`; null when no rule sets one. */
  policyFor(host: string, serviceNamespace: string, port: number, subset?: Subset | null): PortPolicy | null
  /** The subset of that name; null when no rule that speaks for the host defines it. */
  subsetOf(host: string, serviceNamespace: string, name: string): Subset | null
  /** Names that routes can use, for messages. */
  subsetNames(host: string, serviceNamespace: string): readonly string[]
}

/** What all rules for one host come to. */
type Merged = {
  /** The one whose traffic policy counts. */
  readonly main: Rule | null
  /** Those whose traffic policy does not. */
  readonly unused: readonly Rule[]
  readonly subsets: ReadonlyMap<string, Subset>
}

export function indexDestinationRules(
  settings: Settings,
  resources: readonly Resource[],
  report: Report,
): DestinationRules {
  const index = indexByHost(settings, resources)
  const matching = (namespace: string, host: string, accept: (rule: Rule) => boolean): readonly Rule[] => {
    const inNamespace = index.get(namespace)
    if (inNamespace === undefined) return []
    for (const pattern of patternsFor(canonicalHost(host))) {
      const rules = (inNamespace.get(pattern) ?? []).filter(accept)
      if (rules.length > 0) return rules
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

  const merged = new Map<string, Merged>()
  const mergedFor = (host: string, serviceNamespace: string): Merged => {
    const key = `${serviceNamespace}/${host}`
    const known = merged.get(key) ?? mergeRules(lookup(host, serviceNamespace), report)
    merged.set(key, known)
    return known
  }

  return {
    subsetOf: (host, serviceNamespace, name) => mergedFor(host, serviceNamespace).subsets.get(name) ?? null,
    subsetNames: (host, serviceNamespace) => [...mergedFor(host, serviceNamespace).subsets.keys()],
    policyFor(host, serviceNamespace, port, subset = null) {
      const { main, unused } = mergedFor(host, serviceNamespace)
      if (main !== null) for (const rule of unused) reportUnused(rule, main, port, report)
      const top = main?.spec.trafficPolicy
      const base =
        main === null || top === undefined ? null : layer(main, ['spec', 'trafficPolicy'], top, port, null, report)
      const own = subset?.rule.spec.subsets?.[subset.index]?.trafficPolicy
      if (subset === null || own === undefined)
        return base === null || main === null ? null : { ...base, rule: nameOf(main) }
      const path = ['spec', 'subsets', subset.index, 'trafficPolicy']
      return { ...layer(subset.rule, path, own, port, base, report), rule: nameOf(subset.rule) }
    },
  }
}

function indexByHost(
  settings: Settings,
  resources: readonly Resource[],
): ReadonlyMap<string, ReadonlyMap<string, readonly Rule[]>> {
  const index = new Map<string, Map<string, Rule[]>>()
  for (const rule of [...ofKind(resources, destinationRule)].sort(byNamespaceAndName)) {
    if (!isExportedTo(rule.spec.exportTo, rule.namespace, settings.namespace) || !selectsUs(rule, settings)) continue
    const host = qualify(rule.spec.host, rule.namespace)
    const inNamespace = index.get(rule.namespace) ?? new Map<string, Rule[]>()
    index.set(rule.namespace, inNamespace)
    const rules = inNamespace.get(host) ?? []
    inNamespace.set(host, rules)
    rules.push(rule)
  }
  return index
}

/** A rule with a workloadSelector is for proxies of its own namespace that carry the labels. */
function selectsUs(rule: Rule, settings: Settings): boolean {
  if (rule.spec.workloadSelector === undefined) return true
  if (rule.namespace !== settings.namespace) return false
  const labels = rule.spec.workloadSelector.matchLabels ?? {}
  return Object.entries(labels).every(([key, value]) => settings.labels[key] === value)
}

/**
 * Rules that select our workload by label go before those that select everyone, and of those only the ones with the
 * first selector count: Istio merges a rule into one with an equal selector or none.
 */
function mergeRules(rules: readonly Rule[], report: Report): Merged {
  const [selecting] = rules.filter((rule) => rule.spec.workloadSelector !== undefined)
  const selector = selecting === undefined ? null : selectorOf(selecting)
  const counted = [
    ...rules.filter((rule) => rule.spec.workloadSelector !== undefined && selectorOf(rule) === selector),
    ...rules.filter((rule) => rule.spec.workloadSelector === undefined),
  ]
  const main = counted.find((rule) => rule.spec.trafficPolicy !== undefined) ?? null
  const unused = rules.filter((rule) => rule !== main && rule.spec.trafficPolicy !== undefined)
  const subsets = new Map<string, Subset>()
  for (const rule of counted)
    for (const [i, { name, labels = {} }] of (rule.spec.subsets ?? []).entries()) {
      const source = rule.at('spec', 'subsets', i)
      const first = subsets.get(name)
      if (first === undefined) subsets.set(name, { name, labels, source, rule, index: i })
      else if (first.rule !== rule)
        report(
          'SP7007',
          source,
          `subset "${name}" of DestinationRule ${nameOf(rule)} is not used: ${nameOf(first.rule)} defines it for ${rule.spec.host}`,
          { fix: 'give it another name, or remove one of the two' },
        )
    }
  return { main, unused, subsets }
}

function reportUnused(other: Rule, main: Rule, port: number, report: Report): void {
  const losesTls = encrypts(topPolicy(other, port)) && !encrypts(topPolicy(main, port))
  report(
    'SP7007',
    other.at('spec', 'trafficPolicy'),
    `the trafficPolicy of DestinationRule ${nameOf(other)} is not used: ${nameOf(main)} speaks for ${main.spec.host}`,
    // Istio goes by age, which files have not: losing TLS must not depend on a name.
    { fix: 'merge the two rules into one', ...(losesTls ? { severity: 'error' as const } : {}) },
  )
}

function topPolicy(rule: Rule, port: number) {
  const { trafficPolicy } = rule.spec
  return trafficPolicy === undefined ? undefined : policyForPort(trafficPolicy, rule.at, port, null).policy
}

/** `policyForPort`, with a word about TLS that a port-level setting drops. */
function layer(
  rule: Rule,
  path: readonly (string | number)[],
  spec: NonNullable<DestinationRuleSpec['trafficPolicy']>,
  port: number,
  below: PlacedPolicy | null,
  report: Report,
): PlacedPolicy {
  const placed = policyForPort(spec, (...more) => rule.at(...path, ...more), port, below)
  const level = (spec.portLevelSettings ?? []).findIndex((each) => each.port.number === port)
  const without = { ...spec, portLevelSettings: undefined }
  if (level >= 0 && placed.policy.tls === undefined && encrypts(policyForPort(without, rule.at, port, below).policy))
    report(
      'SP7018',
      rule.at(...path, 'portLevelSettings', level),
      `port-level settings replace the whole policy: the tls of ${nameOf(rule)} does not apply to port ${port}`,
      { fix: 'repeat tls in the port-level settings' },
    )
  return placed
}

function selectorOf(rule: Rule): string {
  return JSON.stringify(
    Object.entries(rule.spec.workloadSelector?.matchLabels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1)),
  )
}

function nameOf({ namespace, name }: Rule): string {
  return `${namespace}/${name}`
}
