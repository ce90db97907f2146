/** AuthorizationPolicies that apply to this gateway, reduced to conditions (as istio's pilot/pkg/security/authz/model does). */
import type { SourceRef } from '../core/attributes.ts'

/**
 * One condition: (any of `values`, when there are some) and (none of `notValues`).
 * `key` is a row of policy/conditions.ts: `source.principal`, `request.headers[x]`, `path` …
 */
export type ConditionModel = {
  readonly key: string
  readonly values: readonly string[]
  readonly notValues: readonly string[]
  readonly source: SourceRef
}

/** `from` and `to`: alternatives, each a conjunction; null: not restricted. `when`: a conjunction. */
export type RuleModel = {
  readonly source: SourceRef
  readonly from: readonly (readonly ConditionModel[])[] | null
  readonly to: readonly (readonly ConditionModel[])[] | null
  readonly when: readonly ConditionModel[]
}

export type PolicyModel = {
  readonly namespace: string
  readonly name: string
  readonly action: 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM'
  /** CUSTOM only: the extension provider that decides where a rule matches. */
  readonly provider?: string
  /** `istio.io/dry-run: "true"`: recorded, never enforced. */
  readonly dryRun: boolean
  readonly source: SourceRef
  readonly rules: readonly RuleModel[]
}
