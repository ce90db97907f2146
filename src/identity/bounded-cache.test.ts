import assert from 'node:assert/strict'
import { it } from 'node:test'
import { BoundedCache } from './bounded-cache.ts'

it('BoundedCache forgets what was used longest ago', () => {
  const cache = new BoundedCache<string, number>(2)
  cache.set('a', 1)
  cache.set('b', 2)
  assert.equal(cache.get('a'), 1)
  cache.set('c', 3)
  assert.equal(cache.size, 2)
  assert.equal(cache.get('b'), undefined)
  assert.equal(cache.get('a'), 1)
  cache.set('a', 4)
  assert.equal(cache.size, 2)
  assert.equal(cache.get('a'), 4)
  assert.equal(cache.get('c'), 3)
})
