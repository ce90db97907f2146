/**
 * Where things are, and which endpoints that prefers (istio pilot/pkg/networking/core/loadbalancer). Endpoints are known
 * when configuration is loaded, so the preference becomes their priorities (fail-over) or weights (distribute) here.
 *
 * The gateway's own place comes from its labels, as a node's does in Kubernetes. Without one no locality is preferred.
 */
import type { EndpointModel, OutlierDetectionModel } from '../model/cluster.ts'
import type { LocalityLbSpec } from './kinds/destination-rule-schema.ts'

type Labels = Readonly<Record<string, string>>

/** An endpoint and what chooses it. */
export type Candidate = {
  readonly endpoint: EndpointModel
  readonly labels: Labels
  /** '' when not given. */
  readonly serviceAccount: string
}

export const TOPOLOGY_LABELS = [
  'topology.kubernetes.io/region',
  'topology.kubernetes.io/zone',
  'topology.istio.io/subzone',
] as const

/** `region/zone/subzone` of the gateway, as far as its labels say; '' when they do not. */
export function gatewayLocality(labels: Labels): string {
  const [region = '', zone = '', subzone = ''] = TOPOLOGY_LABELS.map((label) => labels[label] ?? '')
  const parts = region === '' ? [] : zone === '' ? [region] : subzone === '' ? [region, zone] : [region, zone, subzone]
  return parts.length > 0 ? parts.join('/') : labelledLocality(labels)
}

/** Of an endpoint: the field, else the label `istio-locality`, where dots stand for slashes. */
export function localityOf(field: string | undefined, labels: Labels): string {
  return field === undefined || field === '' ? labelledLocality(labels) : field
}

function labelledLocality(labels: Labels): string {
  const text = labels['istio-locality'] ?? ''
  return text.includes('/') ? text : text.replaceAll('.', '/')
}

export type LocalityContext = {
  /** Istio's mesh-wide default is on, so an absent setting is an empty one. */
  readonly setting: LocalityLbSpec | undefined
  readonly outlierDetection: OutlierDetectionModel | null
  readonly locality: string
  readonly labels: Labels
}

/** One of distribute and fail-over applies; fail-over only where something notices failures. */
export function preferLocalities(candidates: readonly Candidate[], context: LocalityContext): readonly Candidate[] {
  const { setting = {}, outlierDetection, locality, labels } = context
  if (setting.enabled === false) return candidates
  if ((setting.distribute ?? []).length > 0) return distribute(candidates, setting.distribute ?? [], locality)
  if (outlierDetection === null) return candidates
  const { failoverPriority = [], failover = [] } = setting
  let ranked = candidates
  if (failoverPriority.length > 0)
    ranked = rank(ranked, (candidate) => byLabels(candidate, failoverPriority, { ...topology(locality), ...labels }))
  // With failoverPriority regions count only when they are named as well.
  if (locality !== '' && (failoverPriority.length === 0 || failover.length > 0))
    ranked = rank(ranked, (candidate) => candidate.endpoint.priority * 5 + byRegion(candidate, locality, failover))
  return ranked
}

/** Priorities from 0 without gaps, in the order of `of`. */
function rank(candidates: readonly Candidate[], of: (candidate: Candidate) => number): readonly Candidate[] {
  const levels = [...new Set(candidates.map(of))].sort((a, b) => a - b)
  return candidates.map((candidate) => ({
    ...candidate,
    endpoint: { ...candidate.endpoint, priority: levels.indexOf(of(candidate)) },
  }))
}

/** `applyFailoverPriorityPerLocality`: the earlier the first label that differs, the later the turn. */
function byLabels({ endpoint, labels }: Candidate, priorities: readonly string[], own: Labels): number {
  const theirs: Labels = { ...topology(endpoint.locality), ...labels }
  const differing = priorities.findIndex((text) => {
    const [label = '', value] = text.split('=')
    return (value ?? own[label] ?? '') !== (theirs[label] ?? '')
  })
  return differing === -1 ? 0 : priorities.length - differing
}

/** `LbPriority`: same subzone 0, zone 1, region 2, another region 3, or 4 when fail-over goes to a third. */
function byRegion(
  { endpoint }: Candidate,
  locality: string,
  failover: NonNullable<LocalityLbSpec['failover']>,
): number {
  const [region, zone, subzone] = split(locality)
  const [theirRegion, theirZone, theirSubzone] = split(endpoint.locality)
  if (region === theirRegion) return zone !== theirZone ? 2 : subzone !== theirSubzone ? 1 : 0
  const target = failover.find(({ from }) => from === region)
  return target === undefined || target.to === theirRegion ? 3 : 4
}

/**
 * `applyLocalityWeights`: the first entry for the gateway's place shares requests out among localities; endpoints of
 * places it does not name get none. Inside a locality the endpoints' own weights count.
 */
function distribute(
  candidates: readonly Candidate[],
  settings: NonNullable<LocalityLbSpec['distribute']>,
  locality: string,
): readonly Candidate[] {
  const setting = settings.find(({ from = '' }) => covers(from, locality))
  if (setting === undefined) return candidates
  const targets = Object.entries(setting.to ?? {})
  const targetOf = ({ endpoint }: Candidate) => targets.find(([place]) => covers(place, endpoint.locality))
  const totals = new Map<string, number>()
  for (const candidate of candidates) {
    const target = targetOf(candidate)
    if (target !== undefined) totals.set(target[0], (totals.get(target[0]) ?? 0) + candidate.endpoint.weight)
  }
  const shares = candidates.flatMap((candidate) => {
    const target = targetOf(candidate)
    if (target === undefined) return []
    const [place, share] = target
    return [{ candidate, share: (share * candidate.endpoint.weight) / (totals.get(place) ?? 1) }]
  })
  // Whole numbers in proportion: a thousandth of a percent is fine enough.
  const scaled = shares.map(({ share }) => Math.max(1, Math.round(share * 1000)))
  const divisor = scaled.reduce(greatestCommonDivisor, 0) || 1
  return shares.map(({ candidate }, i) => ({
    ...candidate,
    endpoint: { ...candidate.endpoint, weight: (scaled[i] ?? divisor) / divisor },
  }))
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}

/** `LocalityMatch`: a part that is `*` or left out stands for any, but the region has to be given. */
function covers(rule: string, locality: string): boolean {
  const [region, zone, subzone] = split(rule)
  const [theirRegion, theirZone, theirSubzone] = split(locality)
  return (
    (region === '*' || region === theirRegion) &&
    (zone === '' || zone === '*' || zone === theirZone) &&
    (subzone === '' || subzone === '*' || subzone === theirSubzone)
  )
}

/** The labels that Istio adds to workloads from their locality. */
function topology(locality: string): Labels {
  const parts = split(locality)
  return Object.fromEntries(
    TOPOLOGY_LABELS.map((label, i) => [label, parts[i] ?? '']).filter(([, part]) => part !== ''),
  )
}

function split(locality: string): readonly [string, string, string] {
  const [region = '', zone = '', subzone = ''] = locality.split('/')
  return [region, zone, subzone]
}
