/** Subsets of a DestinationRule: endpoints by label, policies of their own (behaviour §5.2). */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { it } from 'node:test'
import { createTestPki } from '../../src/testing/pki.ts'
import { type Manifest, serviceEntry } from '../integration/manifests.ts'
import { endpoint, routeTo, startOutside, startSites } from './outside.ts'

const HOST = 'site.example'

const rule = (spec: object): Manifest => ({
  apiVersion: 'networking.istio.io/v1',
  kind: 'DestinationRule',
  metadata: { name: 'site', namespace: 'istio-system' },
  spec: { host: HOST, ...spec },
})

it('field DestinationRule.subsets[].name, DestinationRule.subsets[].labels, ServiceEntry.endpoints[].labels: a route to a subset reaches the endpoints with its labels', async (t) => {
  const sites = await startSites(t, ['v1', 'v2', 'v2-canary'])
  const entry = serviceEntry('site', HOST, 80, {
    spec: {
      endpoints: [
        endpoint(sites, 'v1', { labels: { version: 'v1' } }),
        endpoint(sites, 'v2', { labels: { version: 'v2' } }),
        endpoint(sites, 'v2-canary', { labels: { version: 'v2', track: 'canary' } }),
      ],
    },
  })
  const subsets = rule({
    subsets: [
      { name: 'one', labels: { version: 'v1' } },
      { name: 'canary', labels: { version: 'v2', track: 'canary' } },
      { name: 'nobody', labels: { version: 'v3' } },
      { name: 'everybody' },
    ],
  })
  const outside = await startOutside(t, [entry, subsets, routeTo(HOST, 'one')])
  assert.deepEqual(await outside.tally(HOST, 6), { v1: 6 })
  assert.equal((await outside.call(HOST)).line['upstream_cluster'], `outbound|80|one|${HOST}`)
  await outside.become([entry, subsets, routeTo(HOST, 'canary')])
  assert.deepEqual(await outside.tally(HOST, 6), { 'v2-canary': 6 })

  await outside.become([entry, subsets, routeTo(HOST, 'nobody')])
  const empty = await outside.call(HOST)
  assert.deepEqual([empty.status, empty.line['response_flags']], [503, 'UH'])
  await outside.become([entry, subsets, routeTo(HOST, 'unheard-of')])
  const unknown = await outside.call(HOST)
  assert.deepEqual([unknown.status, unknown.line['response_flags']], [503, 'NC'])

  await outside.become([entry, subsets, routeTo(HOST, 'everybody')])
  const answered = await outside.tally(HOST, 60)
  assert.deepEqual(new Set(Object.keys(answered)), new Set(['v1', 'v2', 'v2-canary']))
})

it('field DestinationRule.subsets[].trafficPolicy.tls, DestinationRule.subsets[].trafficPolicy.portLevelSettings: TLS of one subset and not of the other', async (t) => {
  const pki = await createTestPki()
  const { cert, key } = await pki.serverCert(HOST)
  const plain = await startSites(t, ['plain'])
  const secure = await startSites(t, ['secure'], { tls: { cert, key } })
  const entry = serviceEntry('site', HOST, 80, {
    spec: {
      endpoints: [
        endpoint(plain, 'plain', { labels: { kind: 'plain' } }),
        endpoint(secure, 'secure', { labels: { kind: 'secure' } }),
      ],
    },
  })
  const outside = await startOutside(t, [entry, routeTo(HOST)], { pki })
  const tls = { mode: 'SIMPLE', caCertificates: pki.writeTo(join(outside.harness.paths.dir, 'ca')) }
  const subset = (kind: string, trafficPolicy: object | null) => ({
    name: kind,
    labels: { kind },
    ...(trafficPolicy === null ? {} : { trafficPolicy }),
  })
  const answers = async (spec: object) => {
    const found: Record<string, string | number> = {}
    for (const kind of ['plain', 'secure']) {
      await outside.become([entry, rule(spec), routeTo(HOST, kind)])
      const { site, status } = await outside.call(HOST)
      found[kind] = site ?? status
    }
    return found
  }
  const both = { plain: 'plain', secure: 'secure' }
  // Of its own; inherited and switched off; for its port.
  assert.deepEqual(await answers({ subsets: [subset('plain', null), subset('secure', { tls })] }), both)
  const off = { tls: { mode: 'DISABLE' } }
  const inherited = { trafficPolicy: { tls }, subsets: [subset('plain', off), subset('secure', null)] }
  assert.deepEqual(await answers(inherited), both)
  const level = { portLevelSettings: [{ port: { number: 80 }, tls }] }
  assert.deepEqual(await answers({ subsets: [subset('plain', null), subset('secure', level)] }), both)
  const elsewhere = { portLevelSettings: [{ port: { number: 81 }, tls }] }
  const missed = await answers({ subsets: [subset('plain', elsewhere), subset('secure', elsewhere)] })
  assert.equal(missed['plain'], 'plain')
  assert.notEqual(missed['secure'], 'secure')
})
