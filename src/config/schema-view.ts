/**
 * What a zod schema says about keys and items, seen through its wrappers (optional, default, preprocess, lazy, union …).
 * Reads zod 4's public `def` of every schema; knows nothing of values.
 */
import type { z } from 'zod'

type Schema = z.core.$ZodType

/** Alternatives of one place in a document. `null` stands for "anything goes": nothing is known, nothing is checked. */
export type SchemaView = { readonly leaves: readonly Schema[]; readonly nullable: boolean }

const ANYTHING: SchemaView = { leaves: [], nullable: true }

const cache = new WeakMap<Schema, SchemaView>()

export function viewOf(schema: Schema): SchemaView {
  let view = cache.get(schema)
  if (view === undefined) {
    const leaves: Schema[] = []
    const nullable = unwrap(schema, leaves)
    view = { leaves, nullable }
    cache.set(schema, view)
  }
  return view
}

/** Collects the leaves under wrappers; true when null is one of the values the schema takes. */
function unwrap(schema: Schema, into: Schema[]): boolean {
  const def = (schema as z.core.$ZodTypes)._zod.def
  if (def.type === 'nullable') {
    unwrap(def.innerType, into)
    return true
  }
  // optional, default, prefault, nonoptional, readonly, catch …
  if ('innerType' in def) return unwrap(def.innerType, into)
  if (def.type === 'lazy') return unwrap(def.getter(), into)
  if (def.type === 'pipe') {
    // z.preprocess is transform → schema; schema.transform is schema → transform.
    return unwrap((def.in as z.core.$ZodTypes)._zod.def.type === 'transform' ? def.out : def.in, into)
  }
  if (def.type === 'union') return def.options.map((option) => unwrap(option, into)).includes(true)
  if (def.type === 'intersection') return [unwrap(def.left, into), unwrap(def.right, into)].every(Boolean)
  into.push(schema)
  return def.type === 'any' || def.type === 'unknown' || def.type === 'null'
}

/** The view of schemas that may stand at one place; of one alone its own, which is kept. */
function merge(schemas: readonly Schema[]): SchemaView {
  const [only] = schemas
  if (only !== undefined && schemas.length === 1) return viewOf(only)
  const views = schemas.map(viewOf)
  return { leaves: views.flatMap((view) => view.leaves), nullable: views.some((view) => view.nullable) }
}

/** What the keys of a map may be: fields by name, free keys (a record or a catchall), or anything. */
export type MapView = {
  /** Names of fields; empty for records. */
  readonly fields: readonly string[]
  readonly field: (key: string) => SchemaView | null
  /** For keys that are no field; null: there are none, such a key is unknown. */
  readonly free: SchemaView | null
}

const mapViews = new WeakMap<SchemaView, MapView>()

export function mapView(view: SchemaView): MapView {
  let found = mapViews.get(view)
  if (found === undefined) {
    found = buildMapView(view)
    mapViews.set(view, found)
  }
  return found
}

function buildMapView(view: SchemaView): MapView {
  const shapes: Readonly<Record<string, Schema>>[] = []
  const free: Schema[] = []
  let anything = true
  for (const leaf of view.leaves) {
    const def = (leaf as z.core.$ZodTypes)._zod.def
    if (def.type === 'object') {
      shapes.push(def.shape)
      if (def.catchall !== undefined && (def.catchall as z.core.$ZodTypes)._zod.def.type !== 'never')
        free.push(def.catchall)
      anything = false
    } else if (def.type === 'record') {
      free.push(def.valueType)
      anything = false
    }
  }
  const fields = shapes.flatMap((shape) => Object.keys(shape))
  const views = new Map<string, SchemaView>()
  for (const key of fields) {
    const schemas = shapes.flatMap((shape) => (Object.hasOwn(shape, key) ? (shape[key] ?? []) : []))
    views.set(key, merge(schemas))
  }
  return {
    fields,
    field: (key) => views.get(key) ?? null,
    free: anything ? ANYTHING : free.length === 0 ? null : merge(free),
  }
}

const itemViews = new WeakMap<SchemaView, SchemaView>()

/** What the items of a list may be. */
export function itemView(view: SchemaView, index: number): SchemaView {
  const known = itemViews.get(view)
  if (known !== undefined) return known
  const found = buildItemView(view, index)
  const isTuple = view.leaves.some((leaf) => (leaf as z.core.$ZodTypes)._zod.def.type === 'tuple')
  if (!isTuple) itemViews.set(view, found)
  return found
}

function buildItemView(view: SchemaView, index: number): SchemaView {
  const items: Schema[] = []
  for (const leaf of view.leaves) {
    const def = (leaf as z.core.$ZodTypes)._zod.def
    if (def.type === 'array') items.push(def.element)
    else if (def.type === 'tuple') {
      const item = def.items[index] ?? def.rest
      if (item !== null && item !== undefined) items.push(item)
    }
  }
  return items.length === 0 ? ANYTHING : merge(items)
}
