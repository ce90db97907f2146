/** networking.istio.io DestinationRule: the kind, and what of it is not done (behaviour §5). */
import type { KindModule, UnsupportedField } from '../resource.ts'
import { checkDestinationRule } from './destination-rule-checks.ts'
import { type DestinationRuleSpec, schema } from './destination-rule-schema.ts'

/** The same fields in every traffic policy: at the top, per port, of a subset. */
const UNSUPPORTED: readonly UnsupportedField[] = [
  {
    path: 'connectionPool.http.http2KeepAlive.connectionIdleInterval',
    severity: 'warning',
    why: 'PINGs are sent at the interval, not after idleness',
  },
  {
    path: 'loadBalancer.consistentHash.httpCookie.attributes',
    severity: 'warning',
    why: 'a generated cookie has Max-Age, Path and HttpOnly only',
  },
]

const POLICIES = ['spec.trafficPolicy', 'spec.subsets[].trafficPolicy']

export const destinationRule: KindModule<DestinationRuleSpec> = {
  kind: 'DestinationRule',
  group: 'networking.istio.io',
  versions: ['v1', 'v1beta1', 'v1alpha3'],
  unknownKeys: 'warning',
  schema,
  specOptional: false,
  unsupported: POLICIES.flatMap((policy) => [policy, `${policy}.portLevelSettings[]`]).flatMap((prefix) =>
    UNSUPPORTED.map((row) => ({ ...row, path: `${prefix}.${row.path}` })),
  ),
  check: checkDestinationRule,
}
