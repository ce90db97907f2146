/** Location of a redirect (behaviour §4.5), row by row. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { MatchModel, RedirectAction } from '../model/route.ts'
import type { RequestOptions } from '../testing/policy-fixtures.ts'
import { httpRequest, matchModel } from '../testing/routes.ts'
import { redirectLocation } from './redirect.ts'

const base: RedirectAction = {
  kind: 'redirect',
  code: 301,
  uri: null,
  replacesPrefix: false,
  authority: null,
  scheme: null,
  port: null,
}

test('rows', () => {
  const rows: readonly (readonly [Partial<RedirectAction>, RequestOptions, string])[] = [
    [{ scheme: 'https' }, { host: 'a.com', path: '/p', query: 'q=1' }, 'https://a.com/p?q=1'],
    [{ scheme: 'https' }, { host: 'a.com:80' }, 'https://a.com/'],
    [{ scheme: 'https' }, { host: 'a.com:8080' }, 'https://a.com:8080/'],
    [{ scheme: 'https' }, { host: 'a.com:80', scheme: 'https' }, 'https://a.com:80/'],
    [{ uri: '/new' }, { host: 'a.com', path: '/p', query: 'q' }, 'http://a.com/new?q'],
    [{ uri: '/new?own' }, { host: 'a.com', path: '/p', query: 'q' }, 'http://a.com/new?own'],
    [{ authority: 'b.com:81' }, { host: 'a.com:82' }, 'http://b.com:81/'],
    [{ authority: 'b.com' }, { host: 'a.com:82' }, 'http://b.com/'],
    [{ port: 8443 }, { host: 'a.com:82' }, 'http://a.com:8443/'],
    [{ port: 443, scheme: 'https' }, { host: 'a.com:82' }, 'https://a.com/'],
    [{ port: 8443, authority: 'b.com' }, {}, 'http://b.com:8443/'],
    [{ port: 'FROM_REQUEST_PORT' }, { host: 'a.com' }, 'http://a.com:8000/'],
    [{ port: 'FROM_PROTOCOL_DEFAULT' }, { host: 'a.com:82' }, 'http://a.com/'],
    [{ scheme: 'https', port: 8443 }, { host: '[::1]:80' }, 'https://[::1]:8443/'],
  ]
  for (const [action, options, location] of rows)
    assert.equal(redirectLocation({ ...base, ...action }, httpRequest(options), 8000, null), location)
})

test('%PREFIX()%: the matched prefix is replaced, the rest and the query stay', () => {
  const action: RedirectAction = { ...base, uri: '/new', replacesPrefix: true }
  const location = (uri: MatchModel['uri'], path: string, to: Partial<RedirectAction> = {}) =>
    redirectLocation({ ...action, ...to }, httpRequest({ host: 'a.com', path, query: 'q' }), 80, matchModel({ uri }))
  assert.equal(location({ kind: 'prefix', value: '/old' }, '/old/x'), 'http://a.com/new/x?q')
  assert.equal(location({ kind: 'prefix', value: '/old' }, '/older'), 'http://a.com/newer?q')
  assert.equal(location({ kind: 'prefix', value: '/old' }, '/old/x', { uri: '' }), 'http://a.com/x?q')
  assert.equal(location({ kind: 'prefix', value: '/old/' }, '/old/x', { uri: '' }), 'http://a.com/x?q')
  assert.equal(location({ kind: 'exact', value: '/old' }, '/old'), 'http://a.com/new?q')
  assert.equal(location({ kind: 'regex', value: '/o.*' }, '/old'), 'http://a.com/new?q')
  assert.equal(location(null, '/x'), 'http://a.com/newx?q')
})
