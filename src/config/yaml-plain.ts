/**
 * The plain part of YAML, read in one pass: maps and lists in block style, scalars and flow collections on one line, whole
 * documents of JSON, no anchors, tags, block scalars, tabs, empty values or anything that has to be told about. That is what resource files
 * consist of, and some 15 times faster than a whole YAML parser. Everything else is left to it (config/yaml.ts): this
 * reader never guesses and never reports, it reads a text exactly as the parser does or not at all. A property test
 * compares the two.
 */
import { readJson } from './yaml-json.ts'
import type { YamlEntry, YamlList, YamlMap, YamlNode } from './yaml-tree.ts'

/** Deeper resources do not exist; the parser says what is wrong with them. */
const MAX_DEPTH = 40

/** Control characters, tabs and carriage returns among them, and the byte order mark. */
// oxlint-disable-next-line no-control-regex
const UNUSUAL = /[\0-\x09\x0b-\x1f\x7f-\x9f\ufeff]/

/** A key and its colon; longer ones are for the parser. */
const KEY = /([A-Za-z0-9_][A-Za-z0-9_./-]{0,200}):(?= |\n|$)/y
/** Of a plain scalar in block style: no indicator; a hyphen only before a word. */
const BLOCK_SCALAR = /[A-Za-z0-9_./$(^~+\u00a0-\uffff]|-(?=[A-Za-z0-9_./])/y
/** The same in flow style, as far as it goes; `:` and `#` only where they cannot mean anything else. */
const FLOW_SCALAR = /(?:[A-Za-z0-9_./]|-(?=[A-Za-z0-9_.]))(?:[A-Za-z0-9_./*-]|:(?=[A-Za-z0-9_/])| (?=[A-Za-z0-9_./]))*/y
const SINGLE_QUOTED = /'((?:[^'\n]|'')*)'/y
const DOUBLE_QUOTED = /"([^"\\\n]*)"/y
/** Between two documents. */
const MARKER = /^--- *$/
/** What may follow a value on its line. */
const LINE_END = / *(?: #[^\n]*)?(?=\n|$)/y

const NUMBER = /^(?:0|[1-9]\d{0,14})(?:\.\d{1,9})?$/
/** What the core schema, or YAML 1.1, takes for something else than text; the parser knows what, and what to say. */
const SPECIAL =
  /^(?:~|null|Null|NULL|True|TRUE|False|FALSE|[yYnN]|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)$/

/** The roots of the documents, empty ones left out; null: the text has more than the plain part. */
export function readPlainYaml(text: string): readonly YamlNode[] | null {
  if (UNUSUAL.test(text)) return null
  try {
    return new PlainReader(text).documents()
  } catch (error) {
    if (error instanceof NotPlain) return null
    throw error
  }
}

class NotPlain extends Error {}

class PlainReader {
  readonly #text: string
  /** Of the line that is read: its content, behind the indentation. */
  #at = 0
  /** Columns of indentation; -1 at the end of a document. */
  #indent = -1
  /** Where the next line begins. */
  #next = 0

  constructor(text: string) {
    this.#text = text
  }

  documents(): readonly YamlNode[] {
    const roots: YamlNode[] = []
    do {
      this.#advance()
      if (this.#isEnd()) continue
      if (this.#indent !== 0) throw new NotPlain()
      roots.push(this.#text.charCodeAt(this.#at) === OPEN_BRACE ? this.#json() : this.#map(0, 0))
      if (!this.#isEnd()) throw new NotPlain()
    } while (this.#next < this.#text.length)
    return roots
  }

  #json(): YamlMap {
    const read = readJson(this.#text, this.#at)
    if (read === null) throw new NotPlain()
    this.#at = read.end
    const end = this.#text.indexOf('\n', read.end)
    this.#next = end === -1 ? this.#text.length : end + 1
    this.#finishLine()
    return read.root
  }

  #isEnd(): boolean {
    return this.#indent === -1
  }

  /** To the next line that has content, or to the end of the document. */
  #advance(): void {
    const text = this.#text
    while (this.#next < text.length) {
      const start = this.#next
      let end = text.indexOf('\n', start)
      if (end === -1) end = text.length
      this.#next = end + 1
      let at = start
      while (text.charCodeAt(at) === SPACE) at += 1
      if (at === end || text.charCodeAt(at) === HASH) continue
      if (at === start && (text.startsWith('---', at) || text.startsWith('...', at))) {
        if (!MARKER.test(text.slice(at, end))) throw new NotPlain()
        break
      }
      this.#at = at
      this.#indent = at - start
      return
    }
    this.#indent = -1
  }

  /** A map whose keys stand at column `indent`; the first one is what is to be read next. */
  #map(indent: number, depth: number): YamlMap {
    if (depth > MAX_DEPTH) throw new NotPlain()
    const at = this.#at
    const entries = new Map<string, YamlEntry>()
    do {
      const keyAt = this.#at
      const key = this.#key()
      // Told about by the parser; `__proto__` is refused there too.
      if (entries.has(key) || key === '__proto__') throw new NotPlain()
      entries.set(key, { keyAt, value: this.#valueOf(indent, depth) })
    } while (this.#indent === indent)
    if (this.#indent > indent) throw new NotPlain()
    return { kind: 'map', entries, at }
  }

  #key(): string {
    const [whole = '', name = ''] = this.#match(KEY) ?? []
    if (name === '') throw new NotPlain()
    this.#at += whole.length
    const value = scalarOf(name)
    return typeof value === 'string' ? value : String(value)
  }

  /** What a key at column `indent` has: on its line, or on those below. */
  #valueOf(indent: number, depth: number): YamlNode {
    if (!this.#endsLine()) {
      this.#skipSpaces()
      const value = this.#inline(depth + 1)
      this.#finishLine()
      return value
    }
    this.#advance()
    if (this.#indent > indent)
      return this.#isItem() ? this.#list(this.#indent, depth + 1) : this.#map(this.#indent, depth + 1)
    // Lists may stand at the column of their key.
    if (this.#indent === indent && this.#isItem()) return this.#list(indent, depth + 1)
    throw new NotPlain()
  }

  #list(indent: number, depth: number): YamlList {
    if (depth > MAX_DEPTH) throw new NotPlain()
    const at = this.#at
    const items: YamlNode[] = []
    do {
      this.#at += 1
      if (this.#endsLine()) throw new NotPlain()
      const dash = this.#at - 1
      this.#skipSpaces()
      if (this.#isItem()) throw new NotPlain()
      if (this.#match(KEY) !== null) {
        const column = indent + (this.#at - dash)
        this.#indent = column
        items.push(this.#map(column, depth + 1))
      } else {
        items.push(this.#inline(depth + 1))
        this.#finishLine()
      }
    } while (this.#indent === indent && this.#isItem())
    if (this.#indent > indent) throw new NotPlain()
    return { kind: 'list', items, at }
  }

  #isItem(): boolean {
    return this.#text.charCodeAt(this.#at) === HYPHEN && isBreakOrSpace(this.#text.charCodeAt(this.#at + 1))
  }

  /** A scalar or a flow collection. */
  #inline(depth: number): YamlNode {
    const at = this.#at
    const first = this.#text.charCodeAt(at)
    if (first === OPEN_BRACE || first === OPEN_BRACKET) return this.#flow(depth)
    const quoted = this.#quoted()
    if (quoted !== null) return { kind: 'scalar', value: quoted, at }
    if (this.#match(BLOCK_SCALAR) === null) throw new NotPlain()
    let end = this.#text.indexOf('\n', at)
    if (end === -1) end = this.#text.length
    const line = this.#text.slice(at, end)
    const comment = line.indexOf(' #')
    let length = comment === -1 ? line.length : comment
    // Blanks only: other white space is part of the text.
    while (line.charCodeAt(length - 1) === SPACE) length -= 1
    const source = line.slice(0, length)
    // A key within a value is an error.
    if (source.includes(': ') || source.endsWith(':')) throw new NotPlain()
    this.#at = at + source.length
    return { kind: 'scalar', value: scalarOf(source), at }
  }

  #quoted(): string | null {
    const single = this.#match(SINGLE_QUOTED)
    const match = single ?? this.#match(DOUBLE_QUOTED)
    if (match === null) return null
    this.#at += match[0].length
    const value = match[1] ?? ''
    return single === null ? value : value.replaceAll("''", "'")
  }

  #flow(depth: number): YamlNode {
    if (depth > MAX_DEPTH) throw new NotPlain()
    const at = this.#at
    const isMap = this.#text.charCodeAt(at) === OPEN_BRACE
    const close = isMap ? CLOSE_BRACE : CLOSE_BRACKET
    const entries = new Map<string, YamlEntry>()
    const items: YamlNode[] = []
    this.#at += 1
    this.#skipSpaces()
    for (let more = this.#text.charCodeAt(this.#at) !== close; more; ) {
      const keyAt = this.#at
      if (isMap) {
        const key = this.#key()
        if (entries.has(key) || key === '__proto__') throw new NotPlain()
        this.#skipSpaces()
        entries.set(key, { keyAt, value: this.#flowValue(depth) })
      } else items.push(this.#flowValue(depth))
      this.#skipSpaces()
      more = this.#text.charCodeAt(this.#at) === COMMA
      if (!more) break
      this.#at += 1
      this.#skipSpaces()
    }
    if (this.#text.charCodeAt(this.#at) !== close) throw new NotPlain()
    this.#at += 1
    return isMap ? { kind: 'map', entries, at } : { kind: 'list', items, at }
  }

  #flowValue(depth: number): YamlNode {
    const at = this.#at
    const first = this.#text.charCodeAt(at)
    if (first === OPEN_BRACE || first === OPEN_BRACKET) return this.#flow(depth + 1)
    const quoted = this.#quoted()
    if (quoted !== null) return { kind: 'scalar', value: quoted, at }
    const [source = ''] = this.#match(FLOW_SCALAR) ?? []
    if (source === '') throw new NotPlain()
    this.#at += source.length
    return { kind: 'scalar', value: scalarOf(source), at }
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at
    return pattern.exec(this.#text)
  }

  #skipSpaces(): void {
    while (this.#text.charCodeAt(this.#at) === SPACE) this.#at += 1
  }

  #endsLine(): boolean {
    return this.#match(LINE_END) !== null
  }

  /** What goes on in the next line, at a greater indentation, would belong to the value; the maps and lists look at that. */
  #finishLine(): void {
    if (!this.#endsLine()) throw new NotPlain()
    this.#advance()
  }
}

const SPACE = 0x20
const HASH = 0x23
const HYPHEN = 0x2d
const COMMA = 0x2c
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d

function isBreakOrSpace(code: number): boolean {
  // NaN: the end of the text.
  return code === SPACE || code === 0x0a || Number.isNaN(code)
}

function scalarOf(source: string): string | number | boolean {
  if (source === 'true') return true
  if (source === 'false') return false
  if (NUMBER.test(source)) return Number(source)
  if (SPECIAL.test(source)) throw new NotPlain()
  return source
}
