/** How tunnels end: half-close both ways on every way through, resets, limits, and the flag each leaves (behaviour §8.4–8.5). */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { after, before, describe, type TestContext, test } from 'node:test'
import tls from 'node:tls'
import type { Harness } from '../../src/testing/harness.ts'
import { plainConnect } from '../../src/testing/mesh-client.ts'
import type { RawOrigin } from '../../src/testing/origin.ts'
import { createTestPki, type TestPki } from '../../src/testing/pki.ts'
import { documents, serviceEntry } from './manifests.ts'
import { freePort, sample } from './operator.ts'
import { started } from './started.ts'
import {
  application,
  CNN,
  DB,
  ended,
  l4Service,
  MESH,
  meshTunnel,
  OUTBOUND,
  PASS,
  PORTS,
  RAW,
  rawTunnel,
  startDatabase,
  startSite,
  tcpRule,
  tlsRule,
  tunnelGateway,
  tunnelManifests,
  WAYS,
  watch,
} from './tunnel-world.ts'

let pki: TestPki
let site: RawOrigin
let database: RawOrigin
before(async () => {
  pki = await createTestPki()
  site = await startSite(pki, CNN)
  database = await startDatabase()
})
after(async () => {
  await site.close()
  await database.close()
})

async function start(t: TestContext, spec: object = {}): Promise<Harness> {
  const resources = { 'all.yaml': documents(...tunnelManifests(site.port, database.port)) }
  return started(t, { pki, resources, spec: { ports: PORTS, ...spec } })
}

/** A tunnel that has carried `hello` each way, and its far end. */
async function opened(harness: Harness, way: keyof typeof WAYS) {
  const origin = way === 'TLS in mTLS' || way === 'passthrough' ? site : database
  const index = origin.connections.length
  const socket: Socket = await WAYS[way](harness)
  const near = watch(socket)
  socket.write('hello')
  const far = await origin.connection(index)
  await far.until((text) => text === 'hello')
  far.socket.write('hello')
  await near.until((text) => text === 'hello')
  return { socket, near, far }
}

/** Both ends answer a FIN with one. */
function closesWhole<T extends Awaited<ReturnType<typeof opened>>>(tunnel: T): T {
  tunnel.socket.allowHalfOpen = false
  tunnel.far.socket.allowHalfOpen = false
  return tunnel
}

async function endOf(harness: Harness, index = 0): Promise<unknown[]> {
  const line = (await harness.lines(index + 1))[index]
  return ['response_flags', 'connection_termination_details', 'response_code_details', 'reason'].map(
    (key) => line?.[key],
  )
}

for (const way of Object.keys(WAYS) as (keyof typeof WAYS)[]) {
  describe(way, () => {
    test('the caller ends first: its FIN is passed on, the answer still comes', async (t) => {
      const harness = await start(t)
      const { socket, near, far } = await opened(harness, way)
      socket.end('last words')
      await far.until((text) => text.endsWith('last words'))
      await ended(far.socket)
      far.socket.write('answer to')
      await near.until((text) => text.endsWith('answer to'))
      far.socket.end(' all of it')
      await near.closed
      assert.ok(near.text.endsWith('answer to all of it'))
      assert.deepEqual(await endOf(harness), ['-', null, null, null])
      await harness.stop(1)
    })

    test('the outside ends first: its FIN is passed on, the caller goes on', async (t) => {
      const harness = await start(t)
      const { socket, near, far } = await opened(harness, way)
      far.socket.end('goodbye')
      await near.until((text) => text.endsWith('goodbye'))
      await ended(socket)
      socket.write('still')
      await far.until((text) => text.endsWith('still'))
      socket.end(' here')
      await far.closed
      assert.ok(far.text.endsWith('still here'))
      assert.deepEqual(await endOf(harness), ['-', null, null, null])
      await harness.stop(1)
    })
  })
}

for (const way of ['bytes in mTLS', 'plaintext'] as const) {
  test(`${way}: the outside resets: UC, and the caller cannot take it for an end`, async (t) => {
    const harness = await start(t)
    const { socket, near, far } = await opened(harness, way)
    socket.allowHalfOpen = false
    const failed = once(socket, 'error') as Promise<[NodeJS.ErrnoException]>
    far.reset()
    if (way === 'plaintext') assert.equal((await failed)[0].code, 'ECONNRESET')
    await near.closed
    assert.deepEqual(await endOf(harness), ['UC', null, null, null])
    assert.equal(await sample(harness, 'sallyport_open_tunnels'), 0)
    await harness.stop(1)
  })
}

test('the caller resets: DC, and so is the outside', async (t) => {
  const harness = await start(t)
  const plain = await opened(harness, 'plaintext')
  const outsideFailed = once(plain.far.socket, 'error') as Promise<[NodeJS.ErrnoException]>
  plain.socket.resetAndDestroy()
  assert.equal((await outsideFailed)[0].code, 'ECONNRESET')
  assert.deepEqual(await endOf(harness), ['DC', null, null, null])

  const index = database.connections.length
  const below = await plainConnect(harness.gateway.port(MESH))
  const svid = await pki.svid('default/sleep')
  const meshed = tls.connect({
    socket: below,
    servername: OUTBOUND,
    ca: pki.root,
    cert: svid.cert,
    key: svid.key,
    checkServerIdentity: () => undefined,
  })
  meshed.on('error', () => undefined)
  meshed.write('hello')
  const far = await database.connection(index)
  await far.until((text) => text === 'hello')
  below.resetAndDestroy()
  await far.closed
  assert.deepEqual(await endOf(harness, 1), ['DC', null, null, null])
  assert.equal(await sample(harness, 'sallyport_open_tunnels'), 0)
  await harness.stop(2)
})

test('idleTimeout: a silent tunnel is cut, a talking one is not', async (t) => {
  const harness = await start(t, { tunnels: { idleTimeout: '2s', maxDuration: '0s' } })
  const talking = closesWhole(await opened(harness, 'plaintext'))
  const talk = setInterval(() => talking.far.socket.write('.'), 100)
  t.after(() => clearInterval(talk))
  const silent = closesWhole(await opened(harness, 'bytes in mTLS'))
  await silent.near.closed
  await silent.far.closed
  assert.deepEqual(await endOf(harness), ['-', 'tcp_session_idle_timeout', null, null])
  assert.equal(talking.socket.destroyed, false)
  clearInterval(talk)
  await talking.near.closed
  await harness.stop(2)
})

test('maxDuration cuts a tunnel however busy it is: DT', async (t) => {
  const harness = await start(t, { tunnels: { idleTimeout: '1h', maxDuration: '2s' } })
  const { near, far } = closesWhole(await opened(harness, 'passthrough'))
  const talk = setInterval(() => far.socket.write('.'), 20)
  t.after(() => clearInterval(talk))
  await near.closed
  clearInterval(talk)
  assert.deepEqual(await endOf(harness), ['DT', 'max_connection_duration_reached', null, null])
  await harness.stop(1)
})

test('nobody listens outside: UF with the reason; unknown destination: NC; no address: UH; no such name: NR', async (t) => {
  const dead = await freePort()
  const harness = await started(t, {
    pki,
    spec: { ports: PORTS },
    resources: {
      'all.yaml': documents(
        tunnelGateway(),
        serviceEntry('dead', 'dead.example', dead, { port: 443, protocol: 'TLS' }),
        serviceEntry('empty', 'empty.example', 1, { port: 443, protocol: 'TLS', spec: { endpoints: undefined } }),
        serviceEntry('idle', 'idle.example', 1, { port: 443, protocol: 'TLS' }),
        l4Service('dead', 'dead.example', { tls: [tlsRule(MESH, 'dead.example'), tlsRule(PASS, 'dead.example')] }),
        l4Service('empty', 'empty.example', { tls: [tlsRule(PASS, 'empty.example')] }),
        l4Service('none', 'none.example', { tls: [tlsRule(PASS, 'none.example', 'nowhere.example')] }),
        serviceEntry('db', DB, dead, { port: RAW, protocol: 'TCP' }),
        l4Service('db', DB, { tcp: [tcpRule(RAW, DB)] }),
      ),
    },
  })
  const pass = async (name: string) => application(harness, await plainConnect(harness.gateway.port(PASS)), name)
  const cut = { code: 'ECONNRESET' }
  const cases = [
    [() => pass('dead.example'), 'UF', 'outbound|443||dead.example', null],
    [
      async () => application(harness, await meshTunnel(harness), 'dead.example'),
      'UF',
      'outbound|443||dead.example',
      null,
    ],
    [() => pass('none.example'), 'NC', 'outbound|443||nowhere.example', null],
    [() => pass('empty.example'), 'UH', 'outbound|443||empty.example', null],
    [() => pass('idle.example'), 'NR', null, 'no_route'],
    [() => pass('unknown.example'), 'UH', 'BlackHoleCluster', 'not_registered'],
  ] as const
  for (const [index, [attempt, flag, cluster, reason]] of cases.entries()) {
    await assert.rejects(attempt(), cut)
    const line = (await harness.lines(index + 1))[index]
    assert.deepEqual(
      ['response_code', 'response_flags', 'upstream_cluster', 'upstream_host', 'reason', 'bytes_sent'].map(
        (key) => line?.[key],
      ),
      // As in Envoy, the address where nobody was.
      [0, flag, cluster, flag === 'UF' ? `127.0.0.1:${dead}` : null, reason, 0],
    )
    assert.equal(line?.['upstream_transport_failure_reason'] !== null, flag === 'UF')
  }
  const raw = await rawTunnel(harness)
  raw.allowHalfOpen = false
  const closed = once(raw, 'close')
  raw.resume()
  await closed
  assert.equal((await harness.lines(7))[6]?.['response_flags'], 'UF')
  await harness.stop(7)
})
