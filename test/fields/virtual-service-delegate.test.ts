/** Delegation, whole: a root's rule stands for those of another VirtualService (behaviour §4.5). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Manifest, to, virtualService } from '../integration/manifests.ts'
import { A, B, echoed, HOST, routeOf, routeSite, siteOf, told } from './route-site.ts'

/** No hosts, no gateways. */
function leaf(name: string, namespace: string, http: readonly object[], spec: object = {}): Manifest {
  const { apiVersion } = virtualService(name, [], http) as { readonly apiVersion?: string }
  return { apiVersion, kind: 'VirtualService', metadata: { name, namespace }, spec: { http, ...spec } }
}

const prefix = (value: string) => [{ uri: { prefix: value } }]

test('field VirtualService.http[].delegate.name, VirtualService.http[].delegate.namespace: the rules of that VirtualService, narrowed', async (t) => {
  const site = await routeSite(
    t,
    [
      { name: 'one', match: prefix('/one'), delegate: { name: 'leaf', namespace: 'team' } },
      { name: 'two', match: prefix('/two'), delegate: { name: 'leaf' } },
      { name: 'rest', route: to(A) },
    ],
    {
      manifests: [
        leaf('leaf', 'team', [
          { name: 'deep', match: prefix('/one/deep'), route: to(B) },
          { name: 'beyond', match: prefix('/'), route: to(B) },
          { name: 'put', match: [{ method: { exact: 'PUT' } }], route: to(B) },
        ]),
        leaf('leaf', 'istio-system', [{ name: 'near', route: to(B) }]),
      ],
    },
  )
  const deep = await site.call('/one/deep/x')
  assert.deepEqual([routeOf(deep), siteOf(deep)], ['one-deep', 'b'])
  assert.equal(routeOf(await site.call('/one/x', { method: 'PUT' })), 'one-put')
  assert.equal(routeOf(await site.call('/two')), 'two-near')
  // What no rule of the delegate takes goes on to the next rule of the root.
  const rest = await site.call('/one/x')
  assert.deepEqual([routeOf(rest), siteOf(rest)], ['rest', 'a'])
  assert.equal((await told(site.harness, 'SP4046', 1)).length, 1)
})

test('field VirtualService.http[].delegate: what the delegate does not say, the root says', async (t) => {
  const root = {
    delegate: { name: 'leaf' },
    headers: { request: { set: { 'x-root': '1' } } },
    rewrite: { uri: '/anything/root' },
  }
  const own = { headers: { request: { set: { 'x-own': '1' } } }, rewrite: { uri: '/anything/own' } }
  const { call, a } = await routeSite(t, [root], {
    manifests: [leaf('leaf', 'istio-system', [{ match: prefix('/own'), ...own, route: to(A) }, { route: to(A) }])],
  })
  const mine = echoed(await call('/own'))
  assert.deepEqual([mine['X-Own'], mine['X-Root'], a.requests.at(-1)], ['1', undefined, 'GET /anything/own'])
  const roots = echoed(await call('/x'))
  assert.deepEqual([roots['X-Own'], roots['X-Root']], [undefined, '1'])
})

test('field VirtualService.http[].delegate: one that is missing or hidden answers 404, whatever comes behind', async (t) => {
  const site = await routeSite(
    t,
    [
      { match: prefix('/missing'), delegate: { name: 'missing' } },
      { match: prefix('/hidden'), delegate: { name: 'hidden', namespace: 'team' } },
      { match: prefix('/shown'), delegate: { name: 'shown', namespace: 'team' } },
      { route: to(A) },
    ],
    {
      manifests: [
        leaf('hidden', 'team', [{ route: to(B) }], { exportTo: ['.'] }),
        leaf('shown', 'team', [{ route: to(B) }], { exportTo: ['istio-system'] }),
      ],
    },
  )
  for (const path of ['/missing', '/hidden']) assert.equal((await site.call(path)).answer.status, 404, path)
  assert.equal(siteOf(await site.call('/shown')), 'b')
  assert.equal(siteOf(await site.call('/')), 'a')
  assert.equal((await told(site.harness, 'SP4045', 2)).length, 2)
  assert.deepEqual(site.b.requests, ['GET /shown'])
  assert.equal((await site.call('/', { host: `x.${HOST}` })).answer.status, 502)
})
