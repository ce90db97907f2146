/** Tables about AuthorizationPolicy: what it may say and is not wholly honoured, and keys of old versions. */
import type { FieldNote } from '../resource.ts'

export const AUTHORIZATION_POLICY_NOTES: readonly FieldNote[] = [
  {
    path: 'spec.action',
    is: 'limited',
    why: 'AUDIT shows in `explain` only',
  },
  ...(['targetRef', 'targetRefs'] as const).map((field) => ({
    path: `spec.${field}`,
    is: 'limited' as const,
    why: 'as in Istio they are for gateways of the Gateway API, which this is if its labels say so',
  })),
  {
    path: 'spec.rules[].when[].key',
    is: 'limited',
    why: 'experimental.* never matches an ALLOW and always a DENY',
  },
]

/** TABLE of what rules of CUSTOM policies may not ask (behaviour §1.6; istio pkg/config/validation). */
export const IDENTITY_FIELDS = [
  'principals',
  'notPrincipals',
  'requestPrincipals',
  'notRequestPrincipals',
  'namespaces',
  'notNamespaces',
  'serviceAccounts',
  'notServiceAccounts',
  'trustDomains',
  'notTrustDomains',
] as const

/** The same, beginnings of `when` keys. */
export const IDENTITY_KEYS: readonly string[] = [
  'source.principal',
  'source.namespace',
  'source.serviceAccount',
  'source.trustDomain',
  'request.auth.',
]

/** TABLE of keys that Istio itself turns away, with what to write instead. */
export const REPLACED_KEYS: Readonly<Record<string, string>> = {
  'destination.namespace': 'the namespace of a policy is metadata.namespace',
  'destination.labels': 'use spec.selector.matchLabels',
  'destination.name': 'it was v1alpha1; use spec.selector.matchLabels',
  'destination.user': 'it was v1alpha1; use spec.selector.matchLabels',
  'request.experimental.inline.headers': 'use request.headers[…], which looks at every value of a repeated field',
}
