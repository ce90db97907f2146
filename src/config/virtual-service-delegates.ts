/**
 * Delegation (behaviour §4.5; Istio mergeVirtualServicesIfNeeded): a rule of a root VirtualService stands for the rules of
 * another one that has no hosts. One level deep; what the delegate's rule does not say, the root's says.
 */
import type { SourceRef } from '../core/attributes.ts'
import type { MatchModel, NamedMatch, StringMatch } from '../model/route.ts'
import { virtualService } from './kinds/virtual-service.ts'
import type { HttpMatch, HttpRule, VirtualServiceSpec } from './kinds/virtual-service-schema.ts'
import { ofKind } from './of-kind.ts'
import type { Report, Resource } from './resource.ts'
import { gatewayName, lowerMatch } from './virtual-service-match.ts'
import { isExportedTo } from './visibility.ts'

export type At = (...path: readonly (string | number)[]) => SourceRef

/** A piece of a VirtualService: where it stands, and the namespace in which its short names are read. */
export type Placed<T> = { readonly value: T; readonly at: At; readonly namespace: string }

/** One `match`, or a root's and a delegate's that must both hold. */
export type EffectiveMatch = readonly Placed<HttpMatch>[]

/** A rule as it counts. */
export type EffectiveRule = {
  readonly name: string | null
  readonly at: At
  /** Alternatives; null: the rule always holds. */
  readonly matches: readonly EffectiveMatch[] | null
  /** A field of the rule, else the root's. */
  readonly field: <Key extends keyof HttpRule>(key: Key) => Placed<NonNullable<HttpRule[Key]>> | null
  /** False: the rule delegates to what is not there, and answers 404. */
  readonly delivered: boolean
}

/** VirtualServices without hosts, by `namespace/name`. */
export type Delegates = ReadonlyMap<string, Resource<VirtualServiceSpec>>

export function isDelegate(spec: VirtualServiceSpec): boolean {
  return spec.hosts === undefined || spec.hosts.length === 0
}

/** True when a rule delegates. */
export function isRoot(spec: VirtualServiceSpec): boolean {
  return (spec.http ?? []).some(({ delegate }) => delegate !== undefined)
}

export function indexDelegates(resources: readonly Resource[]): Delegates {
  const found = ofKind(resources, virtualService).filter(({ spec }) => isDelegate(spec))
  return new Map(found.map((resource) => [`${resource.namespace}/${resource.name}`, resource]))
}

/** The rules of one VirtualService in order, those of its delegates in the place of the rules that name them. */
export function effectiveRules(
  resource: Resource<VirtualServiceSpec>,
  delegates: Delegates,
  report: Report,
): readonly EffectiveRule[] {
  return placedRules(resource).flatMap((root) => {
    const { delegate } = root.value
    if (delegate === undefined) return [effective(null, root, matchesOf(root))]
    const { namespace, name = '' } = delegate
    const key = `${namespace === undefined || namespace === '' ? root.namespace : namespace}/${name}`
    const found = delegates.get(key)
    if (found === undefined || !isExportedTo(found.spec.exportTo, found.namespace, root.namespace)) {
      const why = found === undefined ? 'is not there, or has hosts' : `is not exported to ${root.namespace}`
      report('SP4045', root.at('delegate'), `VirtualService ${key} ${why}: what this rule matches answers 404`)
      // Istio leaves the rule out, so that a later one takes its requests. A mistake must not lead them elsewhere.
      return [{ ...effective(null, root, matchesOf(root)), delivered: false }]
    }
    return placedRules(found).flatMap((leaf) => {
      const matches = joinMatches(matchesOf(root), matchesOf(leaf))
      if (matches !== 'conflict') return [effective(root, leaf, matches)]
      const { file, line } = root.at()
      report(
        'SP4046',
        leaf.at(),
        `a match of this rule goes beyond those of the rule at ${file}:${line} that delegates to it`,
      )
      return []
    })
  })
}

function placedRules(resource: Resource<VirtualServiceSpec>): readonly Placed<HttpRule>[] {
  return (resource.spec.http ?? []).map((value, index) => ({
    value,
    at: (...path) => resource.at('spec', 'http', index, ...path),
    namespace: resource.namespace,
  }))
}

function matchesOf({ value, at, namespace }: Placed<HttpRule>): readonly EffectiveMatch[] | null {
  if (value.match === undefined || value.match.length === 0) return null
  return value.match.map((match, index) => [{ value: match, at: (...path) => at('match', index, ...path), namespace }])
}

function effective(
  root: Placed<HttpRule> | null,
  own: Placed<HttpRule>,
  matches: readonly EffectiveMatch[] | null,
): EffectiveRule {
  return {
    name: joinNames(root?.value.name, own.value.name),
    at: own.at,
    matches,
    field: (key) => {
      const holder = own.value[key] === undefined ? root : own
      const value = holder?.value[key]
      if (holder === null || value === undefined) return null
      return { value, at: (...path) => holder.at(key, ...path), namespace: holder.namespace }
    },
    delivered: true,
  }
}

function joinNames(root: string | null | undefined, own: string | null | undefined): string | null {
  const names = [root, own].filter((name) => name !== undefined && name !== null && name !== '')
  return names.length === 0 ? null : names.join('-')
}

/** Every pair that fits; a match of the delegate that fits none of the root's spoils its whole rule, as in Istio. */
function joinMatches(
  root: readonly EffectiveMatch[] | null,
  leaf: readonly EffectiveMatch[] | null,
): readonly EffectiveMatch[] | null | 'conflict' {
  if (root === null || leaf === null) return leaf ?? root
  const joined: EffectiveMatch[] = []
  for (const inner of leaf) {
    const fitting = root.filter((outer) => !conflicts(outer, inner))
    if (fitting.length === 0) return 'conflict'
    joined.push(...fitting.map((outer) => [...outer, ...inner]))
  }
  return joined
}

/** Istio hasConflict: the delegate's match has to be the narrower one, field by field; expressions cannot be compared. */
function conflicts([outer]: EffectiveMatch, [inner]: EffectiveMatch): boolean {
  if (outer === undefined || inner === undefined) return false
  const [root, leaf] = [lowerPlaced(outer), lowerPlaced(inner)]
  if ((['uri', 'scheme', 'method', 'authority'] as const).some((field) => differs(root[field], leaf[field])))
    return true
  for (const field of ['headers', 'withoutHeaders', 'queryParams'] as const)
    if (leaf[field].some(({ name, match }) => differs(find(root[field], name), match))) return true
  if (root.ignoreUriCase !== leaf.ignoreUriCase) return true
  const { port: rootPort = 0, sourceNamespace: rootSource = '', sourceLabels: rootLabels = {} } = outer.value
  const { port = 0, sourceNamespace = '', sourceLabels = {} } = inner.value
  if (rootPort !== 0 && port !== 0 && rootPort !== port) return true
  if (rootSource !== '' && sourceNamespace !== '' && rootSource !== sourceNamespace) return true
  if (Object.entries(sourceLabels).some(([key, value]) => (rootLabels[key] ?? value) !== value)) return true
  const rootGateways = gatewaysOf(outer)
  return rootGateways.length > 0 && gatewaysOf(inner).some((name) => !rootGateways.includes(name))
}

function gatewaysOf({ value, namespace }: Placed<HttpMatch>): readonly string[] {
  return (value.gateways ?? []).map((entry) => gatewayName(entry, namespace))
}

function find(list: readonly NamedMatch[], name: string): StringMatch | null {
  return list.find((each) => each.name === name)?.match ?? null
}

/** Istio stringMatchConflict. */
function differs(root: StringMatch | null, leaf: StringMatch | null): boolean {
  if (root === null || leaf === null) return false
  if (root.kind === 'exact') return leaf.kind !== 'exact' || leaf.value !== root.value
  if (root.kind === 'prefix')
    return (leaf.kind !== 'prefix' && leaf.kind !== 'exact') || !leaf.value.startsWith(root.value)
  return true
}

function lowerPlaced({ value, at }: Placed<HttpMatch>): MatchModel {
  return lowerMatch(value, at())
}

/** All parts in one. Istio lets a delegate's `withoutHeaders` replace the root's, which would widen: here both hold. */
export function lowerEffectiveMatch(parts: EffectiveMatch): MatchModel {
  const models = parts.map(lowerPlaced)
  const [first, second] = models
  if (first === undefined) throw new RangeError('a match has at least one part')
  if (second === undefined) return first
  const narrowed = (field: 'headers' | 'queryParams') => [
    ...first[field].filter(({ name }) => find(second[field], name) === null),
    ...second[field],
  ]
  return {
    source: second.source,
    name: joinNames(first.name, second.name),
    uri: second.uri ?? first.uri,
    ignoreUriCase: second.ignoreUriCase,
    scheme: second.scheme ?? first.scheme,
    method: second.method ?? first.method,
    authority: second.authority ?? first.authority,
    headers: narrowed('headers'),
    withoutHeaders: [...first.withoutHeaders, ...second.withoutHeaders],
    queryParams: narrowed('queryParams'),
  }
}
