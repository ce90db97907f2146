/**
 * A document that is one JSON object, as `kubectl get -o json` and generators write: YAML too, and read some ten times
 * faster than by a whole YAML parser. As in config/yaml-plain.ts nothing is guessed or reported: what is not strict JSON,
 * or would be told about, is left to the parser.
 */
import type { YamlEntry, YamlMap, YamlNode } from './yaml-tree.ts'

/** Deeper resources do not exist; the parser says what is wrong with them. */
const MAX_DEPTH = 40
/** Quotes included. YAML has a limit for keys; nothing comes near it. */
const MAX_KEY = 200

/** Blanks and line feeds: what else JSON takes for white space is unusual in YAML. */
const BLANK = /[ \n]*/y
const TEXT = /"[^"\\\n]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\n]*)*"/y
/** Those that have one spelling, exactly held by a double. */
const NUMBER = /(?:0|[1-9]\d{0,14})(?:\.\d{1,9})?(?=[ \n,\]}])/y
const WORD = /true|false|null/y
const WORDS: Readonly<Record<string, boolean | null>> = { true: true, false: false, null: null }

/** The object that begins at `at`, and where it ends; null: it has more than plain JSON. */
export function readJson(text: string, at: number): { readonly root: YamlMap; readonly end: number } | null {
  const reader = new JsonReader(text, at)
  const root = reader.value(0)
  return root?.kind === 'map' ? { root, end: reader.at } : null
}

class JsonReader {
  at: number
  readonly #text: string

  constructor(text: string, at: number) {
    this.#text = text
    this.at = at
  }

  /** null: not plain. */
  value(depth: number): YamlNode | null {
    const { at } = this
    if (this.#take('{')) return depth > MAX_DEPTH ? null : this.#map(at, depth)
    if (this.#take('[')) return depth > MAX_DEPTH ? null : this.#list(at, depth)
    const quoted = this.#quoted()
    if (quoted !== null) return { kind: 'scalar', value: quoted, at }
    const number = this.#match(NUMBER)
    if (number !== null) return { kind: 'scalar', value: Number(number), at }
    const word = this.#match(WORD)
    return word === null ? null : { kind: 'scalar', value: WORDS[word] ?? null, at }
  }

  #map(at: number, depth: number): YamlMap | null {
    const entries = new Map<string, YamlEntry>()
    this.#match(BLANK)
    if (this.#take('}')) return { kind: 'map', entries, at }
    do {
      this.#match(BLANK)
      const keyAt = this.at
      const key = this.#quoted()
      if (key === null || this.at - keyAt > MAX_KEY || key === '__proto__' || entries.has(key)) return null
      if (!this.#take(':')) return null
      this.#match(BLANK)
      const value = this.value(depth + 1)
      if (value === null) return null
      entries.set(key, { keyAt, value })
      this.#match(BLANK)
    } while (this.#take(','))
    return this.#take('}') ? { kind: 'map', entries, at } : null
  }

  #list(at: number, depth: number): YamlNode | null {
    const items: YamlNode[] = []
    this.#match(BLANK)
    if (this.#take(']')) return { kind: 'list', items, at }
    do {
      this.#match(BLANK)
      const item = this.value(depth + 1)
      if (item === null) return null
      items.push(item)
      this.#match(BLANK)
    } while (this.#take(','))
    return this.#take(']') ? { kind: 'list', items, at } : null
  }

  #quoted(): string | null {
    const source = this.#match(TEXT)
    if (source === null) return null
    return source.includes('\\') ? (JSON.parse(source) as string) : source.slice(1, -1)
  }

  #take(character: string): boolean {
    const there = this.#text[this.at] === character
    if (there) this.at += 1
    return there
  }

  #match(pattern: RegExp): string | null {
    pattern.lastIndex = this.at
    if (!pattern.test(this.#text)) return null
    const source = this.#text.slice(this.at, pattern.lastIndex)
    this.at = pattern.lastIndex
    return source
  }
}
