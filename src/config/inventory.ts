/** Which resources a configuration was made of, and what has changed from one to the next: for the audit stream. */
import { createHash } from 'node:crypto'
import type { SourceRef } from '../core/attributes.ts'
import type { Settings } from '../model/settings.ts'
import type { Resource } from './resource.ts'

/** `KIND NAMESPACE/NAME` → where it stands, and a hash of what it means (not of its spelling). */
export type Inventory = ReadonlyMap<string, { readonly source: SourceRef; readonly hash: string }>

/** `KIND NAMESPACE/NAME at FILE:LINE` each, sorted. */
export type InventoryDiff = {
  readonly added: readonly string[]
  readonly removed: readonly string[]
  readonly changed: readonly string[]
}

export const NOTHING_THERE: Inventory = new Map()

/** The bootstrap is one of them: `bootstrap` is where it stands. */
export function inventoryOf(resources: readonly Resource[], settings: Settings, bootstrap: SourceRef): Inventory {
  const all = new Map([
    [`EgressGateway ${settings.namespace}/${settings.name}`, { source: bootstrap, hash: hashOf(settings) }],
  ])
  for (const { kind, namespace, name, labels, annotations, spec, at } of resources)
    all.set(`${kind} ${namespace}/${name}`, { source: at(), hash: hashOf([labels, annotations, spec]) })
  return all
}

function hashOf(meaning: unknown): string {
  return createHash('sha256').update(JSON.stringify(meaning)).digest('hex')
}

export function diffOf(before: Inventory, after: Inventory): InventoryDiff {
  const texts = (keys: readonly string[], from: Inventory) =>
    keys.toSorted().map((key) => {
      const source = from.get(key)?.source
      return source === undefined ? key : `${key} at ${source.file}:${source.line}`
    })
  const common = [...after.keys()].filter((key) => before.has(key))
  return {
    added: texts(
      [...after.keys()].filter((key) => !before.has(key)),
      after,
    ),
    removed: texts(
      [...before.keys()].filter((key) => !after.has(key)),
      before,
    ),
    changed: texts(
      common.filter((key) => before.get(key)?.hash !== after.get(key)?.hash),
      after,
    ),
  }
}
