/** HTTPMatchRequest, field by field (behaviour §4.4). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { MatchModel, StringMatch } from '../model/route.ts'
import type { RequestOptions } from '../testing/policy-fixtures.ts'
import { httpRequest, matchModel } from '../testing/routes.ts'
import { compileMatch, queryParam } from './match.ts'

const exact = (value: string): StringMatch => ({ kind: 'exact', value })
const prefix = (value: string): StringMatch => ({ kind: 'prefix', value })
const regex = (value: string): StringMatch => ({ kind: 'regex', value })
const present: StringMatch = { kind: 'present' }

function holds(fields: Partial<MatchModel>, options: RequestOptions): boolean {
  const match = compileMatch(matchModel(fields))
  const http = httpRequest(options)
  const result = match.test(http)
  assert.equal(match.whyNot(http) === null, result, 'test and explanation agree')
  return result
}

test('uri: exact, plain string prefix, regex over the whole path, never the query', () => {
  assert.equal(holds({ uri: exact('/a') }, { path: '/a', query: 'x=1' }), true)
  assert.equal(holds({ uri: exact('/a') }, { path: '/a/' }), false)
  assert.equal(holds({ uri: prefix('/foo') }, { path: '/foobar' }), true)
  assert.equal(holds({ uri: prefix('/foo') }, { path: '/fo' }), false)
  assert.equal(holds({ uri: regex('/v[0-9]') }, { path: '/v1' }), true)
  assert.equal(holds({ uri: regex('/v[0-9]') }, { path: '/v1/x' }), false)
  assert.equal(holds({ uri: regex('.*x=1') }, { path: '/a', query: 'x=1' }), false)
})

test('ignoreUriCase: exact and prefix only', () => {
  assert.equal(holds({ uri: exact('/Admin'), ignoreUriCase: true }, { path: '/aDMIN' }), true)
  assert.equal(holds({ uri: prefix('/Admin'), ignoreUriCase: true }, { path: '/adminx' }), true)
  assert.equal(holds({ uri: regex('/admin'), ignoreUriCase: true }, { path: '/ADMIN' }), false)
  assert.equal(holds({ uri: exact('/Admin') }, { path: '/admin' }), false)
})

test('method and authority are case-sensitive, authority has its port', () => {
  assert.equal(holds({ method: exact('GET') }, { method: 'GET' }), true)
  assert.equal(holds({ method: exact('get') }, { method: 'GET' }), false)
  assert.equal(holds({ authority: exact('a.com') }, { host: 'a.com:80' }), false)
  assert.equal(holds({ authority: prefix('a.com') }, { host: 'a.com:80' }), true)
  assert.equal(holds({ scheme: exact('https') }, { scheme: 'https' }), true)
  assert.equal(holds({ scheme: exact('https') }, { scheme: 'http' }), false)
})

test('headers: all of them, repeated ones joined by commas, pseudo fields answered from the request', () => {
  const headers = ['x-a', '1', 'x-b', 'p', 'x-b', 'q']
  assert.equal(holds({ headers: [{ name: 'x-a', match: exact('1') }] }, { headers }), true)
  assert.equal(holds({ headers: [{ name: 'x-b', match: exact('p,q') }] }, { headers }), true)
  assert.equal(holds({ headers: [{ name: 'x-b', match: exact('p') }] }, { headers }), false)
  assert.equal(holds({ headers: [{ name: 'x-c', match: present }] }, { headers }), false)
  assert.equal(holds({ headers: [{ name: 'x-a', match: present }] }, { headers }), true)
  assert.equal(holds({ headers: [{ name: 'x-c', match: regex('.*') }] }, { headers }), false)
  assert.equal(holds({ headers: [{ name: 'host', match: exact('a.com') }] }, { host: 'a.com' }), true)
  assert.equal(holds({ headers: [{ name: ':path', match: exact('/p?q') }] }, { path: '/p', query: 'q' }), true)
  assert.equal(holds({ headers: [{ name: 'constructor', match: present }] }, { headers }), false)
})

test('withoutHeaders: a missing header is the empty string, except for presence', () => {
  const without = (match: StringMatch, headers: readonly string[]) =>
    holds({ withoutHeaders: [{ name: 'x-a', match }] }, { headers })
  assert.equal(without(exact('1'), ['x-a', '1']), false)
  assert.equal(without(exact('1'), ['x-a', '2']), true)
  assert.equal(without(exact('1'), []), true)
  assert.equal(without(regex('.*'), []), false)
  assert.equal(without(present, []), true)
  assert.equal(without(present, ['x-a', '']), false)
})

test('query parameters: raw, first occurrence', () => {
  const param = (match: StringMatch, query: string | null) => holds({ queryParams: [{ name: 'k', match }] }, { query })
  assert.equal(param(exact('v'), 'a=b&k=v'), true)
  assert.equal(param(exact('v'), 'k=w&k=v'), false)
  assert.equal(param(exact('%76'), 'k=%76'), true)
  assert.equal(param(exact('v'), 'k=%76'), false)
  assert.equal(param(prefix('v'), 'k=vw'), true)
  assert.equal(param(present, 'k'), true)
  assert.equal(param(present, 'kk=1'), false)
  assert.equal(param(present, null), false)
})

test('queryParam splits as Envoy does', () => {
  assert.equal(queryParam('a=1=2&b', 'a'), '1=2')
  assert.equal(queryParam('a=1=2&b', 'b'), '')
  assert.equal(queryParam('a&b=x', 'a'), '')
  assert.equal(queryParam('&&a=1', 'a'), '1')
  assert.equal(queryParam('', 'a'), null)
  assert.equal(queryParam('a=', 'a'), '')
})

test('the explanation names the field and what it saw', () => {
  const match = compileMatch(matchModel({ method: exact('GET'), uri: prefix('/x') }))
  assert.equal(match.whyNot(httpRequest({ path: '/y' })), 'uri prefix "/x" does not hold for "/y"')
})
