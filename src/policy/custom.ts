/**
 * CUSTOM policies: their rules decide whether the external authorizer has to be asked (behaviour §1.6). Where a rule cannot
 * be judged it errs towards asking, as a DENY towards refusing.
 */
import type { Attributes, SourceRef } from '../core/attributes.ts'
import type { PolicyModel } from '../model/policy.ts'
import { Facts } from './facts.ts'
import { type CompiledRule, compileRule, type Scope } from './rule.ts'
import { plainRules, type RuleSet } from './rule-index.ts'

/** The rule that wants the authorizer asked: `ns[NS]-policy[NAME]-rule[I]`, and where it stands. */
export type AskingRule = { readonly id: string; readonly source: SourceRef }

/**
 * Compiles the CUSTOM policies among `policies` (dry-run ones are left out); the function answers the first rule that
 * matches, null when nobody has to be asked. Throws RangeError on a model that config would have refused.
 */
export function compileCustom(policies: readonly PolicyModel[]): (attributes: Attributes) => AskingRule | null {
  const custom = policies.filter(({ action, dryRun }) => action === 'CUSTOM' && !dryRun)
  const http = rulesOf(custom, 'http')
  const tcp = rulesOf(custom, 'tcp')
  return (attributes) => (attributes.http === null ? tcp : http).first(new Facts(attributes))
}

function rulesOf(policies: readonly PolicyModel[], scope: Scope): RuleSet {
  const rules: CompiledRule[] = []
  for (const policy of policies)
    for (let i = 0; i < policy.rules.length; i += 1) {
      const rule = compileRule(policy, i, rules.length, scope)
      if (rule !== null) rules.push(rule)
    }
  return plainRules(rules)
}
