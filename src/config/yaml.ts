/**
 * Text → documents with positions; the only importer of `yaml`. What comes out is a small tree of maps, lists and
 * scalars in which aliases and merge keys are resolved, so that nobody else needs to know them.
 *
 * YAML 1.2 (core schema), while Kubernetes reads YAML 1.1 through go-yaml: where the two differ on values that occur in
 * mesh resources (bare yes/no/on/off, octal numbers) there is a warning.
 */

import type { Alias, Document, Node, Pair, ParsedNode, YAMLMap, YAMLParseError } from 'yaml'
import { isAlias, isMap, isScalar, isSeq, parseAllDocuments, visit } from 'yaml'
import type { SourceRef } from '../core/attributes.ts'
import type { DiagnosticCode } from './diagnostics.ts'
import type { Report } from './resource.ts'
import { readPlainYaml } from './yaml-plain.ts'
import type { YamlDocument, YamlEntry, YamlMap, YamlNode, YamlScalar } from './yaml-tree.ts'

/** Nodes that all aliases of one file may expand to; a "billion laughs" file has some 10^9. */
const MAX_ALIAS_NODES = 50_000
const MAX_DEPTH = 100
/** Syntax errors reported per document: after the first few they are echoes. */
const MAX_ERRORS = 5
/** Blanks that are looked through for what an error is about. */
const MAX_INDENT = 200

/**
 * Line breaks of YAML 1.1 (go-yaml) that the library does not break lines at: what Kubernetes reads as a key may stand
 * in a comment here, and the other way round.
 */
const STRAY_BREAK = /\r(?!\n)|[\u0085\u2028\u2029]/

const BARE_BOOLEAN = /^(?:[yYnN]|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)$/
const LEADING_ZERO = /^[-+]?0[0-9]+$/

/**
 * The documents of one file, empty ones left out. A document with errors is reported and left out as well; the others
 * are still returned, so that one run finds everything. Never throws on any text.
 */
export function parseYaml(text: string, file: string, report: Report): readonly YamlDocument[] {
  const locate = lineTable(text, file)
  const stray = text.search(STRAY_BREAK)
  if (stray >= 0) {
    const fix = 'write line feeds, and an escape (\\r, \\u2028 …) in quotes where the character itself is meant'
    report('SP1010', locate(stray), 'a line break for Kubernetes and none here: a lone CR, NEL, LS or PS', { fix })
    return []
  }
  const plain = readPlainYaml(text)
  return plain === null ? parseWholeYaml(text, file, report) : plain.map((root) => ({ root, locate }))
}

/** With the library, which knows all of YAML and what is wrong. What `parseYaml` does where the text is not plain. */
export function parseWholeYaml(text: string, file: string, report: Report): readonly YamlDocument[] {
  const locate = lineTable(text, file)
  let parsed: readonly Document.Parsed[]
  try {
    // Duplicate keys are found below, with the place of the first one and in linear time.
    const options = { version: '1.2', schema: 'core', merge: false, uniqueKeys: false, prettyErrors: false } as const
    parsed = parseAllDocuments(text, { ...options, logLevel: 'silent' }) as Document.Parsed[]
  } catch (error) {
    report('SP1010', { file, line: 1, col: 1 }, `cannot be parsed: ${String(error)}`)
    return []
  }
  const budget = { left: MAX_ALIAS_NODES }
  const documents: YamlDocument[] = []
  for (const document of parsed) {
    if (document.errors.length > 0 || document.warnings.length > 0) {
      for (const error of document.errors.slice(0, MAX_ERRORS)) {
        const deep = error.code === 'RESOURCE_EXHAUSTION'
        const message = deep ? 'nested too deep' : error.message.replace(/\.?$/, '')
        report(deep ? 'SP1016' : 'SP1010', locate(placeOf(error, document, text)), message)
      }
      // The library only warns about tags it does not know; a value whose type is a guess is no value.
      for (const warning of document.warnings.slice(0, MAX_ERRORS)) {
        report('SP1014', locate(warning.pos[0]), warning.message)
      }
      continue
    }
    if (document.contents === null) continue
    const converter = new Converter(locate, report, budget)
    const root = converter.convert(document.contents)
    if (root !== null && !(root.kind === 'scalar' && root.value === null)) documents.push({ root, locate })
  }
  return documents
}

/** Where a reader has to look: not at the white space before it, nor at the end of a text whose quote nobody closed. */
function placeOf(error: YAMLParseError, document: Document.Parsed, text: string): number {
  const [at] = error.pos
  if (error.code === 'MISSING_CHAR' && error.message.startsWith('Missing closing ')) {
    let start = at
    visit(document, {
      Scalar: (_, { range }) => {
        if (range?.[1] !== at) return undefined
        start = range[0]
        return visit.BREAK
      },
    })
    return start
  }
  const lineStart = text.lastIndexOf('\n', at - 1) + 1
  const indented = /^ */.exec(text.slice(lineStart, at + MAX_INDENT))?.[0].length ?? 0
  return Math.max(at, Math.min(lineStart + indented, text.length))
}

/**
 * Offset → place. Not the library's LineCounter: it loses a line break after some errors (found by a property test), and a
 * diagnostic must never point outside its file.
 */
function lineTable(text: string, file: string): (offset: number) => SourceRef {
  const starts = [0]
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) starts.push(at + 1)
  return (offset) => {
    const inside = Math.max(0, Math.min(offset, text.length))
    let low = 0
    let high = starts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((starts[middle] as number) <= inside) low = middle
      else high = middle - 1
    }
    return { file, line: low + 1, col: inside - (starts[low] as number) + 1 }
  }
}

/** Thrown inside one document only: the document is unusable, the place is known. */
class Unusable extends Error {
  readonly code: DiagnosticCode
  readonly at: number
  constructor(code: DiagnosticCode, at: number, message: string) {
    super(message)
    this.code = code
    this.at = at
  }
}

/** Converts one document; anchors are bound in document order, as YAML has it. */
class Converter {
  readonly #locate: (offset: number) => SourceRef
  readonly #report: Report
  readonly #budget: { left: number }
  readonly #anchors = new Map<string, Node>()
  /** What an alias meant where it stands: an anchor may be bound again further down. */
  readonly #targets = new Map<Alias, Node>()
  readonly #open = new Set<Node>()
  #copying = 0

  constructor(locate: (offset: number) => SourceRef, report: Report, budget: { left: number }) {
    this.#locate = locate
    this.#report = report
    this.#budget = budget
  }

  convert(root: ParsedNode): YamlNode | null {
    try {
      return this.#node(root, 0)
    } catch (error) {
      if (!(error instanceof Unusable)) throw error
      this.#report(error.code, this.#locate(error.at), error.message)
      return null
    }
  }

  #node(node: Node, depth: number): YamlNode {
    const at = startOf(node)
    if (depth > MAX_DEPTH) throw new Unusable('SP1016', at, `nested more than ${MAX_DEPTH} levels deep`)
    if (this.#copying > 0 && --this.#budget.left < 0) {
      throw new Unusable('SP1012', at, `the aliases of this file expand to more than ${MAX_ALIAS_NODES} nodes`)
    }
    if (isAlias(node)) return this.#alias(node, depth)
    if (this.#copying === 0 && typeof node.anchor === 'string') this.#anchors.set(node.anchor, node)
    this.#open.add(node)
    try {
      if (isMap(node)) return this.#map(node, at, depth)
      if (isSeq(node)) {
        const items = node.items.map((item) => this.#node(item as Node, depth + 1))
        return { kind: 'list', items, at }
      }
      return this.#scalar(node, at)
    } finally {
      this.#open.delete(node)
    }
  }

  #alias(alias: Alias, depth: number): YamlNode {
    const at = startOf(alias)
    const target = this.#targets.get(alias) ?? this.#anchors.get(alias.source)
    if (target === undefined) throw new Unusable('SP1012', at, `alias *${alias.source} has no anchor before it`)
    if (this.#open.has(target)) throw new Unusable('SP1012', at, `alias *${alias.source} contains itself`)
    this.#targets.set(alias, target)
    this.#copying += 1
    try {
      return this.#node(target, depth)
    } finally {
      this.#copying -= 1
    }
  }

  #map(map: YAMLMap, at: number, depth: number): YamlMap {
    const entries = new Map<string, YamlEntry>()
    const merged: { readonly map: YamlMap; readonly keyAt: number }[] = []
    let mergeAt: number | null = null
    for (const pair of map.items as Pair<Node, Node | null>[]) {
      const keyAt = startOf(pair.key)
      if (isScalar(pair.key) && pair.key.value === '<<' && pair.key.type === 'PLAIN') {
        if (mergeAt !== null) this.#duplicate('<<', keyAt, mergeAt)
        mergeAt = keyAt
        merged.push(...this.#merge(pair.value, keyAt, depth))
        continue
      }
      const key = this.#key(pair.key, depth)
      const value: YamlNode =
        pair.value === null ? { kind: 'scalar', value: null, at: keyAt } : this.#node(pair.value, depth + 1)
      const first = entries.get(key)
      if (first !== undefined) this.#duplicate(key, keyAt, first.keyAt)
      else entries.set(key, { keyAt, value })
    }
    // A map's own keys win over merged ones, earlier merges over later ones (yaml.org/type/merge.html).
    for (const source of merged) {
      for (const [key, entry] of source.map.entries) if (!entries.has(key)) entries.set(key, entry)
    }
    return { kind: 'map', entries, at }
  }

  #merge(value: Node | null, keyAt: number, depth: number): { map: YamlMap; keyAt: number }[] {
    const source = value === null ? null : this.#node(value, depth + 1)
    const maps = source === null ? [] : source.kind === 'list' ? source.items : [source]
    return maps.map((map) => {
      if (map.kind !== 'map') throw new Unusable('SP1012', keyAt, 'a merge key (<<) can only merge maps')
      return { map, keyAt }
    })
  }

  #key(node: Node | null, depth: number): string {
    const at = startOf(node)
    const key = node === null ? null : this.#node(node, depth + 1)
    if (key === null || key.kind !== 'scalar' || key.value === null) {
      throw new Unusable('SP1014', at, 'a key must be a word, a number or quoted text')
    }
    // The only key that plain objects treat specially; no resource has it.
    if (key.value === '__proto__') throw new Unusable('SP1014', at, 'the key __proto__ is refused')
    return String(key.value)
  }

  #scalar(node: Node, at: number): YamlScalar {
    const value: unknown = isScalar(node) ? node.value : undefined
    if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean' && value !== null) {
      throw new Unusable('SP1014', at, 'only text, numbers, booleans, lists and maps are read')
    }
    if (isScalar(node) && node.type === 'PLAIN' && this.#copying === 0) {
      const source = node.source ?? ''
      if (typeof value === 'string' && BARE_BOOLEAN.test(source)) {
        const boolean = /^(?:y|on)/i.test(source)
        const fix = `write ${boolean}, or "${source}" if the text is meant`
        this.#report('SP1013', this.#locate(at), `bare ${source} is a boolean for Kubernetes and text here`, { fix })
      } else if (typeof value === 'number' && LEADING_ZERO.test(source)) {
        const fix = `write ${String(value)}, or put quotes around it`
        this.#report('SP1015', this.#locate(at), `${source} is octal for Kubernetes and ${value} here`, { fix })
      }
    }
    return { kind: 'scalar', value, at }
  }

  #duplicate(key: string, at: number, first: number): void {
    if (this.#copying > 0) return
    const { line, col } = this.#locate(first)
    this.#report(
      'SP1011',
      this.#locate(at),
      `duplicate key ${JSON.stringify(key)}; the first is at line ${line}:${col}`,
    )
  }
}

function startOf(node: Node | null): number {
  return node?.range?.[0] ?? 0
}
