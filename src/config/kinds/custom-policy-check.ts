/** What the rules of a CUSTOM policy may not ask (Istio's validation, behaviour §1.6). */
import type { Report, Resource } from '../resource.ts'
import type { AuthorizationPolicySpec } from './authorization-policy.ts'
import { IDENTITY_FIELDS, IDENTITY_KEYS } from './authorization-policy-tables.ts'

/** Behaviour §1.6: who the caller is cannot be asked before it is known whether somebody else has to be. */
export function checkCustom(policy: Resource<AuthorizationPolicySpec>, report: Report): void {
  if (policy.spec.action !== 'CUSTOM') return
  const refuse = (what: string, path: readonly (string | number)[]) =>
    report(
      'SP8306',
      policy.at(...path),
      `a CUSTOM policy cannot have ${what}: its rules may not ask who the caller is`,
      {
        fix: 'use it in an ALLOW or DENY policy, or let the authorizer decide by it',
      },
    )
  for (const [i, { from = [], when = [] }] of (policy.spec.rules ?? []).entries()) {
    for (const [j, { source: caller = {} }] of from.entries())
      for (const field of IDENTITY_FIELDS)
        if ((caller[field]?.length ?? 0) > 0) refuse(field, ['spec', 'rules', i, 'from', j, 'source', field])
    for (const [j, { key = '' }] of when.entries())
      if (IDENTITY_KEYS.some((prefix) => key.startsWith(prefix)))
        refuse(`the key ${key}`, ['spec', 'rules', i, 'when', j, 'key'])
  }
}
