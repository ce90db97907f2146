/** Header operations, and the command operators in their values (behaviour §4.5, §8.8). */
import assert from 'node:assert/strict'
import { hostname } from 'node:os'
import { test } from 'node:test'
import { meshConnect } from '../../src/testing/mesh-client.ts'
import { gateway, ISTIO_MUTUAL, to } from '../integration/manifests.ts'
import { A, echoed, type RouteSite, routeSite } from './route-site.ts'

const headers = { 'x-set': 'caller', 'x-add': 'caller', 'x-gone': 'caller', 'x-kept': 'caller' }

test('field VirtualService.http[].headers.request.set, VirtualService.http[].headers.request.add, VirtualService.http[].headers.request.remove: what the site sees', async (t) => {
  const request = { set: { 'X-Set': 'rule', host: 'Inner.example' }, add: { 'x-add': 'rule' }, remove: ['X-Gone'] }
  const { call } = await routeSite(t, [{ headers: { request }, route: to(A) }])
  const seen = echoed(await call('/anything', { headers }))
  assert.deepEqual(
    ['X-Set', 'X-Add', 'X-Gone', 'X-Kept', 'Host'].map((name) => seen[name]),
    ['rule', 'caller,rule', undefined, 'caller', 'inner.example'],
  )
})

test('field VirtualService.http[].headers.response.set, VirtualService.http[].headers.response.add, VirtualService.http[].headers.response.remove: what the caller sees', async (t) => {
  const response = { set: { 'content-type': 'x/y' }, add: { 'x-add': '1', 'x-more': '2' }, remove: ['content-length'] }
  const gone = { set: { 'x-a': '1' }, remove: ['content-type'] }
  const { call } = await routeSite(t, [
    {
      match: [{ uri: { prefix: '/direct' } }],
      headers: { response: gone },
      directResponse: { status: 200, body: { string: 'x' } },
    },
    { headers: { response: { ...response, remove: ['date'] } }, route: to(A) },
  ])
  const { answer } = await call('/anything')
  assert.deepEqual(
    [answer.headers['content-type'], answer.headers['x-add'], answer.headers['x-more']],
    ['x/y', '1', '2'],
  )
  const direct = (await call('/direct')).answer
  assert.deepEqual([direct.headers['x-a'], direct.headers['content-type']], ['1', undefined])
})

test('field VirtualService.http[].route[].headers.request.set, VirtualService.http[].route[].headers.request.add, VirtualService.http[].route[].headers.request.remove: of one destination; the rule’s set wins', async (t) => {
  const own = {
    request: { set: { 'x-set': 'destination', 'x-own': '1' }, add: { 'x-add': 'destination' }, remove: ['x-gone'] },
  }
  const rule = { request: { set: { 'x-set': 'rule' }, add: { 'x-add': 'rule' } } }
  const { call } = await routeSite(t, [
    { match: [{ uri: { prefix: '/anything/with' } }], headers: rule, route: [{ ...to(A)[0], headers: own }] },
    { headers: rule, route: to(A) },
  ])
  const pick = (seen: Readonly<Record<string, string>>) =>
    ['X-Set', 'X-Own', 'X-Add', 'X-Gone'].map((name) => seen[name])
  assert.deepEqual(pick(echoed(await call('/anything/with', { headers }))), [
    'rule',
    '1',
    'caller,destination,rule',
    undefined,
  ])
  assert.deepEqual(pick(echoed(await call('/anything', { headers }))), ['rule', undefined, 'caller,rule', 'caller'])
})

test('field VirtualService.http[].route[].headers.response.set, VirtualService.http[].route[].headers.response.add, VirtualService.http[].route[].headers.response.remove: of one destination', async (t) => {
  const own = {
    response: { set: { 'x-set': 'destination' }, add: { 'x-add': 'destination' }, remove: ['content-type'] },
  }
  const { call } = await routeSite(t, [{ route: [{ ...to(A)[0], headers: own }] }])
  const { answer } = await call('/anything')
  assert.deepEqual(
    [answer.headers['x-set'], answer.headers['x-add'], answer.headers['content-type']],
    ['destination', 'destination', undefined],
  )
})

/** One rule whose values hold operators; TLS on Gateway port 443. */
async function operatorSite(t: Parameters<typeof routeSite>[0]): Promise<RouteSite> {
  const set = {
    'x-peer': '%DOWNSTREAM_PEER_URI_SAN%',
    'x-from': '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%',
    'x-tls': '%DOWNSTREAM_TLS_VERSION%',
    'x-sni': '%REQUESTED_SERVER_NAME%',
    'x-copy': '%REQ(X-MISSING?X-ORIGINAL):4%',
    'x-forged': '%REQ(X-FORWARDED-FOR)%',
    'x-host': '%HOSTNAME%',
    'x-id': '%REQ(X-REQUEST-ID)%',
    'x-day': '%START_TIME(%Y)%',
    'x-route': '%ROUTE_NAME%|%UPSTREAM_CLUSTER%|%PROTOCOL%',
    'x-literal': '100%%',
  }
  const response = {
    'x-status': '%RESPONSE_CODE% %RESPONSE_FLAGS%',
    'x-upstream': '%UPSTREAM_HOST%',
    'x-type': '%RESP(CONTENT-TYPE)%',
    'x-asked': '%REQ(:METHOD)% %REQ(:PATH)%',
  }
  return routeSite(t, [{ name: 'r', headers: { request: { set }, response: { set: response } }, route: to(A) }], {
    gateway: gateway({ number: 80 }, { number: 443, tls: ISTIO_MUTUAL }),
    spec: { ports: { 80: 0, 443: 0 } },
  })
}

test('field VirtualService.http[].headers.request.set: command operators tell of the caller and the connection', async (t) => {
  const { call, harness } = await operatorSite(t)
  const svid = await harness.pki.svid('default/sleep')
  const socket = await meshConnect({
    port: harness.gateway.port(443),
    svid,
    ca: harness.pki.root,
    servername: 'outer.example',
  })
  const forged = { 'x-peer': 'forged', 'x-original': '123456', 'x-forwarded-for': '6.6.6.6' }
  const called = await call('/anything', { socket, headers: forged })
  const seen = echoed(called)
  assert.equal(seen['X-Peer'], 'spiffe://cluster.local/ns/default/sa/sleep')
  assert.deepEqual([seen['X-From'], seen['X-Sni'], seen['X-Copy']], ['127.0.0.1', 'outer.example', '1234'])
  assert.match(seen['X-Tls'] ?? '', /^TLSv1\.[23]$/)
  // As in Envoy: what the caller claims, then who it is.
  assert.equal(seen['X-Forged'], '6.6.6.6,127.0.0.1')
  assert.deepEqual([seen['X-Host'], seen['X-Literal']], [hostname(), '100%'])
  assert.equal(seen['X-Id'], called.line['request_id'])
  assert.match(seen['X-Day'] ?? '', /^20\d\d$/)
  assert.equal(seen['X-Route'], `r|outbound|80||${A}|HTTP/1.1`)
})

test('field VirtualService.http[].headers.request.set: an operator without a value removes what the caller sent', async (t) => {
  const { call } = await operatorSite(t)
  const seen = echoed(
    await call('/anything', { headers: { 'x-peer': 'spiffe://forged', 'x-tls': 'TLSv9', 'x-sni': 'a' } }),
  )
  assert.deepEqual(
    [seen['X-Peer'], seen['X-Tls'], seen['X-Sni'], seen['X-Copy']],
    [undefined, undefined, undefined, undefined],
  )
})

test('field VirtualService.http[].headers.response.set: command operators tell of the answer', async (t) => {
  const { call, a } = await operatorSite(t)
  const { answer } = await call('/anything?q=1')
  assert.equal(answer.headers['x-status'], '200 -')
  assert.equal(answer.headers['x-upstream'], `127.0.0.1:${a.port}`)
  assert.equal(answer.headers['x-type'], 'application/json')
  assert.equal(answer.headers['x-asked'], 'GET /anything?q=1')
})

test('unknown operators are refused with their place', async (t) => {
  const rule = { headers: { request: { set: { 'x-a': '%DYNAMIC_METADATA(x)%' } } }, route: to(A) }
  await assert.rejects(routeSite(t, [rule]), /all\.yaml:\d+:\d+ error SP4044 .*DYNAMIC_METADATA/)
})
