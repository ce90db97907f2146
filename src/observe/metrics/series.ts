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

/**
 * Series by labels, at most `cap` of them plus their overflow. Lookups on the request path go through `find` with a
 * cheap raw key; only a key never seen before costs a sanitised label set.
 */
export class SeriesMap<T> {
  readonly #cap: number
  readonly #create: (labels: Labels) => T
  readonly #overflow: (labels: Labels) => Labels
  readonly #series = new Map<string, T>()
  #aliases = new Map<string, T>()

  /** `overflow` maps the labels of a series there is no room for to labels of which there are few. */
  constructor(cap: number, create: (labels: Labels) => T, overflow: (labels: Labels) => Labels) {
    this.#cap = cap
    this.#create = create
    this.#overflow = overflow
  }

  /** The series a raw key was bound to, if it is remembered. */
  find(rawKey: string): T | undefined {
    return this.#aliases.get(rawKey)
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

  /** Remembers a raw key. The memory is bounded; when it is full it starts afresh. */
  bind(rawKey: string, series: T): void {
    if (this.#aliases.size >= this.#cap * 2) this.#aliases = new Map()
    this.#aliases.set(rawKey, series)
  }

  values(): Iterable<T> {
    return this.#series.values()
  }

  get size(): number {
    return this.#series.size
  }

  #add(key: string, labels: Labels): T {
    const series = this.#create(labels)
    this.#series.set(key, series)
    return series
  }
}
