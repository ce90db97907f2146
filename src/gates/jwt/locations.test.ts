/** Where tokens are found, and that what is taken out is all of it and nothing else. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { HttpAttributes } from '../../core/attributes.ts'
import type { TokenLocation } from '../../model/token.ts'
import { request } from '../../testing/policy-fixtures.ts'
import { findTokens, withoutTokens } from './locations.ts'

const BEARER: TokenLocation = { in: 'header', name: 'authorization', prefix: 'Bearer ' }
const PLAIN: TokenLocation = { in: 'header', name: 'x-token', prefix: '' }
const PARAM: TokenLocation = { in: 'param', name: 'access_token' }
const COOKIE: TokenLocation = { in: 'cookie', name: 'session' }

const http = (headers: readonly string[], query: string | null = null) =>
  request({ headers, query }).http as HttpAttributes
const found = (location: TokenLocation, of: HttpAttributes) => findTokens([location], of).map(({ text }) => text)

describe('header', () => {
  const rows: readonly (readonly [values: readonly string[], tokens: readonly string[]])[] = [
    [['Bearer a.b.c'], ['a.b.c']],
    [['bearer a.b.c'], ['a.b.c']],
    [['Bearer   a.b.c'], ['a.b.c']],
    [['Basic dXNlcg=='], []],
    [['Bearer'], []],
    [[], []],
    // Envoy would take `a.b.c` out of these; here the whole is taken, and is no token.
    [['Basic x, Bearer a.b.c'], ['Basic x, Bearer a.b.c']],
    [['Bearer a.b.c, Bearer d.e.f'], ['a.b.c, Bearer d.e.f']],
    // Beside a token nothing else passes.
    [
      ['Bearer a.b.c', 'Basic x'],
      ['a.b.c', 'Basic x'],
    ],
    [
      ['Bearer a.b.c', 'Bearer a.b.c'],
      ['a.b.c', 'a.b.c'],
    ],
  ]
  for (const [values, tokens] of rows)
    test(JSON.stringify(values), () => {
      assert.deepEqual(found(BEARER, http(values.flatMap((value) => ['authorization', value]))), tokens)
    })
  test('without a prefix the value is the token', () => {
    assert.deepEqual(found(PLAIN, http(['x-token', 'a.b.c'])), ['a.b.c'])
    assert.deepEqual(found(PLAIN, http(['x-token', 'Bearer a.b.c'])), ['Bearer a.b.c'])
    assert.deepEqual(found(PLAIN, http(['x-token', ''])), [''])
  })
})

test('parameters, also when their names and values are encoded, every one of them', () => {
  assert.deepEqual(found(PARAM, http([], 'x=1&access_token=a.b.c')), ['a.b.c'])
  assert.deepEqual(found(PARAM, http([], 'access%5Ftoken=a%2Eb.c&access_token=d')), ['a.b.c', 'd'])
  assert.deepEqual(found(PARAM, http([], 'access_token')), [''])
  assert.deepEqual(found(PARAM, http([], 'access_token=%zz')), ['%zz'])
  assert.deepEqual(found(PARAM, http([], 'my_access_token=a')), [])
  assert.deepEqual(found(PARAM, http([])), [])
})

test('cookies, in quotation marks or without', () => {
  assert.deepEqual(found(COOKIE, http(['cookie', 'a=1; session=a.b.c; b=2'])), ['a.b.c'])
  assert.deepEqual(found(COOKIE, http(['cookie', 'session="a.b.c"'])), ['a.b.c'])
  assert.deepEqual(found(COOKIE, http(['cookie', 'session=a;session=b'])), ['a', 'b'])
  assert.deepEqual(found(COOKIE, http(['cookie', 'xsession=a'])), [])
})

test('taken out: all of it, and nothing else changes', () => {
  const full = http(
    ['authorization', 'Bearer a', 'accept', '*/*', 'cookie', 'a=1; session=x; b=2; session=y', 'x-token', 'a'],
    'q=%20+1&access_token=a&access%5ftoken=b&z',
  )
  const rest = withoutTokens(full, [BEARER, PLAIN, PARAM, COOKIE])
  assert.deepEqual(rest.headers, ['accept', '*/*', 'cookie', 'a=1; b=2'])
  assert.equal(rest.query, 'q=%20+1&z')
  const bare = withoutTokens(http(['cookie', 'session=x'], 'access_token=a'), [PARAM, COOKIE])
  assert.deepEqual([bare.headers, bare.query], [[], null])
})
