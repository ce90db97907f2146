/** VirtualService of networking.istio.io. Schema and checks stand beside; this is the row for the table of kinds. */
import type { KindModule } from '../resource.ts'
import { checkVirtualService } from './virtual-service-checks.ts'
import { type VirtualServiceSpec, virtualServiceSchema } from './virtual-service-schema.ts'

const NO_MIRRORS = 'requests are not mirrored; nothing is sent to the mirror'

/**
 * What is left out does not widen access, so these are warnings. What would (`uriRegexRewrite`) or might (`delegate`,
 * `fault`, header operators) is judged where a rule is lowered for this gateway: virtual-service-routes.ts.
 */
export const virtualService: KindModule<VirtualServiceSpec> = {
  kind: 'VirtualService',
  group: 'networking.istio.io',
  versions: ['v1', 'v1beta1', 'v1alpha3'],
  unknownKeys: 'warning',
  schema: virtualServiceSchema,
  specOptional: false,
  unsupported: [
    {
      path: 'spec.http[].retries',
      severity: 'warning',
      why: 'requests are not retried, except on a reused connection that proves dead',
    },
    { path: 'spec.http[].mirror', severity: 'warning', why: NO_MIRRORS },
    { path: 'spec.http[].mirrors', severity: 'warning', why: NO_MIRRORS },
    { path: 'spec.http[].mirrorPercent', severity: 'warning', why: NO_MIRRORS },
    { path: 'spec.http[].mirrorPercentage', severity: 'warning', why: NO_MIRRORS },
    {
      path: 'spec.http[].corsPolicy',
      severity: 'warning',
      why: 'CORS headers are left to the site; they restrict browsers, not callers',
    },
    { path: 'spec.http[].match[].statPrefix', severity: 'warning', why: 'there are no statistics per route' },
  ],
  check: checkVirtualService,
}
