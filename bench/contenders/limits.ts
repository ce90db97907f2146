/** Limits to compare: none, one counted in the process, one counted in Redis by leases. All far from being reached. */
import type { Manifest } from '../../test/integration/manifests.ts'
import { HOSTS } from './world.ts'

/** What is added to a contender's configuration. */
export type Limited = { readonly resources: readonly Manifest[]; readonly spec: Readonly<Record<string, unknown>> }

const MANY = 100_000_000

function limit(scope: object): Manifest {
  const from = [{ namespaces: ['*'] }]
  const requests = { count: MANY, per: 'minute' }
  const limits = [
    { name: 'per-caller', from, to: [{ hosts: [HOSTS.plain] }], key: ['principal', 'host'], requests, ...scope },
  ]
  return {
    apiVersion: 'sallyport.dev/v1alpha1',
    kind: 'EgressRateLimit',
    metadata: { name: 'bench', namespace: 'istio-system' },
    spec: { limits },
  }
}

/** Name → what is added. `redis`: its address; null: there is none, and no shared limit. */
export function limitsToCompare(redis: string | null): Readonly<Record<string, Limited>> {
  const own = {
    'no limit': { resources: [], spec: {} },
    'local limit': { resources: [limit({ scope: 'local' })], spec: {} },
  }
  if (redis === null) return own
  const shared = limit({ scope: 'global', onStoreFailure: 'closed' })
  return { ...own, 'global limit, leased': { resources: [shared], spec: { redis: { url: redis } } } }
}
