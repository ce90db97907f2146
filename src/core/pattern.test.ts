/** Istio string patterns: the table of behaviour §1.3, and that regular-expression characters stay literal. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { compileGlob, compilePatterns, parsePattern } from './pattern.ts'

const ROWS: readonly (readonly [pattern: string, subject: string, matches: boolean])[] = [
  ['a', 'a', true],
  ['a', 'ab', false],
  ['a', 'A', false],
  ['a*', 'abc', true],
  ['a*', 'a', true],
  ['a*', 'ba', false],
  ['*a', 'ba', true],
  ['*a', 'a', true],
  ['*a', 'ab', false],
  ['*', 'x', true],
  ['*', '', false],
  // The leading star wins; the trailing one is literal. A star in the middle is literal.
  ['*a*', 'xa*', true],
  ['*a*', 'xab', false],
  ['**', 'x*', true],
  ['**', 'x', false],
  ['a*b', 'a*b', true],
  ['a*b', 'axb', false],
  // threats 24, 31
  ['*.example.com', 'a.b.example.com', true],
  ['*.example.com', 'example.com', false],
  ['*.example.com', 'badexample.com', false],
  ['*.example.com', 'example.com.evil.io', false],
  ['foo.bar', 'fooxbar', false],
  ['*/sa/foo.bar', 'x/sa/fooxbar', false],
  ['[x]', 'x', false],
  ['[x]*', '[x]y', true],
]

for (const [pattern, subject, expected] of ROWS)
  test(`${JSON.stringify(pattern)} ${expected ? 'matches' : 'does not match'} ${JSON.stringify(subject)}`, () => {
    assert.equal(compilePatterns([pattern])(subject), expected)
    assert.equal(compilePatterns(['never', pattern, 'no*'])(subject), expected)
  })

test('no values match nothing', () => assert.equal(compilePatterns([])(''), false))

test('parsePattern keeps the text', () => {
  assert.deepEqual(parsePattern('*a*'), { kind: 'suffix', text: 'a*' })
  assert.deepEqual(parsePattern('a*'), { kind: 'prefix', text: 'a' })
})

test('a glob equals the quoted regular expression', () => {
  const piece = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*', '[', '/') })
  fc.assert(
    fc.property(piece, fc.string({ unit: fc.constantFrom('a', 'b', '.', '[', '/') }), (glob, subject) => {
      const source = glob.replace(/[.[\]/]/g, '\\$&').replaceAll('*', '.*')
      assert.equal(compileGlob(glob)(subject), new RegExp(`^${source}$`).test(subject))
    }),
  )
})

test('a glob of many stars stays linear', () => {
  const matches = compileGlob('*a'.repeat(200))
  assert.equal(matches(`${'a'.repeat(100_000)}b`), false)
})
