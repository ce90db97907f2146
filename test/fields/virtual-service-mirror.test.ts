/** Mirrors: who else gets the request (behaviour §4.5). Slow, dead and large ones: src/listeners/mirror.test.ts. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { startEchoOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import { destinationRule, type Manifest, serviceEntry, to, virtualService } from '../integration/manifests.ts'
import { A, B, HOST, type RouteSite, routeSite, siteOf } from './route-site.ts'

const rule = (prefix: string, mirror: object) => ({ match: [{ uri: { prefix } }], route: to(A), ...mirror })
const b = to(B)[0]?.destination
const mirrored = (site: RouteSite, path: string) => site.b.requests.filter((each) => each.endsWith(` ${path}`)).length

/** `target` on port 8080, nobody on another: the port has to be said. */
function twoPorts(host: string, target: number): Manifest {
  const ports = [
    { number: 8080, name: 'p', protocol: 'HTTP', targetPort: target },
    { number: 8081, name: 'q', protocol: 'HTTP', targetPort: 1 },
  ]
  return serviceEntry(host.replaceAll('.', '-'), host, target, { spec: { ports } })
}

/** Sends a last request that is mirrored for certain: what came before it has been decided by then. */
async function settled(site: RouteSite): Promise<void> {
  await site.call('/certain')
  await eventually('the last copy has arrived', () => mirrored(site, '/certain') === 1)
}

test('field VirtualService.http[].mirror.host, VirtualService.http[].mirror.port.number: a copy; the answer is the route’s', async (t) => {
  const copies = await startRawOrigin({
    onRequest: ({ socket }) => void socket.write('HTTP/1.1 500 no\r\ncontent-length: 0\r\n\r\n'),
  })
  t.after(() => copies.close())
  const site = await routeSite(t, [{ route: to(A), mirror: { host: 'copy.example', port: { number: 8080 } } }], {
    manifests: [twoPorts('copy.example', copies.port)],
  })
  const called = await site.call('/x?q=1', {
    method: 'POST',
    body: 'the body',
    host: `${HOST}:80`,
    headers: { 'x-a': '1' },
  })
  assert.equal(siteOf(called), 'a')
  await eventually('a copy has arrived', () => copies.connections.length > 0)
  const connection = await copies.connection(0)
  const text = await connection.until((each) => each.includes('the body'))
  const [head = ''] = text.split('\r\n\r\n')
  assert.match(head, /^POST \/x\?q=1 HTTP\/1\.1\r\n/)
  assert.match(head, new RegExp(`\\r\\nhost: ${HOST}-shadow:80(\\r\\n|$)`, 'i'))
  assert.match(head, /\r\nx-a: 1(\r\n|$)/i)
  assert.equal(called.line['upstream_host'], `127.0.0.1:${site.a.port}`)
  await site.harness.stop(1)
})

test('field VirtualService.http[].mirrorPercentage.value, VirtualService.http[].mirrorPercent: that share; all without it', async (t) => {
  const site = await routeSite(t, [
    rule('/half', { mirror: b, mirrorPercentage: { value: 50 } }),
    rule('/zero', { mirror: b, mirrorPercentage: { value: 0 } }),
    rule('/deprecated', { mirror: b, mirrorPercent: 0 }),
    rule('/certain', { mirror: b }),
  ])
  for (let i = 0; i < 80; i += 1) await site.call('/half')
  for (let i = 0; i < 10; i += 1) for (const path of ['/zero', '/deprecated']) await site.call(path)
  await settled(site)
  await eventually('the copies have arrived', () => mirrored(site, '/half') > 13)
  assert.ok(mirrored(site, '/half') < 67, String(mirrored(site, '/half')))
  assert.deepEqual([mirrored(site, '/zero'), mirrored(site, '/deprecated')], [0, 0])
})

test('field VirtualService.http[].mirrors[].destination.host, VirtualService.http[].mirrors[].destination.port.number, VirtualService.http[].mirrors[].percentage.value: each by itself', async (t) => {
  const second = await startEchoOrigin()
  t.after(() => second.close())
  const other = { host: 'other.example', port: { number: 8080 } }
  const site = await routeSite(
    t,
    [
      rule('/both', { mirrors: [{ destination: other }, { destination: b }] }),
      rule('/one', {
        mirrors: [
          { destination: other, percentage: { value: 0 } },
          { destination: b, percentage: { value: 100 } },
        ],
      }),
      rule('/certain', { mirrors: [{ destination: b }] }),
    ],
    { manifests: [twoPorts('other.example', second.port)] },
  )
  assert.equal(siteOf(await site.call('/both')), 'a')
  assert.equal(siteOf(await site.call('/one')), 'a')
  await settled(site)
  await eventually('the copies have arrived', () => mirrored(site, '/both') === 1 && mirrored(site, '/one') === 1)
  await eventually('the other copy too', () => second.requests.length > 0)
  assert.deepEqual(second.requests, ['GET /both'])
})

test('field VirtualService.http[].mirror.subset, VirtualService.http[].mirrors[].destination.subset: its endpoints alone', async (t) => {
  const site = await routeSite(t, [{ route: to(A) }])
  const endpoint = (port: number, version: string) => ({
    address: '127.0.0.1',
    ports: { p: port },
    labels: { version },
  })
  const endpoints = [endpoint(site.a.port, 'v1'), endpoint(site.b.port, 'v2')]
  const subset = { host: 'sub.example', subset: 'v2', port: { number: 80 } }
  const text = [
    serviceEntry('sub', 'sub.example', 80, { spec: { endpoints } }),
    {
      ...destinationRule('sub', 'sub.example', {}),
      spec: { host: 'sub.example', subsets: [{ name: 'v2', labels: { version: 'v2' } }] },
    },
    virtualService(
      'm',
      ['m.example'],
      [
        { match: [{ uri: { prefix: '/mirrors' } }], route: to(A), mirrors: [{ destination: subset }] },
        { route: to(A), mirror: subset },
      ],
    ),
  ]
  const result = await site.harness.change({ 'more.yaml': text.map((each) => JSON.stringify(each)).join('\n---\n') })
  assert.equal(result.ok, true)
  for (let i = 0; i < 8; i += 1)
    for (const path of ['/mirror', '/mirrors']) assert.equal(siteOf(await site.call(path, { host: 'm.example' })), 'a')
  await eventually('every copy went to v2', () => mirrored(site, '/mirror') === 8 && mirrored(site, '/mirrors') === 8)
  assert.equal(site.a.requests.length, 16)
})
