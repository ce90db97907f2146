import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hash32 } from '../core/hash.ts'
import type { ClusterModel, EndpointModel, OutlierDetectionModel } from '../model/cluster.ts'
import { startDnsServer } from '../testing/dns-server.ts'
import { eventually } from '../testing/eventually.ts'
import { CALLER, clusterEnvironment, clusterModel, type EnvironmentOptions } from '../testing/forwarding.ts'
import type { UpstreamCluster } from './cluster.ts'
import { type ClusterSet, createClusters } from './clusters.ts'
import { UpstreamEndpoint } from './endpoints.ts'

const OUTLIER: OutlierDetectionModel = {
  consecutive5xx: 1,
  consecutiveGatewayErrors: 0,
  splitLocalOriginErrors: false,
  consecutiveLocalOriginFailures: 5,
  intervalMs: 10_000,
  baseEjectionMs: 30_000,
  maxEjectionPercent: 100,
  minHealthPercent: 0,
}
const key = { kind: 'source-ip' } as const
const RING = { kind: 'RING_HASH', minimumRingSize: 1024, key } as const
const MAGLEV = { kind: 'MAGLEV', tableSize: 65_537, key } as const

const endpoints = (count: number, options: (index: number) => Partial<EndpointModel> = () => ({})): EndpointModel[] =>
  Array.from({ length: count }, (_, i) => ({
    address: `127.0.0.${i + 1}`,
    port: 80,
    weight: 1,
    locality: '',
    priority: 0,
    ...options(i),
  }))

function build(
  options: Partial<ClusterModel>,
  environment: EnvironmentOptions = {},
  previous: ClusterSet | null = null,
) {
  const set = createClusters([clusterModel(80, options)], clusterEnvironment(environment), previous)
  const cluster = set.get('outbound|80||site.example')
  assert.ok(cluster !== null)
  return { set, cluster }
}

const target = (hash: number | null = null, requestedHost = 'site.example') => ({
  requestedHost,
  portOverride: null,
  hash,
  caller: CALLER,
})

/** The endpoint, or the kind of failure. */
async function pick(
  cluster: UpstreamCluster,
  hash: number | null = null,
  ...rest: [tried?: readonly UpstreamEndpoint[], spill?: boolean]
) {
  const picked = await cluster.pick(target(hash), ...rest)
  return picked instanceof UpstreamEndpoint ? picked : picked.kind
}
const text = (picked: UpstreamEndpoint | string) => (picked instanceof UpstreamEndpoint ? picked.address : picked)

async function counts(cluster: UpstreamCluster, rounds: number): Promise<Record<string, number>> {
  const found: Record<string, number> = {}
  for (let i = 0; i < rounds; i++) {
    const name = text(await pick(cluster))
    found[name] = (found[name] ?? 0) + 1
  }
  return found
}

function eject(cluster: UpstreamCluster, ...addresses: readonly string[]): void {
  for (const endpoint of cluster.endpoints()) if (addresses.includes(endpoint.address)) endpoint.answered(500)
}

for (const loadBalancer of [RING, MAGLEV]) {
  test(`${loadBalancer.kind}: a key stays where it is; when its endpoint is out or tried, only it moves, and comes back`, async () => {
    const { cluster } = build({ loadBalancer, endpoints: endpoints(5), outlierDetection: OUTLIER })
    const keys = Array.from({ length: 500 }, (_, i) => hash32(`key-${i}`))
    const where = async () => Promise.all(keys.map(async (hash) => text(await pick(cluster, hash))))
    const before = await where()
    assert.deepEqual(await where(), before)
    assert.equal(new Set(before).size, 5)

    const [first = 0] = keys
    const chosen = await pick(cluster, first)
    assert.ok(chosen instanceof UpstreamEndpoint)
    const next = await pick(cluster, first, [chosen])
    assert.ok(next instanceof UpstreamEndpoint && next !== chosen)
    eject(cluster, chosen.address)
    assert.equal(await pick(cluster, first), next)
    const without = await where()
    const took = new Set<string>()
    for (const [index, address] of without.entries()) {
      if (before[index] !== chosen.address) assert.equal(address, before[index])
      else took.add(address)
    }
    assert.ok(!took.has(chosen.address))
    assert.equal(took.size, 4, 'its keys are shared out')
    // Without a key: anywhere.
    assert.equal(Object.keys(await counts(cluster, 200)).length, 4)

    eject(cluster, ...before)
    assert.equal(await pick(cluster, first), 'no_healthy_upstream')
  })
}

test('tables are built when first used, not at reload', async () => {
  const before = performance.now()
  const { cluster } = build({ loadBalancer: { ...MAGLEV, tableSize: 524_287 }, endpoints: endpoints(3) })
  const reload = performance.now() - before
  const started = performance.now()
  await pick(cluster, 7)
  const first = performance.now() - started
  assert.ok(reload < first, `${reload} ms and ${first} ms`)
})

test('priorities: the first while it is healthy, a share to the next when it is not, all when it is gone', async () => {
  const { cluster } = build({
    loadBalancer: { kind: 'ROUND_ROBIN', warmup: null },
    endpoints: endpoints(8, (i) => ({ priority: i < 4 ? 0 : 1 })),
    outlierDetection: OUTLIER,
  })
  const second = async () => {
    const found = await counts(cluster, 2_000)
    return Object.entries(found).reduce((sum, [address, n]) => (address >= '127.0.0.5' ? sum + n : sum), 0) / 2_000
  }
  assert.equal(await second(), 0)
  eject(cluster, '127.0.0.1')
  assert.equal(await second(), 0, 'three of four are enough')
  eject(cluster, '127.0.0.2')
  // Half of them, times 1.4, leaves 30 %.
  const share = await second()
  assert.ok(Math.abs(share - 0.3) < 0.06, String(share))
  eject(cluster, '127.0.0.3', '127.0.0.4')
  assert.equal(await second(), 1)
  eject(cluster, '127.0.0.5', '127.0.0.6', '127.0.0.7', '127.0.0.8')
  assert.equal(await pick(cluster), 'no_healthy_upstream')
})

test('priorities: a retry stays in the chosen one unless it may spill', async () => {
  const { cluster } = build({ endpoints: endpoints(2, (i) => ({ priority: i })) })
  const first = await pick(cluster)
  assert.ok(first instanceof UpstreamEndpoint)
  assert.equal(first.address, '127.0.0.1')
  assert.equal(await pick(cluster, null, [first]), 'no_healthy_upstream')
  assert.equal(text(await pick(cluster, null, [first], true)), '127.0.0.2')
})

test('minHealthPercent: with fewer healthy ones, ejections are disregarded', async () => {
  for (const loadBalancer of [RING, { kind: 'RANDOM', warmup: null } as const]) {
    const outlierDetection = { ...OUTLIER, minHealthPercent: 50 }
    const { cluster } = build({ loadBalancer, endpoints: endpoints(4), outlierDetection })
    eject(cluster, '127.0.0.1', '127.0.0.2')
    assert.equal(Object.keys(await counts(cluster, 400)).length, 2)
    eject(cluster, '127.0.0.3')
    assert.equal(Object.keys(await counts(cluster, 400)).length, 4)
    // Still known to be bad.
    assert.equal([...cluster.endpoints()].filter(({ ejected }) => ejected).length, 3)
  }
})

test('gauges: total, excluded by the guard, ejected, healthy', () => {
  const { set, cluster } = build({
    endpoints: [...endpoints(3), ...endpoints(1, () => ({ address: '169.254.169.254' }))],
    outlierDetection: OUTLIER,
  })
  eject(cluster, '127.0.0.2')
  const [stats] = set.stats()
  assert.deepEqual(
    [
      stats?.membership_total,
      stats?.membership_excluded,
      stats?.outlier_ejections_active,
      stats?.membership_healthy,
      stats?.outlier_ejections_enforced_total,
    ],
    [4, 1, 1, 2, 1],
  )
  assert.deepEqual(
    set.describe()[0]?.endpoints.map(({ ejected }) => ejected),
    [false, true, false, false],
  )
})

test('an ejection outlives reloads, one that changes its settings too; without outlierDetection nobody is out', async () => {
  const model = { endpoints: endpoints(2), outlierDetection: OUTLIER }
  const first = build(model)
  eject(first.cluster, '127.0.0.1')
  const thrownAway = build({ endpoints: endpoints(1) }, {}, first.set)
  thrownAway.set.retire()
  const second = build(model, {}, first.set)
  first.set.retire()
  assert.deepEqual(await counts(second.cluster, 10), { '127.0.0.2': 10 })
  const quick = { ...OUTLIER, baseEjectionMs: 1, intervalMs: 1 }
  const third = build(
    { ...model, endpoints: endpoints(3), outlierDetection: { ...OUTLIER, consecutive5xx: 9 } },
    {},
    second.set,
  )
  second.set.retire()
  assert.deepEqual(await counts(third.cluster, 10), { '127.0.0.2': 5, '127.0.0.3': 5 })
  const off = build({ ...model, outlierDetection: null }, {}, third.set)
  assert.deepEqual(await counts(off.cluster, 10), { '127.0.0.1': 5, '127.0.0.2': 5 })
  off.set.retire()
  // A shorter time counts for those that are out already.
  const last = build({ ...model, outlierDetection: quick }, {}, third.set)
  third.set.retire()
  await eventually('it is back', async () => text(await pick(last.cluster)) === '127.0.0.1')
})

test('an ejection outlives DNS answers that lack its address; each requested name is on its own', async () => {
  let addresses = ['93.184.216.1', '93.184.216.2']
  await using server = await startDnsServer(() => ({ kind: 'answer', addresses, ttl: 1 }))
  const dns = { servers: [server.address], minTtlMs: 1, maxTtlMs: 10 }
  const { cluster } = build(
    { discovery: 'dns', endpoints: endpoints(1, () => ({ address: 'site.example' })), outlierDetection: OUTLIER },
    { dns },
  )
  assert.deepEqual(await counts(cluster, 4), { '93.184.216.1': 2, '93.184.216.2': 2 })
  eject(cluster, '93.184.216.1')
  assert.deepEqual(await counts(cluster, 4), { '93.184.216.2': 4 })
  addresses = ['93.184.216.2', '93.184.216.3']
  await eventually('the third address is used', async () => text(await pick(cluster)) === '93.184.216.3')
  addresses = ['93.184.216.1', '93.184.216.2']
  await eventually('the first is there again', async () => {
    await pick(cluster)
    return [...cluster.endpoints()].some(({ address }) => address === '93.184.216.1')
  })
  assert.deepEqual(await counts(cluster, 4), { '93.184.216.2': 4 })

  const wild = build(
    { discovery: 'dynamic', host: '*.site.example', endpoints: [], outlierDetection: OUTLIER },
    { dns: { servers: [server.address] } },
  )
  addresses = ['93.184.216.9']
  const ask = async (name: string) => wild.cluster.pick(target(null, name))
  const bad = await ask('a.site.example')
  assert.ok(bad instanceof UpstreamEndpoint)
  bad.answered(503)
  assert.equal(((await ask('a.site.example')) as { kind: string }).kind, 'no_healthy_upstream')
  assert.ok((await ask('b.site.example')) instanceof UpstreamEndpoint)
})

test('warm-up: a new address starts with its minimum share, which a reload does not reset; an old one has it all', async () => {
  let addresses = ['93.184.216.1']
  await using server = await startDnsServer(() => ({ kind: 'answer', addresses, ttl: 1 }))
  const environment = { dns: { servers: [server.address], minTtlMs: 1, maxTtlMs: 10 } }
  const model = (durationMs: number): Partial<ClusterModel> => ({
    discovery: 'dns',
    endpoints: endpoints(1, () => ({ address: 'site.example' })),
    loadBalancer: { kind: 'ROUND_ROBIN', warmup: { durationMs, minimumPercent: 10, aggression: 1 } },
  })
  const { set, cluster } = build(model(200), environment)
  await pick(cluster)
  // The first address has grown up by the time the second one comes.
  const grown = performance.now() + 200
  await eventually('200 ms', () => performance.now() > grown)
  addresses = ['93.184.216.1', '93.184.216.2']
  await eventually('the second is there', async () => {
    await pick(cluster)
    return [...cluster.endpoints()].length === 2
  })
  const slow = build(model(3_600_000), environment, set)
  await pick(slow.cluster)
  const weights = () => [...slow.cluster.endpoints()].map(({ weight }) => weight)
  assert.deepEqual(weights(), [0.1, 0.1], 'both are young, measured by an hour')
  const quick = build(model(200), environment, slow.set)
  const shareOfSecond = async () => {
    const found = await counts(quick.cluster, 110)
    return (found['93.184.216.2'] ?? 0) / 110
  }
  await eventually('both have their whole weight', async () => Math.abs((await shareOfSecond()) - 0.5) < 0.01)
  addresses = ['93.184.216.1', '93.184.216.3']
  await eventually('a third one, at its beginning', async () => {
    await pick(quick.cluster)
    const third = [...quick.cluster.endpoints()].find(({ address }) => address === '93.184.216.3')
    return third !== undefined && third.weight < 1
  })
  const first = [...quick.cluster.endpoints()].find(({ address }) => address === '93.184.216.1')
  assert.equal(first?.weight, 1)
})
