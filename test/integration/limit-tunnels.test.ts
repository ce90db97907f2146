/** Limits of tunnels and WebSockets: how many are open, how many are opened, how many bytes they carry. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { constants, type IncomingHttpHeaders } from 'node:http2'
import type { Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { meshH2 } from '../../src/testing/h2-client.ts'
import { type Harness, startHarness } from '../../src/testing/harness.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import type { RawOrigin } from '../../src/testing/origin.ts'
import { BINARY, frame, handshake, readHead, startWebSocketSite } from '../../src/testing/websocket.ts'
import { test as engines } from './engines.ts'
import { ANYONE, hourly, rateLimit, worldPki } from './limit-world.ts'
import { documents, gateway, ISTIO_MUTUAL, type Manifest, serviceEntry, to, virtualService } from './manifests.ts'
import { sample } from './operator.ts'
import {
  application,
  CNN,
  DB,
  meshTunnel,
  PORTS,
  rawTunnel,
  startDatabase,
  startSite,
  tunnelManifests,
} from './tunnel-world.ts'

type World = {
  readonly harness: Harness
  readonly database: RawOrigin
  readonly become: (...limits: readonly Manifest[]) => Promise<void>
  /** A tunnel to the database over plain bytes that has carried a byte; null: it was closed. */
  readonly open: () => Promise<Socket | null>
}

async function world(t: TestContext, ...limits: readonly Manifest[]): Promise<World> {
  const pki = await worldPki()
  const site = await startSite(pki, CNN)
  const database = await startDatabase(({ socket }) => socket.pipe(socket))
  const resources = (more: readonly Manifest[]) => ({
    'all.yaml': documents(...tunnelManifests(site.port, database.port), ...more),
  })
  const harness = await startHarness({ pki, spec: { ports: PORTS }, resources: resources(limits) })
  t.after(async () => {
    await harness.gateway.destroy()
    await site.close()
    await database.close()
  })
  return {
    harness,
    database,
    become: async (...more) => assert.deepEqual((await harness.change(resources(more))).errors, []),
    open: async () => {
      const socket = await rawTunnel(harness)
      t.after(() => socket.destroy())
      return (await answers(socket)) ? socket : null
    },
  }
}

/** Whether a byte that is sent comes back. */
async function answers(socket: Socket): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  socket.once('data', () => resolve(true))
  socket.once('end', () => resolve(false))
  socket.once('close', () => resolve(false))
  socket.write('x')
  return promise
}

/** Resolves when the gateway has ended it, whichever way. */
async function closed(socket: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  for (const event of ['end', 'close', 'error']) socket.once(event, () => resolve())
  socket.resume()
  return promise
}

const series = (decision: string) =>
  `sallyport_rate_limit_decisions_total{limit="istio-system/limits/one",decision="${decision}"}`

test('field EgressRateLimit.limits[].tunnels.count: so many open at a time, and again when one has ended', async (t) => {
  const { harness, database, open, become } = await world(
    t,
    rateLimit([{ name: 'one', key: ['host'], tunnels: { count: 2 }, to: [{ hosts: [DB] }] }]),
  )
  const first = await open()
  const second = await open()
  assert.ok(first !== null && second !== null)
  assert.equal(await open(), null)
  const [line] = await harness.lines(1)
  assert.equal(line?.['reason'], 'rate_limited')
  assert.equal(line?.['response_flags'], 'RL')
  assert.equal(line?.['response_code_details'], 'local_rate_limited{istio-system/limits/one}')
  assert.equal(line?.['upstream_host'], null)
  assert.equal(database.connections.length, 2)
  // Another number: those that are open count.
  await become(rateLimit([{ name: 'one', key: ['host'], tunnels: { count: 3 }, to: [{ hosts: [DB] }] }]))
  assert.ok((await open()) !== null)
  assert.equal(await open(), null)
  first.destroy()
  await eventually('its place is free again', async () => (await open()) !== null)
  assert.ok(Number(await sample(harness, series('deny'))) >= 2)
})

test('requests: a tunnel is one when it is opened, whoever opens it, by the name inside', async (t) => {
  const { harness, database } = await world(
    t,
    rateLimit([{ name: 'one', key: ['principal', 'host'], ...ANYONE, ...hourly(1), to: [{ hosts: [CNN] }] }]),
  )
  await application(harness, await meshTunnel(harness))
  const refused = await meshTunnel(harness)
  const cut = application(harness, refused).catch(() => null)
  await Promise.race([closed(refused), cut])
  await application(harness, await meshTunnel(harness, { identity: 'apps/cron' }))
  // Bytes without a name go to the database, which this limit is not for.
  for (let i = 0; i < 2; i += 1) {
    const bytes = await meshTunnel(harness)
    assert.equal(await answers(bytes), true)
    bytes.destroy()
  }
  assert.equal(database.connections.length, 2)
  const lines = await harness.lines(3)
  assert.deepEqual(
    lines.filter(({ reason }) => reason === 'rate_limited').map((line) => line['inner_server_name']),
    [CNN],
  )
})

test('bytes: a tunnel that carries too many is closed within seconds, and the next is refused until they are paid off', async (t) => {
  const { harness, open, become } = await world(
    t,
    rateLimit([{ name: 'one', key: [], bytes: { count: '10Ki', per: 'hour', direction: 'egress' } }]),
  )
  const socket = await open()
  assert.ok(socket !== null)
  const started = performance.now()
  socket.write(Buffer.alloc(20 * 1024))
  await closed(socket)
  t.diagnostic(`closed after ${Math.round(performance.now() - started)} ms`)
  const [line] = await harness.lines(1)
  assert.deepEqual([line?.['reason'], line?.['response_flags']], ['rate_limited', 'RL'])
  assert.equal(line?.['bytes_received'], 20 * 1024 + 1)
  assert.equal(await open(), null)
  assert.equal(await sample(harness, 'sallyport_open_tunnels'), 0)
  // In shadow mode it is only counted.
  const shadow = { name: 'one', key: [], mode: 'shadow', bytes: { count: '10Ki', per: 'hour', direction: 'egress' } }
  await become(rateLimit([shadow]))
  const other = await open()
  assert.ok(other !== null)
  assert.equal(await answers(other), true)
  assert.equal(await sample(harness, series('shadow_deny')), 1)
})

test('a limit by method or path is not for tunnels; one that excludes them is', async (t) => {
  const { open, become } = await world(t, rateLimit([{ name: 'one', key: [], ...hourly(1), to: [{ methods: ['*'] }] }]))
  assert.ok((await open()) !== null && (await open()) !== null)
  await become(rateLimit([{ name: 'one', key: [], ...hourly(1), to: [{ notMethods: ['GET'], notPaths: ['/x'] }] }]))
  assert.ok((await open()) !== null)
  assert.equal(await open(), null)
})

const CHAT = 'chat.example'

const ONE_OPEN = rateLimit([{ name: 'one', key: ['host'], tunnels: { count: 1 } }])

async function chat(t: TestContext, ...limits: readonly Manifest[]): Promise<Harness> {
  const outside = await startWebSocketSite()
  const harness = await startHarness({
    pki: await worldPki(),
    resources: {
      'all.yaml': documents(
        gateway({}, { number: 443, tls: ISTIO_MUTUAL }),
        serviceEntry('chat', CHAT, outside.port),
        virtualService('chat', [CHAT], [{ route: to(CHAT), retries: { attempts: 0 } }]),
        ...limits,
      ),
    },
  })
  t.after(async () => {
    await harness.gateway.destroy()
    await outside.close()
  })
  return harness
}

async function plain(t: TestContext, harness: Harness): Promise<Socket> {
  const socket = await plainConnect(harness.gateway.port(80))
  t.after(() => socket.destroy())
  return socket
}

engines('WebSockets hold places as tunnels do', async (t) => {
  const harness = await chat(t, ONE_OPEN)
  const upgrade = async () => {
    const socket = await plain(t, harness)
    socket.write(handshake(CHAT))
    return { socket, head: await readHead(socket) }
  }
  const first = await upgrade()
  assert.match(first.head, /^HTTP\/1\.1 101 /)
  assert.match(first.head, /\r\nratelimit: "one";r=0;t=0\r\n/)
  const second = await upgrade()
  assert.match(second.head, /^HTTP\/1\.1 429 /)
  assert.match(second.head, /\r\nretry-after: 1\r\n/)
  // `Upgrade` without `Connection` is a request like any other.
  const other = await request(await plain(t, harness), CHAT, { headers: { upgrade: 'websocket' } })
  assert.equal(other.headers['ratelimit'], undefined)
  first.socket.destroy()
  await eventually('the place is free again', async () => (await upgrade()).head.startsWith('HTTP/1.1 101 '))
})

test('WebSockets over HTTP/2 too', async (t) => {
  const harness = await chat(t, ONE_OPEN)
  const svid = await harness.pki.svid('apps/sleep')
  const session = await meshH2({ port: harness.gateway.port(443), svid, ca: harness.pki.root })
  t.after(() => session.destroy())
  if (!session.remoteSettings.enableConnectProtocol) await once(session, 'remoteSettings')
  const upgrade = async () => {
    const stream = session.request(
      {
        ':method': 'CONNECT',
        ':protocol': 'websocket',
        ':scheme': 'https',
        ':authority': CHAT,
        ':path': '/',
        'sec-websocket-version': '13',
      },
      { endStream: false },
    )
    stream.on('error', () => {})
    const [head] = (await once(stream, 'response')) as [IncomingHttpHeaders]
    return { stream, status: head[':status'] }
  }
  const first = await upgrade()
  assert.equal(first.status, 200)
  assert.equal((await upgrade()).status, 429)
  first.stream.close(constants.NGHTTP2_CANCEL)
  await eventually('the place is free again', async () => Number((await upgrade()).status) === 200)
})

test('bytes of a WebSocket count while they flow, and close it', async (t) => {
  const harness = await chat(
    t,
    rateLimit([{ name: 'one', key: ['host'], bytes: { count: 1000, per: 'day', direction: 'egress' } }]),
  )
  const socket = await plain(t, harness)
  socket.write(handshake(CHAT))
  assert.match(await readHead(socket), /^HTTP\/1\.1 101 /)
  socket.write(frame(BINARY, Buffer.alloc(2000), true))
  await closed(socket)
  const [line] = await harness.lines(1)
  assert.deepEqual(
    [line?.['response_code'], line?.['reason'], line?.['response_flags'], line?.['response_code_details']],
    [101, 'rate_limited', 'RL', 'downstream_local_disconnect(rate_limited)'],
  )
})
