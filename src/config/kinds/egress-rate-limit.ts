/**
 * EgressRateLimit (sallyport.dev): our own kind, refused by name until rate limits exist. Its schema comes with them;
 * until then the spec is not looked into, and a resource that is there never passes for one that is honoured.
 */
import { z } from 'zod'
import type { KindModule } from '../resource.ts'

const schema = z.looseObject({})

export type EgressRateLimitSpec = z.infer<typeof schema>

export const egressRateLimit: KindModule<EgressRateLimitSpec> = {
  kind: 'EgressRateLimit',
  group: 'sallyport.dev',
  versions: ['v1alpha1'],
  unknownKeys: 'error',
  schema,
  specOptional: false,
  unsupported: [{ path: 'spec', severity: 'error', why: 'rate limits are not built yet; remove the resource' }],
}
