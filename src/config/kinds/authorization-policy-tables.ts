/** Tables about AuthorizationPolicy: what it may say and is not wholly honoured, and keys of old versions. */
import type { FieldNote } from '../resource.ts'

export const AUTHORIZATION_POLICY_NOTES: readonly FieldNote[] = [
  {
    path: 'spec.action',
    is: 'limited',
    why: 'CUSTOM is refused where the policy applies (not built yet); AUDIT shows in `explain` only',
  },
  { path: 'spec.provider', is: 'refused', why: 'it belongs to CUSTOM, which is not built yet' },
  ...(['targetRef', 'targetRefs'] as const).map((field) => ({
    path: `spec.${field}`,
    is: 'limited' as const,
    why: 'as in Istio they are for gateways of the Gateway API, which this is if its labels say so',
  })),
  ...(['requestPrincipals', 'notRequestPrincipals'] as const).map((field) => ({
    path: `spec.rules[].from[].source.${field}`,
    is: 'refused' as const,
    why: 'where the policy applies: JWTs are not verified yet',
  })),
  {
    path: 'spec.rules[].when[].key',
    is: 'limited',
    why: 'request.auth.* is refused where the policy applies; experimental.* never matches an ALLOW and always a DENY',
  },
]

/** TABLE of keys that Istio itself turns away, with what to write instead. */
export const REPLACED_KEYS: Readonly<Record<string, string>> = {
  'destination.namespace': 'the namespace of a policy is metadata.namespace',
  'destination.labels': 'use spec.selector.matchLabels',
  'destination.name': 'it was v1alpha1; use spec.selector.matchLabels',
  'destination.user': 'it was v1alpha1; use spec.selector.matchLabels',
  'request.experimental.inline.headers': 'use request.headers[…], which looks at every value of a repeated field',
}
