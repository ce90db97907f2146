/** RE2 patterns: full match, refusals, linear time. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkRegex, compileRegex, RegexError } from './regex.ts'

test('a pattern matches the whole text or not at all', () => {
  const { matches } = compileRegex('/v[0-9]+')
  assert.equal(matches('/v12'), true)
  assert.equal(matches('/v12/x'), false)
  assert.equal(matches('x/v12'), false)
  assert.equal(matches('/v12\n'), false)
})

test('the longest alternative counts, not the first (RE2::FullMatch)', () => {
  assert.equal(compileRegex('a|ab').matches('ab'), true)
  assert.equal(compileRegex('(?i)ABC').matches('abc'), true)
  assert.equal(compileRegex('a.b').matches('a\nb'), false)
})

test('what RE2 does not know is refused, with the reason', () => {
  for (const pattern of ['(?=a)b', '(?<=a)b', '(a)\\1', '*', '[', 'a{1001}', 'x++', '']) {
    assert.equal(typeof checkRegex(pattern), 'string', pattern)
    assert.throws(() => compileRegex(pattern), RegexError)
  }
  assert.match(checkRegex('[') ?? '', /missing closing/)
  assert.match(checkRegex('a'.repeat(5000)) ?? '', /longer than/)
  assert.equal(checkRegex('.*'), null)
})

test('patterns that make a backtracking engine explode stay fast', () => {
  const { matches } = compileRegex('(a|aa)+b')
  const started = performance.now()
  assert.equal(matches('a'.repeat(20_000)), false)
  assert.ok(performance.now() - started < 10_000, 'it would take years')
})
