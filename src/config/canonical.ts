/**
 * The canonical walk: a YAML tree and the schema of its kind → plain values with camelCase keys, positions beside them.
 * It finds what a parser of protobuf-JSON would pass over (unknown keys, one field spelt twice, empty values), so that
 * the schemas behind it can stay plain (contract §3, Checking; behaviour §11 no. 24).
 */
import type { z } from 'zod'
import type { SourceRef } from '../core/attributes.ts'
import type { Severity } from './diagnostics.ts'
import { nearest } from './nearest.ts'
import { formatPath, leafPosition, type Path, type PositionTree } from './position.ts'
import type { Report } from './resource.ts'
import { itemView, mapView, type SchemaView, viewOf } from './schema-view.ts'
import type { YamlEntry, YamlList, YamlMap, YamlNode } from './yaml-tree.ts'

export type CanonicalOptions = {
  /** What an unknown key is outside `tls`; inside it is always an error. */
  readonly unknownKeys: Extract<Severity, 'error' | 'warning'>
  /** Accept snake_case spellings of known fields, as Istio's jsonpb does. */
  readonly snakeCase: boolean
  /**
   * `absent`: a null field is left out (protobuf-JSON). `refused`: it is an error, because the kind restricts and an absent
   * field there means "any". For what narrows in other kinds too (`NARROWING`), and inside it, null is always refused.
   * Safer than Istio, which takes null as absent.
   */
  readonly nulls: 'absent' | 'refused'
}

/** Fields whose absence means "every request", "every workload" or "plain text". */
const NARROWING: ReadonlySet<string | number> = new Set(['tls', 'match', 'selector'])

export type Canonical = { readonly value: unknown; readonly positions: PositionTree }

/** `base` is the path of `node` in its document (for messages only). Never throws; findings go to `report`. */
export function canonicalise(
  schema: z.ZodType,
  node: YamlNode,
  base: Path,
  options: CanonicalOptions,
  report: Report,
  locate: (offset: number) => SourceRef,
): Canonical {
  const walk = new Walk(options, report, locate)
  return walk.node(viewOf(schema), node, node.at, { base })
}

/** Where the walk stands, cheaply: paths are only needed to tell of findings. */
type Place = { readonly base: Path } | { readonly parent: Place; readonly step: string | number }

function pathOf(place: Place): Path {
  const steps: (string | number)[] = []
  let here = place
  for (; 'parent' in here; here = here.parent) steps.push(here.step)
  return [...here.base, ...steps.reverse()]
}

function listPositions(at: number, items: readonly Canonical[]): PositionTree {
  return { at, children: new Map(items.map((item, index) => [index, item.positions])) }
}

/** Maps and lists stand where their key stands: that is the line a reader looks for. */
function underKey(positions: PositionTree, entry: YamlEntry): PositionTree {
  return entry.value.kind === 'scalar' ? positions : { at: entry.keyAt, children: positions.children }
}

/** `sni_hosts` → `sniHosts`, as protobuf derives JSON names. */
function camelCase(key: string): string {
  return key.replaceAll(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
}

class Walk {
  readonly #options: CanonicalOptions
  readonly #report: Report
  readonly #locate: (offset: number) => SourceRef

  constructor(options: CanonicalOptions, report: Report, locate: (offset: number) => SourceRef) {
    this.#options = options
    this.#report = report
    this.#locate = locate
  }

  node(view: SchemaView, node: YamlNode, at: number, place: Place): Canonical {
    switch (node.kind) {
      case 'scalar':
        return { value: node.value, positions: leafPosition(node.value === null ? at : node.at) }
      case 'list':
        return this.#list(view, node, place)
      case 'map':
        return this.#map(view, node, place)
    }
  }

  #list(view: SchemaView, list: YamlList, place: Place): Canonical {
    // A null item is kept: it is never "absent", and the schema refuses it.
    const items = list.items.map((item, index) =>
      this.node(itemView(view, index), item, item.at, { parent: place, step: index }),
    )
    return { value: items.map((item) => item.value), positions: listPositions(list.at, items) }
  }

  #map(view: SchemaView, map: YamlMap, place: Place): Canonical {
    const { fields, field, free } = mapView(view)
    const value: Record<string, unknown> = {}
    const children = new Map<string | number, PositionTree>()
    for (const [written, entry] of map.entries) {
      const camel = this.#options.snakeCase && field(written) === null ? camelCase(written) : written
      const known = field(camel)
      const key = known === null ? written : camel
      const child = known ?? free
      const here = { parent: place, step: key }
      if (child === null) {
        this.#unknown(written, fields, entry, pathOf(place))
      } else if (Object.hasOwn(value, key) || (key !== written && map.entries.has(key))) {
        const message = `${formatPath(pathOf(here))} stands here as ${key} and as ${key === written ? 'snake_case' : written}`
        this.#report('SP1031', this.#locate(entry.keyAt), message, { fix: 'keep one of the two' })
      } else if (isNull(entry.value) && known !== null && !known.nullable) {
        this.#null(entry, pathOf(here))
      } else {
        const { value: inner, positions } = this.node(child, entry.value, entry.keyAt, here)
        value[key] = inner
        children.set(key, underKey(positions, entry))
      }
    }
    return { value, positions: { at: map.at, children } }
  }

  #null(entry: YamlEntry, path: Path): void {
    if (this.#options.nulls === 'absent' && !path.some((step) => NARROWING.has(step))) return
    const message = `${formatPath(path)} has no value; absent, it would mean "any"`
    this.#report('SP1032', this.#locate(entry.keyAt), message, { fix: 'write the value or leave the key out' })
  }

  #unknown(written: string, fields: readonly string[], entry: YamlEntry, path: Path): void {
    const guess = nearest(camelCase(written), fields)
    // A misspelt or misplaced `tls`, and one below a misspelt key, is as dangerous as a misspelt key inside it.
    const secures = guess === 'tls' || written === 'tls' || holdsTls(entry.value)
    const strict = this.#options.unknownKeys === 'error' || path.includes('tls') || secures
    const where = path.length === 0 ? 'here' : `in ${formatPath(path)}`
    const fix = guess === null ? {} : { fix: `did you mean ${guess}?` }
    const message = `unknown key ${JSON.stringify(written)} ${where}${strict ? '' : ', passed over'}`
    this.#report('SP1030', this.#locate(entry.keyAt), message, { ...fix, severity: strict ? 'error' : 'warning' })
  }
}

/** True when a `tls` block stands somewhere below. The tree is finite: aliases are resolved within bounds. */
export function holdsTls(node: YamlNode): boolean {
  if (node.kind === 'list') return node.items.some(holdsTls)
  if (node.kind !== 'map') return false
  return node.entries.has('tls') || [...node.entries.values()].some(({ value }) => holdsTls(value))
}

function isNull(node: YamlNode): boolean {
  return node.kind === 'scalar' && node.value === null
}
