/** VirtualService of networking.istio.io. Schema and checks stand beside; this is the row for the table of kinds. */
import type { KindModule } from '../resource.ts'
import { checkVirtualService } from './virtual-service-checks.ts'
import { type VirtualServiceSpec, virtualServiceSchema } from './virtual-service-schema.ts'

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
  check: checkVirtualService,
}
