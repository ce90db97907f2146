/** The walk of the authorizer, told in sentences: the same compiled conditions, every policy and every rule. */
import type { Attributes, SourceRef } from '../core/attributes.ts'
import type { ConditionModel, PolicyModel, RuleModel } from '../model/policy.ts'
import { Facts } from './facts.ts'
import {
  allHold,
  anyHolds,
  type CompiledCondition,
  compileRule,
  conditionHolds,
  conditionsOf,
  isHttpOnly,
  ruleMatches,
  type Scope,
} from './rule.ts'

type RuleExplanation = {
  readonly index: number
  readonly source: SourceRef
  readonly matched: boolean
  /** One sentence for an operator: what held, or the first thing that did not and the value it saw. */
  readonly why: string
}

export type PolicyExplanation = {
  /** `namespace/name`. */
  readonly policy: string
  readonly action: PolicyModel['action']
  readonly dryRun: boolean
  readonly source: SourceRef
  readonly rules: readonly RuleExplanation[]
}

/** Compiles as it goes: `explain` is a question of an operator, not part of the request path. */
export function explainPolicies(policies: readonly PolicyModel[], attributes: Attributes): PolicyExplanation[] {
  const facts = new Facts(attributes)
  const scope: Scope = attributes.http === null ? 'tcp' : 'http'
  return policies.map((policy) => ({
    policy: `${policy.namespace}/${policy.name}`,
    action: policy.action,
    dryRun: policy.dryRun,
    source: policy.source,
    rules: policy.rules.map((rule, index) => explainRule(policy, rule, index, facts, scope)),
  }))
}

function explainRule(
  policy: PolicyModel,
  model: RuleModel,
  index: number,
  facts: Facts,
  scope: Scope,
): RuleExplanation {
  const base = { index, source: model.source }
  const dropped = scope === 'tcp' ? conditionsOf(model).filter(isHttpOnly) : []
  const names = [...new Set(dropped.map((condition) => condition.key))].join(', ')
  const rule = compileRule(policy, index, 0, scope)
  if (rule === null)
    return { ...base, matched: false, why: `does not exist on tunnels, because it asks about HTTP (${names})` }
  const grown = dropped.length === 0 ? '' : ` (on tunnels ${names} cannot be judged and ${isAre(dropped)} left out)`
  if (ruleMatches(rule, facts)) {
    const held = [
      ...(rule.from?.find((list) => allHold(list, facts)) ?? []),
      ...(rule.to?.find((list) => allHold(list, facts)) ?? []),
      ...rule.when,
    ].map((condition) => `${condition.model.key} ${seen(condition, facts)}`)
    const why = held.length === 0 ? 'matches everything: it has no condition' : `matches: ${held.join('; ')}`
    return { ...base, matched: true, why: why + grown }
  }
  for (const [part, alternatives] of [
    ['from', rule.from],
    ['to', rule.to],
    ['when', [rule.when]],
  ] as const) {
    if (alternatives === null || anyHolds(alternatives, facts)) continue
    const failures = alternatives.map((list) => firstFailure(list, facts))
    const lead = part === 'when' ? '`when` does not hold' : `no \`${part}\` matches`
    return { ...base, matched: false, why: `${lead}: ${[...new Set(failures)].join('; or ')}${grown}` }
  }
  // Unreachable: ruleMatches is exactly the conjunction of the three parts.
  return { ...base, matched: false, why: 'does not match' }
}

function firstFailure(conditions: readonly CompiledCondition[], facts: Facts): string {
  for (const condition of conditions) {
    if (conditionHolds(condition, facts)) continue
    const { key, values, notValues } = condition.model
    if (key.startsWith('experimental.')) return `${key} cannot be judged here, so an ALLOW rule with it never matches`
    const what = `${key} ${seen(condition, facts)}`
    if (condition.values !== null && !condition.values(facts)) return `${what}, which is not ${list(values)}`
    return `${what}, which is excluded by ${list(notValues)}`
  }
  return 'nothing'
}

function seen({ row, argument, model }: CompiledCondition, facts: Facts): string {
  if (model.key.startsWith('experimental.')) return 'is taken to hold, because it cannot be judged here'
  const value = row.seen(facts.attributes, argument)
  return value === null ? 'is absent' : `is ${JSON.stringify(value)}`
}

function list(values: ConditionModel['values']): string {
  const shown = values.slice(0, 5).map((value) => JSON.stringify(value))
  if (values.length > 5) shown.push(`… (${values.length} in all)`)
  return shown.length === 1 ? (shown[0] as string) : `one of ${shown.join(', ')}`
}

function isAre(dropped: readonly ConditionModel[]): string {
  return new Set(dropped.map((condition) => condition.key)).size === 1 ? 'is' : 'are'
}
