/**
 * Judges requests and tunnels by the AuthorizationPolicies of this gateway (behaviour §1.6): DENY first, then ALLOW.
 * Pure and synchronous. AUDIT policies change nothing and show up in `explain` only; CUSTOM is policy/custom.ts.
 */
import type { Attributes, SourceRef } from '../core/attributes.ts'
import type { Decision } from '../core/decision.ts'
import type { PolicyModel } from '../model/policy.ts'
import { explainPolicies, type PolicyExplanation } from './explain.ts'
import { Facts } from './facts.ts'
import { type CompiledRule, compileRule, type Scope } from './rule.ts'
import { indexedRules, plainRules, type RuleSet } from './rule-index.ts'

export type Authorizer = {
  readonly decide: (attributes: Attributes) => Decision
  /** Every policy and rule, with what held and what did not. Slower than `decide`, same conditions. */
  readonly explain: (attributes: Attributes) => readonly PolicyExplanation[]
}

export type AuthorizerOptions = {
  /** `false` walks all rules in order. For tests and measurements only. */
  readonly index?: boolean
}

/** The rules of one scope; null where no such policy exists at all (an ALLOW without rules is not null: it permits nothing). */
type RuleSets = {
  readonly deny: RuleSet | null
  readonly allow: RuleSet | null
  readonly dryDeny: RuleSet | null
  readonly dryAllow: RuleSet | null
}

/** Below this, walking the rules is faster than looking them up. */
const WORTH_INDEXING = 8

/**
 * Compiles policies, already ordered by name and namespace. Throws RangeError on a model that config would have refused
 * (unknown condition key, unparsable address): a reload must fail rather than guess.
 */
export function compileAuthorizer(policies: readonly PolicyModel[], options: AuthorizerOptions = {}): Authorizer {
  const index = options.index ?? true
  const http = compileScope(policies, 'http', index)
  const tcp = compileScope(policies, 'tcp', index)
  const noShadow = http.dryDeny === null && http.dryAllow === null
  const memo = new Map<CompiledRule, Decision>()

  const decide = (attributes: Attributes): Decision => {
    const sets = attributes.http === null ? tcp : http
    if (sets.deny === null && sets.allow === null && noShadow) return NO_POLICY
    const facts = new Facts(attributes)
    const shadow = noShadow ? null : shadowOf(sets, facts)
    const denied = sets.deny?.first(facts) ?? null
    if (denied !== null) return ruled(memo, 'deny', denied, shadow)
    if (sets.allow === null)
      return shadow === null ? (sets.deny === null ? NO_POLICY : UNOPPOSED) : unruled(sets.deny, shadow)
    const allowed = sets.allow.first(facts)
    if (allowed !== null) return ruled(memo, 'allow', allowed, shadow)
    return shadow === null ? NOT_ALLOWED : { ...NOT_ALLOWED, shadow }
  }
  return { decide, explain: (attributes) => explainPolicies(policies, attributes) }
}

const NO_POLICY: Decision = { allow: true, outcome: 'none', policy: null, source: null, shadow: null }
/** Only DENY policies, and none of them matched. */
const UNOPPOSED: Decision = { ...NO_POLICY, outcome: 'allow' }
const NOT_ALLOWED: Decision = { allow: false, outcome: 'deny', policy: null, source: null, shadow: null }

function unruled(deny: RuleSet | null, shadow: string): Decision {
  return { ...(deny === null ? NO_POLICY : UNOPPOSED), shadow }
}

function ruled(
  memo: Map<CompiledRule, Decision>,
  outcome: 'allow' | 'deny',
  rule: CompiledRule,
  shadow: string | null,
): Decision {
  if (shadow !== null) return decision(outcome, rule.id, rule.source, shadow)
  let known = memo.get(rule)
  if (known === undefined) {
    known = decision(outcome, rule.id, rule.source, null)
    memo.set(rule, known)
  }
  return known
}

function decision(outcome: 'allow' | 'deny', policy: string, source: SourceRef, shadow: string | null): Decision {
  return { allow: outcome === 'allow', outcome, policy, source, shadow }
}

/**
 * What the dry-run policies alone would have done (behaviour §1.9): `deny ID`, `allow ID`, or `deny none` where dry-run
 * ALLOWs exist and none matched. null: dry-run DENYs only, and none matched.
 */
function shadowOf(sets: RuleSets, facts: Facts): string | null {
  const denied = sets.dryDeny?.first(facts) ?? null
  if (denied !== null) return `deny ${denied.id}`
  if (sets.dryAllow === null) return null
  const allowed = sets.dryAllow.first(facts)
  return allowed === null ? 'deny none' : `allow ${allowed.id}`
}

function compileScope(policies: readonly PolicyModel[], scope: Scope, index: boolean): RuleSets {
  const set = (action: 'ALLOW' | 'DENY', dryRun: boolean): RuleSet | null => {
    const mine = policies.filter((policy) => policy.action === action && policy.dryRun === dryRun)
    if (mine.length === 0) return null
    const rules: CompiledRule[] = []
    let ordinal = 0
    for (const policy of mine)
      for (let i = 0; i < policy.rules.length; i++) {
        const rule = compileRule(policy, i, ordinal++, scope)
        if (rule !== null) rules.push(rule)
      }
    return index && rules.length > WORTH_INDEXING ? indexedRules(rules) : plainRules(rules)
  }
  return {
    deny: set('DENY', false),
    allow: set('ALLOW', false),
    dryDeny: set('DENY', true),
    dryAllow: set('ALLOW', true),
  }
}
