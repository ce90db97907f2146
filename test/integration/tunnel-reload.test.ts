/** Tunnels and time: reloads keep what is allowed and close what is not (contract §9); a drain lets them run, then cuts. */
import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { after, before, type TestContext, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { plainConnect } from '../../src/testing/mesh-client.ts'
import type { RawOrigin, RecordedConnection } from '../../src/testing/origin.ts'
import { createTestPki, type TestPki } from '../../src/testing/pki.ts'
import { authorizationPolicy, documents, gateway, serviceEntry } from './manifests.ts'
import { sample, stat } from './operator.ts'
import { started } from './started.ts'
import {
  application,
  CNN,
  DB,
  ended,
  l4Service,
  MESH,
  meshTunnel,
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
  watch,
} from './tunnel-world.ts'

let pki: TestPki
let site: RawOrigin
let database: RawOrigin
before(async () => {
  pki = await createTestPki()
  const echo = ({ socket }: RecordedConnection) => {
    socket.on('data', (chunk: Buffer) => socket.write(chunk))
    socket.once('end', () => socket.end())
  }
  site = await startSite(pki, CNN, echo)
  database = await startDatabase(echo)
})
after(async () => {
  await site.close()
  await database.close()
})

async function start(t: TestContext, spec: object = {}): Promise<Harness> {
  const resources = { 'all.yaml': documents(...tunnelManifests(site.port, database.port)) }
  return started(t, { pki, resources, spec: { ports: PORTS, ...spec } })
}

/** The same resources, written anew with something that concerns no tunnel. */
const touched = (round: number) =>
  documents(...tunnelManifests(site.port, database.port), serviceEntry('more', `more-${round}.example`, 1))

async function echoes(socket: Socket, seen: RecordedConnection, text: string): Promise<void> {
  socket.write(text)
  await seen.until((all) => all.endsWith(text))
}

async function four(harness: Harness): Promise<readonly (readonly [Socket, RecordedConnection])[]> {
  const sockets = [
    await application(harness, await meshTunnel(harness)),
    await meshTunnel(harness),
    await application(harness, await plainConnect(harness.gateway.port(PASS))),
    await rawTunnel(harness),
  ]
  const open = sockets.map((socket) => [socket, watch(socket)] as const)
  for (const [socket, seen] of open) await echoes(socket, seen, 'before')
  return open
}

const named = (line: Readonly<Record<string, unknown>> | undefined, ...keys: readonly string[]) =>
  keys.map((key) => line?.[key])

test('twenty reloads leave unchanged tunnels alone', async (t) => {
  const harness = await start(t)
  const open = await four(harness)
  for (let round = 0; round < 20; round++) {
    assert.ok((await harness.change({ 'all.yaml': touched(round) })).ok)
    for (const [socket, seen] of open) await echoes(socket, seen, `${round};`)
  }
  assert.equal(harness.gateway.active.generation, 21)
  assert.equal(await sample(harness, 'sallyport_open_tunnels'), 4)
  for (const [socket, seen] of open) {
    socket.end()
    await seen.closed
  }
  const lines = await harness.lines(4)
  assert.deepEqual(
    lines.map((line) => named(line, 'response_flags', 'reason')),
    Array.from({ length: 4 }, () => ['-', null]),
  )
  // Of a configuration that is gone: its counters must have come back to nothing.
  const active = await stat(harness, 'cluster.outbound|443||edition.cnn.com.upstream_cx_active')
  assert.equal(active, 0)
  await harness.stop(4)
})

test('what the new policy forbids is closed within five seconds with policy_changed, on the same port others stay', async (t) => {
  const harness = await start(t)
  const kept = await meshTunnel(harness, { identity: 'kept/app' })
  const keptSeen = watch(kept)
  await echoes(kept, keptSeen, 'hello')
  const doomed = await Promise.all(Array.from({ length: 5 }, () => meshTunnel(harness)))
  const doomedSeen = doomed.map((socket) => watch(socket))
  for (const [index, socket] of doomed.entries()) {
    socket.allowHalfOpen = false
    await echoes(socket, doomedSeen[index] as RecordedConnection, 'hello')
  }
  const rule = { from: [{ source: { namespaces: ['default'] } }] }
  const at = performance.now()
  assert.ok((await harness.change({ 'deny.yaml': documents(authorizationPolicy('deny', 'DENY', [rule])) })).ok)
  for (const { closed } of doomedSeen) await closed
  // Spread over four seconds; on a busy machine the last may be late.
  assert.ok(performance.now() - at < 12_000, 'within five seconds')
  const lines = await harness.lines(5)
  for (const line of lines) {
    assert.deepEqual(named(line, 'response_flags', 'reason', 'bytes_received'), ['-', 'policy_changed', 5])
    assert.equal(line['source_namespace'], 'default')
  }
  await echoes(kept, keptSeen, 'still here')
  assert.equal(await sample(harness, 'sallyport_open_tunnels'), 1)
  kept.end()
  await keptSeen.closed
  await harness.stop(6)
})

test('a route that is gone, and a port that now asks who calls, close their tunnels too', async (t) => {
  const harness = await start(t)
  const open = await four(harness)
  for (const [socket] of open) socket.allowHalfOpen = false
  const [inner, bytes, passed, plain] = open
  const only = [
    tunnelGateway(),
    serviceEntry('cnn', CNN, site.port, { port: 443, protocol: 'TLS' }),
    serviceEntry('db', DB, database.port, { port: RAW, protocol: 'TCP' }),
    l4Service('cnn', CNN, { tls: [tlsRule(MESH, CNN), tlsRule(PASS, CNN)] }),
    l4Service('db', DB, { tcp: [tcpRule(RAW, DB)] }),
  ]
  assert.ok((await harness.change({ 'all.yaml': documents(...only) })).ok)
  await bytes?.[1].closed
  assert.deepEqual(named((await harness.lines(1))[0], 'reason', 'downstream_peer_uri_san'), [
    'policy_changed',
    'spiffe://cluster.local/ns/default/sa/sleep',
  ])
  const asks = gateway(
    { number: MESH, name: 'mesh', protocol: 'TLS', tls: { mode: 'ISTIO_MUTUAL' } },
    { number: PASS, name: 'pass', protocol: 'TLS', tls: { mode: 'ISTIO_MUTUAL' } },
    { number: RAW, name: 'raw', protocol: 'TCP' },
  )
  assert.ok((await harness.change({ 'all.yaml': documents(asks, ...only.slice(1)) })).ok)
  await passed?.[1].closed
  assert.deepEqual(named((await harness.lines(2))[1], 'reason', 'requested_server_name'), ['policy_changed', CNN])
  for (const rest of [inner, plain]) {
    assert.ok(rest !== undefined)
    await echoes(...rest, 'still here')
    rest[0].end()
    await rest[1].closed
  }
  await harness.stop(4)
})

test('a connection that waited through a reload is judged by what is active when it speaks', async (t) => {
  const harness = await start(t)
  const before = database.connections.length
  const waiting = await meshTunnel(harness)
  waiting.allowHalfOpen = false
  // Once both have been answered the gateway has seen this handshake end, and sniffs.
  await eventually('the handshake is over', () =>
    harness.gateway.boundPorts.some(({ gatewayPort, stats }) => gatewayPort === MESH && stats.ssl_handshake === 1),
  )
  const only = [
    tunnelGateway(),
    serviceEntry('cnn', CNN, site.port, { port: 443, protocol: 'TLS' }),
    l4Service('cnn', CNN, { tls: [tlsRule(MESH, CNN)] }),
  ]
  assert.ok((await harness.change({ 'all.yaml': documents(...only) })).ok)
  const seen = watch(waiting)
  waiting.write('too late')
  await seen.closed
  assert.equal(seen.text, '')
  assert.deepEqual(named((await harness.lines(1))[0], 'upstream_host', 'reason'), [null, 'no_route'])
  assert.equal(database.connections.length, before)
  await harness.stop(1)
})

test('a drain lets tunnels run on, and what is left at drainDuration is cut and logged', async (t) => {
  const harness = await start(t, { drainDuration: '4s' })
  const open = await four(harness)
  for (const [socket] of open) socket.allowHalfOpen = false
  const [first, ...rest] = open
  assert.ok(first !== undefined)
  const closing = harness.gateway.close()
  await assert.rejects(plainConnect(harness.gateway.port(MESH)), /ECONNREFUSED|not served/)
  for (const [socket, seen] of open) await echoes(socket, seen, 'while draining')
  first[0].end()
  await first[1].closed
  assert.equal(harness.gateway.lifecycle.phase, 'draining')
  for (const [, seen] of rest) await seen.closed
  await closing
  const lines = await harness.lines(4)
  assert.deepEqual(
    lines.map((line) => named(line, 'response_flags', 'reason')),
    [['-', null], ...Array.from({ length: 3 }, () => ['-', 'draining'])],
  )
  await harness.stop(4)
})

test('a drain waits for what a caller who left has sent, and cuts an outside that does not read', async (t) => {
  const stalled = await startDatabase(({ socket }) => void socket.pause())
  t.after(() => stalled.close())
  const resources = { 'all.yaml': documents(...tunnelManifests(site.port, stalled.port)) }
  const harness = await started(t, { pki, resources, spec: { ports: PORTS, drainDuration: '500ms' } })
  const socket = await rawTunnel(harness)
  const seen = watch(socket)
  socket.write(Buffer.alloc(16 << 20))
  const far = await stalled.connection(0)
  far.socket.pause()
  far.socket.end()
  await ended(socket)
  const closing = harness.gateway.close()
  await seen.closed
  await closing
  assert.deepEqual(named((await harness.lines(1))[0], 'reason'), ['draining'])
  await harness.stop(1)
})
