/** localityLbSetting and localities of endpoints (behaviour §5.6): which site answers, and which does when that one is gone. */
import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { destinationRule, type Manifest, serviceEntry } from '../integration/manifests.ts'
import { freePort } from '../integration/operator.ts'
import { endpoint, type Outside, routeTo, type Sites, startOutside, startSites } from './outside.ts'

const HOST = 'site.example'
const EJECTING = { consecutive5xxErrors: 1, baseEjectionTime: '60s', maxEjectionPercent: 100 }
const EU = { 'topology.kubernetes.io/region': 'eu', 'topology.kubernetes.io/zone': 'a' }
const LB = 'DestinationRule.trafficPolicy.loadBalancer.localityLbSetting'

/** Where each site is. */
const PLACES: Readonly<Record<string, string>> = { near: 'eu/a', zone: 'eu/b', far: 'us/a', farther: 'as/a' }

type World = {
  readonly outside: Outside
  readonly sites: Sites
  /** Loads this policy. `gone`: sites that do not answer any more. */
  readonly under: (policy: object, gone?: readonly string[]) => Promise<void>
}

async function world(t: TestContext, labels: Readonly<Record<string, string>>, more: object = {}): Promise<World> {
  const sites = await startSites(t, Object.keys(PLACES))
  const dead = await freePort()
  const entry = (gone: readonly string[]): Manifest => {
    const endpoints = Object.entries(PLACES).map(([name, locality]) => {
      const place = { locality, labels: { name }, ...more }
      return gone.includes(name) ? { address: '127.0.0.1', ports: { p: dead }, ...place } : endpoint(sites, name, place)
    })
    return serviceEntry('site', HOST, 80, { spec: { endpoints } })
  }
  const metadata = { labels: { istio: 'egressgateway', ...labels } }
  const outside = await startOutside(t, [entry([]), routeTo(HOST)], { metadata })
  return {
    outside,
    sites,
    under: (policy, gone = []) => outside.become([entry(gone), destinationRule('site', HOST, policy), routeTo(HOST)]),
  }
}

/** Policy of a balancer that takes turns, so that whoever may answer does. */
const turns = (localityLbSetting: object | null, outlierDetection: object | null = EJECTING): object => ({
  loadBalancer: { simple: 'ROUND_ROBIN', ...(localityLbSetting === null ? {} : { localityLbSetting }) },
  ...(outlierDetection === null ? {} : { outlierDetection }),
})

const answering = async (outside: Outside, count = 12) => Object.keys(await outside.tally(HOST, count)).sort()

/** Requests until the dead ones are ejected, then who answers. */
async function settled(outside: Outside): Promise<readonly string[]> {
  await eventually('the dead are ejected', async () => !(await answering(outside, 8)).includes('503'))
  return answering(outside)
}

const EVERYBODY = Object.keys(PLACES).sort()

describe('fail-over', () => {
  it('field ServiceEntry.endpoints[].locality: near ones go first, the next nearest when they are gone', async (t) => {
    const { outside, under } = await world(t, EU)
    await under(turns(null))
    assert.deepEqual(await answering(outside), ['near'])
    await under(turns(null), ['near'])
    assert.deepEqual(await settled(outside), ['zone'])
    // Nothing ejects, so nothing fails over, and nobody is preferred.
    await under(turns(null, null))
    assert.deepEqual(await answering(outside), EVERYBODY)
  })

  it(`field ${LB}.enabled: false prefers nobody`, async (t) => {
    const { outside, under } = await world(t, EU)
    await under(turns({ enabled: true }))
    assert.deepEqual(await answering(outside), ['near'])
    await under(turns({ enabled: false }))
    assert.deepEqual(await answering(outside), EVERYBODY)
  })

  it(`field ${LB}.failover[].from, ${LB}.failover[].to: to that region before any other`, async (t) => {
    const { outside, under } = await world(t, EU)
    await under(turns(null), ['near', 'zone'])
    assert.deepEqual(await settled(outside), ['far', 'farther'])
    for (const [to, site] of [
      ['us', 'far'],
      ['as', 'farther'],
    ]) {
      await under(turns({ failover: [{ from: 'eu', to }] }), ['near', 'zone'])
      assert.deepEqual(await settled(outside), [site])
    }
  })

  it(`field ${LB}.failoverPriority: by labels that endpoint and gateway share`, async (t) => {
    const { outside, under } = await world(t, { name: 'far' })
    await under(turns({ failoverPriority: ['name'] }))
    assert.deepEqual(await answering(outside), ['far'])
    await under(turns({ failoverPriority: ['name=zone'] }))
    assert.deepEqual(await answering(outside), ['zone'])
    await under(turns({ failoverPriority: ['name'] }), ['far'])
    assert.deepEqual(await settled(outside), ['farther', 'near', 'zone'])
  })

  it('a gateway that does not know where it is prefers nobody', async (t) => {
    const { outside, under } = await world(t, {})
    await under(turns(null))
    assert.deepEqual(await answering(outside), EVERYBODY)
  })
})

it(`field ${LB}.distribute[].from, ${LB}.distribute[].to: shares of the places that are named for the gateway’s, none for others`, async (t) => {
  const { outside, under } = await world(t, EU)
  const from = (place: string, to: object) => ({ distribute: [{ from: place, to }] })
  await under(turns(from('eu/a', { 'eu/*': 80, us: 20 }), null))
  assert.deepEqual(await outside.tally(HOST, 20), { near: 8, zone: 8, far: 4 })
  await under(turns(from('*', { as: 100 }), null))
  assert.deepEqual(await outside.tally(HOST, 4), { farther: 4 })
  await under(turns(from('us', { as: 100 }), null))
  assert.deepEqual(await answering(outside), EVERYBODY)
})
