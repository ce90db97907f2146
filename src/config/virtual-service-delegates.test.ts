/** Delegation: what becomes of a root's rule and its delegate's (behaviour §4.5; Istio mergeHTTPRoutes). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RouteModel } from '../model/route.ts'
import { testResource } from '../testing/resources.ts'
import { gw, NS, rule, run, server, vs } from '../testing/virtual-services.ts'
import { virtualService } from './kinds/virtual-service.ts'
import type { Resource } from './resource.ts'

type Spec = Record<string, unknown>

/** A VirtualService without hosts, in namespace `team`. */
function leaf(name: string, http: readonly Spec[], spec: Spec = {}): Resource {
  return testResource(virtualService, { name, namespace: 'team' }, { http, ...spec }) as Resource
}

const delegate = { name: 'leaf', namespace: 'team' }
const toB = { name: 'b', route: [{ destination: { host: 'b.com' } }] }

/** Routes of a.com when `root` delegates to `leafRules`. */
function merge(root: Spec, leafRules: readonly Spec[], spec: Spec = {}) {
  const { routes, findings } = run(
    gw([server(['*'])]),
    vs('root', { hosts: ['a.com'], http: [{ delegate, ...root }] }),
    leaf('leaf', leafRules, spec),
  )
  return { routes: routes('a.com'), findings }
}

const uris = (routes: readonly RouteModel[]) =>
  routes.map(({ name, matches }) => [name, ...matches.map(({ uri }) => (uri === null ? null : JSON.stringify(uri)))])

test('matches are joined: the delegate narrows, never widens', () => {
  const prefix = (value: string) => ({ uri: { prefix: value } })
  const { routes, findings } = merge({ match: [{ ...prefix('/a'), headers: { x: { prefix: 'v' } }, name: 'm' }] }, [
    { ...toB, name: 'deep', match: [{ ...prefix('/a/b'), method: { exact: 'GET' }, name: 'n' }] },
    { ...toB, name: 'inherits', match: [{ headers: { x: { exact: 'v1' } } }] },
    { ...toB, name: 'beyond', match: [prefix('/')] },
    { ...toB, name: 'half', match: [prefix('/a/c'), prefix('/b')] },
    { ...toB, name: 'expression', match: [{ uri: { regex: '/a/.*' } }] },
    toB,
  ])
  assert.deepEqual(
    routes.map(({ name }) => name),
    ['deep', 'inherits', 'b'],
  )
  const [deep, inherits, last] = routes.map(({ matches }) => matches[0])
  assert.deepEqual(
    [deep?.name, deep?.uri, deep?.method],
    ['m-n', { kind: 'prefix', value: '/a/b' }, { kind: 'exact', value: 'GET' }],
  )
  assert.deepEqual(deep?.headers, [{ name: 'x', match: { kind: 'prefix', value: 'v' } }])
  assert.deepEqual(
    [inherits?.uri, inherits?.headers],
    [{ kind: 'prefix', value: '/a' }, [{ name: 'x', match: { kind: 'exact', value: 'v1' } }]],
  )
  assert.deepEqual(last?.uri, { kind: 'prefix', value: '/a' })
  assert.deepEqual(
    findings,
    [2, 3, 4].map((index) => `SP4046 VirtualService/team/leaf:spec.http.${index}`),
  )
})

test('every pair that fits is an alternative; without a match on one side the other counts', () => {
  const two = [{ uri: { prefix: '/a' } }, { uri: { prefix: '/b' } }]
  const leafMatch = [{ uri: { exact: '/a/x' } }, { method: { exact: 'GET' } }]
  const { routes } = merge({ match: two }, [{ ...toB, match: leafMatch }])
  assert.deepEqual(uris(routes), [
    ['b', '{"kind":"exact","value":"/a/x"}', '{"kind":"prefix","value":"/a"}', '{"kind":"prefix","value":"/b"}'],
  ])
  assert.deepEqual(uris(merge({}, [{ ...toB, match: [{ uri: { exact: '/x' } }] }]).routes), [
    ['b', '{"kind":"exact","value":"/x"}'],
  ])
  assert.deepEqual(uris(merge({}, [toB]).routes), [['b']])
})

test('withoutHeaders of both hold', () => {
  const without = (value: string) => ({ withoutHeaders: { x: { prefix: value } } })
  const { routes } = merge({ match: [without('v')] }, [{ ...toB, match: [without('vw')] }])
  assert.deepEqual(
    routes[0]?.matches[0]?.withoutHeaders.map(({ match }) => match),
    [
      { kind: 'prefix', value: 'v' },
      { kind: 'prefix', value: 'vw' },
    ],
  )
})

test('ports, gateways and case have to agree', () => {
  const names = (root: Spec, inner: Spec) =>
    merge({ match: [root] }, [{ ...toB, match: [inner] }]).routes.map(({ name }) => name)
  assert.deepEqual(names({ port: 80 }, { uri: { prefix: '/a' } }), ['b'])
  assert.deepEqual(names({ port: 80 }, { port: 81 }), [])
  assert.deepEqual(names({ gateways: [`${NS}/gw`] }, { uri: { prefix: '/a' } }), ['b'])
  assert.deepEqual(names({ gateways: ['gw'] }, { gateways: [`${NS}/gw`] }), ['b'])
  assert.deepEqual(names({ gateways: [`${NS}/gw`] }, { gateways: ['gw'] }), [])
  assert.deepEqual(names({ gateways: ['mesh'] }, { uri: { prefix: '/a' } }), [])
  assert.deepEqual(names({ uri: { prefix: '/a' }, ignoreUriCase: true }, { uri: { prefix: '/a' } }), [])
  assert.deepEqual(names({ headers: { x: {} } }, { headers: { x: { exact: '1' } } }), [])
})

test('what the delegate does not say, the root says; short names are read where they stand', () => {
  const root = {
    name: 'r',
    timeout: '3s',
    retries: { attempts: 7 },
    rewrite: { uri: '/root' },
    headers: { request: { set: { x: 'root' } } },
    fault: { abort: { httpStatus: 503, percentage: { value: 1 } } },
    corsPolicy: { allowOrigins: [{ exact: 'https://root' }] },
    mirror: { host: 'mirror' },
    mirrorPercentage: { value: 3 },
  }
  const { routes, findings } = merge(root, [
    { match: [{ uri: { exact: '/1' } }], route: [{ destination: { host: 'short' } }] },
    {
      name: 'own',
      route: [{ destination: { host: 'b.com' } }],
      timeout: '1s',
      retries: { attempts: 0 },
      rewrite: { uri: '/own' },
      headers: { request: { set: { y: 'own' } } },
      fault: { abort: { httpStatus: 500, percentage: { value: 2 } } },
      corsPolicy: { allowOrigins: [{ exact: 'https://own' }] },
      mirror: { host: 'b.com' },
    },
  ])
  const [first, second] = routes
  assert.deepEqual([first?.name, second?.name], ['r', 'r-own'])
  const action = first?.action
  assert.equal(action?.kind, 'forward')
  assert.deepEqual(
    [action.destinations[0]?.cluster, action.timeoutMs, action.retry?.attempts, action.rewrite?.uri, action.mirrors],
    [
      'outbound|80||short.team.svc.cluster.local',
      3000,
      7,
      '/root',
      [{ cluster: `outbound|80||mirror.${NS}.svc.cluster.local`, percent: 3 }],
    ],
  )
  assert.deepEqual(first?.headers?.request.set, [['x', 'root']])
  assert.deepEqual(
    [first?.fault?.abort?.percent, first?.cors?.allowOrigins[0]],
    [1, { kind: 'exact', value: 'https://root' }],
  )
  const own = second?.action
  assert.equal(own?.kind, 'forward')
  assert.deepEqual([own.timeoutMs, own.retry, own.rewrite?.uri], [1000, null, '/own'])
  assert.deepEqual(own.mirrors, [{ cluster: 'outbound|80||b.com', percent: 3 }])
  assert.deepEqual([second?.headers?.request.set, second?.fault?.abort?.percent], [[['y', 'own']], 2])
  assert.deepEqual(second?.cors?.allowOrigins[0], { kind: 'exact', value: 'https://own' })
  assert.equal(first?.source.file, 'VirtualService/team/leaf:spec.http.0')
  assert.deepEqual(findings, [
    `SP7001 VirtualService/${NS}/root:spec.http.0.mirror`,
    'SP7001 VirtualService/team/leaf:spec.http.0.route.0.destination',
  ])
})

test('a delegate that is not there answers 404, also where a later rule would take the request', () => {
  const cases: readonly (readonly [Spec, Resource])[] = [
    [{ name: 'gone', namespace: 'team' }, leaf('leaf', [toB])],
    [{ name: 'leaf' }, leaf('leaf', [toB])],
    [delegate, leaf('leaf', [toB], { exportTo: ['.'] })],
    [delegate, leaf('leaf', [toB], { exportTo: ['elsewhere'] })],
    [delegate, leaf('leaf', [toB], { hosts: ['b.com'] })],
  ]
  for (const [named, other] of cases) {
    const rules = [{ match: [{ uri: { prefix: '/x' } }], delegate: named }, rule('rest')]
    const { routes, findings } = run(gw([server(['*'])]), vs('root', { hosts: ['a.com'], http: rules }), other)
    const [missing, rest] = routes('a.com')
    assert.deepEqual(missing?.action, { kind: 'direct', status: 404, body: '' })
    assert.deepEqual(missing.matches[0]?.uri, { kind: 'prefix', value: '/x' })
    assert.equal(rest?.name, 'rest')
    assert.deepEqual(
      findings.filter((each) => each.startsWith('SP40')),
      [`SP4045 VirtualService/${NS}/root:spec.http.0.delegate`],
    )
  }
  for (const exportTo of [['*'], [NS], ['elsewhere', NS]])
    assert.deepEqual(merge({}, [toB], { exportTo }).findings, [], exportTo.join())
})

test('several rules may share a delegate; a delegate by itself is bound nowhere', () => {
  const { routes, hosts } = run(
    gw([server(['*'])]),
    vs('root', {
      hosts: ['a.com'],
      http: [
        { name: 'one', match: [{ uri: { prefix: '/1' } }], delegate },
        { name: 'two', match: [{ uri: { prefix: '/2' } }], delegate },
      ],
    }),
    leaf('leaf', [toB]),
  )
  assert.deepEqual(uris(routes('a.com')), [
    ['one-b', '{"kind":"prefix","value":"/1"}'],
    ['two-b', '{"kind":"prefix","value":"/2"}'],
  ])
  assert.deepEqual(Object.keys(hosts()), ['a.com'])
})

test('those that delegate come after the others, as in Istio', () => {
  const special = (name: string) => rule(name, { uri: { prefix: `/${name}` } })
  const { routes } = run(
    gw([server(['*'])]),
    vs('a-root', { hosts: ['a.com'], http: [{ match: [{ uri: { prefix: '/' } }], delegate }, special('never')] }),
    vs('b-plain', { hosts: ['a.com'], http: [special('plain')] }),
    leaf('leaf', [{ ...toB, match: [{ uri: { prefix: '/leaf' } }] }, toB]),
  )
  assert.deepEqual(
    routes('a.com').map(({ name }) => name),
    ['plain', 'b', 'b'],
  )
})
