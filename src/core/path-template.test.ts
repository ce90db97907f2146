/** Path templates: every row of behaviour §1.5, and equality with Envoy's regular expression. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { compilePathTemplate, isPathTemplate, pathTemplateError } from './path-template.ts'

const ROWS: readonly (readonly [template: string, path: string, matches: boolean])[] = [
  ['/allow/admin/{**}', '/allow/admin/', true],
  ['/allow/admin/{**}', '/allow/admin/x/y.txt', true],
  ['/allow/admin/{**}', '/allow/admin', false],
  ['/foo/{*}/bar/{**}', '/foo/buzz/bar/bat.txt', true],
  ['/foo/{*}/bar/{**}', '/foo/b/bar/a/b', true],
  ['/foo/{*}/bar/{**}', '/foo/bar/bat.txt', false],
  ['/foo/{*}/bar/{**}', '/foo//bar/bat.txt', false],
  ['/store/{**}/cart', '/store//cart', true],
  ['/store/{**}/cart', '/store/a/cart', true],
  ['/store/{**}/cart', '/store/a/b/cart', true],
  ['/store/{**}/cart', '/store/cart', false],
  ['/{*}', '/', false],
  ['/{*}', '/a', true],
  ['/{*}', '/a/', false],
  ['/{*}/', '/a/', true],
  ['/{**}', '/', true],
  // Envoy's class has neither = nor *.
  ['/a/{*}', '/a/b=c', false],
  ['/a/{**}', '/a/b=c', false],
  ['/a/{*}', '/a/b%20c', true],
  ['/a=b/{*}', '/a=b/c', true],
]

for (const [template, path, expected] of ROWS)
  test(`${template} ${expected ? 'matches' : 'does not match'} ${path}`, () => {
    assert.equal(compilePathTemplate(template)(path), expected)
  })

for (const bad of [
  '/foo/{**}x',
  '/{a}',
  '/{*}.txt',
  '/{*}/a/*',
  '/{**}/{*}',
  '/{**}/{**}',
  '/{*}/?a',
  '{*}',
  '/a//{*}',
  '/{a}/plain',
  '/x}',
  '/{a=*}',
])
  test(`${bad} is refused`, () => {
    assert.notEqual(pathTemplateError(bad), null)
    assert.throws(() => compilePathTemplate(bad), RangeError)
  })

for (const plain of ['/a', '/a/*', '*', '*.txt', '/a=b?', '/a*b'])
  test(`${plain} is a plain pattern`, () => {
    assert.equal(isPathTemplate(plain), false)
    assert.equal(pathTemplateError(plain), null)
  })

test('where a match refuses, operators stand for any character', () => {
  assert.equal(compilePathTemplate('/a/{*}', true)('/a/b=c'), true)
  assert.equal(compilePathTemplate('/a/{**}', true)('/a/b=c/*'), true)
  assert.equal(compilePathTemplate('/a/{*}', true)('/a/b/c'), false)
  assert.equal(compilePathTemplate('/a/{*}', true)('/a/'), false)
})

test('equals the regular expression Envoy would compile', () => {
  const C = "a-zA-Z0-9\\-._~%!$&'()+,;:@"
  const segment = fc.constantFrom('{*}', 'a', 'b.c', 'a=b')
  const template = fc
    .tuple(fc.array(segment, { minLength: 1, maxLength: 4 }), fc.boolean(), fc.constantFrom('', '/a', '/'))
    .map(([head, any, tail]) => `/${head.join('/')}${any ? `/{**}${tail}` : tail === '/' ? '/' : ''}`)
    .filter(isPathTemplate)
  const path = fc.array(fc.constantFrom('a', 'b.c', 'a=b', '', 'x', '*')).map((parts) => `/${parts.join('/')}`)
  fc.assert(
    fc.property(template, path, (value, subject) => {
      const source = value
        .replace(/[.]/g, '\\$&')
        .replaceAll('{**}', () => `[${C}/]*`)
        .replaceAll('{*}', () => `[${C}]+`)
      assert.equal(compilePathTemplate(value)(subject), new RegExp(`^${source}$`).test(subject))
      if (compilePathTemplate(value)(subject)) assert.equal(compilePathTemplate(value, true)(subject), true)
    }),
  )
})
