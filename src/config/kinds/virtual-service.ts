/** VirtualService of networking.istio.io. Schema and checks stand beside; this is the row for the table of kinds. */
import type { FieldNote, KindModule } from '../resource.ts'
import { checkVirtualService } from './virtual-service-checks.ts'
import { type VirtualServiceSpec, virtualServiceSchema } from './virtual-service-schema.ts'

const refusedFault = (field: string): FieldNote => ({
  path: `spec.http[].fault.${field}`,
  is: 'refused',
  why: 'Istio refuses it too',
})

/** TABLE of what is read and has no effect. */
export const virtualService: KindModule<VirtualServiceSpec> = {
  kind: 'VirtualService',
  group: 'networking.istio.io',
  versions: ['v1', 'v1beta1', 'v1alpha3'],
  unknownKeys: 'warning',
  schema: virtualServiceSchema,
  specOptional: false,
  unsupported: [
    {
      path: 'spec.http[].match[].statPrefix',
      severity: 'warning',
      why: 'there are no statistics per route; use route_name of the access log',
    },
  ],
  notes: [
    {
      path: 'spec.http[].match[].sourceLabels',
      is: 'limited',
      why: 'compared with the labels of the gateway itself, as in Istio',
    },
    {
      path: 'spec.http[].match[].sourceNamespace',
      is: 'limited',
      why: 'compared with the namespace of the gateway itself, as in Istio',
    },
    {
      path: 'spec.gateways',
      is: 'limited',
      why: '`mesh` concerns sidecars and is passed over',
    },
    refusedFault('delay.exponentialDelay'),
    refusedFault('abort.http2Error'),
    ...(['tls', 'tcp'] as const).flatMap((kind) =>
      ['sourceLabels', 'sourceNamespace', 'sourceSubnet', 'destinationSubnets'].map((field) => ({
        path: `spec.${kind}[].match[].${field}`,
        is: 'inert' as const,
        why: 'a gateway looks at port and gateways only, as in Istio; a warning says so',
      })),
    ),
  ],
  check: checkVirtualService,
}
