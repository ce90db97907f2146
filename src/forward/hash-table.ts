/**
 * Consistent hashing: which endpoint a key belongs to, as a table of places that endpoints own. Built once per set of
 * endpoints. An endpoint that may not be used now keeps its places, and its keys go on to the next place's owner: all
 * other keys stay where they are, and come back when it does.
 */
import type { LoadBalancerModel } from '../model/cluster.ts'
import { buildMaglev } from './maglev.ts'
import { buildRing } from './ring-hash.ts'

/** `text` places it (`ip:port`), `weight` is relative and above 0. */
export type Hashed = { readonly text: string; readonly weight: number }

export type HashTable = {
  readonly size: number
  /** The place of a key (32 bits, unsigned). */
  place(hash: number): number
  /** Index of the endpoint that owns a place, 0 ≤ place < size. */
  owner(place: number): number
}

export type HashingModel = Extract<LoadBalancerModel, { readonly kind: 'RING_HASH' | 'MAGLEV' }>

/**
 * Tables in use, for whoever asks for the same again: a reload that leaves the endpoints as they are costs none.
 * Weakly held, so that nobody has to say when one is no longer wanted.
 */
export class HashTables {
  readonly #tables = new Map<string, WeakRef<HashTable>>()

  /** Wants at least one endpoint. */
  get(model: HashingModel, endpoints: readonly Hashed[]): HashTable {
    const size = model.kind === 'RING_HASH' ? model.minimumRingSize : model.tableSize
    const signature = JSON.stringify([model.kind, size, endpoints.map(({ text, weight }) => [text, weight])])
    const known = this.#tables.get(signature)?.deref()
    if (known !== undefined) return known
    for (const [other, table] of this.#tables) if (table.deref() === undefined) this.#tables.delete(other)
    const table = buildTable(model, endpoints)
    this.#tables.set(signature, new WeakRef(table))
    return table
  }
}

/** Wants at least one endpoint. */
export function buildTable(model: HashingModel, endpoints: readonly Hashed[]): HashTable {
  return model.kind === 'RING_HASH'
    ? buildRing(endpoints, model.minimumRingSize)
    : buildMaglev(endpoints, model.tableSize)
}
