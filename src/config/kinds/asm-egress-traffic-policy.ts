/** istio.alibabacloud.com ASMEgressTrafficPolicy (contract §3, behaviour §6.1). v1 and v1beta1 have the same schema. */
import { z } from 'zod'
import { hostProblem, isLabel } from '../hostname.ts'
import type { KindModule } from '../resource.ts'
import { bool, int, nonEmpty, port, stringMap, text } from '../schema.ts'
import { parseServiceProtocol } from '../service-protocol.ts'

const schema = z.object({
  byEgressGateway: z.object({ name: nonEmpty, port: port.optional() }),
  egressRules: z
    .array(
      z.object({
        name: text.optional(),
        from: z.array(z.object({ namespace: nonEmpty, workloadSelector: stringMap.optional() })).min(1),
        to: z
          .array(
            z.object({
              name: text.optional(),
              hosts: z.array(nonEmpty).min(1).max(50),
              /** What the application dials; 0 as targetPort is "not set". */
              port: z.object({
                name: text.optional(),
                number: port,
                protocol: nonEmpty,
                targetPort: int(0, 65535).optional(),
              }),
              byEgressGateway: z.object({ name: text.optional(), port: port.optional() }).optional(),
              httpsUpgrade: z.object({ enabled: bool.optional(), port: port.optional() }).optional(),
            }),
          )
          .min(1),
      }),
    )
    .min(1),
})

export type AsmEgressTrafficPolicySpec = z.infer<typeof schema>
export type EgressTo = AsmEgressTrafficPolicySpec['egressRules'][number]['to'][number]
export type EgressFrom = AsmEgressTrafficPolicySpec['egressRules'][number]['from'][number]

export const asmEgressTrafficPolicy: KindModule<AsmEgressTrafficPolicySpec> = {
  kind: 'ASMEgressTrafficPolicy',
  group: 'istio.alibabacloud.com',
  versions: ['v1', 'v1beta1'],
  unknownKeys: 'error',
  schema,
  specOptional: false,
  unsupported: [],
  notes: [
    { path: 'spec.egressRules[].name', is: 'inert', why: 'a name for people' },
    { path: 'spec.egressRules[].to[].port.name', is: 'inert', why: 'a name for people' },
    {
      path: 'spec.egressRules[].from[].workloadSelector',
      is: 'limited',
      why: 'enforced through the service account: the pods that run under it have to be known, and all have the labels',
    },
    {
      path: 'spec.egressRules[].to[].port.protocol',
      is: 'limited',
      why: 'HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS and TLS; protocols without a host name are refused',
    },
  ],
  check(resource, report) {
    for (const [i, rule] of resource.spec.egressRules.entries()) {
      const at = (...path: (string | number)[]) => resource.at('spec', 'egressRules', i, ...path)
      for (const [j, from] of rule.from.entries())
        if (!isLabel(from.namespace))
          report('SP6000', at('from', j, 'namespace'), `"${from.namespace}" is not the name of a namespace`, {
            fix: 'namespaces are written in full here; there are no wildcards',
          })
      for (const [j, to] of rule.to.entries()) {
        for (const [k, host] of to.hosts.entries()) {
          const problem = hostProblem(host)
          if (problem !== null) report('SP6000', at('to', j, 'hosts', k), problem)
        }
        if (parseServiceProtocol(to.port.protocol) === null)
          report('SP6000', at('to', j, 'port', 'protocol'), `unknown protocol "${to.port.protocol}"`, {
            fix: 'HTTP, HTTP2, GRPC, HTTPS or TLS',
          })
      }
    }
  },
}
