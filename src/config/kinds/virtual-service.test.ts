/** VirtualService by itself: what its check finds, and where. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkFindings } from '../../testing/resources.ts'
import { virtualService } from './virtual-service.ts'

const route = [{ destination: { host: 'a.com' } }]

function findingsOf(...http: readonly Record<string, unknown>[]): string[] {
  return checkFindings(virtualService, {
    hosts: ['a.com'],
    gateways: ['gw'],
    http: http.map((rule) => ({ route, ...rule })),
  })
}

function ruleFindings(rule: Record<string, unknown>): string[] {
  return findingsOf(rule).map((finding) => finding.replace('spec.http.0.', ''))
}

test('the rules of the seeds are fine', () => {
  const rules = [
    {
      match: [{ gateways: ['mesh'], port: 80 }],
      route: [{ destination: { host: 'gw.ns.svc.cluster.local', subset: 's', port: { number: 80 } }, weight: 100 }],
    },
    {
      match: [{ gateways: ['istio-system/gw'], port: 80 }],
      route: [{ destination: { host: 'a.com', port: { number: '80' } }, weight: 100 }],
    },
  ]
  assert.deepEqual(findingsOf(...rules), [])
})

test('one action per rule', () => {
  assert.deepEqual(ruleFindings({ route: undefined }), ['SP4027 spec.http.0'])
  assert.deepEqual(ruleFindings({ route: [] }), ['SP4027 spec.http.0'])
  assert.deepEqual(ruleFindings({ redirect: { uri: '/x' } }), ['SP4027 spec.http.0'])
  assert.deepEqual(ruleFindings({ route: undefined, redirect: { uri: '/x' } }), [])
  assert.deepEqual(ruleFindings({ route: undefined, directResponse: { status: 503 } }), [])
  assert.deepEqual(ruleFindings({ route: undefined, delegate: { name: 'x' } }), [])
})

test('a rule behind a match-all is unreachable', () => {
  assert.deepEqual(findingsOf({}, {}), ['SP4022 spec.http.1'])
  assert.deepEqual(findingsOf({ match: [{ uri: { prefix: '/' } }] }, {}), ['SP4022 spec.http.1'])
  assert.deepEqual(findingsOf({ match: [{ uri: { prefix: '/' }, gateways: ['mesh'] }] }, {}), [])
  assert.deepEqual(findingsOf({ match: [{ headers: { a: {} } }] }, {}), [])
})

test('hosts: patterns, no repetition, overlap told', () => {
  const hosts = (...list: string[]) => checkFindings(virtualService, { hosts: list, http: [{ route }] })
  assert.deepEqual(hosts('a.com', '*.b.com', 'short'), [])
  assert.deepEqual(hosts('a.com', 'A.com.'), ['SP4000 spec.hosts.1'])
  assert.deepEqual(hosts('*.com', 'a.com'), ['SP4029 spec.hosts.1'])
  assert.deepEqual(hosts('a.com:80'), ['SP4004 spec.hosts.0'])
  assert.deepEqual(checkFindings(virtualService, { hosts: ['a.com'] }), ['SP4000 spec'])
})

test('string matches: exactly one kind, RE2 only, no empty prefix', () => {
  const match = (fields: Record<string, unknown>) =>
    ruleFindings({ match: [fields] }).map((each) => each.replace('match.0.', ''))
  assert.deepEqual(match({ uri: { exact: '/a' }, headers: { a: {}, b: null, c: { regex: '*' } } }), [])
  assert.deepEqual(match({ uri: {} }), ['SP4000 uri'])
  assert.deepEqual(match({ uri: { exact: '/', prefix: '/' } }), ['SP4000 uri'])
  assert.deepEqual(match({ uri: { prefix: '' } }), ['SP4000 uri'])
  assert.deepEqual(match({ uri: { regex: '*' } }), ['SP4023 uri'])
  assert.deepEqual(match({ headers: { a: { regex: '(?=x)' } } }), ['SP4023 headers.a'])
  assert.deepEqual(match({ headers: { authority: { exact: 'x' } } }), ['SP4011 headers.authority'])
  assert.deepEqual(match({ headers: { 'a b': {} } }), ['SP4000 headers.a b'])
  assert.deepEqual(match({ authority: { exact: 'A.com' } }), ['SP4030 authority'])
  assert.deepEqual(match({ queryParams: { 'any thing': { prefix: 'x' } } }), [])
})

test('destinations and weights', () => {
  const destination = { host: 'a.com' }
  assert.deepEqual(ruleFindings({ route: [{ destination, weight: 0 }] }), [])
  assert.deepEqual(ruleFindings({ route: [{ destination, weight: 0 }, { destination }] }), ['SP4000 route'])
  // A wildcard is looked up by that very name, as in Istio; everything there is names nothing.
  assert.deepEqual(ruleFindings({ route: [{ destination: { host: '*.com' } }] }), [])
  for (const host of ['*', 'a.*', '*a.com', '*.*.com'])
    assert.deepEqual(ruleFindings({ route: [{ destination: { host } }] }), ['SP4000 route.0.destination.host'], host)
  assert.throws(() => virtualService.schema.parse({ http: [{ route: [{ destination, weight: -1 }] }] }))
})

test('rewrites and redirects are paths and authorities, nothing else', () => {
  const rewrite = (fields: Record<string, unknown>) => ruleFindings({ rewrite: fields })
  assert.deepEqual(rewrite({ uri: '/x', authority: 'b.com:80' }), [])
  for (const uri of ['x', '/a?b', '/a#b', '/a b', '/../x', '/%2E%2e', '/ä', '/a\r\nb'])
    assert.deepEqual(rewrite({ uri }), ['SP4000 rewrite.uri'], uri)
  for (const authority of ['b.com:0', 'b com', 'u@b.com'])
    assert.deepEqual(rewrite({ authority }), ['SP4000 rewrite.authority'])
  const redirect = (fields: Record<string, unknown>) => ruleFindings({ route: undefined, redirect: fields })
  assert.deepEqual(redirect({ uri: '/x?y', scheme: 'https', redirectCode: 308 }), [])
  assert.deepEqual(redirect({ uri: '%PREFIX()%/x' }), ['SP4000 redirect.uri'])
  assert.deepEqual(redirect({ uri: '//a\r\n' }), ['SP4000 redirect.uri'])
  assert.deepEqual(redirect({ scheme: 'ftp' }), ['SP4000 redirect.scheme'])
  assert.deepEqual(redirect({ uri: '/x', redirectCode: 200 }), ['SP4000 redirect.redirectCode'])
  assert.deepEqual(redirect({ port: 1, derivePort: 'FROM_REQUEST_PORT' }), ['SP4000 redirect.derivePort'])
  assert.deepEqual(redirect({}), ['SP4000 redirect'])
})

test('direct responses: one body, base64, at most 1 MB', () => {
  const direct = (body: Record<string, unknown>) =>
    ruleFindings({ route: undefined, directResponse: { status: 200, body } })
  assert.deepEqual(direct({ string: 'x' }), [])
  assert.deepEqual(direct({ string: 'x', bytes: 'eA==' }), ['SP4000 directResponse.body'])
  assert.deepEqual(direct({ bytes: '!' }), ['SP4000 directResponse.body.bytes'])
  assert.deepEqual(direct({ string: 'x'.repeat(1_100_000) }), ['SP4000 directResponse.body'])
})

test('header edits are checked on rules and destinations', () => {
  assert.deepEqual(ruleFindings({ headers: { request: { set: { Connection: 'close' } } } }), [
    'SP4024 headers.request.set.Connection',
  ])
  assert.deepEqual(
    ruleFindings({ route: [{ destination: { host: 'a' }, headers: { response: { add: { a: '%X%' } } } }] }),
    ['SP4025 route.0.headers.response.add.a'],
  )
})

test('tls rules: a match with SNIs that the hosts cover, and a destination', () => {
  const tls = (match: readonly object[], to: unknown = route) =>
    checkFindings(virtualService, { hosts: ['a.com', '*.b.com'], tls: [{ match, route: to }] }).map((finding) =>
      finding.replace('spec.tls.0', ''),
    )
  assert.deepEqual(tls([{ sniHosts: ['a.com', 'A.com.', 'x.b.com', '*.x.b.com', '*.b.com'] }]), [])
  assert.deepEqual(tls([]), ['SP4000 .match'])
  assert.deepEqual(tls([{ sniHosts: ['b.com', 'a.com', '*.com', '*'] }]), [
    'SP4000 .match.0.sniHosts.0',
    'SP4000 .match.0.sniHosts.2',
    'SP4000 .match.0.sniHosts.3',
  ])
  assert.deepEqual(tls([{ sniHosts: ['a.com:443'] }]), ['SP4004 .match.0.sniHosts.0'])
  const sni = [{ sniHosts: ['a.com'] }]
  assert.deepEqual(tls(sni, []), ['SP4027 '])
  const weighted = (a: number, b: number) => [
    { destination: { host: 'a.com' }, weight: a },
    { destination: { host: 'b.com' }, weight: b },
  ]
  assert.deepEqual(tls(sni, weighted(0, 0)), ['SP4000 .route'])
  assert.deepEqual(tls(sni, weighted(0, 1)), [])
  assert.deepEqual(tls(sni, [{ destination: { host: '*.com' } }]), [])
  assert.deepEqual(tls(sni, [{ destination: { host: '*' } }]), ['SP4000 .route.0.destination.host'])
  assert.deepEqual(tls(sni, [{ destination: { host: 'a*' } }]), ['SP4000 .route.0.destination.host'])
})

test('tcp rules: a destination, and none behind one that matches everything', () => {
  const tcp = (...rules: readonly object[]) => checkFindings(virtualService, { hosts: ['a.com'], tcp: rules })
  assert.deepEqual(tcp({ match: [{ port: 443 }], route }, { route }), [])
  assert.deepEqual(tcp({ route }, { match: [{ port: 443 }], route }), ['SP4022 spec.tcp.1'])
  assert.deepEqual(tcp({}), ['SP4027 spec.tcp.0'])
  assert.deepEqual(tcp({ route: [{ destination: { host: '*.com' } }] }), ['SP4000 spec.tcp.0.route.0.destination.host'])
})
