/** Route tables: virtual host, grant, first match, weights; and equality with a linear scan. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { NO_PEER } from '../core/attributes.ts'
import { compareSpecificity, hostCovers } from '../core/host-pattern.ts'
import type { MatchModel, StringMatch } from '../model/route.ts'
import { certificatePeer, spiffePeer } from '../testing/policy-fixtures.ts'
import { grantModel, httpRequest, matchModel, routeModel, virtualHostModel } from '../testing/routes.ts'
import { compileRouteTable, pickDestination, type VirtualHost } from './table.ts'

const prefix = (value: string): StringMatch => ({ kind: 'prefix', value })

function onlyHost(fields: Parameters<typeof virtualHostModel>[1]): VirtualHost {
  const host = compileRouteTable({ name: 't', virtualHosts: [virtualHostModel('*', fields)] }).virtualHost('any')
  assert.ok(host)
  return host
}

test('the first route with a matching alternative answers, under its name', () => {
  const named = matchModel({ name: 'm', uri: prefix('/a') })
  const host = onlyHost({
    routes: [routeModel('first', [matchModel({ uri: prefix('/z') }), named]), { ...routeModel('x'), name: null }],
  })
  const hit = host.match(httpRequest({ path: '/a/b' }), null)
  assert.equal(hit?.name, 'first.m')
  assert.equal(hit?.matched, named)
  const fallback = host.match(httpRequest({ path: '/b' }), null)
  assert.equal(fallback?.name, null)
  assert.equal(fallback?.matched, null)
})

test('no route, no answer: 404 is the caller of this table', () => {
  assert.equal(onlyHost({ routes: [] }).match(httpRequest(), null), null)
  assert.equal(onlyHost({}).match(httpRequest(), null), null)
  assert.equal(compileRouteTable({ name: 't', virtualHosts: [] }).virtualHost('a.com'), null)
})

test('a grant holds for its namespace and service accounts, and for nobody without a SPIFFE identity', () => {
  const host = onlyHost({ grants: [grantModel('one', { a: ['sa1'] }), grantModel('two', { a: null, b: null })] })
  const grantOf = (id: string) => host.grant(spiffePeer(id))?.model.name ?? null
  assert.equal(grantOf('cluster.local/ns/a/sa/sa1'), 'one')
  assert.equal(grantOf('cluster.local/ns/a/sa/sa2'), 'two')
  assert.equal(grantOf('cluster.local/ns/c/sa/sa1'), null)
  assert.equal(grantOf('cluster.local/other/a'), null)
  assert.equal(host.grant(NO_PEER), null)
  assert.equal(host.grant(certificatePeer({ subject: 'CN=a' })), null)
})

test('routes of a VirtualService replace the route of a grant, never its callers', () => {
  const grants = [grantModel('granted', { a: null })]
  const peer = spiffePeer('cluster.local/ns/a/sa/x')
  const plain = onlyHost({ grants })
  assert.equal(plain.match(httpRequest(), plain.grant(peer))?.name, 'granted')
  const routed = onlyHost({ grants, routes: [routeModel('virtual')] })
  assert.equal(routed.match(httpRequest(), routed.grant(peer))?.name, 'virtual')
  // A caller in no `from` reaches no route, even if somebody forgets to ask.
  assert.equal(routed.match(httpRequest(), routed.grant(NO_PEER)), null)
  assert.equal(plain.match(httpRequest(), null), null)
})

test('httpsRedirect answers everything with 301 to https, but not callers that a grant leaves out', () => {
  const host = onlyHost({ routes: [routeModel('x')], httpsRedirect: true })
  const action = host.match(httpRequest(), null)?.route.model.action
  assert.deepEqual(action, {
    kind: 'redirect',
    code: 301,
    uri: null,
    replacesPrefix: false,
    authority: null,
    scheme: 'https',
    port: null,
  })
  const granted = onlyHost({ grants: [grantModel('g', { a: null })], httpsRedirect: true })
  assert.equal(granted.match(httpRequest(), null), null)
})

test('weights are relative', () => {
  const destinations = [
    { cluster: 'a', weight: 1, headers: null },
    { cluster: 'b', weight: 3, headers: null },
  ]
  const action = { kind: 'forward', destinations, timeoutMs: null, rewrite: null, retry: null, mirrors: [] } as const
  const route = onlyHost({ routes: [routeModel('r', [], { action })] }).match(httpRequest(), null)?.route
  assert.ok(route)
  const clusters = [0, 0.24, 0.25, 0.5, 0.999999].map((random) => pickDestination(route, random).cluster)
  assert.deepEqual(clusters, ['a', 'a', 'b', 'b', 'b'])
})

test('asking a redirect for a destination is a programming error', () => {
  const match = onlyHost({ httpsRedirect: true }).match(httpRequest(), null)
  assert.ok(match)
  assert.throws(() => pickDestination(match.route, 0), RangeError)
})

test('the explanation lists every route consulted', () => {
  const host = onlyHost({
    routes: [routeModel('a', [matchModel({ uri: prefix('/a') })]), routeModel('b'), routeModel('c')],
  })
  const seen = host.explainMatch(httpRequest({ path: '/x' }), null)
  assert.deepEqual(
    seen.map(({ route, matched }) => [route.name, matched]),
    [
      ['a', false],
      ['b', true],
    ],
  )
  assert.match(seen[0]?.why ?? '', /test\.yaml:1: uri prefix "\/a" does not hold for "\/x"/)
})

const hosts = ['*', '*.com', '*.a.com', 'a.com', 'b.a.com', 'c.com']
const path = fc.array(fc.constantFrom('/a', '/b'), { minLength: 1, maxLength: 3 }).map((parts) => parts.join(''))
const arbitraryMatch: fc.Arbitrary<MatchModel> = fc
  .record({
    uri: fc.option(
      path.chain((value) => fc.constantFrom<StringMatch>({ kind: 'exact', value }, { kind: 'prefix', value })),
    ),
    method: fc.option(fc.constantFrom<StringMatch>({ kind: 'exact', value: 'GET' }, { kind: 'exact', value: 'POST' })),
  })
  .map(matchModel)

test('property: the table finds what a linear scan over hosts and routes finds', () => {
  const routes = fc.array(fc.array(arbitraryMatch, { maxLength: 3 }), { maxLength: 4 })
  const tables = fc.uniqueArray(fc.record({ host: fc.constantFrom(...hosts), routes }), {
    selector: ({ host }) => host,
  })
  const requests = fc.record({
    host: fc.constantFrom('a.com', 'b.a.com', 'x.y.a.com', 'c.com', 'x.org'),
    path,
    method: fc.constantFrom('GET', 'POST'),
  })
  fc.assert(
    fc.property(tables, requests, (table, options) => {
      const virtualHosts = table.map(({ host, routes: each }) =>
        virtualHostModel(host, { routes: each.map((matches, index) => routeModel(`${host}#${index}`, matches)) }),
      )
      const [expectedHost] = virtualHosts
        .filter(({ host }) => hostCovers(host, options.host))
        .toSorted((a, b) => compareSpecificity(a.host, b.host))
      const literal = (match: StringMatch | null, value: string) =>
        match === null ||
        (match.kind === 'exact' ? value === match.value : match.kind === 'prefix' && value.startsWith(match.value))
      const expected = expectedHost?.routes?.find(
        ({ matches }) =>
          matches.length === 0 ||
          matches.some(({ uri, method }) => literal(uri, options.path) && literal(method, options.method)),
      )
      const found = compileRouteTable({ name: 't', virtualHosts }).virtualHost(options.host)
      assert.equal(found?.model ?? null, expectedHost ?? null)
      assert.equal(found?.match(httpRequest(options), null)?.route.model ?? null, expected ?? null)
    }),
  )
})
