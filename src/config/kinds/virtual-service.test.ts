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

test('matches that earlier rules have', () => {
  const a = { uri: { prefix: '/a' }, headers: { x: { exact: '1' }, y: {} } }
  const same = { name: 'other name', headers: { y: {}, x: { exact: '1' } }, uri: { prefix: '/a' } }
  const b = { uri: { prefix: '/b' } }
  assert.deepEqual(findingsOf({ match: [a] }, { match: [same, b] }), ['SP4047 spec.http.1.match.0'])
  assert.deepEqual(findingsOf({ match: [a, b] }, { match: [b, same] }), ['SP4022 spec.http.1'])
  assert.deepEqual(findingsOf({ match: [a] }, { match: [b] }), [])
})

test('gateways and namespaces are names', () => {
  const gateways = (...list: string[]) =>
    checkFindings(virtualService, { hosts: ['a.com'], gateways: list, http: [{ route }] })
  assert.deepEqual(gateways('mesh', 'gw', './gw', 'ns/gw'), [])
  assert.deepEqual(gateways('mesh', 'gw.ns.svc.cluster.local'), ['SP7023 spec.gateways.1'])
  for (const name of ['a/b/c', 'Gw', '*', '/gw', 'ns/', '../gw'])
    assert.deepEqual(gateways(name), ['SP4000 spec.gateways.0'], name)
  assert.deepEqual(ruleFindings({ match: [{ gateways: ['a b'] }] }), ['SP4000 match.0.gateways.0'])
  assert.deepEqual(ruleFindings({ match: [{ sourceNamespace: 'A b' }] }), ['SP4000 match.0.sourceNamespace'])
})

test('a delegate has no gateways, no tls, no tcp, no delegates of its own, no expressions', () => {
  const spec = (fields: Record<string, unknown>) => checkFindings(virtualService, { http: [{ route }], ...fields })
  assert.deepEqual(spec({}), [])
  assert.deepEqual(spec({ gateways: ['gw'] }), ['SP4000 spec.gateways'])
  assert.deepEqual(spec({ tcp: [{ route }] }), ['SP4000 spec.tcp'])
  assert.deepEqual(spec({ tls: [{ match: [{ sniHosts: ['a.com'] }], route }] }), ['SP4000 spec.tls'])
  assert.deepEqual(spec({ http: [{ delegate: { name: 'x' } }] }), ['SP4000 spec.http.0.delegate'])
  for (const field of ['uri', 'scheme', 'method', 'authority'])
    assert.deepEqual(spec({ http: [{ route, match: [{ [field]: { regex: '(' } }] }] }), [
      `SP4023 spec.http.0.match.0.${field}`,
    ])
  const match = [
    { headers: { x: { regex: 'a' } }, withoutHeaders: { y: { regex: 'a' } }, queryParams: { z: { regex: 'a' } } },
  ]
  assert.deepEqual(ruleFindings({ route: undefined, delegate: { name: 'x' }, match }), [
    'SP4023 match.0.headers.x',
    'SP4023 match.0.queryParams.z',
    'SP4023 match.0.withoutHeaders.y',
  ])
  assert.deepEqual(ruleFindings({ delegate: { name: 'x' } }), ['SP4027 spec.http.0'])
})

test('hosts: patterns, no repetition, overlap told', () => {
  const hosts = (...list: string[]) => checkFindings(virtualService, { hosts: list, http: [{ route }] })
  assert.deepEqual(hosts('a.com', '*.b.com', 'short'), [])
  assert.deepEqual(hosts('a.com', 'A.com.'), ['SP4000 spec.hosts.1'])
  assert.deepEqual(hosts('*.com', 'a.com'), ['SP4029 spec.hosts.1'])
  assert.deepEqual(hosts('*'), ['SP4000 spec.hosts'])
  assert.deepEqual(hosts('a.com:80'), ['SP4004 spec.hosts.0'])
  assert.deepEqual(checkFindings(virtualService, { hosts: ['a.com'] }), ['SP4000 spec'])
})

test('string matches: exactly one kind, RE2 only, no empty prefix', () => {
  const match = (fields: Record<string, unknown>) =>
    ruleFindings({ match: [fields] }).map((each) => each.replace('match.0.', ''))
  assert.deepEqual(match({ uri: { exact: '/a' }, headers: { a: {}, c: { regex: '*' } } }), [])
  assert.deepEqual(match({ headers: { a: null } }), ['SP4000 headers.a'])
  assert.deepEqual(match({ queryParams: { a: null } }), ['SP4000 queryParams.a'])
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

test('header edits are checked on rules and destinations', () => {
  assert.deepEqual(ruleFindings({ headers: { request: { set: { Connection: 'close' } } } }), [
    'SP4024 headers.request.set.Connection',
  ])
  assert.deepEqual(
    ruleFindings({ route: [{ destination: { host: 'a' }, headers: { response: { add: { a: '%X%' } } } }] }),
    ['SP4044 route.0.headers.response.add.a'],
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

test('tls and tcp matches: gateways, namespaces and address blocks are what they say', () => {
  const bad = { gateways: ['a b'], sourceNamespace: 'A', destinationSubnets: ['10.0.0.0/33'] }
  const good = { gateways: ['ns/gw'], sourceNamespace: 'a', destinationSubnets: ['10.0.0.0/8'], sourceSubnet: '::/0' }
  const spec = (match: object, subnet: object) =>
    checkFindings(virtualService, {
      hosts: ['a.com'],
      tls: [{ match: [{ sniHosts: ['a.com'], ...match }], route }],
      tcp: [{ match: [{ ...match, ...subnet }], route }],
    })
  assert.deepEqual(spec(good, {}), [])
  const fields = ['destinationSubnets.0', 'gateways.0', 'sourceNamespace']
  assert.deepEqual(spec(bad, { sourceSubnet: 'x' }), [
    ...[...fields, 'sourceSubnet'].map((field) => `SP4000 spec.tcp.0.match.0.${field}`),
    ...fields.map((field) => `SP4000 spec.tls.0.match.0.${field}`),
  ])
})

test('destinations are names', () => {
  for (const host of ['a b', 'http://a.com', 'a.com:80', 'a/b'])
    for (const rules of [
      { http: [{ route: [{ destination: { host } }] }] },
      { tcp: [{ route: [{ destination: { host } }] }] },
    ])
      assert.equal(checkFindings(virtualService, { hosts: ['a.com'], ...rules }).length, 1, host)
  for (const host of ['a', 'a.com', 'A.com.', '10.0.0.1'])
    assert.deepEqual(ruleFindings({ route: [{ destination: { host } }] }), [], host)
})
