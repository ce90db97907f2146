/** Inheritance and merging of DestinationRules (behaviour §5.2): which block counts, and where it is said to stand. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { findings, testResource, testSettings } from '../testing/resources.ts'
import { indexDestinationRules, type PortPolicy } from './destination-rules.ts'
import { destinationRule } from './kinds/destination-rule.ts'
import { collectDiagnostics } from './report.ts'
import type { Resource } from './resource.ts'

const HOST = 'api.example.com'
const settings = testSettings({ namespace: 'gw' })
const AT = 'DestinationRule/gw'

const rule = (name: string, spec: object): Resource =>
  testResource(destinationRule, { namespace: 'gw', name }, { host: HOST, ...spec })

function load(...rules: readonly Resource[]) {
  const collector = collectDiagnostics()
  const index = indexDestinationRules(settings, rules, collector.report)
  const policy = (port: number, subset: string | null = null): PortPolicy | null => {
    const found = subset === null ? null : index.subsetOf(HOST, 'x', subset)
    if (subset !== null) assert.ok(found !== null, `no subset ${subset}`)
    return index.policyFor(HOST, 'x', port, found)
  }
  return { index, policy, codes: () => findings(collector) }
}

const timeout = (ms: number) => ({ tcp: { connectTimeout: `${ms}ms` } })
const timeoutOf = (policy: PortPolicy | null) => policy?.policy.connectionPool?.tcp?.connectTimeout

describe('port-level settings', () => {
  const top = {
    connectionPool: timeout(1),
    outlierDetection: {},
    loadBalancer: { simple: 'RANDOM' },
    tls: { mode: 'SIMPLE' },
    proxyProtocol: { version: 'V2' },
    retryBudget: { percent: 30 },
  }
  test('replace pool, ejection, balancer and TLS whether they have them or not; the rest shows through', () => {
    const level = { port: { number: 443 }, loadBalancer: { simple: 'ROUND_ROBIN' }, tls: { mode: 'SIMPLE' } }
    const { policy, codes } = load(rule('a', { trafficPolicy: { ...top, portLevelSettings: [level] } }))
    const found = policy(443)?.policy
    assert.deepEqual(
      [found?.connectionPool, found?.outlierDetection, found?.loadBalancer?.simple, found?.tls?.mode],
      [undefined, undefined, 'ROUND_ROBIN', 'SIMPLE'],
    )
    assert.deepEqual([found?.proxyProtocol, found?.retryBudget], [{ version: 'V2' }, { percent: 30 }])
    assert.equal(timeoutOf(policy(80)), 1)
    assert.equal(policy(443)?.at('tls', 'mode').file, `${AT}/a:spec.trafficPolicy.portLevelSettings.0.tls.mode`)
    assert.equal(policy(443)?.at('retryBudget').file, `${AT}/a:spec.trafficPolicy.retryBudget`)
    assert.deepEqual(codes(), [])
  })
})

describe('subsets', () => {
  const base = { connectionPool: timeout(1), loadBalancer: { simple: 'RANDOM' }, tls: { mode: 'SIMPLE' } }
  const subset = (trafficPolicy: object | undefined) => ({
    subsets: [{ name: 'v1', labels: { version: 'v1' }, ...(trafficPolicy === undefined ? {} : { trafficPolicy }) }],
  })
  test('have the policy of the rule, block by block what they say themselves', () => {
    const plain = load(rule('a', { trafficPolicy: base, ...subset(undefined) }))
    assert.equal(timeoutOf(plain.policy(80, 'v1')), 1)
    const own = load(rule('a', { trafficPolicy: base, ...subset({ connectionPool: timeout(2) }) }))
    const found = own.policy(80, 'v1')
    assert.deepEqual(
      [timeoutOf(found), found?.policy.loadBalancer?.simple, found?.policy.tls?.mode],
      [2, 'RANDOM', 'SIMPLE'],
    )
    assert.equal(found?.at('connectionPool').file, `${AT}/a:spec.subsets.0.trafficPolicy.connectionPool`)
    assert.equal(found?.at('tls').file, `${AT}/a:spec.trafficPolicy.tls`)
    assert.equal(timeoutOf(own.policy(80)), 1)
  })
  test("inherit the rule's settings of the port, and may have their own", () => {
    const top = { ...base, portLevelSettings: [{ port: { number: 443 }, connectionPool: timeout(3), tls: base.tls }] }
    const inherited = load(rule('a', { trafficPolicy: top, ...subset({ loadBalancer: { simple: 'ROUND_ROBIN' } }) }))
    const found = inherited.policy(443, 'v1')
    assert.deepEqual([timeoutOf(found), found?.policy.loadBalancer?.simple], [3, 'ROUND_ROBIN'])
    const level = { port: { number: 443 }, connectionPool: timeout(4), tls: base.tls }
    const own = load(
      rule('a', { trafficPolicy: top, ...subset({ connectionPool: timeout(5), portLevelSettings: [level] }) }),
    )
    assert.deepEqual([timeoutOf(own.policy(443, 'v1')), timeoutOf(own.policy(80, 'v1'))], [4, 5])
    assert.equal(own.policy(443, 'v1')?.policy.loadBalancer, undefined)
    assert.deepEqual(own.codes(), [])
  })
  test('TLS that a port of the subset drops is reported there', () => {
    const level = { port: { number: 443 }, connectionPool: timeout(4) }
    const { policy, codes } = load(rule('a', { trafficPolicy: base, ...subset({ portLevelSettings: [level] }) }))
    assert.equal(policy(443, 'v1')?.policy.tls, undefined)
    assert.deepEqual(codes(), [`SP7018 ${AT}/a:spec.subsets.0.trafficPolicy.portLevelSettings.0`])
  })
  test('need no policy of the rule', () => {
    const { policy } = load(rule('a', subset({ connectionPool: timeout(2) })))
    assert.equal(policy(80), null)
    assert.equal(timeoutOf(policy(80, 'v1')), 2)
    assert.equal(load(rule('a', subset(undefined))).policy(80, 'v1'), null)
  })
})

describe('several rules for one host', () => {
  const named = (name: string, version: string) => ({ subsets: [{ name, labels: { version } }] })
  test('put their subsets together; the first definition of a name counts', () => {
    const { index, codes } = load(
      rule('b', { ...named('v1', 'other'), exportTo: ['*'] }),
      rule('a', { subsets: [{ name: 'v1', labels: { version: 'v1' } }] }),
      rule('c', named('v2', 'v2')),
    )
    assert.deepEqual(index.subsetNames(HOST, 'x'), ['v1', 'v2'])
    assert.deepEqual(index.subsetOf(HOST, 'x', 'v1')?.labels, { version: 'v1' })
    assert.equal(index.subsetOf(HOST, 'x', 'v3'), null)
    assert.deepEqual(codes(), [`SP7007 ${AT}/b:spec.subsets.0`])
  })
  test('a subset of one has the policy of another', () => {
    const { policy } = load(rule('a', named('v1', 'v1')), rule('b', { trafficPolicy: { connectionPool: timeout(7) } }))
    assert.equal(timeoutOf(policy(80, 'v1')), 7)
  })
  test('a policy that loses TLS by its name is an error, another a warning', () => {
    const severities = (first: object, second: object) => {
      const collector = collectDiagnostics()
      const rules = [rule('a', { trafficPolicy: first }), rule('b', { trafficPolicy: second })]
      indexDestinationRules(settings, rules, collector.report).policyFor(HOST, 'x', 443)
      return collector.sorted().map(({ code, severity }) => `${code} ${severity}`)
    }
    const plain = { connectionPool: timeout(1) }
    const tls = { tls: { mode: 'SIMPLE' } }
    assert.deepEqual(severities(plain, tls), ['SP7007 error'])
    assert.deepEqual(severities(tls, plain), ['SP7007 warning'])
    assert.deepEqual(severities(plain, { portLevelSettings: [{ port: { number: 443 }, ...tls }] }), ['SP7007 error'])
    assert.deepEqual(severities(plain, { portLevelSettings: [{ port: { number: 80 }, ...tls }] }), ['SP7007 warning'])
  })
  test('rules with another selector do not mix with ours', () => {
    const ours = { workloadSelector: { matchLabels: { istio: 'egressgateway' } } }
    const also = { workloadSelector: { matchLabels: { app: 'istio-egressgateway' } } }
    const { index } = load(
      rule('a', { ...ours, ...named('v1', 'v1') }),
      rule('b', { ...ours, ...named('v2', 'v2') }),
      rule('c', { ...also, ...named('v3', 'v3') }),
      rule('d', named('v4', 'v4')),
    )
    assert.deepEqual(index.subsetNames(HOST, 'x'), ['v1', 'v2', 'v4'])
  })
})
