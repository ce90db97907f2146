/** WorkloadEntry resources, for `ServiceEntry.workloadSelector`: same namespace, by labels (behaviour §2.1). */
import type { WorkloadEntrySpec } from './kinds/workload-entry.ts'
import { workloadEntry } from './kinds/workload-entry.ts'
import { byNamespaceAndName, ofKind } from './of-kind.ts'
import type { Resource } from './resource.ts'

type Labels = Readonly<Record<string, string>>

export type WorkloadEntries = {
  /** Those of `namespace` that carry every label, in the order of their names. No labels: all. */
  selected(namespace: string, labels: Labels): readonly Resource<WorkloadEntrySpec>[]
}

export function indexWorkloadEntries(resources: readonly Resource[]): WorkloadEntries {
  const byNamespace = new Map<string, Resource<WorkloadEntrySpec>[]>()
  for (const entry of [...ofKind(resources, workloadEntry)].sort(byNamespaceAndName)) {
    const entries = byNamespace.get(entry.namespace) ?? []
    byNamespace.set(entry.namespace, entries)
    entries.push(entry)
  }
  return {
    selected: (namespace, labels) =>
      (byNamespace.get(namespace) ?? []).filter((entry) => carries(workloadLabels(entry), labels)),
  }
}

/** Labels of the spec and of the resource, which go first (istio `ConvertWorkloadEntry`). */
export function workloadLabels(entry: Resource<WorkloadEntrySpec>): Labels {
  return { ...entry.spec.labels, ...entry.labels }
}

/** True when `labels` include all of `wanted`. */
export function carries(labels: Labels, wanted: Labels): boolean {
  return Object.entries(wanted).every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value)
}
