/**
 * MurmurHash3, 32 bits, x86 variant (Appleby, public domain; SMHasher): short, fast and well mixed. For placing requests
 * and endpoints on rings, never for anything that an adversary must not steer. Envoy uses xxHash64 there: which endpoint
 * a key falls to is no promise of either.
 */

/** Unsigned 32 bits. Characters up to U+00FF are bytes (header fields are); others count as the two bytes they are stored in. */
export function hash32(text: string, seed = 0): number {
  let hash = seed | 0
  let block = 0
  let length = 0
  const take = (byte: number): void => {
    block |= byte << ((length & 3) << 3)
    length++
    if ((length & 3) !== 0) return
    hash ^= scramble(block)
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0
    block = 0
  }
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    take(unit & 0xff)
    if (unit > 0xff) take(unit >>> 8)
  }
  hash ^= scramble(block) ^ length
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

function scramble(block: number): number {
  const mixed = Math.imul(block, 0xcc9e2d51)
  return Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593)
}
