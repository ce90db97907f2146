/** Strategic merge patches of Kubernetes, for the fields that our patches touch. */

export type Fields = Readonly<Record<string, unknown>>

/** Lists that are merged item by item: field → what names an item (patchMergeKey in the API's own documentation). */
const MERGE_KEYS: Readonly<Record<string, string>> = {
  containers: 'name',
  initContainers: 'name',
  volumes: 'name',
  env: 'name',
  volumeMounts: 'mountPath',
}

/** Lists that the patch replaces whole; a list in neither table throws, so that nobody guesses. */
const ATOMIC: readonly string[] = ['tolerations', 'args', 'files', 'preferredDuringSchedulingIgnoredDuringExecution']

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** `target` with `patch` in it: maps field by field, lists by their key, new items first (as kustomize). @throws on an unknown list */
export function merged(target: Fields, patch: Fields): Fields {
  const result: Record<string, unknown> = { ...target }
  for (const [key, value] of Object.entries(patch)) {
    const old = target[key]
    if (key.startsWith('$') || value === null) throw new Error(`${key}: deletions are not rendered here`)
    if (isFields(old) && isFields(value)) result[key] = merged(old, value)
    else if (Array.isArray(old) && Array.isArray(value)) result[key] = mergedList(key, old, value)
    else result[key] = value
  }
  return result
}

function mergedList(field: string, old: readonly unknown[], patch: readonly unknown[]): readonly unknown[] {
  if (ATOMIC.includes(field)) return patch
  const key = MERGE_KEYS[field]
  if (key === undefined) throw new Error(`${field}: how to merge this list is not known here`)
  const byKey = new Map((patch as readonly Fields[]).map((item) => [item[key], item]))
  const kept = (old as readonly Fields[]).map((item) => {
    const change = byKey.get(item[key])
    byKey.delete(item[key])
    return change === undefined ? item : merged(item, change)
  })
  return [...byKey.values(), ...kept]
}
