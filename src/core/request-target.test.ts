/** Rows of istio's normalization_test.go (behaviour §10.7), and properties. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { normalizeTarget, splitAbsoluteForm } from './request-target.ts'

const MODES = ['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const
const same = Symbol('as is')
/** Input, then the result per mode; `same`: unchanged; null: refused. */
const ROWS: readonly (readonly [string, ...(string | null | typeof same)[]])[] = [
  ['/app#foo', '/app', '/app', '/app', '/app'],
  ['/app/../admin', same, '/admin', '/admin', '/admin'],
  ['/app//', same, '/app//', '/app/', '/app/'],
  ['/app/%2f', same, same, same, '/app/'],
  ['/app%2f/', same, same, same, '/app/'],
  ['/xyz%30..//abc', same, '/xyz0..//abc', '/xyz0../abc', '/xyz0../abc'],
  ['/app/%2E./admin', same, '/admin', '/admin', '/admin'],
  ['/app\\admin', same, '/app/admin', '/app/admin', '/app/admin'],
  ['/app/\\/\\/\\admin', same, '/app//////admin', '/app/admin', '/app/admin'],
  ['/%2Fapp%5cadmin%5Cabc', same, same, same, '/app/admin/abc'],
  [
    '/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\\abc',
    same,
    '/%5Capp%2f%5c%2F..%2fadmin%5c/abc',
    '/%5Capp%2f%5c%2F..%2fadmin%5c/abc',
    '/app/admin/abc',
  ],
  ['/app//../admin', same, '/app/admin', '/app/admin', '/app/admin'],
  ['/app//../../admin', same, '/admin', '/admin', '/admin'],
  ['/%c0%2e%c0%2e/admin', same, '/%c0.%c0./admin', '/%c0.%c0./admin', '/%c0.%c0./admin'],
  ['/%c0%2fadmin', same, same, same, '/%c0/admin'],
  ['/admin%00', same, null, null, null],
  ['/a%zz', same, null, null, null],
  ['/%%32%65', same, null, null, null],
  ['/a/..', same, '/', '/', '/'],
  ['/a/b/.', same, '/a/b/', '/a/b/', '/a/b/'],
  ['/../x', same, '/x', '/x', '/x'],
  ['/%252e%252e/a', same, same, same, same],
  ['/.../x', same, same, same, same],
  ['/..;/x', same, same, same, same],
  ['/Admin;a=b', same, same, same, same],
  ['/a b', null, null, null, null],
  ['/ü', null, null, null, null],
  ['a', null, null, null, null],
  ['', null, null, null, null],
]

for (const [input, ...expected] of ROWS) {
  test(`normalize ${JSON.stringify(input)}`, () => {
    for (const [index, mode] of MODES.entries()) {
      const want = expected[index] === same ? input : expected[index]
      assert.equal(normalizeTarget(input, mode)?.path ?? null, want, mode)
    }
  })
}

test('the query is never touched and * stands alone', () => {
  assert.deepEqual(normalizeTarget('/a/../b?x=/../%2e', 'BASE'), { path: '/b', query: 'x=/../%2e' })
  assert.deepEqual(normalizeTarget('/a?', 'BASE'), { path: '/a', query: '' })
  assert.deepEqual(normalizeTarget('*', 'BASE'), { path: '*', query: null })
  assert.equal(normalizeTarget('*?x', 'BASE'), null)
})

test('absolute form is split, anything else is not', () => {
  assert.deepEqual(splitAbsoluteForm('http://a.b:80/x?y'), { authority: 'a.b:80', target: '/x?y' })
  assert.deepEqual(splitAbsoluteForm('HTTPS://a.b'), { authority: 'a.b', target: '/' })
  assert.deepEqual(splitAbsoluteForm('http://a.b?q'), { authority: 'a.b', target: '/?q' })
  assert.equal(splitAbsoluteForm('/http://a'), null)
  assert.equal(splitAbsoluteForm('ftp://a/'), null)
})

test('normalisation is idempotent and never leaves dot segments', () => {
  const piece = fc.constantFrom('/', '.', '..', '%2e', '%2F', '%5c', '\\', 'a', '%41', '%c0', ';', '%', '%00', '?', '#')
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), fc.constantFrom(...MODES), (pieces, mode) => {
      const first = normalizeTarget(`/${pieces.join('')}`, mode)
      if (first === null) return
      assert.deepEqual(normalizeTarget(first.path, mode), { path: first.path, query: null })
      if (mode !== 'NONE') assert.ok(!first.path.split('/').some((segment) => segment === '.' || segment === '..'))
    }),
    { numRuns: 2000 },
  )
})
