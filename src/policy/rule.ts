/**
 * One rule of an AuthorizationPolicy: from × to × when → predicate (behaviour §1.2), for HTTP or for tunnels (§1.6).
 * The fail-safe direction is decided here: an ALLOW may only shrink, a DENY may only grow.
 */
import type { SourceRef } from '../core/attributes.ts'
import type { ConditionModel, PolicyModel, RuleModel } from '../model/policy.ts'
import { type ConditionRow, findCondition } from './conditions.ts'
import type { Facts } from './facts.ts'
import type { Matcher } from './identity.ts'

export type Scope = 'http' | 'tcp'

export type CompiledCondition = {
  readonly model: ConditionModel
  readonly row: ConditionRow
  /** What stands in the brackets of the key. */
  readonly argument: string
  /** null: no such list. */
  readonly values: Matcher | null
  readonly notValues: Matcher | null
}

export type CompiledRule = {
  /** `ns[NS]-policy[NAME]-rule[I]`, as in Envoy's details and our log. */
  readonly id: string
  /** Position in the walk over all rules of one action: the lowest one that matches names the decision. */
  readonly ordinal: number
  readonly source: SourceRef
  /** Direction the values were compiled in. */
  readonly wide: boolean
  readonly from: readonly (readonly CompiledCondition[])[] | null
  readonly to: readonly (readonly CompiledCondition[])[] | null
  readonly when: readonly CompiledCondition[]
}

/** Whitespace becomes `_`, as in Envoy's response code details. */
function ruleId(policy: Pick<PolicyModel, 'namespace' | 'name'>, index: number): string {
  return `ns[${policy.namespace}]-policy[${policy.name}]-rule[${index}]`.replace(/\s/g, '_')
}

/** Where a match refuses, matchers err towards matching. AUDIT goes with DENY, as in Istio's table of §1.6. */
function isWide(action: PolicyModel['action']): boolean {
  return action !== 'ALLOW'
}

/** True when the condition asks about something a tunnel does not have. */
export function isHttpOnly(condition: ConditionModel): boolean {
  return findCondition(condition.key)?.row.scope === 'http'
}

/**
 * Compiles rule `index` of a policy. null: the rule does not exist in this scope, which is so for an ALLOW rule with an
 * HTTP-only condition on tunnels; in a DENY only the condition is dropped and the rule grows (behaviour §1.6).
 * Throws RangeError on a model that no loader would let through (unknown key, bad address): never guess about policy.
 */
export function compileRule(policy: PolicyModel, index: number, ordinal: number, scope: Scope): CompiledRule | null {
  const rule = policy.rules[index] as RuleModel
  const wide = isWide(policy.action)
  const alternatives = (list: RuleModel['from']) =>
    list === null ? null : list.map((conditions) => compileConditions(conditions, wide, scope))
  if (scope === 'tcp' && !wide && conditionsOf(rule).some(isHttpOnly)) return null
  return {
    id: ruleId(policy, index),
    ordinal,
    source: rule.source,
    wide,
    from: alternatives(rule.from),
    to: alternatives(rule.to),
    when: compileConditions(rule.when, wide, scope),
  }
}

/** Every condition of a rule, in the order written. */
export function conditionsOf(rule: RuleModel): readonly ConditionModel[] {
  return [...(rule.from ?? []).flat(), ...(rule.to ?? []).flat(), ...rule.when]
}

/** Whether the rule holds: an alternative of `from`, one of `to`, and all of `when`. */
export function ruleMatches(rule: CompiledRule, facts: Facts): boolean {
  return anyHolds(rule.from, facts) && anyHolds(rule.to, facts) && allHold(rule.when, facts)
}

/** (any of the values, when there are some) and (none of the others). */
export function conditionHolds(condition: CompiledCondition, facts: Facts): boolean {
  if (condition.values !== null && !condition.values(facts)) return false
  return condition.notValues === null || !condition.notValues(facts)
}

/** All conditions of one alternative. */
export function allHold(conditions: readonly CompiledCondition[], facts: Facts): boolean {
  for (const condition of conditions) if (!conditionHolds(condition, facts)) return false
  return true
}

/** null: not restricted. */
export function anyHolds(alternatives: readonly (readonly CompiledCondition[])[] | null, facts: Facts): boolean {
  if (alternatives === null) return true
  for (const conditions of alternatives) if (allHold(conditions, facts)) return true
  return false
}

function compileConditions(models: readonly ConditionModel[], wide: boolean, scope: Scope): CompiledCondition[] {
  const compiled: CompiledCondition[] = []
  for (const model of models) {
    const found = findCondition(model.key)
    if (found === null) throw new RangeError(`unknown condition ${JSON.stringify(model.key)}`)
    const { row, argument } = found
    if (scope === 'tcp' && row.scope === 'http') continue
    compiled.push({
      model,
      row,
      argument,
      values: model.values.length === 0 ? null : row.compile(model.values, wide, argument),
      // A match of the `not` list takes the condition away, so it errs the other way round.
      notValues: model.notValues.length === 0 ? null : row.compile(model.notValues, !wide, argument),
    })
  }
  return compiled
}
