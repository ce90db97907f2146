/** One document → apiVersion, kind, metadata and the nodes of its spec; `kind: List` flattened. */
import { z } from 'zod'
import type { SourceRef } from '../core/attributes.ts'
import type { Report } from './resource.ts'
import { stringMap, text } from './schema.ts'
import type { YamlDocument, YamlMap, YamlNode } from './yaml-tree.ts'

export type Envelope = {
  readonly apiVersion: string
  /** API group, '' for core Kubernetes. */
  readonly group: string
  readonly kind: string
  readonly root: YamlMap
  readonly locate: (offset: number) => SourceRef
}

const MAX_LIST_DEPTH = 4

/** The resources of one document; findings are reported, unusable items left out. */
export function openDocument(document: YamlDocument, report: Report): readonly Envelope[] {
  return open(document.root, document.locate, report, 0)
}

function open(node: YamlNode, locate: YamlDocument['locate'], report: Report, depth: number): readonly Envelope[] {
  const at = locate(node.at)
  if (node.kind !== 'map') {
    report('SP1020', at, 'a resource must be a map with apiVersion, kind and metadata')
    return []
  }
  const apiVersion = textOf(node, 'apiVersion')
  const kind = textOf(node, 'kind')
  if (apiVersion === null || kind === null) {
    const missing = [apiVersion === null ? 'apiVersion' : '', kind === null ? 'kind' : ''].filter(Boolean)
    report('SP1020', at, `${missing.join(' and ')} missing: not a resource`)
    return []
  }
  const items = node.entries.get('items')
  if (kind === 'List' || (kind.endsWith('List') && items !== undefined && !node.entries.has('spec'))) {
    // Not an empty list: whatever was meant to stand under a misspelt or emptied key would be lost without a word.
    if (items === undefined || (items.value.kind === 'scalar' && items.value.value === null)) {
      const found = items === undefined ? 'no items' : 'items without a value'
      report('SP1020', items === undefined ? at : locate(items.keyAt), `a ${kind} with ${found}`, {
        fix: 'write items: [] if the list is meant to be empty',
      })
      return []
    }
    if (items.value.kind !== 'list' || depth >= MAX_LIST_DEPTH) {
      report('SP1020', locate(items.keyAt), depth >= MAX_LIST_DEPTH ? 'lists within lists' : 'items must be a list')
      return []
    }
    return items.value.items.flatMap((item) => open(item, locate, report, depth + 1))
  }
  const slash = apiVersion.indexOf('/')
  return [{ apiVersion, group: slash === -1 ? '' : apiVersion.slice(0, slash), kind, root: node, locate }]
}

function textOf(map: YamlMap, key: string): string | null {
  const value = map.entries.get(key)?.value
  return value?.kind === 'scalar' && typeof value.value === 'string' && value.value !== '' ? value.value : null
}

const ignored = z.unknown().optional()

/** Kubernetes' ObjectMeta: what we read, and what may stand there without being read. */
export const METADATA = z.object({
  name: text.regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, 'not a valid Kubernetes name').max(253),
  namespace: text
    .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/, 'not a valid Kubernetes namespace')
    .max(63)
    .optional(),
  labels: stringMap.default({}),
  annotations: stringMap.default({}),
  clusterName: ignored,
  creationTimestamp: ignored,
  deletionGracePeriodSeconds: ignored,
  deletionTimestamp: ignored,
  finalizers: ignored,
  generateName: ignored,
  generation: ignored,
  managedFields: ignored,
  ownerReferences: ignored,
  resourceVersion: ignored,
  selfLink: ignored,
  uid: ignored,
})

/** Keys a resource may have at the top. `status` is the cluster's business and not read. */
export const TOP_LEVEL = ['apiVersion', 'kind', 'metadata', 'spec', 'status'] as const
