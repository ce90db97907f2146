/**
 * One traffic policy out of the several that speak for a port: of the rule, of a port, of a subset, of a subset's port
 * (behaviour §5.2; istio pilot/pkg/model/destination_rule.go `MergeTrafficPolicy`). Each block keeps its own position.
 */
import type { SourceRef } from '../core/attributes.ts'
import type { TrafficPolicySpec } from './kinds/destination-rule-schema.ts'

type Path = readonly (string | number)[]
export type At = (...path: Path) => SourceRef

/** TABLE of blocks. `replaced`: port-level settings take its place whether they have the block or not. */
const BLOCKS = {
  connectionPool: { replaced: true },
  loadBalancer: { replaced: true },
  outlierDetection: { replaced: true },
  tls: { replaced: true },
  tunnel: { replaced: false },
  proxyProtocol: { replaced: false },
  retryBudget: { replaced: false },
} as const satisfies Partial<Record<keyof TrafficPolicySpec, { replaced: boolean }>>

export type BlockName = keyof typeof BLOCKS
export type Policy = Pick<TrafficPolicySpec, BlockName>

export type PlacedPolicy = {
  readonly policy: Policy
  /** Position within a block; of the policy it would stand in when the block is absent. */
  readonly at: (block: BlockName, ...path: Path) => SourceRef
}

const NAMES = Object.keys(BLOCKS) as BlockName[]

/** What `spec` says for `port`, blocks of `below` showing through where they are not overridden. */
export function policyForPort(spec: TrafficPolicySpec, at: At, port: number, below: PlacedPolicy | null): PlacedPolicy {
  const top = merge(below, { policy: spec, at: (block, ...path) => at(block, ...path) }, false)
  const levels = spec.portLevelSettings ?? []
  const i = levels.findIndex((level) => level.port.number === port)
  const level = levels[i]
  if (level === undefined) return top
  return merge(top, { policy: level, at: (block, ...path) => at('portLevelSettings', i, block, ...path) }, true)
}

function merge(below: PlacedPolicy | null, above: PlacedPolicy, isPortLevel: boolean): PlacedPolicy {
  const fromAbove = (block: BlockName) =>
    below === null || above.policy[block] !== undefined || (isPortLevel && BLOCKS[block].replaced)
  const entries = NAMES.map((block) => [block, (fromAbove(block) ? above : below)?.policy[block]] as const)
  return {
    // Each value is the block of that name of one of the two.
    policy: Object.fromEntries(entries.filter(([, value]) => value !== undefined)) as Policy,
    at: (block, ...path) => (fromAbove(block) || below === null ? above : below).at(block, ...path),
  }
}

/** Whether the policy originates TLS. */
export function encrypts(policy: Policy | undefined): boolean {
  return (policy?.tls?.mode ?? 'DISABLE') !== 'DISABLE'
}
