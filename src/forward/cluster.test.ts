import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClusterModel } from '../model/cluster.ts'
import { type DnsReply, startDnsServer } from '../testing/dns-server.ts'
import { CALLER, clusterEnvironment, clusterModel, type EnvironmentOptions } from '../testing/forwarding.ts'
import type { UpstreamCluster } from './cluster.ts'
import { createClusters } from './clusters.ts'
import { UpstreamEndpoint } from './endpoints.ts'

function build(options: Partial<ClusterModel>, environment: EnvironmentOptions = {}) {
  const set = createClusters([clusterModel(8080, options)], clusterEnvironment(environment), null)
  const cluster = set.get('outbound|80||site.example')
  assert.ok(cluster !== null)
  return { set, cluster }
}

/** `ip:port`, or `kind details`. */
async function pick(
  cluster: UpstreamCluster,
  host = 'site.example',
  port: number | null = null,
  tried: readonly UpstreamEndpoint[] = [],
): Promise<string> {
  const picked = await cluster.pick({ requestedHost: host, portOverride: port, hash: null, caller: CALLER }, tried)
  if (picked instanceof UpstreamEndpoint) return picked.text
  return `${picked.kind} ${picked.details ?? ''}`.trim()
}

const endpoint = (address: string, port = 80, weight = 1) => ({ address, port, weight, locality: '', priority: 0 })

test('static: every listed address, round robin; an empty list is UH', async () => {
  const { set, cluster } = build({ endpoints: [endpoint('127.0.0.1'), endpoint('::1', 8080)] })
  assert.deepEqual([await pick(cluster), await pick(cluster), await pick(cluster)].sort(), [
    '127.0.0.1:80',
    '127.0.0.1:80',
    '[::1]:8080',
  ])
  const [stats] = set.stats()
  assert.deepEqual([stats?.membership_total, stats?.membership_healthy], [2, 2])
  assert.equal(await pick(build({ endpoints: [] }).cluster), 'no_healthy_upstream')
})

test('static: metadata and the gateway itself are refused, the rest is dialled', async () => {
  const isSelf = (address: string, port: number) => address === '127.0.0.1' && port === 15000
  const mixed = build(
    { endpoints: [endpoint('169.254.169.254'), endpoint('127.0.0.1', 15000), endpoint('127.0.0.1')] },
    { isSelf },
  )
  for (let i = 0; i < 6; i++) assert.equal(await pick(mixed.cluster), '127.0.0.1:80')
  const [stats] = mixed.set.stats()
  assert.deepEqual([stats?.membership_total, stats?.membership_healthy, stats?.address_denied], [3, 2, 1])
  assert.equal(
    await pick(build({ endpoints: [endpoint('169.254.169.254')] }).cluster),
    'address_denied address_denied{metadata}',
  )
  assert.equal(
    await pick(build({ endpoints: [endpoint('127.0.0.1', 15000)] }, { isSelf }).cluster),
    'address_denied address_denied{self}',
  )
})

test('dns: every permitted answer, IPv4 preferred; denied ones are counted and never picked', async () => {
  await using server = await startDnsServer(() => ({
    kind: 'answer',
    addresses: ['10.0.0.1', '93.184.216.34', '93.184.216.35', '2606:2800:220:1::1'],
    ttl: 30,
  }))
  const { set, cluster } = build(
    { discovery: 'dns', endpoints: [endpoint('site.example')] },
    { dns: { servers: [server.address] } },
  )
  const picks = [await pick(cluster), await pick(cluster), await pick(cluster), await pick(cluster)]
  assert.deepEqual(new Set(picks), new Set(['93.184.216.34:80', '93.184.216.35:80']))
  const v4 = [...cluster.endpoints()].filter(({ text }) => text.startsWith('93.'))
  assert.equal(await pick(cluster, 'site.example', null, v4), '[2606:2800:220:1::1]:80')
  const [stats] = set.stats()
  assert.deepEqual([stats?.membership_total, stats?.membership_healthy, stats?.address_denied], [4, 3, 1])
  assert.deepEqual(
    set.describe()[0]?.endpoints.map(({ address, denied }) => [address, denied]),
    [
      ['10.0.0.1', 'private'],
      ['93.184.216.34', null],
      ['93.184.216.35', null],
      ['2606:2800:220:1::1', null],
    ],
  )
})

test('dns: only private answers are a refusal that says so; none at all is UH', async () => {
  let reply: DnsReply = { kind: 'answer', addresses: ['10.0.0.1'], ttl: 30 }
  await using server = await startDnsServer(() => reply)
  const environment = { dns: { servers: [server.address] } }
  const model: Partial<ClusterModel> = { discovery: 'dns', endpoints: [endpoint('site.example')] }
  assert.equal(await pick(build(model, environment).cluster), 'address_denied address_denied{private}')
  assert.equal(await pick(build(model, { ...environment, allow: ['10.0.0.0/24'] }).cluster), '10.0.0.1:80')
  reply = { kind: 'rcode', code: 'NXDOMAIN' }
  assert.equal(await pick(build(model, environment).cluster), 'no_healthy_upstream')
})

test('dns: IP literals among the names are the operator’s words; names that fail leave the others', async () => {
  await using server = await startDnsServer(({ name }) =>
    name === 'a.example'
      ? { kind: 'answer', addresses: ['93.184.216.34'], ttl: 30 }
      : { kind: 'rcode', code: 'SERVFAIL' },
  )
  const { cluster } = build(
    { discovery: 'dns', endpoints: [endpoint('a.example', 81), endpoint('b.example', 82), endpoint('127.0.0.1', 83)] },
    { dns: { servers: [server.address] } },
  )
  const picks = [await pick(cluster), await pick(cluster), await pick(cluster), await pick(cluster)]
  assert.deepEqual(new Set(picks), new Set(['93.184.216.34:81', '127.0.0.1:83']))
})

test('dns: answers that are there and answers that are awaited count alike, whichever name is first; then nobody waits', async () => {
  await using server = await startDnsServer(({ name }) => ({
    kind: 'answer',
    addresses: [name === 'a.example' ? '93.184.216.34' : '93.184.216.35'],
    ttl: 30,
  }))
  const model = (name: string, ...names: string[]): ClusterModel =>
    clusterModel(8080, { name, discovery: 'dns', endpoints: names.map((each) => endpoint(each)) })
  const models = [model('a', 'a.example'), model('ab', 'a.example', 'b.example'), model('ca', 'c.example', 'a.example')]
  const set = createClusters(models, clusterEnvironment({ dns: { servers: [server.address] } }), null)
  const cluster = (name: string): UpstreamCluster => set.get(name) as UpstreamCluster
  const target = { requestedHost: 'site.example', portOverride: null, hash: null, caller: CALLER }
  assert.equal(await pick(cluster('a')), '93.184.216.34:80')
  for (const name of ['ab', 'ca']) {
    // Both at once: the second asks while the first one's answer is on its way.
    const first = [cluster(name).pick(target), cluster(name).pick(target)]
    assert.ok(first.every((picked) => picked instanceof Promise))
    const picks = [...(await Promise.all(first)), cluster(name).pick(target), cluster(name).pick(target)]
    assert.deepEqual(
      new Set(picks.map((picked) => (picked instanceof UpstreamEndpoint ? picked.text : 'none'))),
      new Set(['93.184.216.34:80', '93.184.216.35:80']),
    )
  }
})

test('dns-first: the first permitted answer only', async () => {
  await using server = await startDnsServer(() => ({
    kind: 'answer',
    addresses: ['10.0.0.1', '93.184.216.35', '93.184.216.34'],
    ttl: 30,
  }))
  const { cluster } = build(
    { discovery: 'dns-first', endpoints: [endpoint('site.example')] },
    { dns: { servers: [server.address] } },
  )
  for (let i = 0; i < 3; i++) assert.equal(await pick(cluster), '93.184.216.35:80')
})

test('dynamic: the requested name, within the wildcard; DF when it cannot be resolved', async () => {
  await using server = await startDnsServer(({ name }) =>
    name === 'www.site.example'
      ? { kind: 'answer', addresses: ['93.184.216.34'], ttl: 30 }
      : { kind: 'rcode', code: 'NXDOMAIN' },
  )
  const { cluster } = build(
    { discovery: 'dynamic', host: '*.site.example', endpoints: [], dynamicPort: 443 },
    { dns: { servers: [server.address] } },
  )
  assert.equal(await pick(cluster, 'www.site.example'), '93.184.216.34:443')
  assert.equal(await pick(cluster, 'www.site.example', 8443), '93.184.216.34:8443')
  assert.equal(await pick(cluster, 'gone.site.example'), 'dns_failure')
  assert.equal(await pick(cluster, 'site.example'), 'no_healthy_upstream')
  assert.equal(await pick(cluster, 'www.badsite.example'), 'no_healthy_upstream')
  assert.ok(!server.questions.some(({ name }) => name === 'www.badsite.example'))
})

test('passthrough: literals are judged like answers, odd spellings are refused unasked', async () => {
  await using server = await startDnsServer(() => ({ kind: 'answer', addresses: ['127.0.0.1'], ttl: 30 }))
  const set = createClusters([], clusterEnvironment({ dns: { servers: [server.address] } }), null)
  const { passthrough } = set
  assert.equal(passthrough.name, 'PassthroughCluster')
  assert.equal(await pick(passthrough, '93.184.216.34'), '93.184.216.34:80')
  assert.equal(await pick(passthrough, '93.184.216.34', 8080), '93.184.216.34:8080')
  assert.equal(await pick(passthrough, '10.1.2.3'), 'address_denied address_denied{private}')
  assert.equal(await pick(passthrough, '::1'), 'address_denied address_denied{loopback}')
  for (const odd of ['2130706433', '0x7f.1', '0177.0.0.1', '127.1', '::ffff:7f00:1%lo', 'a b']) {
    assert.match(await pick(passthrough, odd), /^address_denied address_denied\{/, odd)
  }
  assert.deepEqual(server.questions, [])
  assert.equal(await pick(passthrough, 'rebind.example'), 'address_denied address_denied{loopback}')
})
