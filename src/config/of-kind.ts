/** Picks the resources of one kind out of the loaded ones, with the type its schema has already vouched for. */
import type { KindModule, Resource } from './resource.ts'

/**
 * Resources of the module's kind *and* API group (Gateway is also a kind of gateway.networking.k8s.io), ordered by
 * name, then namespace: where Istio goes by creation time, files have none (behaviour §4.3).
 */
export function ofKind<Spec>(resources: readonly Resource[], module: KindModule<Spec>): readonly Resource<Spec>[] {
  const prefix = `${module.group}/`
  const picked = resources.filter(
    (resource) => resource.kind === module.kind && (module.group === '' || resource.apiVersion.startsWith(prefix)),
  )
  // The loader has parsed `spec` with this module's schema (config/read.ts), which is what makes the cast true.
  return (picked as readonly Resource<Spec>[]).toSorted(
    (a, b) => compare(a.name, b.name) || compare(a.namespace, b.namespace),
  )
}

/** The order in which egress policies and services are judged (contract §3). */
export function byNamespaceAndName(a: Resource, b: Resource): number {
  return compare(a.namespace, b.namespace) || compare(a.name, b.name)
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
