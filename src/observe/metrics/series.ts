/**
 * Bounded label sets. Values that callers choose (host names, identities) become labels only while there is room; past
 * a cap they are `other`, so that nobody can grow the gateway's memory or a scrape by asking for many names.
 */

export const OTHER = 'other'

const MAX_LABEL_LENGTH = 256
const PRINTABLE = /^[\x20-\x7e]*$/
const UNPRINTABLE = /[^\x20-\x7e]/g

/** A label value fit for every reader of the exposition format: printable ASCII, at most 256 characters. */
export function labelValue(value: string): string {
  const short = value.length > MAX_LABEL_LENGTH ? value.slice(0, MAX_LABEL_LENGTH) : value
  return PRINTABLE.test(short) ? short : short.replace(UNPRINTABLE, '_')
}

/** Lets the first `cap` different values through, sanitised; later ones become `other`. */
export class Admission {
  readonly #cap: number
  readonly #admitted = new Set<string>()
  constructor(cap: number) {
    this.#cap = cap
  }
  admit(value: string): string {
    const label = labelValue(value)
    if (this.#admitted.has(label)) return label
    if (this.#admitted.size >= this.#cap) return OTHER
    this.#admitted.add(label)
    return label
  }
}

/** What a series is known by, in the order of its label names. */
export type Labels = readonly string[]

/** Series by labels, at most `cap` of them plus their overflow. Not for the request path: see `Recent`. */
export class SeriesMap<T> {
  readonly #cap: number
  readonly #create: (labels: Labels) => T
  readonly #overflow: (labels: Labels) => Labels
  readonly #series = new Map<string, T>()

  /** `overflow` maps the labels of a series there is no room for to labels of which there are few. */
  constructor(cap: number, create: (labels: Labels) => T, overflow: (labels: Labels) => Labels) {
    this.#cap = cap
    this.#create = create
    this.#overflow = overflow
  }

  /** The series of these (already sanitised) labels; made when missing and there is room. */
  resolve(labels: Labels): T {
    const key = labels.join('\0')
    const known = this.#series.get(key)
    if (known !== undefined) return known
    if (this.#series.size < this.#cap) return this.#add(key, labels)
    const fewer = this.#overflow(labels)
    const fewerKey = fewer.join('\0')
    const existing = this.#series.get(fewerKey)
    if (existing !== undefined) return existing
    // Even the overflow is bounded: an upstream may answer with hundreds of different status codes.
    if (this.#series.size < this.#cap * 1.25) return this.#add(fewerKey, fewer)
    const last = labels.map(() => OTHER)
    const lastKey = last.join('\0')
    return this.#series.get(lastKey) ?? this.#add(lastKey, last)
  }

  values(): Iterable<T> {
    return this.#series.values()
  }

  #add(key: string, labels: Labels): T {
    const series = this.#create(labels)
    this.#series.set(key, series)
    return series
  }
}

/**
 * What the request path asks first: entries seen lately under two strings, to be scanned for the one that fits. Two
 * lookups by strings whose hash is mostly known already, against 0.5 µs for joining a long key and hashing it anew.
 * Bounded: when it is full it starts afresh.
 */
export class Recent<E> {
  readonly #cap: number
  #size = 0
  #entries = new Map<string, Map<string, E[]>>()
  constructor(cap: number) {
    this.#cap = cap
  }

  get(first: string, second: string): readonly E[] {
    return this.#entries.get(first)?.get(second) ?? NONE
  }

  add(first: string, second: string, entry: E): void {
    if (this.#size >= this.#cap) {
      this.#entries = new Map()
      this.#size = 0
    }
    this.#size += 1
    const byFirst = this.#entries.get(first) ?? new Map<string, E[]>()
    this.#entries.set(first, byFirst)
    const list = byFirst.get(second)
    if (list === undefined) byFirst.set(second, [entry])
    // Scanned from the start on every request: a short list, or an upstream with many status codes makes it long.
    else if (list.length < MAX_SCAN) list.push(entry)
    else list[list.length - 1] = entry
  }
}

const NONE: readonly never[] = []
const MAX_SCAN = 16
