/** Whom a resource is for, kind by kind: the yes and the no. */
import assert from 'node:assert/strict'
import test from 'node:test'
import type { Settings } from '../model/settings.ts'
import { appliesToGateway } from './applies.ts'

const SETTINGS = {
  name: 'egress',
  namespace: 'gw',
  labels: { istio: 'egressgateway', app: 'egress-app' },
  mesh: { rootNamespace: 'istio-system' },
} as unknown as Settings

const OWN = { matchLabels: { istio: 'egressgateway' } }
const OTHER = { matchLabels: { istio: 'ingressgateway' } }

const CASES: readonly [kind: string, namespace: string, spec: object, applies: boolean][] = [
  ['AuthorizationPolicy', 'gw', {}, true],
  ['AuthorizationPolicy', 'istio-system', { selector: OWN }, true],
  ['AuthorizationPolicy', 'gw', { selector: OTHER }, false],
  ['AuthorizationPolicy', 'mytest', {}, false],
  ['RequestAuthentication', 'mytest', { selector: OWN }, false],
  ['Telemetry', 'istio-system', {}, true],
  ['Gateway', 'anywhere', { selector: OWN.matchLabels }, true],
  ['Gateway', 'gw', { selector: OTHER.matchLabels }, false],
  ['DestinationRule', 'outside', {}, true],
  ['DestinationRule', 'outside', { exportTo: ['.'] }, false],
  ['DestinationRule', 'outside', { exportTo: ['x', 'gw'] }, true],
  ['DestinationRule', 'gw', { exportTo: ['.'], workloadSelector: OWN }, true],
  ['DestinationRule', 'gw', { workloadSelector: OTHER }, false],
  ['DestinationRule', 'outside', { workloadSelector: OWN }, false],
  ['VirtualService', 'outside', { exportTo: ['~'] }, false],
  ['ServiceEntry', 'outside', { exportTo: ['*'] }, true],
  ['ASMEgressTrafficPolicy', 'istio-egress', { byEgressGateway: { name: 'egress' } }, true],
  ['ASMEgressTrafficPolicy', 'istio-egress', { byEgressGateway: { name: 'egress-app' } }, true],
  ['ASMEgressTrafficPolicy', 'istio-egress', { byEgressGateway: { name: 'other' } }, false],
  ['EgressRateLimit', 'gw', {}, true],
]

for (const [kind, namespace, spec, applies] of CASES) {
  test(`${kind} in ${namespace} ${JSON.stringify(spec)}: ${applies}`, () => {
    const at = () => ({ file: 'f', line: 1, col: 1 })
    const resource = { apiVersion: 'v1', kind, namespace, name: 'x', labels: {}, annotations: {}, spec, at }
    assert.equal(appliesToGateway(resource, SETTINGS), applies)
  })
}
