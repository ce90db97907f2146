/** Where a VirtualService counts, and where its rules send requests (behaviour §4.1, 4.3, 4.5). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { destinationRule, gateway, type Manifest, serviceEntry, to, virtualService } from '../integration/manifests.ts'
import { A, B, HOST, routeOf, routeSite, siteOf, told } from './route-site.ts'

test('field VirtualService.hosts: exact names and wildcards; the most specific one decides', async (t) => {
  const { call } = await routeSite(t, [], {
    manifests: [
      virtualService('exact', ['x.wild.example', 'two.example'], [{ name: 'exact', route: to(A) }]),
      virtualService('wild', ['*.wild.example'], [{ name: 'wild', route: to(A) }]),
    ],
  })
  const rows = {
    'x.wild.example': 'exact',
    'two.example': 'exact',
    'y.z.wild.example': 'wild',
    'X.Wild.Example:80': 'exact',
  }
  for (const [host, name] of Object.entries(rows)) assert.equal(routeOf(await call('/', { host })), name, host)
  assert.equal((await call('/', { host: 'wild.example' })).answer.status, 502)
})

test('field VirtualService.gateways: only the Gateways that it names', async (t) => {
  const rule = [{ name: 'r', route: to(A) }]
  const site = await routeSite(t, [], {
    manifests: [
      virtualService('bare', ['bare.example'], rule),
      virtualService('full', ['full.example'], rule, { gateways: ['mesh', 'istio-system/egress'] }),
      virtualService('mesh', ['mesh.example'], rule, { gateways: ['mesh'] }),
      virtualService('none', ['none.example'], rule, { gateways: undefined }),
      virtualService('other', ['other.example'], rule, { gateways: ['elsewhere/egress'] }),
    ],
  })
  for (const host of ['bare.example', 'full.example']) assert.equal(routeOf(await site.call('/', { host })), 'r', host)
  for (const host of ['mesh.example', 'none.example', 'other.example'])
    assert.equal((await site.call('/', { host })).answer.status, 502, host)
  assert.equal((await told(site.harness, 'SP4020', 1)).length, 1)
})

test('field VirtualService.exportTo: only to namespaces that it names; the private ones come first', async (t) => {
  const named = (name: string, host: string, exportTo: readonly string[], namespace = 'team'): Manifest => ({
    ...virtualService(
      name,
      [host],
      [{ name, match: [{ uri: { prefix: '/' }, method: { exact: 'GET' } }], route: to(A) }],
      {
        gateways: ['istio-system/egress'],
        exportTo,
      },
    ),
    metadata: { name, namespace },
  })
  const { call } = await routeSite(t, [], {
    manifests: [
      named('hidden', 'hidden.example', ['.']),
      named('shown', 'shown.example', ['istio-system']),
      named('a-public', 'order.example', ['*']),
      named('b-named', 'order.example', ['istio-system']),
      named('c-private', 'order.example', ['.'], 'istio-system'),
    ],
  })
  assert.equal((await call('/', { host: 'hidden.example' })).answer.status, 502)
  assert.equal(routeOf(await call('/', { host: 'shown.example' })), 'shown')
  assert.equal(routeOf(await call('/', { host: 'order.example' })), 'c-private')
})

test('field VirtualService.http: in list order, several VirtualServices of a host joined, catch-alls last', async (t) => {
  const special = (name: string, prefix: string) => ({ name, match: [{ uri: { prefix } }], route: to(A) })
  const { call } = await routeSite(t, [], {
    manifests: [
      virtualService('a', [HOST], [special('a1', '/1'), { name: 'a-rest', route: to(A) }]),
      virtualService('b', [HOST], [special('b1', '/1'), special('b2', '/2'), { name: 'b-rest', route: to(A) }]),
    ],
  })
  const names = { '/1': 'a1', '/2': 'b2', '/3': 'a-rest' }
  for (const [path, name] of Object.entries(names)) assert.equal(routeOf(await call(path)), name, path)
})

test('field VirtualService.http[].route, VirtualService.http[].route[].destination.host: the site that it names', async (t) => {
  const { call } = await routeSite(t, [
    { match: [{ uri: { prefix: '/a' } }], route: to(A) },
    { match: [{ uri: { prefix: '/b' } }], route: to(B) },
    { match: [{ uri: { prefix: '/gone' } }], route: to('gone.example') },
  ])
  assert.equal(siteOf(await call('/a')), 'a')
  assert.equal(siteOf(await call('/b')), 'b')
  const { answer, line } = await call('/gone')
  assert.deepEqual(
    [answer.status, line['response_flags'], line['response_code_details']],
    [503, 'NC', 'cluster_not_found'],
  )
})

test('field VirtualService.http[].route[].destination.port.number: that port; without it the only one, else the listener’s', async (t) => {
  const more = (a: number, b: number) =>
    serviceEntry('two', 'two.example', a, {
      spec: {
        ports: [
          { number: 80, name: 'p', protocol: 'HTTP', targetPort: a },
          { number: 8080, name: 'q', protocol: 'HTTP', targetPort: b },
        ],
      },
    })
  const only = (port: number) => serviceEntry('only', 'only.example', port, { port: 7000 })
  const rule = (prefix: string, host: string, port: object) => ({
    match: [{ uri: { prefix } }],
    route: [{ destination: { host, ...port } }],
  })
  const site = await routeSite(t, [
    rule('/first', 'two.example', { port: { number: 80 } }),
    rule('/second', 'two.example', { port: { number: 8080 } }),
    rule('/listener', 'two.example', {}),
    rule('/only', 'only.example', {}),
  ])
  const text = [more(site.a.port, site.b.port), only(site.b.port)].map((each) => JSON.stringify(each)).join('\n---\n')
  const result = await site.harness.change({ 'more.yaml': text })
  assert.equal(result.ok, true)
  const sites = { '/first': 'a', '/second': 'b', '/listener': 'a', '/only': 'b' }
  for (const [path, name] of Object.entries(sites)) assert.equal(siteOf(await site.call(path)), name, path)
})

test('field VirtualService.http[].route[].destination.subset: its endpoints alone; an unknown one answers 503', async (t) => {
  const rule = (prefix: string, subset: string) => ({
    match: [{ uri: { prefix } }],
    route: [{ destination: { host: 'sub.example', subset, port: { number: 80 } } }],
  })
  const site = await routeSite(t, [rule('/v1', 'v1'), rule('/v2', 'v2'), rule('/v3', 'v3')])
  const endpoint = (port: number, version: string) => ({
    address: '127.0.0.1',
    ports: { p: port },
    labels: { version },
  })
  const entry = serviceEntry('sub', 'sub.example', 80, {
    spec: { endpoints: [endpoint(site.a.port, 'v1'), endpoint(site.b.port, 'v2')] },
  })
  const rules = destinationRule('sub', 'sub.example', {})
  const subsets = ['v1', 'v2'].map((version) => ({ name: version, labels: { version } }))
  const text = [entry, { ...rules, spec: { host: 'sub.example', subsets } }]
    .map((each) => JSON.stringify(each))
    .join('\n---\n')
  const result = await site.harness.change({ 'more.yaml': text })
  assert.equal(result.ok, true)
  for (let i = 0; i < 4; i += 1) {
    assert.equal(siteOf(await site.call('/v1')), 'a')
    assert.equal(siteOf(await site.call('/v2')), 'b')
  }
  assert.deepEqual([(await site.call('/v3')).line['response_flags']], ['NC'])
})

test('field VirtualService.http[].route[].weight: relative shares; 0 gets nothing, an only one everything', async (t) => {
  const weighted = (host: string, weight: number) => ({ ...to(host)[0], weight })
  const { call } = await routeSite(t, [
    { match: [{ uri: { prefix: '/split' } }], route: [weighted(A, 1), weighted(B, 3)] },
    { match: [{ uri: { prefix: '/zero' } }], route: [weighted(A, 0), weighted(B, 1)] },
    { match: [{ uri: { prefix: '/only' } }], route: [weighted(A, 0)] },
  ])
  const seen = { a: 0, b: 0 }
  for (let i = 0; i < 120; i += 1) seen[siteOf(await call('/split')) === 'a' ? 'a' : 'b'] += 1
  // 30 are expected; six standard deviations are 28.
  assert.ok(seen.a > 2 && seen.a < 58, JSON.stringify(seen))
  for (let i = 0; i < 20; i += 1) assert.equal(siteOf(await call('/zero')), 'b')
  assert.equal(siteOf(await call('/only')), 'a')
})

test('field VirtualService.http[].timeout: 504 when no answer comes; 0 is none', async (t) => {
  const rule = (prefix: string, timeout: string) => ({
    match: [{ uri: { prefix } }],
    timeout,
    retries: { attempts: 0 },
    rewrite: { uri: '/delay/1' },
    route: to(A),
  })
  const { call, a } = await routeSite(t, [rule('/short', '100ms'), rule('/none', '0s')])
  const { answer, line } = await call('/short')
  assert.deepEqual(
    [answer.status, answer.body, line['response_flags'], line['response_code_details']],
    [504, 'upstream request timeout', 'UT', 'response_timeout'],
  )
  assert.equal((await call('/none')).answer.status, 200)
  await eventually('the first connection outside is closed', () => a.open() <= 1)
})

test('field VirtualService.http[].directResponse.status, VirtualService.http[].directResponse.body.string, VirtualService.http[].directResponse.body.bytes: an answer of our own', async (t) => {
  const { call, a } = await routeSite(t, [
    { match: [{ uri: { prefix: '/text' } }], directResponse: { status: 418, body: { string: 'tea ☕' } } },
    { match: [{ uri: { prefix: '/bytes' } }], directResponse: { status: 200, body: { bytes: 'AAEC' } } },
    { match: [{ uri: { prefix: '/bare' } }], directResponse: { status: 503 } },
  ])
  const { answer, line } = await call('/text')
  assert.deepEqual([answer.status, answer.body, line['response_code_details']], [418, 'tea ☕', 'direct_response'])
  assert.equal((await call('/bytes')).answer.body, '\u0000\u0001\u0002')
  const bare = await call('/bare')
  assert.deepEqual([bare.answer.status, bare.answer.body], [503, ''])
  assert.equal(a.requests.length, 0)
})

test('a Gateway server of another port does not carry rules for this one', async (t) => {
  const { call } = await routeSite(t, [{ name: 'r', match: [{ port: 81 }], route: to(A) }], {
    gateway: gateway({ number: 80 }, { number: 81 }),
    spec: { ports: { 80: 0, 81: 0 } },
  })
  assert.equal((await call('/')).answer.status, 404)
  assert.equal(routeOf(await call('/', { port: 81 })), 'r')
})
