/** The ring of RING_HASH (Envoy source/extensions/load_balancing_policies/ring_hash): each endpoint owns several points of the circle of all hashes. */
import { hash32 } from '../core/hash.ts'
import type { Hashed, HashTable } from './hash-table.ts'

/**
 * Envoy's limit is 8 Mi points. A ring is built between two requests here, so ours is what takes a fraction of a second;
 * a larger `minimumRingSize` means this one, which is finer than any weight asks for.
 */
export const MAX_RING_SIZE = 1_048_576

/** The point's hash in the upper bits, its owner in the lower: one native sort of plain numbers. */
const OWNERS = 0x10_0000

/** At least `minimumSize` points, the lightest endpoint owning a whole number of them (Envoy's scaling). */
export function buildRing(endpoints: readonly Hashed[], minimumSize: number): HashTable {
  let total = 0
  let least = Number.POSITIVE_INFINITY
  for (const { weight } of endpoints) {
    total += weight
    least = Math.min(least, weight)
  }
  const lightest = least / total
  const scale = Math.min(Math.ceil(lightest * Math.min(minimumSize, MAX_RING_SIZE)) / lightest, MAX_RING_SIZE)
  const points = new Float64Array(Math.ceil(scale) + endpoints.length)
  let size = 0
  let target = 0
  for (const [index, { text, weight }] of endpoints.entries()) {
    target += (scale * weight) / total
    let seed = hash32(text)
    // Odd, so that no two points of an endpoint coincide; its own, so that no two endpoints walk the same way.
    const step = hash32(text, seed) | 1
    // A margin for rounding: a share of exactly 512 points must not become 513.
    while (size < target - 1e-6) {
      points[size++] = scatter(seed) * OWNERS + index
      seed = (seed + step) | 0
    }
  }
  const sorted = points.subarray(0, size).sort()
  const hashes = new Uint32Array(size)
  const owners = new Uint32Array(size)
  for (let i = 0; i < size; i++) {
    const point = sorted[i] ?? 0
    hashes[i] = Math.floor(point / OWNERS)
    owners[i] = point % OWNERS
  }
  return { size, place: (hash) => firstNotBelow(hashes, hash), owner: (place) => owners[place] ?? 0 }
}

/** Murmur's finalizer: a permutation of 32 bits in which neighbours end up far apart. */
function scatter(value: number): number {
  let hash = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** Place of the first point at or after `hash`; past the last one the circle starts again. */
function firstNotBelow(hashes: Uint32Array, hash: number): number {
  let low = 0
  let high = hashes.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((hashes[middle] ?? 0) < hash) low = middle + 1
    else high = middle
  }
  return low === hashes.length ? 0 : low
}
