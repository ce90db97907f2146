/** Every condition, narrow (as an ALLOW uses it) and wide (as a DENY does): behaviour §1.3, 1.4, 1.5; threats 24, 26, 31. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Attributes } from '../core/attributes.ts'
import { tokenFacts } from '../gates/jwt/verify.ts'
import { certificatePeer, request, spiffePeer, tunnel } from '../testing/policy-fixtures.ts'
import { CONDITIONS, findCondition } from './conditions.ts'
import { Facts } from './facts.ts'

function holds(key: string, value: string, attributes: Attributes, wide: boolean): boolean {
  const found = findCondition(key)
  assert.ok(found, `no condition ${key}`)
  return found.row.compile([value], wide, found.argument)(new Facts(attributes))
}

type Row = readonly [value: string, subject: string, narrow: boolean, wide: boolean]
function table(key: string, attributes: (subject: string) => Attributes, rows: readonly Row[]): void {
  describe(key, () => {
    for (const [value, subject, narrow, wide] of rows)
      test(`${JSON.stringify(value)} on ${JSON.stringify(subject)}`, () => {
        assert.equal(holds(key, value, attributes(subject), false), narrow, 'narrow')
        assert.equal(holds(key, value, attributes(subject), true), wide, 'wide')
      })
  })
}
const both = (value: string, subject: string, matches: boolean): Row => [value, subject, matches, matches]
/** `iss|sub`. */
function claimsOf(text: string): Readonly<Record<string, unknown>> {
  const [iss, sub] = text.split('|')
  return { iss, sub }
}

table('source.principal', (id) => request({ peer: spiffePeer(id) }), [
  both('cluster.local/ns/a/sa/b', 'cluster.local/ns/a/sa/b', true),
  both('cluster.local/ns/a/sa/b', 'cluster.local/ns/a/sa/bb', false),
  both('cluster.local/ns/a/*', 'cluster.local/ns/a/sa/b', true),
  both('cluster.local/ns/a/*', 'cluster.local/ns/ab/sa/b', false),
  both('*/sa/b', 'any.td/ns/x/sa/b', true),
  both('*/sa/foo', 'td/ns/x/sa/foo-admin', false),
  both('*/sa/foo.bar', 'td/ns/x/sa/foo.bar', true),
  both('*/sa/foo.bar', 'td/ns/x/sa/fooxbar', false),
  both('*', 'td/x', true),
  // No prefix confusion of trust domains (threats 30).
  both('cluster.local/ns/a/sa/b', 'cluster.local.evil/ns/a/sa/b', false),
  both('cluster.local*', 'cluster.local.evil/ns/a/sa/b', true),
  // Written with spiffe://, Istio never matches; a refusal takes it at its word.
  ['spiffe://td/ns/a/sa/b', 'td/ns/a/sa/b', false, true],
  ['spiffe://td/ns/a/*', 'td/ns/a/sa/b', false, true],
  // The suffix does not reach into the scheme.
  both('*iffe://td/ns/a/sa/b', 'td/ns/a/sa/b', false),
])

table('source.namespace', (id) => request({ peer: spiffePeer(id) }), [
  both('a', 'td/ns/a/sa/b', true),
  both('a', 'td/ns/ab/sa/b', false),
  both('a.b', 'td/ns/axb/sa/c', false),
  both('a*', 'td/ns/abc/sa/c', true),
  both('*a', 'td/ns/xa/sa/c', true),
  both('a*c', 'td/ns/abc/sa/c', true),
  both('*', 'td/ns/abc/sa/c', true),
  both('[x]', 'td/ns/x/sa/c', false),
  // Istio's `.*` runs across the slash; a permission does not.
  ['x*', 'td/ns/xa/sa/c', true, true],
  ['*sa', 'td/ns/other/sa/c', false, true],
  ['ns', 'ns/ns/a/sa/b', false, true],
  ['sa', 'td/ns/ns/sa/x', false, true],
  // Not of the form /ns/NS/sa/SA: no namespace (contract §4), though Istio's expression finds one.
  ['a', 'td/ns/a/app/b/c', false, true],
])

table('source.serviceAccount', (id) => request({ peer: spiffePeer(id) }), [
  both('a/b', 'td/ns/a/sa/b', true),
  both('a/b', 'td/ns/a/sa/b-x', false),
  both('a/b', 'td/ns/ax/sa/b', false),
  both('a/b.c', 'td/ns/a/sa/bxc', false),
  both('a/b', 'td/ns/b/sa/a', false),
  ['a/b', 'td/ns/a/sa/b/more', false, true],
  ['a/b', 'td/ns/a/app/x/sa/b', false, true],
  ['a/b', 'td/x/ns/a/sa/b', false, true],
  both('a/b', 'td/x/ns/a/xsa/b', false),
])

table('source.trustDomain', (id) => request({ peer: spiffePeer(id) }), [
  both('td', 'td/ns/a/sa/b', true),
  both('td', 'td2/ns/a/sa/b', false),
  both('*', 'td/ns/a/sa/b', true),
  both('*.corp', 'eu.corp/ns/a/sa/b', true),
  both('*.corp', 'corp/ns/a/sa/b', false),
  both('eu*', 'eu.corp/ns/a/sa/b', true),
  both('t*/ns', 'td/ns/a/sa/b', false),
])

describe('callers without a SPIFFE ID (§1.3, contract §4)', () => {
  const none = request()
  const dns = request({ peer: certificatePeer({ dnsSans: ['x.example.com'], subject: 'CN=x' }) })
  const subject = request({ peer: certificatePeer({ subject: 'CN=/ns/a/sa/b' }) })
  const unvouched = request({ peer: certificatePeer({ uriSans: ['spiffe://td/ns/a/sa/b'], subject: 'CN=x' }) })
  for (const key of ['source.principal', 'source.namespace', 'source.serviceAccount', 'source.trustDomain'] as const) {
    const value = key === 'source.serviceAccount' ? 'a/b' : key === 'source.principal' ? 'td/ns/a/sa/b' : '*'
    test(`${key}: no permission rests on a certificate without identity`, () => {
      for (const attributes of [none, dns, subject, unvouched]) {
        assert.equal(holds(key, value, attributes, false), false)
        assert.equal(holds(key, '*', attributes, false), false)
      }
    })
    test(`${key}: plaintext matches nothing, so a not list always lets it through`, () => {
      assert.equal(holds(key, value, none, true), false)
    })
  }
  test('a refusal sees what the certificate claims: URI SANs, else DNS SANs, else the subject', () => {
    assert.equal(holds('source.principal', 'td/ns/a/sa/b', unvouched, true), true)
    assert.equal(holds('source.namespace', 'a', unvouched, true), true)
    assert.equal(holds('source.principal', '*', dns, true), true)
    assert.equal(holds('source.namespace', 'a', subject, true), true)
    assert.equal(holds('source.namespace', 'a', dns, true), false)
  })
})

table('source.ip', (sourceIp) => request({ sourceIp }), [
  both('10.0.0.0/8', '10.1.1.1', true),
  both('10.0.0.0/8', '::ffff:10.1.1.1', true),
  both('10.0.0.0/8', '11.1.1.1', false),
  both('fd00::/8', 'fd00::1', true),
  ['10.0.0.0/8', 'unknown', false, true],
])
table('remote.ip', (remoteIp) => request({ remoteIp }), [
  both('10.0.0.1', '10.0.0.1', true),
  both('10.0.0.1', '10.0.0.2', false),
])
table('destination.ip', (destinationIp) => request({ destinationIp }), [
  both('10.0.0.1', '10.0.0.1', true),
  both('10.0.0.1', '10.0.0.2', false),
])
test('source and remote address are told apart', () => {
  const attributes = request({ sourceIp: '10.0.0.1', remoteIp: '203.0.113.1' })
  assert.equal(holds('source.ip', '203.0.113.1', attributes, true), false)
  assert.equal(holds('remote.ip', '203.0.113.1', attributes, false), true)
})

table('destination.port', (port) => request({ destinationPort: Number(port), gatewayPort: 443 }), [
  both('8443', '8443', true),
  both('08443', '8443', true),
  // The Gateway port is not the bound port (§1.3).
  both('443', '8443', false),
])

table('connection.sni', (sni) => tunnel({ sni }), [
  both('a.com', 'a.com', true),
  both('*.a.com', 'b.a.com', true),
  both('*', 'a.com', true),
  both('*', '', false),
  ['A.com', 'a.com', false, true],
  ['a.com.', 'a.com', false, true],
])
test('no SNI matches nothing', () => assert.equal(holds('connection.sni', '*', tunnel(), true), false))

table('host', (host) => request({ host }), [
  both('example.com', 'example.com', true),
  both('EXAMPLE.com', 'Example.COM', true),
  both('example.com.', 'example.com', true),
  both('example.com', 'example.com.', true),
  both('example.com', 'badexample.com', false),
  // A port in the request (§1.4, threats 20): the scheme's default or the Gateway port (both 80 here) may permit.
  both('example.com', 'example.com:80', true),
  ['example.com', 'example.com:8080', false, true],
  ['example.com', 'example.com:443', false, true],
  // A port in the rule.
  both('example.com:8080', 'example.com:8080', true),
  both('example.com:8080', 'example.com', false),
  both('example.com:8080', 'example.com:8081', false),
  ['example.com:80', 'example.com', false, true],
  // Routing ignores the port, so :81 reaches what :80 reaches; a refusal knows.
  ['example.com:80', 'example.com:81', false, true],
  both('example.com:*', 'example.com:81', true),
  ['example.com:*', 'example.com', false, true],
  both('*:80', 'example.com:80', true),
  ['*:80', 'example.com', false, true],
  // Wildcards (threats 24).
  both('*.example.com', 'a.b.example.com', true),
  both('*.example.com', 'example.com', false),
  both('*.example.com', 'badexample.com', false),
  both('*.example.com', 'example.com.evil.io', false),
  both('*.example.com', 'a.example.com:80', true),
  ['*.example.com', 'a.example.com:9', false, true],
  both('*.example.com.', 'a.example.com', true),
  both('example.*', 'example.org', true),
  ['example.*', 'example.org:9', false, true],
  both('*', 'anything.org:9', true),
  both('*.', 'example.com', false),
  // IP literals.
  both('[::1]', '[::1]', true),
  both('[::1]', '[::1]:80', true),
  ['[::1]', '[::1]:81', false, true],
  both('[::1]:81', '[::1]:81', true),
  both('10.0.0.1', '10.0.0.1', true),
])
test('the Gateway port counts as no port', () => {
  const attributes = request({ host: 'example.com:443', gatewayPort: 443 })
  assert.equal(holds('host', 'example.com', attributes, false), true)
  assert.equal(holds('host', 'example.com:443', request({ host: 'example.com', gatewayPort: 443 }), true), true)
  assert.equal(holds('host', 'example.com', request({ host: 'example.com:443', scheme: 'https' }), false), true)
})

table('method', (method) => request({ method }), [
  both('GET', 'GET', true),
  both('get', 'GET', false),
  both('P*', 'POST', true),
])

table('path', (path) => request({ path }), [
  both('/admin', '/admin', true),
  both('/admin', '/ADMIN', false),
  both('/admin', '/admin/', false),
  both('/admin*', '/admin/x', true),
  both('*.txt', '/a.txt', true),
  both('*', '/', true),
  both('/allow/admin/{**}', '/allow/admin/x', true),
  both('/allow/{*}', '/allow/', false),
  ['/allow/{*}', '/allow/a=b', false, true],
])
test('the query is no part of the path', () => {
  assert.equal(holds('path', '/admin', request({ path: '/admin', query: 'x=1' }), false), true)
})

const h = (headers: string) => request({ headers: JSON.parse(headers) as string[] })
table('request.headers[X-Tenant]', h, [
  both('a', '["x-tenant","a"]', true),
  both('A', '["x-tenant","a"]', false),
  both('a', '["x-other","a"]', false),
  both('a*', '["x-tenant","ab"]', true),
  both('*', '["x-tenant",""]', true),
  both('*', '[]', false),
  // Repeated fields (threats 26): a refusal sees each, a permission needs all.
  ['a', '["x-tenant","b","x-tenant","a"]', false, true],
  ['a', '["x-tenant","a","x-tenant","b"]', false, true],
  ['a', '["x-tenant","a","x-tenant","a"]', false, true],
  both('a*', '["x-tenant","a1","x-tenant","a2"]', true),
  ['a*', '["x-tenant","a1","x-tenant","b"]', false, true],
  ['b', '["x-tenant","a, b"]', false, true],
  ['a,b', '["x-tenant","a","x-tenant","b"]', false, true],
])
table('request.headers[:method]', (method) => request({ method }), [
  both('GET', 'GET', true),
  both('GET', 'POST', false),
])
table('request.headers[:path]', (path) => request({ path, query: 'q' }), [
  both('/a?q', '/a', true),
  ['/a', '/a', false, true],
])
for (const name of ['request.headers[:authority]', 'request.headers[Host]'])
  table(name, (host) => request({ host }), [
    both('A.com', 'a.com', true),
    ['a.com', 'a.com:80', false, true],
    ['a.com', 'a.com:9', false, true],
  ])

const token = (claims: Readonly<Record<string, unknown>>) => request({ token: tokenFacts(claims, ['scope']) })

table('request.auth.principal', (principal) => token(claimsOf(principal)), [
  both('https://i.example/u', 'https://i.example|u', true),
  both('https://i.example/u', 'https://i.example|v', false),
  both('https://i.example/*', 'https://i.example|u', true),
  both('https://i.example/ad*', 'https://i.example|admin', true),
  both('*/u', 'any|u', true),
  both('*.example/u', 'https://i.example|u', true),
  both('*u', 'any|lou', true),
  both('i*', 'issuer|u', true),
  both('*', 'i|u', true),
  // The text `iss/sub` alone says not where one ends and the other begins: a permission is split as Istio splits it.
  ['a/b/c', 'a|b/c', false, true],
  both('a/b/c', 'a/b|c', true),
  ['a/*', 'a/b|c', false, true],
  // Stars at both ends: the second is literal in Istio. A refusal means both.
  ['*/*', 'i|u', false, true],
  ['*', 'i|', false, true],
  both('i', 'i|u', false),
])
test('no principal without both halves, and none without a token', () => {
  for (const wide of [false, true]) {
    assert.equal(holds('request.auth.principal', '*', token({ iss: 'i' }), wide), false)
    assert.equal(holds('request.auth.principal', '*', token({ sub: 's' }), wide), false)
    for (const key of ['principal', 'audiences', 'presenter', 'claims[iss]'])
      assert.equal(holds(`request.auth.${key}`, '*', request(), wide), false, key)
  }
})

table('request.auth.audiences', (aud) => token({ aud: aud.split(',') }), [
  both('a', 'b,a', true),
  both('a', 'ab', false),
  both('a*', 'b,ab', true),
  both('*', 'a', true),
])
table('request.auth.presenter', (azp) => token({ azp }), [both('app', 'app', true), both('app', 'ap', false)])

const claim = (json: string) => token({ x: JSON.parse(json) as unknown })
table('request.auth.claims[x]', claim, [
  both('a', '"a"', true),
  both('a', '["b","a"]', true),
  both('a', '["b"]', false),
  both('a', '{"a":"a"}', false),
  both('a', 'null', false),
  both('a', '[["a"]]', false),
  // Istio's matchers pass over what is no text; a refusal does not.
  ['1', '1', false, true],
  ['true', 'true', false, true],
  ['1', '[1]', false, true],
  ['a b', '["a","b"]', false, true],
])
table('request.auth.claims[x][y]', claim, [
  both('a', '{"y":"a"}', true),
  both('a', '{"y":["a"]}', true),
  both('a', '{"z":"a"}', false),
  both('a', '[{"y":"a"}]', false),
  both('a', '"a"', false),
])
test('claims of a prototype are none', () => {
  for (const key of ['constructor', '__proto__', 'x][constructor', 'x][__proto__'])
    assert.equal(holds(`request.auth.claims[${key}]`, '*', token({ x: {} }), true), false, key)
})

test('HTTP conditions do not hold on tunnels', () => {
  for (const [key, row] of Object.entries(CONDITIONS))
    if (row.scope === 'http')
      for (const wide of [false, true])
        assert.equal(row.compile(['*'], wide, 'x-a')(new Facts(tunnel())), false, `${key} ${wide}`)
})

test('unknown keys are no conditions', () => {
  for (const key of [
    '',
    'hosts',
    'toString',
    '__proto__',
    'request.headers',
    'request.headers[]x',
    'request.headers[]',
  ])
    if (key === 'request.headers[]') assert.equal(findCondition(key)?.argument, '')
    else assert.equal(findCondition(key), null, key)
})
