/** Whether a cluster has been made yet is nobody's business: counters, limits and descriptions are the same. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClusterModel } from '../model/cluster.ts'
import { CALLER, clusterEnvironment, clusterModel, testUpstream, upstreamTls } from '../testing/forwarding.ts'
import { type ClusterSet, createClusters } from './clusters.ts'

const named = (name: string, fields: Partial<ClusterModel> = {}): ClusterModel =>
  clusterModel(8080, { name, statName: name, ...fields })

function endpoint(address: string, priority = 0): ClusterModel['endpoints'][number] {
  return { address, port: 80, weight: 2, locality: '', priority }
}

const OUTLIER = {
  consecutive5xx: 5,
  consecutiveGatewayErrors: 0,
  splitLocalOriginErrors: false,
  consecutiveLocalOriginFailures: 0,
  intervalMs: 10_000,
  baseEjectionMs: 30_000,
  maxEjectionPercent: 10,
  minHealthPercent: 0,
} as const

const STATIC = named('static', { endpoints: [endpoint('198.51.100.1'), endpoint('2001:db8::1', 1)] })

const MODELS: readonly ClusterModel[] = [
  { ...STATIC, name: 'tunnel|1' },
  STATIC,
  named('tls', { tls: upstreamTls({ insecureSkipVerify: true }) }),
  named('denied', { endpoints: [endpoint('169.254.169.254'), endpoint('198.51.100.1')] }),
  named('mixed', { discovery: 'dns', endpoints: [endpoint('site.example'), endpoint('198.51.100.1')] }),
  named('first', { discovery: 'dns-first', endpoints: [endpoint('site.example')] }),
  named('dynamic', { host: '*.example', discovery: 'dynamic', endpoints: [] }),
  named('limited', { pool: { ...clusterModel(1).pool, maxConnections: 1, maxRequests: 1, maxRetries: 1 } }),
  named('outlier', { outlierDetection: OUTLIER }),
  named('warm', {
    loadBalancer: {
      kind: 'ROUND_ROBIN',
      warmup: { durationMs: 60_000, minimumPercent: 10, aggression: 1 },
    },
  }),
]

const asleep = (previous: ClusterSet | null = null) => createClusters(MODELS, clusterEnvironment(), previous)

function awake(): ClusterSet {
  const set = asleep()
  for (const { name } of MODELS) assert.equal(set.get(name)?.name, name)
  return set
}

test('clusters that nobody has asked for show what those show that somebody has', () => {
  const [one, other] = [asleep(), awake()]
  assert.deepEqual([...one.stats()], [...other.stats()])
  assert.deepEqual(one.describe(), other.describe())
  const counted = new Map([...one.stats()].map((stats) => [stats.name, stats]))
  assert.equal(counted.get('denied')?.address_denied, 1)
  assert.equal(counted.get('denied')?.membership_excluded, 1)
  assert.equal(counted.get('mixed')?.membership_healthy, 1)
  // A variant is no cluster of its own; PassthroughCluster is.
  assert.equal(one.describe().length, MODELS.length)
})

test('a cluster is made once, and an unknown one never', () => {
  const set = asleep()
  const first = set.get('static')
  assert.ok(first !== null)
  assert.equal(set.get('static'), first)
  assert.equal(set.get('nothing'), null)
  assert.equal(set.get('PassthroughCluster'), null)
})

test('counters that were read before anybody asked are the ones that count later', () => {
  const set = asleep()
  const read = [...set.stats()].find(({ name }) => name === 'static')
  const cluster = set.get('static')
  assert.ok(cluster !== null && read !== undefined)
  assert.equal(cluster.stats, read)
  cluster.stats.upstream_rq_total += 1
  const next = asleep(set)
  set.retire()
  assert.equal([...next.stats()].find(({ name }) => name === 'static')?.upstream_rq_total, 1)
  assert.equal(set.get('tunnel|1')?.stats, read)
})

test('the limits of the configuration in force hold, in whatever order clusters are made', () => {
  const model = (maxRequests: number) => named('a', { pool: { ...clusterModel(1).pool, maxRequests } })
  const first = createClusters([model(1)], clusterEnvironment(), null)
  const second = createClusters([model(2)], clusterEnvironment(), first)
  assert.equal(first.get('a')?.breakers.limits.maxRequests, 2)
  second.retire()
  assert.equal(first.get('a')?.breakers.limits.maxRequests, 1)
  const gone = createClusters([], clusterEnvironment(), first)
  assert.equal(first.get('a')?.breakers.limits.maxRequests, 1)
  gone.retire()
})

test('a cluster that a later configuration knows too keeps its connections, although nobody has asked there yet', () => {
  using upstream = testUpstream(named('a'))
  const picked = upstream.cluster.pick({
    requestedHost: 'site.example',
    portOverride: null,
    hash: null,
    caller: CALLER,
  })
  assert.ok('poolFor' in picked)
  const opened = picked.poolFor(CALLER)
  const next = createClusters([named('b'), named('a')], clusterEnvironment(), upstream.set)
  upstream.set.retire()
  assert.equal(opened.retired, false)
  next.retire()
  assert.equal(opened.retired, true)
})
