/** Which endpoints a cluster has: subsets by label, WorkloadEntries by selector, localities (behaviour §2.1, §5.2). */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ClusterModel } from '../model/cluster.ts'
import type { Settings } from '../model/settings.ts'
import { findings, testResource, testSettings } from '../testing/resources.ts'
import { destinationRule } from './kinds/destination-rule.ts'
import { serviceEntry } from './kinds/service-entry.ts'
import { workloadEntry } from './kinds/workload-entry.ts'
import { collectDiagnostics } from './report.ts'
import type { Resource } from './resource.ts'
import { buildServices } from './services.ts'

const HOST = 'a.com'
const http = { number: 80, name: 'http', protocol: 'HTTP', targetPort: 8080 }
const entry = (spec: object) =>
  testResource(serviceEntry, { name: 'e' }, { hosts: [HOST], ports: [http], resolution: 'STATIC', ...spec })
const rule = (spec: object) => testResource(destinationRule, { name: 'r' }, { host: HOST, ...spec })
const workload = (name: string, spec: object, labels: Readonly<Record<string, string>> = {}, namespace = 'default') =>
  testResource(workloadEntry, { name, namespace, labels }, spec)
const SELECTS = { workloadSelector: { labels: { app: 'x' } } }
const ENTRY = 'ServiceEntry/default/e'
const RULE = 'DestinationRule/default/r'

type Loaded = { readonly name: string; readonly cluster: ClusterModel | undefined; readonly codes: readonly string[] }

function load(
  resources: readonly Resource[],
  subset: string | null = null,
  settings: Partial<Settings> = {},
  how: 'clusterFor' | 'tunnelClusterFor' = 'clusterFor',
): Loaded {
  const collector = collectDiagnostics()
  const services = buildServices(testSettings(settings), resources, collector.report)
  const at = { file: 'route', line: 1, col: 1 }
  const name = services[how]({ host: HOST, port: 80, subset, namespace: 'x', listenerPort: 80, at })
  return { name, cluster: services.clusters().find((each) => each.name === name), codes: findings(collector) }
}

const addresses = ({ cluster }: Loaded) =>
  cluster?.endpoints.map(({ address, port, weight }) => `${address}:${port}*${weight}`)

describe('subsets', () => {
  const v1 = { address: '192.0.2.1', labels: { version: 'v1', zone: 'a' } }
  const v2 = { address: '192.0.2.2', labels: { version: 'v2' }, weight: 3 }
  const both = entry({ endpoints: [v1, v2] })
  const subsets = [
    { name: 'v1', labels: { version: 'v1' } },
    { name: 'v2', labels: { version: 'v2' }, trafficPolicy: { loadBalancer: { simple: 'RANDOM' } } },
    { name: 'v3', labels: { version: 'v3' } },
    { name: 'all' },
  ]
  test('have the endpoints with all their labels, a name of their own, a policy of their own', () => {
    const one = load([both, rule({ subsets })], 'v1')
    assert.deepEqual(
      [one.name, one.cluster?.statName, addresses(one)],
      ['outbound|80|v1|a.com', 'outbound|80|v1|a.com', ['192.0.2.1:8080*1']],
    )
    const two = load([both, rule({ subsets })], 'v2')
    assert.deepEqual(addresses(two), ['192.0.2.2:8080*3'])
    assert.equal(two.cluster?.loadBalancer.kind, 'RANDOM')
    assert.equal(one.cluster?.loadBalancer.kind, 'LEAST_REQUEST')
    assert.deepEqual(addresses(load([both, rule({ subsets })], 'all')), ['192.0.2.1:8080*1', '192.0.2.2:8080*3'])
    assert.deepEqual(addresses(load([both, rule({ subsets })])), ['192.0.2.1:8080*1', '192.0.2.2:8080*3'])
    assert.deepEqual([...one.codes, ...two.codes], [])
  })
  test('unknown: a name without a cluster, and a warning that says which there are', () => {
    const { name, cluster, codes } = load([both, rule({ subsets })], 'v9')
    assert.deepEqual([name, cluster, codes], ['outbound|80|v9|a.com', undefined, ['SP7020 route']])
    assert.deepEqual(load([both], 'v1').codes, ['SP7020 route'])
  })
  test('that nobody carries are empty, not everybody', () => {
    const { cluster, codes } = load([both, rule({ subsets })], 'v3')
    assert.deepEqual([cluster?.discovery, cluster?.endpoints, codes], ['static', [], [`SP7021 ${RULE}:spec.subsets.2`]])
  })
  test('of names that stand for themselves carry no labels', () => {
    for (const spec of [
      { resolution: 'DNS' },
      { resolution: 'DNS_ROUND_ROBIN' },
      { hosts: ['*.com'], resolution: 'DYNAMIC_DNS' },
    ]) {
      const host = (spec.hosts ?? [HOST])[0] ?? HOST
      const collector = collectDiagnostics()
      const rules = testResource(destinationRule, { name: 'r' }, { host, subsets })
      const services = buildServices(testSettings(), [entry(spec), rules], collector.report)
      const at = { file: 'route', line: 1, col: 1 }
      const destination = { host, port: 80, namespace: 'x', listenerPort: 80, at }
      services.clusterFor({ ...destination, subset: 'v1' })
      services.clusterFor({ ...destination, subset: 'all' })
      const [v1Cluster, all] = services.clusters().toSorted((a, b) => (a.name < b.name ? 1 : -1))
      assert.deepEqual([v1Cluster?.discovery, v1Cluster?.endpoints], ['static', []])
      assert.notEqual(all?.discovery, 'static')
      assert.deepEqual(findings(collector), [`SP7021 ${RULE}:spec.subsets.0`])
    }
  })
  test('name themselves in the SNI of ISTIO_MUTUAL; a tunnel is their own or none', () => {
    const inside = entry({ location: 'MESH_INTERNAL', endpoints: [{ ...v1, serviceAccount: 'api' }] })
    const tls = { mode: 'ISTIO_MUTUAL' }
    const tunnel = { targetHost: 'b.com', targetPort: 443 }
    const resources = [inside, rule({ trafficPolicy: { tls, tunnel }, subsets })]
    assert.equal(load(resources, 'v1').cluster?.tls?.sni, 'outbound_.80_.v1_.a.com')
    assert.equal(load(resources).cluster?.tls?.sni, 'outbound_.80_._.a.com')
    assert.equal(load(resources, 'v1').cluster?.tunnel, null)
    assert.equal(load(resources).cluster?.tunnel?.host, 'b.com')
  })
  test('for tunnels leave our TLS out under a name of their own, counted under the first', () => {
    const resources = [both, rule({ trafficPolicy: { tls: { mode: 'SIMPLE' } }, subsets })]
    const { name, cluster } = load(resources, 'v1', {}, 'tunnelClusterFor')
    assert.deepEqual([name, cluster?.statName, cluster?.tls], ['tunnel|80|v1|a.com', 'outbound|80|v1|a.com', null])
    // TLS to a proxy is for the proxy.
    const tunnel = { targetHost: 'b.com', targetPort: 443 }
    const through = load(
      [both, rule({ trafficPolicy: { tls: { mode: 'SIMPLE' }, tunnel } })],
      null,
      {},
      'tunnelClusterFor',
    )
    assert.deepEqual([through.name, through.cluster?.tls?.mode], ['outbound|80||a.com', 'SIMPLE'])
  })
})

describe('WorkloadEntries', () => {
  const vm = (name: string, address: string, more: object = {}) =>
    workload(name, { address, labels: { app: 'x' }, ...more })
  test('of the namespace that carry the labels are the endpoints', () => {
    const found = load([
      entry(SELECTS),
      vm('b', '192.0.2.2', { ports: { http: 9090 }, weight: 5 }),
      vm('a', '192.0.2.1'),
      workload('c', { address: '192.0.2.3', labels: { app: 'y' } }),
      workload('d', { address: '192.0.2.4', labels: { app: 'x' } }, {}, 'elsewhere'),
      workload('e', { address: '192.0.2.5' }, { app: 'x' }),
      workload('f', { address: '192.0.2.6', labels: { app: 'x' } }, { app: 'y' }),
    ])
    assert.deepEqual(addresses(found), ['192.0.2.1:8080*1', '192.0.2.2:9090*5', '192.0.2.5:8080*1'])
    assert.deepEqual([found.cluster?.discovery, found.codes], ['static', []])
  })
  test('none: no endpoints, and a warning', () => {
    for (const resolution of ['STATIC', 'DNS']) {
      const found = load([entry({ ...SELECTS, resolution }), workload('c', { address: '192.0.2.3' })])
      assert.deepEqual([found.cluster?.endpoints, found.codes], [[], [`SP7013 ${ENTRY}:spec.workloadSelector`]])
    }
  })
  test('with a name are resolved where the resolution says so, else left out', () => {
    const named = vm('a', 'VM.example.com')
    const resolved = load([entry({ ...SELECTS, resolution: 'DNS' }), named, vm('b', '192.0.2.1')])
    assert.deepEqual(
      [resolved.cluster?.discovery, addresses(resolved)],
      ['dns', ['vm.example.com:8080*1', '192.0.2.1:8080*1']],
    )
    const left = load([entry(SELECTS), named, vm('b', '192.0.2.1')])
    assert.deepEqual(
      [addresses(left), left.codes],
      [['192.0.2.1:8080*1'], ['SP7012 WorkloadEntry/default/a:spec.address']],
    )
    const first = load([entry({ ...SELECTS, resolution: 'DNS_ROUND_ROBIN' }), named, vm('b', '192.0.2.1')])
    assert.deepEqual([first.cluster?.discovery, addresses(first)], ['dns-first', ['vm.example.com:8080*1']])
    assert.deepEqual(first.codes, [`SP7024 ${ENTRY}:spec.workloadSelector`])
  })
  test('with resolution NONE are dialled, and the resolution is reported', () => {
    const found = load([entry({ ...SELECTS, resolution: 'NONE' }), vm('a', '192.0.2.1')])
    assert.deepEqual([found.cluster?.discovery, addresses(found)], ['static', ['192.0.2.1:8080*1']])
    assert.deepEqual(found.codes, [`SP7004 ${ENTRY}:spec.resolution`])
  })
  test('belong to subsets by their labels, and vouch for an identity', () => {
    const inside = entry({ ...SELECTS, location: 'MESH_INTERNAL' })
    const one = vm('a', '192.0.2.1', { labels: { app: 'x', version: 'v1' }, serviceAccount: 'api' })
    const dr = rule({
      trafficPolicy: { tls: { mode: 'ISTIO_MUTUAL' } },
      subsets: [{ name: 'v1', labels: { version: 'v1' } }],
    })
    const found = load([inside, one, vm('b', '192.0.2.2'), dr], 'v1')
    assert.deepEqual(addresses(found), ['192.0.2.1:8080*1'])
    assert.deepEqual(found.cluster?.tls?.subjectAltNames, ['spiffe://cluster.local/ns/default/sa/api'])
  })
})

describe('localities', () => {
  const endpoints = [
    { address: '192.0.2.1', locality: 'us/a' },
    { address: '192.0.2.2', locality: 'eu/a' },
    { address: '192.0.2.3', labels: { 'istio-locality': 'eu.b' } },
  ]
  const labels = { istio: 'egressgateway', 'topology.kubernetes.io/region': 'eu', 'topology.kubernetes.io/zone': 'a' }
  const priorities = ({ cluster }: Loaded) =>
    cluster?.endpoints.map(({ locality, priority }) => `${locality}:${priority}`)
  const failover = { failover: [{ from: 'eu', to: 'us' }] }
  test('near endpoints go first once ejection notices failures', () => {
    const spread = entry({ endpoints })
    const ejecting = rule({ trafficPolicy: { outlierDetection: {} } })
    assert.deepEqual(priorities(load([spread, ejecting], null, { labels })), ['us/a:2', 'eu/a:0', 'eu/b:1'])
    assert.deepEqual(priorities(load([spread, ejecting])), ['us/a:0', 'eu/a:0', 'eu/b:0'])
    assert.deepEqual(priorities(load([spread], null, { labels })), ['us/a:0', 'eu/a:0', 'eu/b:0'])
  })
  test('what has no effect is said', () => {
    const setting = (localityLbSetting: object, more: object = {}) =>
      rule({ trafficPolicy: { loadBalancer: { localityLbSetting }, ...more } })
    const path = `${RULE}:spec.trafficPolicy.loadBalancer.localityLbSetting`
    const codes = (dr: Resource, own = labels) => load([entry({ endpoints }), dr], null, { labels: own }).codes
    assert.deepEqual(codes(setting(failover)), [`SP7022 ${path}.failover`])
    assert.deepEqual(codes(setting({ failoverPriority: ['app'] })), [`SP7022 ${path}.failoverPriority`])
    assert.deepEqual(codes(setting(failover, { outlierDetection: {} })), [])
    assert.deepEqual(codes(setting({ ...failover, enabled: false })), [])
    const nowhere = { ...labels, 'topology.kubernetes.io/region': '' }
    assert.deepEqual(codes(setting(failover, { outlierDetection: {} }), nowhere), [`SP7025 ${path}.failover`])
    const share = { distribute: [{ from: '*', to: { eu: 100 } }] }
    assert.deepEqual(codes(setting(share), nowhere), [`SP7025 ${path}.distribute`])
  })
})
