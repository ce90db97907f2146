/** Replacing by RE2, as Envoy rewrites paths. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compileReplacement, RegexError } from './regex.ts'

test('rows', () => {
  const rows: readonly (readonly [pattern: string, substitution: string, text: string, result: string])[] = [
    // The examples of Envoy's RegexMatchAndSubstitute.
    ['^/service/([^/]+)(/.*)$', '\\2/instance/\\1', '/service/foo/v1/api', '/v1/api/instance/foo'],
    ['one', 'two', '/xxx/one/yyy/one/zzz', '/xxx/two/yyy/two/zzz'],
    ['^(.*?)one(.*)$', '\\1two\\2', '/xxx/one/yyy/one/zzz', '/xxx/two/yyy/one/zzz'],
    ['(?i)/xxx/', '/yyy/', '/aaa/XxX/bbb', '/aaa/yyy/bbb'],
    ['b', '[\\0\\0]', 'abc', 'a[bb]c'],
    ['(a)|(b)', '<\\1\\2>', 'ab', '<a><b>'],
    ['/', '\\\\', 'a/b', 'a\\b'],
    ['x', 'y', 'abc', 'abc'],
    ['a*', 'x', 'baac', 'xbxcx'],
    ['.*', '', 'abc', ''],
    ['a', '$1', 'a', '$1'],
  ]
  for (const [pattern, substitution, text, result] of rows)
    assert.equal(compileReplacement(pattern, substitution)(text), result, `${pattern} ${substitution}`)
})

test('what RE2 refuses', () => {
  for (const [pattern, substitution] of [
    ['(a', 'b'],
    ['(a)', '\\2'],
    ['a', '\\x'],
    ['a', '\\'],
    ['', 'x'],
    ['(?=a)', ''],
  ] as const)
    assert.throws(() => compileReplacement(pattern, substitution), RegexError, `${pattern} ${substitution}`)
})
