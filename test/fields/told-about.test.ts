/** Fields that are read, told about, and left alone: the rest of the resource does what it says (docs/support-matrix.md). */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { destinationRule, type Manifest, serviceEntry } from '../integration/manifests.ts'
import { endpoint, routeTo, startOutside, startSites } from './outside.ts'
import { told } from './route-site.ts'

const HOST = 'site.example'
const TRAFFIC = 'DestinationRule.trafficPolicy'

/** The site answers, and the one finding about a field that is not implemented names this one. */
async function answersAndTells(t: TestContext, field: string, ...manifests: readonly Manifest[]): Promise<Headers> {
  const outside = await startOutside(t, manifests)
  const { site, answer } = await outside.call(HOST)
  assert.equal(site, 'a')
  const found = await told(outside.harness, 'SP1034', 1)
  assert.ok(
    found.every((message) => message.includes(field)),
    found.join('\n'),
  )
  return new Headers(Object.entries(answer.headers).map(([name, value]) => [name, String(value)]))
}

async function entry(t: TestContext, more: object = {}): Promise<Manifest> {
  const sites = await startSites(t, ['a'])
  return serviceEntry('site', HOST, 80, { spec: { endpoints: [endpoint(sites, 'a', more)] } })
}

test('field ServiceEntry.endpoints[].network: endpoints are dialled directly', async (t) => {
  await answersAndTells(t, 'endpoints[0].network', await entry(t, { network: 'net-2' }), routeTo(HOST))
})

test('field WorkloadEntry.network: endpoints are dialled directly', async (t) => {
  const place = endpoint(await startSites(t, ['a']), 'a', { network: 'net-2', labels: { app: 'a' } })
  const workload: Manifest = {
    apiVersion: 'networking.istio.io/v1',
    kind: 'WorkloadEntry',
    metadata: { name: 'a', namespace: 'istio-system' },
    spec: place,
  }
  const spec = { endpoints: undefined, workloadSelector: { labels: { app: 'a' } } }
  await answersAndTells(t, 'spec.network', serviceEntry('site', HOST, 80, { spec }), workload, routeTo(HOST))
})

test(`field ${TRAFFIC}.loadBalancer.consistentHash.httpCookie.attributes[].name, ${TRAFFIC}.loadBalancer.consistentHash.httpCookie.attributes[].value: the cookie has none of them`, async (t) => {
  const httpCookie = { name: 'affinity', ttl: '60s', attributes: [{ name: 'SameSite', value: 'Strict' }] }
  const rule = destinationRule('site', HOST, { loadBalancer: { consistentHash: { httpCookie } } })
  const headers = await answersAndTells(t, 'httpCookie.attributes', await entry(t), rule, routeTo(HOST))
  const cookie = headers.get('set-cookie') ?? ''
  assert.match(cookie, /^affinity=/)
  assert.doesNotMatch(cookie, /SameSite/)
})

test(`field ${TRAFFIC}.connectionPool.http.http2KeepAlive.connectionIdleInterval: PINGs go by the interval alone`, async (t) => {
  const http2KeepAlive = { interval: '10s', timeout: '1s', connectionIdleInterval: '5s' }
  const rule = destinationRule('site', HOST, { connectionPool: { http: { http2KeepAlive } } })
  await answersAndTells(t, 'connectionIdleInterval', await entry(t), rule, routeTo(HOST))
})

test(`field ${TRAFFIC}.connectionPool.tcp.tcpKeepalive.probes, ${TRAFFIC}.connectionPool.tcp.tcpKeepalive.interval: the system’s`, async (t) => {
  const tcpKeepalive = { time: '10s', probes: 3, interval: '5s' }
  const rule = destinationRule('site', HOST, { connectionPool: { tcp: { tcpKeepalive } } })
  await answersAndTells(t, 'tcpKeepalive', await entry(t), rule, routeTo(HOST))
})
