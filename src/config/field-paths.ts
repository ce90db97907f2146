/**
 * The fields that a schema has, by path: `http[].match[].headers.*.exact`. `[]` stands for the items of a list of maps, `*`
 * for the keys of a map of maps; lists and maps of plain values are leaves themselves. For docs/support-matrix.md.
 */
import type { z } from 'zod'
import { itemView, mapView, type SchemaView, viewOf } from './schema-view.ts'

export type FieldPaths = {
  /** Fields without fields of their own, in the order of the schema. */
  readonly leaves: readonly string[]
  /** The leaves, and everything on the way to them (`http`, `http[]`, `http[].match` …). */
  readonly all: ReadonlySet<string>
}

/** `end`: paths that are not looked into. A schema that takes anything has no fields. */
export function fieldPaths(schema: z.ZodType, end: (path: string) => boolean = () => false): FieldPaths {
  const leaves: string[] = []
  const all = new Set<string>()
  const walk = (view: SchemaView, path: string) => {
    if (path !== '') all.add(path)
    const below = path === '' || !end(path) ? childrenOf(view, path) : []
    if (below.length === 0 && path !== '') leaves.push(path)
    for (const child of below) walk(child.view, child.path)
  }
  walk(viewOf(schema), '')
  return { leaves, all }
}

type Child = { readonly path: string; readonly view: SchemaView }

function childrenOf(view: SchemaView, path: string): readonly Child[] {
  const children: Child[] = []
  const { fields, field, free } = mapView(view)
  for (const name of fields) {
    const child = field(name)
    if (child !== null) children.push({ path: path === '' ? name : `${path}.${name}`, view: child })
  }
  if (fields.length === 0 && free !== null && isComposite(free)) children.push({ path: `${path}.*`, view: free })
  const item = itemView(view, 0)
  if (isComposite(item)) children.push({ path: `${path}[]`, view: item })
  return children
}

function isComposite(view: SchemaView): boolean {
  return view.leaves.some((leaf) => {
    const { type } = (leaf as z.core.$ZodTypes)._zod.def
    return type === 'object' || type === 'record'
  })
}
