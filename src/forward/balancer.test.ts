import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Balanced, type Balancer, candidatesOf, createBalancer } from './balancer.ts'

const names = (n: number, weights: readonly number[] = []) =>
  Array.from({ length: n }, (_, i) => ({ name: i, weight: weights[i] ?? 1, active: 0 }))

const pick = <T extends Balanced>(balancer: Balancer, list: readonly T[], random: () => number = Math.random): T =>
  balancer.pick(candidatesOf(list), random)

/** A fixed, well-spread sequence in [0, 1). */
function sequence(): () => number {
  let state = 0.5
  return () => {
    state = (state + 0.6180339887498949) % 1
    return state
  }
}

/** Mulberry32: numbers in [0, 1) that only depend on the seed. */
function uniform(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

test('ROUND_ROBIN alternates, and keeps weights without bursts', () => {
  const even = createBalancer('ROUND_ROBIN')
  const three = names(3)
  assert.deepEqual(
    Array.from({ length: 6 }, () => pick(even, three).name),
    [0, 1, 2, 0, 1, 2],
  )
  const weighted = createBalancer('ROUND_ROBIN')
  const two = names(2, [3, 1])
  const picks = Array.from({ length: 8 }, () => pick(weighted, two).name)
  assert.equal(picks.filter((name) => name === 1).length, 2)
  assert.deepEqual(picks.slice(0, 4), picks.slice(4))
  assert.notDeepEqual(picks.slice(0, 4), [0, 0, 0, 1])
})

test('RANDOM follows the weights', () => {
  const balancer = createBalancer('RANDOM')
  const random = sequence()
  const two = names(2, [9, 1])
  const picks = Array.from({ length: 1_000 }, () => pick(balancer, two, random).name)
  const second = picks.filter((name) => name === 1).length
  assert.ok(second > 80 && second < 120, String(second))
})

test('LEAST_REQUEST prefers the idle one of two, by weight', () => {
  const balancer = createBalancer('LEAST_REQUEST')
  const [busy, idle] = [
    { weight: 1, active: 10 },
    { weight: 1, active: 0 },
  ]
  const draws = [0, 0.9, 0.9, 0, 0, 0]
  const random = () => draws.shift() ?? 0
  assert.equal(pick(balancer, [busy, idle], random), idle)
  assert.equal(pick(balancer, [busy, idle], random), idle)
  assert.equal(pick(balancer, [busy, idle], random), busy)
  const heavy = { weight: 100, active: 10 }
  const light = { weight: 1, active: 1 }
  const both = [0, 0.999]
  assert.equal(
    pick(createBalancer('LEAST_REQUEST'), [heavy, light], () => both.shift() ?? 0),
    heavy,
  )
})

test('ROUND_ROBIN goes on where it was when endpoints come and go', () => {
  const balancer = createBalancer('ROUND_ROBIN')
  const [a, b, c] = names(3)
  assert.ok(a !== undefined && b !== undefined && c !== undefined)
  assert.deepEqual([pick(balancer, [a, b, c]), pick(balancer, [a, b, c])], [a, b])
  assert.deepEqual([pick(balancer, [a, b]), pick(balancer, [a, b]), pick(balancer, [a, b])], [a, b, a])
  assert.equal(pick(balancer, [a, b, c]), b)
})

test('property: turns follow the weights exactly, draws within what chance allows', () => {
  const weights = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 6 })
  fc.assert(
    fc.property(weights, fc.integer(), (list, seed) => {
      const total = list.reduce((a, b) => a + b, 0)
      const counts = (kind: 'ROUND_ROBIN' | 'RANDOM', rounds: number) => {
        const balancer = createBalancer(kind)
        const random = uniform(seed)
        const endpoints = names(list.length, list)
        const found = list.map(() => 0)
        for (let i = 0; i < rounds; i++) {
          const { name } = pick(balancer, endpoints, random)
          found[name] = (found[name] ?? 0) + 1
        }
        return found
      }
      assert.deepEqual(
        counts('ROUND_ROBIN', total * 3),
        list.map((weight) => weight * 3),
      )
      const rounds = 2_000
      for (const [index, found] of counts('RANDOM', rounds).entries()) {
        const share = (list[index] ?? 0) / total
        // Six standard deviations: once in half a thousand million.
        const bound = 6 * Math.sqrt(rounds * share * (1 - share)) + 1
        assert.ok(Math.abs(found - rounds * share) <= bound, `${found} of ${rounds}, share ${share}`)
      }
    }),
    { numRuns: 60 },
  )
})

test('property: LEAST_REQUEST with requests under way keeps all equally busy, by weight', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 8 }), fc.integer(), (count, seed) => {
      const endpoints = names(count)
      const random = uniform(seed)
      const balancer = createBalancer('LEAST_REQUEST')
      for (let i = 0; i < count * 50; i++) pick(balancer, endpoints, random).active++
      const busy = endpoints.map(({ active }) => active)
      // Two choices keep the gap at log log n; blind draws would spread by the square root of 50.
      assert.ok(Math.max(...busy) - Math.min(...busy) <= 10, busy.join())
    }),
    { numRuns: 50 },
  )
})
