/** networking.istio.io DestinationRule: the kind, and what of it is not done (behaviour §5). */
import type { KindModule, UnsupportedField } from '../resource.ts'
import { checkDestinationRule } from './destination-rule-checks.ts'
import { type DestinationRuleSpec, schema } from './destination-rule-schema.ts'

/** The same fields in every traffic policy: at the top, per port, of a subset. */
const UNSUPPORTED: readonly UnsupportedField[] = [
  ...['probes', 'interval'].map((field) => ({
    path: `connectionPool.tcp.tcpKeepalive.${field}`,
    severity: 'warning' as const,
    why: 'Node has no say in it: after the time TCP asks 10 times, once a second',
  })),
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

const PORT_BLOCKS = ['connectionPool', 'loadBalancer', 'outlierDetection', 'tls']
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
  notes: [
    {
      path: 'spec.trafficPolicy.loadBalancer.simple',
      is: 'limited',
      why: 'PASSTHROUGH has no meaning at a gateway: LEAST_REQUEST, with a warning',
    },
    {
      path: 'spec.trafficPolicy.tls.mode',
      is: 'limited',
      why: 'ISTIO_MUTUAL is refused for hosts outside the mesh: it would show them the mesh identity',
    },
  ],
  sameAs: Object.fromEntries([
    ...PORT_BLOCKS.map((block) => [`trafficPolicy.portLevelSettings[].${block}`, `trafficPolicy.${block}`]),
    ...[...PORT_BLOCKS, 'portLevelSettings', 'tunnel', 'proxyProtocol', 'retryBudget'].map((block) => [
      `subsets[].trafficPolicy.${block}`,
      `trafficPolicy.${block}`,
    ]),
  ]),
  check: checkDestinationRule,
}
