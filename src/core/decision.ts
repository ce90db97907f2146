/** What the authorizer answers. */
import type { SourceRef } from './attributes.ts'

export type Decision = {
  readonly allow: boolean
  /** `none`: no enforced policy applies to this workload at all. Logged as `authz_decision`. */
  readonly outcome: 'allow' | 'deny' | 'none'
  /** `ns[NS]-policy[NAME]-rule[I]` of the rule that decided; null when no rule did (contract §6). */
  readonly policy: string | null
  /** Where that rule stands. */
  readonly source: SourceRef | null
  /** What dry-run policies would have done (`deny ns[..]-policy[..]-rule[0]` …), or null when none had an opinion. */
  readonly shadow: string | null
}
