/** Families of EgressRateLimits: what they decided, and what is left of budgets. Without limits there are no series. */
import type { Registry } from 'prom-client'
import { addFamily, type LabelSet, labelSet, type MetricRow } from './family.ts'
import { labelValue } from './series.ts'

const DECISION_LABELS = ['limit', 'decision'] as const
const BUDGET_LABELS = ['limit', 'principal', 'host'] as const

/** TABLE of the families of limits. */
export const LIMIT_METRICS = {
  sallyport_rate_limit_decisions_total: {
    type: 'counter',
    help: 'Requests and tunnels by limit (namespace/resource/name) and what it decided: allow, deny, shadow_deny (it would have refused, but is in shadow mode), error (its store could not be asked).',
    labels: DECISION_LABELS,
  },
  sallyport_budget_remaining: {
    type: 'gauge',
    help: 'What is left of a budget (requests or bytes) in the day or month that runs, as of its last use, by what it is counted by. At most 1000 are shown.',
    labels: BUDGET_LABELS,
  },
} as const satisfies Record<string, MetricRow>

const DECISIONS = ['allow', 'deny', 'shadow_deny', 'error'] as const
export type LimitDecision = (typeof DECISIONS)[number]

export type BudgetLeft = {
  readonly limit: string
  readonly principal: string
  readonly host: string
  readonly remaining: number
}

export type LimitSources = {
  readonly decisions: () => Iterable<readonly [string, Readonly<Record<LimitDecision, number>>]>
  readonly budgets: () => Iterable<BudgetLeft>
}

export function registerLimits(registry: Registry, sources: LimitSources): void {
  const decisions = LIMIT_METRICS.sallyport_rate_limit_decisions_total
  // The same objects at every scrape: prom-client keeps their text.
  const labels = new Map<string, Readonly<Record<LimitDecision, LabelSet>>>()
  const labelsOf = (limit: string) => {
    const set = (decision: LimitDecision) => labelSet(DECISION_LABELS, [labelValue(limit), decision])
    const known = labels.get(limit)
    if (known !== undefined) return known
    const made = { allow: set('allow'), deny: set('deny'), shadow_deny: set('shadow_deny'), error: set('error') }
    labels.set(limit, made)
    return made
  }
  addFamily(registry, 'sallyport_rate_limit_decisions_total', decisions, function* () {
    for (const [limit, counts] of sources.decisions())
      for (const decision of DECISIONS) yield { labels: labelsOf(limit)[decision], value: counts[decision] }
  })
  addFamily(registry, 'sallyport_budget_remaining', LIMIT_METRICS.sallyport_budget_remaining, function* () {
    for (const { limit, principal, host, remaining } of sources.budgets())
      yield { labels: labelSet(BUDGET_LABELS, [limit, principal, host].map(labelValue)), value: remaining }
  })
}
