/** TABLE of the bootstrap's fields whose features are not built yet; each is refused by name (contract §2). */
import type { BootstrapSpec } from './bootstrap-schema.ts'

export type UnbuiltField = {
  /** Below `spec`. */
  readonly field: string
  /** True where what stands there is what happens without the feature. */
  readonly holdsAnyway: (spec: BootstrapSpec) => boolean
  readonly why: string
  readonly fix: string
}

export const UNBUILT_FIELDS: readonly UnbuiltField[] = [
  {
    field: 'concurrency',
    holdsAnyway: (spec) => spec.concurrency === 1,
    why: 'worker processes are not built yet',
    fix: 'write 1 or leave it out',
  },
  {
    field: 'identity.trustBundles',
    holdsAnyway: (spec) => isEmpty(spec.identity.trustBundles),
    why: 'federation is not built yet',
    fix: 'leave it out',
  },
  {
    field: 'identity.crl',
    holdsAnyway: (spec) => isEmpty(spec.identity.crl),
    why: 'revocation lists are not built yet',
    fix: 'leave it out',
  },
]

function isEmpty(value: unknown): boolean {
  return value === undefined || value === null || (typeof value === 'object' && Object.keys(value).length === 0)
}
