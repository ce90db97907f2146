/** WorkloadEntries that a ServiceEntry selects: every field, by which of them answers (behaviour §2.1). */

import assert from 'node:assert/strict'
import { it } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { destinationRule, type Manifest, serviceEntry } from '../integration/manifests.ts'
import { freePort } from '../integration/operator.ts'
import { endpoint, inNamespace, routeTo, startAddresses, startOutside, startSites } from './outside.ts'
import { createAuthorities, HOST, tlsWorld } from './tls-world.ts'

const workload = (name: string, spec: object, labels: Readonly<Record<string, string>> = {}): Manifest => ({
  apiVersion: 'networking.istio.io/v1',
  kind: 'WorkloadEntry',
  metadata: { name, namespace: 'istio-system', labels },
  spec,
})

const selecting = (target: number, labels: object = { app: 'site' }, more: object = {}): Manifest =>
  serviceEntry('site', HOST, target, { spec: { endpoints: undefined, workloadSelector: { labels }, ...more } })

const VM = { labels: { app: 'site' } }
const BALANCED = destinationRule('site', HOST, { loadBalancer: { simple: 'ROUND_ROBIN' } })

it('field ServiceEntry.workloadSelector.labels, WorkloadEntry.labels, WorkloadEntry.address: those with the labels are the endpoints', async (t) => {
  const addresses = ['127.0.0.1', '127.0.0.2', '127.0.0.3', '127.0.0.4']
  const port = await startAddresses(t, addresses)
  const entries = [
    workload('a', { address: '127.0.0.1', labels: { app: 'site', version: 'v1' } }),
    workload('b', { address: '127.0.0.2', labels: { app: 'site', version: 'v2' } }),
    workload('c', { address: '127.0.0.3', labels: { app: 'other' } }),
    inNamespace('elsewhere', workload('d', { address: '127.0.0.4', ...VM })),
  ]
  const outside = await startOutside(t, [selecting(port), ...entries, BALANCED, routeTo(HOST)])
  assert.deepEqual(await outside.tally(HOST, 8), { '127.0.0.1': 4, '127.0.0.2': 4 })
  await outside.become([selecting(port, { app: 'site', version: 'v2' }), ...entries, routeTo(HOST)])
  assert.deepEqual(await outside.tally(HOST, 4), { '127.0.0.2': 4 })
  await outside.become([selecting(port, { app: 'nobody' }), ...entries, routeTo(HOST)])
  const nobody = await outside.call(HOST)
  assert.deepEqual([nobody.status, nobody.line['response_flags']], [503, 'UH'])
  await eventually('the warning', () => outside.harness.log().some(({ message }) => /SP7013/.test(String(message))))
  // Labels of the resource count as those of its spec.
  const labelled = workload('e', { address: '127.0.0.3' }, { app: 'site' })
  await outside.become([selecting(port), labelled, routeTo(HOST)])
  assert.deepEqual(await outside.tally(HOST, 2), { '127.0.0.3': 2 })
})

it('field WorkloadEntry.ports, WorkloadEntry.weight: its own ports before the service’s, its share of the requests', async (t) => {
  const sites = await startSites(t, ['light', 'heavy'])
  const entries = [
    workload('light', endpoint(sites, 'light', VM)),
    workload('heavy', endpoint(sites, 'heavy', { ...VM, weight: 3 })),
  ]
  const outside = await startOutside(t, [selecting(await freePort()), ...entries, BALANCED, routeTo(HOST)])
  assert.deepEqual(await outside.tally(HOST, 20), { light: 5, heavy: 15 })
})

it('field WorkloadEntry.labels: subsets choose among them too', async (t) => {
  const sites = await startSites(t, ['v1', 'v2'])
  const entries = ['v1', 'v2'].map((version) =>
    workload(version, endpoint(sites, version, { labels: { app: 'site', version } })),
  )
  const subsets: Manifest = {
    apiVersion: 'networking.istio.io/v1',
    kind: 'DestinationRule',
    metadata: { name: 'site', namespace: 'istio-system' },
    spec: { host: HOST, subsets: [{ name: 'two', labels: { version: 'v2' } }] },
  }
  const outside = await startOutside(t, [selecting(80), ...entries, subsets, routeTo(HOST, 'two')])
  assert.deepEqual(await outside.tally(HOST, 6), { v2: 6 })
})

it('field WorkloadEntry.locality: near ones go first, as listed endpoints do', async (t) => {
  const sites = await startSites(t, ['near', 'far'])
  const entries = [
    workload('far', endpoint(sites, 'far', { ...VM, locality: 'us/a' })),
    workload('near', endpoint(sites, 'near', { ...VM, locality: 'eu/a' })),
  ]
  const labels = { istio: 'egressgateway', 'topology.kubernetes.io/region': 'eu' }
  const ejecting = destinationRule('site', HOST, { loadBalancer: { simple: 'ROUND_ROBIN' }, outlierDetection: {} })
  const outside = await startOutside(t, [selecting(80), ...entries, ejecting, routeTo(HOST)], { metadata: { labels } })
  assert.deepEqual(await outside.tally(HOST, 6), { near: 6 })
})

it('field WorkloadEntry.serviceAccount: the identity that ISTIO_MUTUAL expects', async (t) => {
  const authorities = await createAuthorities()
  const certificate = await authorities.mesh.svid('istio-system/site')
  const world = await tlsWorld(t, authorities, { certificate })
  const port = (await world.outside.call(HOST)).line['upstream_host']
  const number = Number(String(port).split(':')[1])
  const under = async (serviceAccount: string) => {
    await world.outside.become([
      selecting(number, { app: 'site' }, { location: 'MESH_INTERNAL' }),
      workload('a', { address: '127.0.0.1', ...VM, serviceAccount }),
      destinationRule('site', HOST, { tls: { mode: 'ISTIO_MUTUAL' } }),
      routeTo(HOST),
    ])
    return world.outcome()
  }
  assert.equal(await under('site'), 200)
  assert.match(String(await under('other')), /ALTNAME/)
})
