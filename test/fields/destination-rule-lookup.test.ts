/**
 * Which DestinationRule speaks for a host (behaviour §5.1, §5.2). Each rule defines the subset `pick` with a label of its
 * own, so the site that answers tells which rule was found.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { before, describe, it, type TestContext } from 'node:test'
import { createTestPki, type TestPki } from '../../src/testing/pki.ts'
import { type Manifest, serviceEntry } from '../integration/manifests.ts'
import { endpoint, inNamespace, type Outside, routeTo, startOutside, startSites } from './outside.ts'

const HOST = 'site.example'
const LABELS = { istio: 'egressgateway', app: 'istio-egressgateway' }

const rule = (namespace: string, name: string, spec: object = {}): Manifest => ({
  apiVersion: 'networking.istio.io/v1',
  kind: 'DestinationRule',
  metadata: { name, namespace },
  spec: { host: HOST, subsets: [{ name: 'pick', labels: { rule: `${namespace}-${name}` } }], ...spec },
})

/** A gateway in `gatewayNamespace`, a service in `services`, and one endpoint per rule that could be found. */
async function world(
  t: TestContext,
  gatewayNamespace: string,
  names: readonly string[],
): Promise<(rules: readonly Manifest[]) => Promise<string | number>> {
  const sites = await startSites(t, names)
  const endpoints = names.map((name) => endpoint(sites, name, { labels: { rule: name } }))
  const entry = inNamespace('services', serviceEntry('site', HOST, 80, { spec: { endpoints } }))
  const fixed = [entry, routeTo(HOST, 'pick')]
  const outside = await startOutside(t, fixed, { metadata: { namespace: gatewayNamespace, labels: LABELS } })
  return (rules) => answer(outside, [...fixed, ...rules])
}

async function answer(outside: Outside, manifests: readonly Manifest[]): Promise<string | number> {
  await outside.become(manifests)
  const { site, status } = await outside.call(HOST)
  return site ?? status
}

describe('which rule', () => {
  it('field DestinationRule.host: the most specific one; of another host none', async (t) => {
    const ask = await world(t, 'edge', ['edge-exact', 'edge-wild', 'edge-all'])
    const exact = rule('edge', 'exact')
    const wild = rule('edge', 'wild', { host: '*.example' })
    const all = rule('edge', 'all', { host: '*' })
    assert.equal(await ask([all, wild, exact]), 'edge-exact')
    assert.equal(await ask([all, wild]), 'edge-wild')
    assert.equal(await ask([all]), 'edge-all')
    assert.equal(await ask([rule('edge', 'all', { host: '*.test' })]), 503)
  })

  it('field DestinationRule.host: of the gateway’s namespace, then the service’s, then the root’s; of no other', async (t) => {
    const names = ['edge-a', 'services-a', 'istio-system-a']
    const ask = await world(t, 'edge', names)
    const rules = [rule('edge', 'a'), rule('services', 'a'), rule('istio-system', 'a')]
    assert.equal(await ask(rules), 'edge-a')
    assert.equal(await ask(rules.slice(1)), 'services-a')
    assert.equal(await ask(rules.slice(2)), 'istio-system-a')
    assert.equal(await ask([rule('elsewhere', 'a')]), 503)
    // A namespace that has any match goes first, however general it is.
    assert.equal(await ask([rule('edge', 'a', { host: '*' }), rule('services', 'a')]), 'edge-a')
  })

  it('field DestinationRule.exportTo: a rule that does not reach the gateway is no rule', async (t) => {
    const ask = await world(t, 'edge', ['services-a', 'istio-system-a', 'edge-a'])
    const fallback = rule('istio-system', 'a')
    const exported = (...exportTo: string[]) => ask([rule('services', 'a', { exportTo }), fallback])
    assert.equal(await exported('*'), 'services-a')
    assert.equal(await exported('edge'), 'services-a')
    assert.equal(await exported('elsewhere', 'edge'), 'services-a')
    assert.equal(await exported('.'), 'istio-system-a')
    assert.equal(await exported('elsewhere'), 'istio-system-a')
    assert.equal(await ask([rule('edge', 'a', { exportTo: ['.'] }), fallback]), 'edge-a')
  })

  it('field DestinationRule.exportTo: in the root namespace a private rule goes first, a mesh-wide one last', async (t) => {
    const ask = await world(t, 'istio-system', ['services-a', 'istio-system-a'])
    const service = rule('services', 'a')
    assert.equal(await ask([service, rule('istio-system', 'a')]), 'services-a')
    assert.equal(await ask([service, rule('istio-system', 'a', { exportTo: ['.'] })]), 'istio-system-a')
  })

  it('field DestinationRule.workloadSelector.matchLabels: rules for the gateway’s labels first, for others never', async (t) => {
    const ask = await world(t, 'edge', ['edge-plain', 'edge-selecting', 'services-selecting'])
    const plain = rule('edge', 'plain')
    const selecting = (matchLabels: object, namespace = 'edge') =>
      rule(namespace, 'selecting', { workloadSelector: { matchLabels } })
    assert.equal(await ask([plain, selecting({ istio: 'egressgateway' })]), 'edge-selecting')
    assert.equal(await ask([plain, selecting({ istio: 'egressgateway', app: 'other' })]), 'edge-plain')
    // It selects workloads of its own namespace only.
    assert.equal(await ask([selecting({ istio: 'egressgateway' }, 'services')]), 503)
  })

  it('field DestinationRule.subsets: several rules for one host are one; the first definition of a name counts', async (t) => {
    const ask = await world(t, 'edge', ['edge-a', 'edge-b'])
    const other = { subsets: [{ name: 'other', labels: { rule: 'nobody' } }] }
    assert.equal(await ask([rule('edge', 'a', other), rule('edge', 'b')]), 'edge-b')
    assert.equal(await ask([rule('edge', 'b'), rule('edge', 'a')]), 'edge-a')
  })
})

describe('what it says about a port', () => {
  let pki: TestPki
  before(async () => {
    pki = await createTestPki()
  })

  /** A secure and a plain site behind two ports of one host; a rule may say TLS for either. */
  async function twoPorts(t: TestContext) {
    const { cert, key } = await pki.serverCert(HOST)
    const plain = await startSites(t, ['plain'])
    const secure = await startSites(t, ['secure'], { tls: { cert, key } })
    const spec = {
      ports: [
        { number: 80, name: 'a', protocol: 'HTTP', targetPort: plain['plain']?.port },
        { number: 81, name: 'b', protocol: 'HTTP', targetPort: secure['secure']?.port },
      ],
    }
    const entry = serviceEntry('site', HOST, 80, { spec })
    const outside = await startOutside(t, [entry, routeTo(HOST)], { pki })
    const tls = { mode: 'SIMPLE', caCertificates: pki.writeTo(join(outside.harness.paths.dir, 'ca')) }
    const ask = async (rules: readonly Manifest[]) => [
      await answer(outside, [entry, ...rules, routeTo(HOST, null, 80)]),
      await answer(outside, [entry, ...rules, routeTo(HOST, null, 81)]),
    ]
    const policy = (name: string, trafficPolicy: object) => rule('istio-system', name, { subsets: [], trafficPolicy })
    return { tls, ask, policy }
  }
  const DISABLE = { mode: 'DISABLE' }

  it('field DestinationRule.trafficPolicy.portLevelSettings[].port.number, DestinationRule.trafficPolicy.portLevelSettings[].tls: for that port alone, in place of the rule’s', async (t) => {
    const { tls, ask, policy } = await twoPorts(t)
    const works = ['plain', 'secure']
    const level = (number: number, block: object) => ({ port: { number }, tls: block })
    assert.deepEqual(await ask([policy('a', { portLevelSettings: [level(81, tls)] })]), works)
    assert.deepEqual(await ask([policy('a', { tls, portLevelSettings: [level(80, DISABLE)] })]), works)
    // The whole policy is replaced: a port's settings without tls have none.
    const bare = { port: { number: 80 }, loadBalancer: { simple: 'RANDOM' } }
    assert.deepEqual(await ask([policy('a', { tls, portLevelSettings: [bare] })]), works)
    const [first, second] = await ask([policy('a', { portLevelSettings: [level(80, tls)] })])
    assert.notEqual(first, 'plain')
    assert.notEqual(second, 'secure')
  })

  it('field DestinationRule.trafficPolicy: of several rules for one host the first has a say', async (t) => {
    const { tls, ask, policy } = await twoPorts(t)
    const named = rule('istio-system', '0-subsets-only', { subsets: [{ name: 'pick' }] })
    const right = { portLevelSettings: [{ port: { number: 81 }, tls }] }
    assert.deepEqual(await ask([named, policy('a', right), policy('b', { tls: DISABLE })]), ['plain', 'secure'])
  })
})
