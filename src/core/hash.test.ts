import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { hash32 } from './hash.ts'

/** TABLE of published vectors of MurmurHash3_x86_32 (SMHasher's users; text is Latin-1). */
const VECTORS: readonly (readonly [text: string, seed: number, hash: number])[] = [
  ['', 0, 0],
  ['', 1, 0x514e28b7],
  ['', 0xffffffff, 0x81f16f39],
  ['\xff\xff\xff\xff', 0, 0x76293b50],
  ['\x21\x43\x65\x87', 0, 0xf55b516b],
  ['\x21\x43\x65\x87', 0x5082edee, 0x2362f9de],
  ['\x21\x43\x65', 0, 0x7e4a8634],
  ['\x21\x43', 0, 0xa0f7b07a],
  ['\x21', 0, 0x72661cf4],
  ['\0\0\0\0', 0, 0x2362f9de],
  ['\0\0\0', 0, 0x85f0b427],
  ['\0\0', 0, 0x30f4c306],
  ['\0', 0, 0x514e28b7],
  ['test', 0, 0xba6bd213],
  ['Hello, world!', 0, 0xc0363e43],
  ['The quick brown fox jumps over the lazy dog', 0, 0x2e4ff723],
  ['aaaa', 0x9747b28c, 0x5a97808a],
  ['aaa', 0x9747b28c, 0x283e0130],
  ['aa', 0x9747b28c, 0x5d211726],
  ['a', 0x9747b28c, 0x7fa09ea6],
]

test('hash32 gives the published values of MurmurHash3 x86 32', () => {
  for (const [text, seed, hash] of VECTORS) assert.equal(hash32(text, seed), hash, JSON.stringify([text, seed]))
})

test('hash32 is unsigned, 32 bits, and the same every time; characters beyond one byte count whole', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const hash = hash32(text)
      assert.ok(Number.isInteger(hash) && hash >= 0 && hash < 2 ** 32)
      assert.equal(hash32(text), hash)
    }),
  )
  assert.notEqual(hash32('\u0141'), hash32('\u0241'))
})

test('hash32 spreads keys that differ by a digit evenly over buckets', () => {
  const buckets = Array.from({ length: 16 }, () => 0)
  for (let i = 0; i < 16_000; i++) {
    const bucket = Math.floor((hash32(`10.0.0.${i}`) / 2 ** 32) * buckets.length)
    buckets[bucket] = (buckets[bucket] ?? 0) + 1
  }
  // 1000 ± six standard deviations.
  for (const count of buckets) assert.ok(Math.abs(count - 1000) < 6 * Math.sqrt(1000 * (15 / 16)), String(buckets))
})
