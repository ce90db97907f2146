/** What YAML is read into: maps, lists and scalars, aliases resolved, with their places. */
import type { SourceRef } from '../core/attributes.ts'

/** Positions are offsets into the text; `YamlDocument.locate` turns one into file, line and column. */
export type YamlScalar = {
  readonly kind: 'scalar'
  readonly value: string | number | boolean | null
  readonly at: number
}
export type YamlList = { readonly kind: 'list'; readonly items: readonly YamlNode[]; readonly at: number }
export type YamlEntry = { readonly keyAt: number; readonly value: YamlNode }
export type YamlMap = { readonly kind: 'map'; readonly entries: ReadonlyMap<string, YamlEntry>; readonly at: number }
export type YamlNode = YamlScalar | YamlList | YamlMap

export type YamlDocument = { readonly root: YamlNode; readonly locate: (offset: number) => SourceRef }
