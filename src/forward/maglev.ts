/** The table of MAGLEV (Eisenbud et al., NSDI 2016, §3.4; weights as in Envoy): places filled in turns, each endpoint by its own permutation. */
import { hash32 } from '../core/hash.ts'
import type { Hashed, HashTable } from './hash-table.ts'

const FREE = -1

/** `tableSize` is prime: only then does every step width visit every place. */
export function buildMaglev(endpoints: readonly Hashed[], tableSize: number): HashTable {
  const heaviest = endpoints.reduce((most, { weight }) => Math.max(most, weight), 0)
  // Sorted by name, so that the same endpoints make the same table in whatever order they are listed.
  const builders = endpoints
    .map(({ text, weight }, index) => ({
      text,
      index,
      share: weight / heaviest,
      owed: 0,
      next: hash32(text) % tableSize,
      step: tableSize === 1 ? 0 : (hash32(text, 0x5bd1e995) % (tableSize - 1)) + 1,
    }))
    .sort((a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : 0))
  const owners = new Int32Array(tableSize).fill(FREE)
  for (let filled = 0; filled < tableSize; ) {
    for (const builder of builders) {
      builder.owed += builder.share
      if (builder.owed < 1) continue
      builder.owed -= 1
      let { next } = builder
      while (owners[next] !== FREE) {
        next += builder.step
        if (next >= tableSize) next -= tableSize
      }
      builder.next = next
      owners[next] = builder.index
      filled++
      if (filled === tableSize) break
    }
  }
  return { size: tableSize, place: (hash) => hash % tableSize, owner: (place) => owners[place] ?? 0 }
}
