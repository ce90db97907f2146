import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Settings } from '../model/settings.ts'
import { findings, testResource, testSettings } from '../testing/resources.ts'
import { indexDestinationRules } from './destination-rules.ts'
import { destinationRule } from './kinds/destination-rule.ts'
import { collectDiagnostics } from './report.ts'
import type { Resource } from './resource.ts'

const HOST = 'api.example.com'

/** A rule that can be recognised: its connect timeout is `mark` milliseconds. */
function rule(namespace: string, name: string, mark: number, more: object = {}): Resource {
  const trafficPolicy = { connectionPool: { tcp: { connectTimeout: `${mark}ms` } } }
  return testResource(destinationRule, { namespace, name }, { host: HOST, trafficPolicy, ...more })
}

function marks(rules: readonly Resource[], settings: Settings, host = HOST, port = 443): number | null {
  const found = indexDestinationRules(settings, rules, collectDiagnostics().report).policyFor(host, 'services', port)
  return found?.policy.connectionPool?.tcp?.connectTimeout ?? null
}

const settings = testSettings({ namespace: 'gw' })

describe('lookup order', () => {
  test('gateway namespace, then service namespace, then root', () => {
    const [own, service, root] = [rule('gw', 'a', 1), rule('services', 'a', 2), rule('istio-system', 'a', 3)]
    assert.equal(marks([root, service, own], settings), 1)
    assert.equal(marks([root, service], settings), 2)
    assert.equal(marks([root], settings), 3)
    assert.equal(marks([rule('elsewhere', 'a', 4)], settings), null)
  })
  test('a gateway in the root namespace: only its private rules go first', () => {
    const inRoot = testSettings()
    const service = rule('services', 'a', 2)
    assert.equal(marks([rule('istio-system', 'a', 3), service], inRoot), 2)
    assert.equal(marks([rule('istio-system', 'a', 3, { exportTo: ['.'] }), service], inRoot), 3)
    assert.equal(marks([rule('istio-system', 'a', 3)], inRoot), 3)
  })
  test('rules that are not exported to the gateway do not count', () => {
    assert.equal(marks([rule('services', 'a', 2, { exportTo: ['.'] })], settings), null)
    assert.equal(marks([rule('services', 'a', 2, { exportTo: ['gw'] })], settings), 2)
    assert.equal(marks([rule('services', 'a', 2, { exportTo: ['~'] })], settings), null)
  })
  test('the most specific host of the first namespace that has a match', () => {
    const rules = [
      rule('gw', 'all', 1, { host: '*' }),
      rule('gw', 'com', 2, { host: '*.com' }),
      rule('gw', 'wild', 3, { host: '*.Example.com' }),
      rule('services', 'exact', 4),
    ]
    assert.equal(marks(rules, settings), 3)
    assert.equal(marks(rules.slice(0, 2), settings), 2)
    assert.equal(marks(rules.slice(0, 1), settings), 1)
    assert.equal(marks(rules, settings, 'example.com'), 2)
    assert.equal(marks(rules, settings, '*.example.com'), 3)
  })
  test('a short host is a service of the namespace of the rule', () => {
    const short = rule('services', 'a', 2, { host: 'reviews' })
    assert.equal(marks([short], settings, 'reviews.services.svc.cluster.local'), 2)
    assert.equal(marks([short], settings, 'reviews.gw.svc.cluster.local'), null)
  })
  test('workloadSelector: our labels in our namespace, and then first', () => {
    const selecting = (namespace: string, matchLabels: object) =>
      rule(namespace, 'z', 5, { workloadSelector: { matchLabels } })
    const plain = rule('gw', 'a', 1)
    assert.equal(marks([plain, selecting('gw', { istio: 'egressgateway' })], settings), 5)
    assert.equal(marks([plain, selecting('gw', { istio: 'other' })], settings), 1)
    assert.equal(marks([selecting('services', { istio: 'egressgateway' })], settings), null)
  })
})

describe('what a rule says about a port', () => {
  test('the first traffic policy by name counts, the others are reported', () => {
    const collector = collectDiagnostics()
    const rules = [rule('gw', 'b', 2), testResource(destinationRule, { namespace: 'gw', name: 'a' }, { host: HOST })]
    const index = indexDestinationRules(settings, [...rules, rule('gw', 'c', 3)], collector.report)
    for (let i = 0; i < 2; i++)
      assert.equal(index.policyFor(HOST, 'x', 443)?.policy.connectionPool?.tcp?.connectTimeout, 2)
    assert.deepEqual(findings(collector), ['SP7007 DestinationRule/gw/c:spec.trafficPolicy'])
  })
  test('port-level settings replace the whole policy, and losing tls is reported', () => {
    const collector = collectDiagnostics()
    const both = testResource(
      destinationRule,
      { namespace: 'gw', name: 'a' },
      {
        host: HOST,
        trafficPolicy: {
          tls: { mode: 'SIMPLE' },
          loadBalancer: { simple: 'RANDOM' },
          portLevelSettings: [{ port: { number: 8443 }, loadBalancer: { simple: 'ROUND_ROBIN' } }],
        },
      },
    )
    const index = indexDestinationRules(settings, [both], collector.report)
    assert.equal(index.policyFor(HOST, 'x', 443)?.policy.tls?.mode, 'SIMPLE')
    assert.deepEqual(findings(collector), [])
    const level = index.policyFor(HOST, 'x', 8443)
    assert.equal(level?.policy.tls, undefined)
    assert.equal(level?.policy.loadBalancer?.simple, 'ROUND_ROBIN')
    assert.equal(
      level?.at('loadBalancer').file,
      'DestinationRule/gw/a:spec.trafficPolicy.portLevelSettings.0.loadBalancer',
    )
    assert.deepEqual(findings(collector), ['SP7018 DestinationRule/gw/a:spec.trafficPolicy.portLevelSettings.0'])
  })
})
