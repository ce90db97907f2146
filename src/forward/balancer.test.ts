import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createBalancer } from './balancer.ts'

const names = (n: number, weights: readonly number[] = []) =>
  Array.from({ length: n }, (_, i) => ({ name: i, weight: weights[i] ?? 1, active: 0 }))

/** A fixed, well-spread sequence in [0, 1). */
function sequence(): () => number {
  let state = 0.5
  return () => {
    state = (state + 0.6180339887498949) % 1
    return state
  }
}

test('ROUND_ROBIN alternates, and keeps weights without bursts', () => {
  const even = createBalancer({ kind: 'ROUND_ROBIN', warmup: null })
  const three = names(3)
  assert.deepEqual(
    Array.from({ length: 6 }, () => even.pick(three, Math.random).name),
    [0, 1, 2, 0, 1, 2],
  )
  const weighted = createBalancer({ kind: 'ROUND_ROBIN', warmup: null })
  const two = names(2, [3, 1])
  const picks = Array.from({ length: 8 }, () => weighted.pick(two, Math.random).name)
  assert.equal(picks.filter((name) => name === 1).length, 2)
  assert.deepEqual(picks.slice(0, 4), picks.slice(4))
  assert.notDeepEqual(picks.slice(0, 4), [0, 0, 0, 1])
})

test('RANDOM follows the weights', () => {
  const balancer = createBalancer({ kind: 'RANDOM', warmup: null })
  const random = sequence()
  const two = names(2, [9, 1])
  const picks = Array.from({ length: 1_000 }, () => balancer.pick(two, random).name)
  const second = picks.filter((name) => name === 1).length
  assert.ok(second > 80 && second < 120, String(second))
})

test('LEAST_REQUEST prefers the idle one of two, by weight', () => {
  const balancer = createBalancer({ kind: 'LEAST_REQUEST', warmup: null })
  const [busy, idle] = [
    { weight: 1, active: 10 },
    { weight: 1, active: 0 },
  ]
  const draws = [0, 0.9, 0.9, 0, 0, 0]
  const random = () => draws.shift() ?? 0
  assert.equal(balancer.pick([busy, idle], random), idle)
  assert.equal(balancer.pick([busy, idle], random), idle)
  assert.equal(balancer.pick([busy, idle], random), busy)
  const heavy = { weight: 100, active: 10 }
  const light = { weight: 1, active: 1 }
  const both = [0, 0.999]
  assert.equal(
    createBalancer({ kind: 'LEAST_REQUEST', warmup: null }).pick([heavy, light], () => both.shift() ?? 0),
    heavy,
  )
})
