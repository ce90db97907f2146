/** `connectionPool.tcp`: connections, of requests and of tunnels: how many, how long, and how they are kept (behaviour §5.4). */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, type TestContext, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { type RawOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import { createTestPki, type TestPki } from '../../src/testing/pki.ts'
import { destinationRule, documents } from '../integration/manifests.ts'
import { stat } from '../integration/operator.ts'
import { started } from '../integration/started.ts'
import {
  DB,
  MESH,
  meshTunnel,
  PORTS,
  RAW,
  rawTunnel,
  startDatabase,
  tunnelManifests,
  watch,
} from '../integration/tunnel-world.ts'
import { heldOrigin } from './held-origin.ts'
import { outcome, type RetrySite, retrySite } from './retry-site.ts'

const POOL = 'DestinationRule.trafficPolicy.connectionPool'

let pki: TestPki
let database: RawOrigin
before(async () => {
  pki = await createTestPki()
  database = await startDatabase()
})
after(() => database.close())

const site = (t: TestContext, port: number, tcp: object, policy: object = {}): Promise<RetrySite> =>
  retrySite(t, { endpoints: [{ port }], retries: { attempts: 0 }, policy: { connectionPool: { tcp }, ...policy } })

/** A gateway whose tunnels to `db.example` are under this rule. */
async function tunnels(t: TestContext, tcp: object, spec: object = {}): Promise<Harness> {
  const rule = destinationRule('db', DB, { connectionPool: { tcp } })
  const resources = { 'all.yaml': documents(...tunnelManifests(1, database.port), rule) }
  return started(t, { pki, resources, spec: { ports: PORTS, ...spec } })
}

const dbStat = (harness: Harness, name: string) => stat(harness, `cluster.outbound|${RAW}||${DB}.${name}`)

/** A tunnel that has carried `hello` each way. */
async function opened(harness: Harness) {
  const index = database.connections.length
  const socket = await rawTunnel(harness)
  socket.allowHalfOpen = false
  const near = watch(socket)
  socket.write('hello')
  const far = await database.connection(index)
  far.socket.allowHalfOpen = false
  await far.until((text) => text === 'hello')
  far.socket.write('hello')
  await near.until((text) => text === 'hello')
  return { socket, near, far }
}

test(`field ${POOL}.tcp.maxConnections: requests wait for one of so many, in the order they came`, async (t) => {
  const outside = await heldOrigin(t)
  const to = await site(t, outside.origin.port, { maxConnections: 2 })
  const answered: number[] = []
  const answers: Promise<unknown>[] = []
  for (let i = 0; i < 6; i++) {
    answers.push(to.get({ path: `/${i}` }).then(({ status }) => answered.push(status === 200 ? i : -1)))
    await eventually('it is under way', async () => {
      const waiting = (await to.stat('upstream_rq_pending_active')) + (await to.stat('upstream_rq_active'))
      return waiting === i + 1
    })
  }
  assert.equal(await to.stat('upstream_cx_active'), 2)
  assert.equal(await to.stat('circuit_breakers.default.cx_open'), 1)
  assert.equal(await to.stat('upstream_cx_overflow'), 4)
  for (let i = 0; i < 6; i++) {
    await outside.answer()
    await eventually('it is answered', () => answered.length === i + 1)
  }
  await Promise.all(answers)
  assert.deepEqual(answered, [0, 1, 2, 3, 4, 5])
  assert.equal(outside.origin.connections.length, 2)
  await to.harness.stop(6)
})

test(`field ${POOL}.tcp.maxConnections: a tunnel too many is closed: UO`, async (t) => {
  const harness = await tunnels(t, { maxConnections: 1 })
  const first = await opened(harness)
  const before = database.connections.length
  for (const [i, open] of [() => rawTunnel(harness), () => meshTunnel(harness, { port: MESH })].entries()) {
    const socket = await open()
    socket.allowHalfOpen = false
    const near = watch(socket)
    socket.write('hello')
    await near.closed
    const line = (await harness.lines(i + 1))[i]
    assert.equal(line?.['response_flags'], 'UO')
    assert.equal(line?.['upstream_host'], null)
  }
  assert.equal(database.connections.length, before)
  assert.equal(await dbStat(harness, 'upstream_cx_overflow'), 2)
  first.socket.end()
  await first.near.closed
  await eventually('it is free', async () => (await dbStat(harness, 'upstream_cx_active')) === 0)
  const { socket, near } = await opened(harness)
  socket.end()
  await near.closed
  await harness.stop(4)
})

test(`field ${POOL}.tcp.connectTimeout: for TCP and the TLS handshake`, async (t) => {
  const silent = await startRawOrigin()
  t.after(() => silent.close())
  const to = await site(t, silent.port, { connectTimeout: '80ms' }, { tls: { mode: 'SIMPLE' } })
  const { status, body } = await to.get()
  assert.equal(status, 503)
  assert.equal(body, 'upstream connect error or disconnect/reset before headers. reset reason: connection timeout')
  assert.equal((await outcome(to))[1], 'UF')
  assert.equal(await to.stat('upstream_cx_connect_timeout'), 1)
  await to.harness.stop(1)
})

test(`field ${POOL}.tcp.idleTimeout: of tunnels, in place of the bootstrap's`, async (t) => {
  const patient = await tunnels(t, { idleTimeout: '1h' }, { tunnels: { idleTimeout: '2s' } })
  const endless = await tunnels(t, { idleTimeout: '0s' }, { tunnels: { idleTimeout: '2s' } })
  const kept = [await opened(patient), await opened(endless)]
  const harness = await tunnels(t, { idleTimeout: '2s' })
  const { near } = await opened(harness)
  await near.closed
  const [line] = await harness.lines(1)
  assert.equal(line?.['connection_termination_details'], 'tcp_session_idle_timeout')
  // They have been idle for longer.
  for (const { socket, far, near: end } of kept) {
    socket.write('again')
    await far.until((text) => text === 'helloagain')
    socket.end()
    await end.closed
  }
  for (const each of [patient, endless, harness]) await each.stop(1)
})

test(`field ${POOL}.tcp.maxConnectionDuration: a tunnel is closed at that age: DT; of two ages the lower one counts`, async (t) => {
  for (const [rule, own] of [
    ['2s', '1h'],
    ['1h', '2s'],
    ['2s', '0s'],
  ] as const) {
    const harness = await tunnels(t, { maxConnectionDuration: rule }, { tunnels: { maxDuration: own } })
    const { near } = await opened(harness)
    await near.closed
    const [line] = await harness.lines(1)
    assert.equal(line?.['response_flags'], 'DT')
    assert.equal(line?.['connection_termination_details'], 'max_connection_duration_reached')
    await harness.stop(1)
  }
})

test(`field ${POOL}.tcp.maxConnectionDuration: an idle connection is closed at that age, a busy one after its answer`, async (t) => {
  const outside = await heldOrigin(t)
  const to = await site(t, outside.origin.port, { maxConnectionDuration: '150ms' })
  const busy = to.get()
  await outside.asked(1)
  const idle = to.get()
  await outside.asked(2)
  outside.unanswered.pop()?.socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
  assert.equal((await idle).status, 200)
  await (await outside.origin.connection(1)).closed
  await eventually('both are counted', async () => (await to.stat('upstream_cx_max_duration_reached')) === 2)
  assert.equal(outside.unanswered[0]?.socket.destroyed, false)
  await outside.answer()
  assert.equal((await busy).status, 200)
  await (await outside.origin.connection(0)).closed
  await to.harness.stop(2)
})

/** Seconds until the kernel asks whether the other end of a connection is still there; null: it never does. */
function keepAliveOf(local: number, remote: number): number | null {
  const hex = (port: number) => `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const line = readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .find((each) => each.includes(` ${hex(local)} ${hex(remote)} `))
  const [, active, jiffies = ''] = / (\d\d):([0-9A-F]{8}) [0-9A-F]{8} /.exec(line ?? '') ?? []
  // USER_HZ is 100 on every Linux.
  return active === '02' ? Number.parseInt(jiffies, 16) / 100 : null
}

test(`field ${POOL}.tcp.tcpKeepalive.time: how long a connection may be silent before TCP asks`, {
  skip: process.platform === 'linux' ? false : 'needs /proc/net/tcp',
}, async (t) => {
  for (const [tcp, seconds] of [
    [{ tcpKeepalive: { time: '100s' } }, 100],
    [{ tcpKeepalive: {} }, 7200],
    [{ connectTimeout: '1s' }, 30],
  ] as const) {
    const outside = await heldOrigin(t)
    outside.answerAll()
    const to = await site(t, outside.origin.port, tcp)
    assert.equal((await to.get()).status, 200)
    const { socket } = await outside.origin.connection(0)
    const left = keepAliveOf(socket.remotePort ?? 0, outside.origin.port)
    assert.ok(left !== null && left <= seconds && left > seconds - 10, `${left} s of ${seconds} s are left`)
    await to.harness.stop(1)
  }
})
