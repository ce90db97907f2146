/** Host patterns, row by row (threats 24), and the algebra that merging relies on. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { canonicalHostPattern, compareSpecificity, hostCovers, intersectHosts } from './host-pattern.ts'

test('canonical form', () => {
  const rows: readonly (readonly [string, string | null])[] = [
    ['*', '*'],
    ['*.Example.COM', '*.example.com'],
    ['*.example.com.', '*.example.com'],
    ['A.b.', 'a.b'],
    ['10.0.0.1', '10.0.0.1'],
    ['', null],
    ['*.', null],
    ['*.*', null],
    ['*foo.com', null],
    ['*-foo.com', null],
    ['a.*.com', null],
    ['a..b', null],
    ['a/b', null],
    ['a.com:80', null],
    ['*.10.0.0.1', null],
    ['bücher.de', null],
  ]
  for (const [text, canonical] of rows) assert.equal(canonicalHostPattern(text), canonical, text)
})

test('what a pattern covers', () => {
  const rows: readonly (readonly [string, string, boolean])[] = [
    ['*.example.com', 'a.example.com', true],
    ['*.example.com', 'a.b.example.com', true],
    ['*.example.com', 'example.com', false],
    ['*.example.com', 'badexample.com', false],
    ['*.example.com', 'example.com.evil.io', false],
    ['*.example.com', '*.example.com', true],
    ['*.example.com', '*.b.example.com', true],
    ['*.b.example.com', '*.example.com', false],
    ['*.example.com', '*', false],
    ['*', 'x', true],
    ['*', '*', true],
    ['x', 'x', true],
    ['x', '*', false],
  ]
  for (const [pattern, inner, covers] of rows) assert.equal(hostCovers(pattern, inner), covers, `${pattern} ⊇ ${inner}`)
})

const label = fc.constantFrom('a', 'b', 'com')
const name = fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => labels.join('.'))
const pattern = fc.oneof(
  fc.constant('*'),
  name,
  name.map((suffix) => `*.${suffix}`),
)

test('the intersection covers exactly the names both patterns cover', () => {
  fc.assert(
    fc.property(pattern, pattern, name, (a, b, host) => {
      const common = intersectHosts(a, b)
      const both = hostCovers(a, host) && hostCovers(b, host)
      assert.equal(common !== null && hostCovers(common, host), both)
    }),
  )
})

test('a covering pattern never ranks before what it covers', () => {
  fc.assert(
    fc.property(pattern, pattern, (a, b) => {
      if (a !== b && hostCovers(a, b)) assert.ok(compareSpecificity(b, a) < 0)
    }),
  )
})
