/** Lookup by host equals a scan of all patterns for the most specific one. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { compareSpecificity, hostCovers } from '../core/host-pattern.ts'
import { indexHosts } from './host-index.ts'

test('exact before the longest suffix before everything', () => {
  const { find } = indexHosts([
    ['*', 'all'],
    ['*.example.com', 'wide'],
    ['*.b.example.com', 'narrow'],
    ['a.example.com', 'exact'],
    ['a.example.com', 'second'],
  ])
  assert.equal(find('a.example.com'), 'exact')
  assert.equal(find('x.example.com'), 'wide')
  assert.equal(find('x.y.b.example.com'), 'narrow')
  assert.equal(find('b.example.com'), 'wide')
  assert.equal(find('example.com'), 'all')
  assert.equal(find('badexample.com'), 'all')
  assert.equal(find(''), 'all')
})

test('without a catch-all an unknown name is null', () => {
  const { find } = indexHosts([['*.example.com', 1]])
  for (const host of ['example.com', '.example.com', 'example.com.evil.io', '', 'com']) assert.equal(find(host), null)
})

const label = fc.constantFrom('a', 'b', 'com')
const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'))
const pattern = fc.oneof(
  fc.constant('*'),
  name,
  name.map((suffix) => `*.${suffix}`),
)

test('the index finds what a linear scan finds', () => {
  fc.assert(
    fc.property(fc.array(pattern, { maxLength: 8 }), name, (patterns, host) => {
      const [best] = patterns.filter((each) => hostCovers(each, host)).toSorted(compareSpecificity)
      assert.equal(indexHosts(patterns.map((each) => [each, each] as const)).find(host), best ?? null)
    }),
  )
})
