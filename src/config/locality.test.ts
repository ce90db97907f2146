/** Fail-over by place and by label, and shares of places (istio loadbalancer.go; behaviour §5.6). */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { OutlierDetectionModel } from '../model/cluster.ts'
import type { LocalityLbSpec } from './kinds/destination-rule-schema.ts'
import { type Candidate, gatewayLocality, localityOf, preferLocalities } from './locality.ts'
import { lowerOutlierDetection } from './outlier-detection.ts'

const EJECTING: OutlierDetectionModel | null = lowerOutlierDetection({})

/** An endpoint named after its place. */
const at = (locality: string, weight = 1, labels: Record<string, string> = {}): Candidate => ({
  endpoint: { address: locality, port: 80, weight, locality, priority: 0 },
  labels,
  serviceAccount: '',
})

type Options = {
  readonly setting?: LocalityLbSpec
  readonly outlierDetection?: OutlierDetectionModel | null
  readonly locality?: string
  readonly labels?: Readonly<Record<string, string>>
}

const prefer = (candidates: readonly Candidate[], options: Options): readonly Candidate[] =>
  preferLocalities(candidates, {
    setting: options.setting,
    outlierDetection: options.outlierDetection ?? null,
    locality: options.locality ?? '',
    labels: options.labels ?? {},
  })
const priorities = (candidates: readonly Candidate[], options: Options) =>
  prefer(candidates, { outlierDetection: EJECTING, ...options }).map(({ endpoint }) => endpoint.priority)
const weights = (candidates: readonly Candidate[], options: Options) =>
  prefer(candidates, options).map(({ endpoint }) => `${endpoint.address}*${endpoint.weight}`)

describe('where the gateway and an endpoint are', () => {
  const region = { 'topology.kubernetes.io/region': 'eu' }
  const zone = { ...region, 'topology.kubernetes.io/zone': 'a' }
  test('labels of the node, as far as they go', () => {
    assert.equal(gatewayLocality({}), '')
    assert.equal(gatewayLocality(region), 'eu')
    assert.equal(gatewayLocality(zone), 'eu/a')
    assert.equal(gatewayLocality({ ...zone, 'topology.istio.io/subzone': 'x' }), 'eu/a/x')
    assert.equal(gatewayLocality({ 'topology.kubernetes.io/zone': 'a' }), '')
    assert.equal(gatewayLocality({ 'istio-locality': 'eu.a.x' }), 'eu/a/x')
  })
  test('the field of an endpoint, else its label', () => {
    assert.equal(localityOf('eu/a', { 'istio-locality': 'us.b' }), 'eu/a')
    assert.equal(localityOf('', { 'istio-locality': 'us.b' }), 'us/b')
    assert.equal(localityOf(undefined, { 'istio-locality': 'us/b.c' }), 'us/b.c')
    assert.equal(localityOf(undefined, {}), '')
  })
})

describe('fail-over', () => {
  const everywhere = [at('us/c'), at('eu/a/x'), at('eu/b'), at('eu/a/y'), at('')]
  test('near before far, without gaps', () => {
    assert.deepEqual(priorities(everywhere, { locality: 'eu/a/x' }), [3, 0, 2, 1, 3])
    assert.deepEqual(priorities([at('us'), at('eu/b')], { locality: 'eu/a/x' }), [1, 0])
    assert.deepEqual(priorities([at('us'), at('as')], { locality: 'eu' }), [0, 0])
  })
  test('needs ejection, a place of the gateway, and not to be switched off', () => {
    const none = [0, 0, 0, 0, 0]
    assert.deepEqual(priorities(everywhere, { locality: 'eu/a/x', outlierDetection: null }), none)
    assert.deepEqual(priorities(everywhere, {}), none)
    assert.deepEqual(priorities(everywhere, { locality: 'eu/a/x', setting: { enabled: false } }), none)
  })
  test('to a named region before all others', () => {
    const setting = { failover: [{ from: 'eu', to: 'us' }] }
    const regions = [at('as'), at('us'), at('eu')]
    assert.deepEqual(priorities(regions, { locality: 'eu', setting }), [2, 1, 0])
    assert.deepEqual(priorities(regions, { locality: 'as', setting }), [0, 1, 1])
  })
  test('by labels: the sooner one differs, the later the turn', () => {
    const own = { version: 'v1', tier: 'gold' }
    const candidates = [
      at('', 1, {}),
      at('', 1, { version: 'v1', tier: 'gold' }),
      at('', 1, { version: 'v2', tier: 'gold' }),
      at('', 1, { version: 'v1', tier: 'silver' }),
    ]
    const setting = { failoverPriority: ['version', 'tier'] }
    assert.deepEqual(priorities(candidates, { labels: own, setting }), [2, 0, 2, 1])
    const other = { failoverPriority: ['version=v2', 'tier'] }
    assert.deepEqual(priorities(candidates, { labels: own, setting: other }), [1, 1, 0, 1])
  })
  test('by labels that come from places', () => {
    const setting = { failoverPriority: ['topology.kubernetes.io/region'] }
    assert.deepEqual(priorities([at('us'), at('eu/b')], { locality: 'eu/a', setting }), [1, 0])
  })
  test('by labels first and by region among equals', () => {
    const setting = { failoverPriority: ['version'], failover: [{ from: 'eu', to: 'us' }] }
    const v1 = { version: 'v1' }
    const candidates = [at('us', 1, v1), at('eu', 1, v1), at('eu', 1, {}), at('as', 1, v1)]
    assert.deepEqual(priorities(candidates, { locality: 'eu', labels: v1, setting }), [1, 0, 3, 2])
  })
})

describe('distribute', () => {
  const places = [at('eu/a'), at('eu/a', 3), at('eu/b'), at('us')]
  const share = (from: string, to: Record<string, number>) => ({ distribute: [{ from, to }] })
  test('shares of places, own weights within; a place that is not named gets nothing', () => {
    const setting = share('eu/*', { 'eu/a': 80, 'eu/b': 20 })
    assert.deepEqual(weights(places, { locality: 'eu/a/x', setting }), ['eu/a*1', 'eu/a*3', 'eu/b*1'])
    const half = share('*', { 'eu/a': 50, us: 50 })
    assert.deepEqual(weights(places, { setting: half }), ['eu/a*1', 'eu/a*3', 'us*4'])
    assert.deepEqual(weights([at('eu'), at('us')], { setting: share('*', { eu: 70, us: 30 }) }), ['eu*7', 'us*3'])
  })
  test('a wildcard place is one place', () => {
    const setting = share('eu', { 'eu/*': 100 })
    assert.deepEqual(weights(places, { locality: 'eu', setting }), ['eu/a*1', 'eu/a*3', 'eu/b*1'])
  })
  test('the first entry for the gateway’s place; none: nothing changes', () => {
    const distribute = [
      { from: 'us', to: { us: 100 } },
      { from: '*', to: { 'eu/b': 100 } },
    ]
    assert.deepEqual(weights(places, { locality: 'us/a', setting: { distribute } }), ['us*1'])
    assert.deepEqual(weights(places, { locality: 'as', setting: { distribute } }), ['eu/b*1'])
    const first = { distribute: distribute.slice(0, 1) }
    assert.deepEqual(weights(places, { locality: 'as', setting: first }), ['eu/a*1', 'eu/a*3', 'eu/b*1', 'us*1'])
  })
  test('weights that do not divide stay in proportion', () => {
    const setting = share('*', { eu: 1, us: 99 })
    const [eu = '', ...us] = weights([at('eu'), at('us'), at('us'), at('us')], { setting })
    const weightOf = (text: string) => Number(text.split('*')[1])
    assert.deepEqual(
      us.map(weightOf),
      [33, 33, 33].map((n) => n * weightOf(eu)),
    )
  })
  test('no fail-over beside it', () => {
    const setting = share('eu', { eu: 50, us: 50 })
    const found = prefer([at('eu'), at('us')], { locality: 'eu', setting, outlierDetection: EJECTING })
    assert.deepEqual(
      found.map(({ endpoint }) => endpoint.priority),
      [0, 0],
    )
  })
})
