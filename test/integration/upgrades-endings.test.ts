/** How WebSockets end: by either side, cleanly or not, by a reload that forbids them (contract §9), by a drain, by silence. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Socket } from 'node:net'
import { after, before, type TestContext } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import type { LogLine } from '../../src/testing/harness.ts'
import { rawExchange } from '../../src/testing/mesh-client.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import {
  handshake,
  openWebSocket,
  startWebSocketSite,
  type WebSocketEnd,
  type WebSocketSite,
} from '../../src/testing/websocket.ts'
import { test } from './engines.ts'
import { authorizationPolicy, documents, serviceEntry } from './manifests.ts'
import { sample } from './operator.ts'
import { HOST, type Site, startSite } from './site.ts'

let outside: WebSocketSite
before(async () => {
  outside = await startWebSocketSite()
})
after(() => outside.close())

type Pair = { readonly near: WebSocketEnd; readonly far: WebSocketEnd }

async function open(site: Site, carrier: 'mesh' | 'plain'): Promise<Pair> {
  const near = await openWebSocket(await site[carrier](), HOST)
  assert.ok(await near.echoes('hello'))
  const far = outside.ends.at(-1)
  assert.ok(far !== undefined)
  return { near, far }
}

/** Not events.once: that rejects on `error`, which may be how it ends. */
async function closed({ stream }: WebSocketEnd): Promise<void> {
  if (!stream.closed) await new Promise((resolve) => void stream.once('close', resolve))
}

/** By RST, where there is no TLS around it. */
function vanish({ stream }: WebSocketEnd): void {
  assert.ok(stream instanceof Socket)
  stream.resetAndDestroy()
}

const ending = (line: LogLine | undefined) =>
  ['response_code', 'response_flags', 'response_code_details', 'reason'].map((key) => line?.[key])

/** TABLE: who does what → what the line says. */
const ENDINGS: Readonly<Record<string, readonly [end: (pair: Pair) => void, line: readonly unknown[]]>> = {
  'the caller vanishes': [({ near }) => vanish(near), [101, 'DC', 'downstream_remote_disconnect', null]],
  'the site vanishes': [
    ({ far }) => vanish(far),
    [101, 'UC', 'upstream_reset_after_response_started{connection_termination}', null],
  ],
  'the site closes': [({ far }) => void far.stream.end(), [101, '-', 'via_upstream', null]],
  'the caller closes': [({ near }) => void near.stream.end(), [101, '-', 'via_upstream', null]],
}

for (const [name, [end, expected]] of Object.entries(ENDINGS)) {
  test(`${name}: both sides are closed, the line says how`, async (t) => {
    const site = await startSite(t, outside.port)
    const pair = await open(site, 'plain')
    pair.near.stream.on('error', () => {})
    end(pair)
    await closed(pair.near)
    await closed(pair.far)
    assert.deepEqual(ending((await site.harness.lines(1))[0]), expected)
    await site.quiet()
    assert.equal(await sample(site.harness, 'sallyport_open_tunnels'), 0)
    await site.harness.stop(1)
  })
}

test('a site that dies is a reset to the caller, not an end', async (t) => {
  const site = await startSite(t, outside.port)
  const { near, far } = await open(site, 'plain')
  const error = once(near.stream, 'error') as Promise<[NodeJS.ErrnoException]>
  vanish(far)
  assert.equal((await error)[0].code, 'ECONNRESET')
  await site.harness.stop(1)
})

test('a drain waits until what a caller sent last has reached a slow site, and for the line', async (t) => {
  const slow = await startWebSocketSite({
    onOpen: ({ stream }) => {
      stream.removeAllListeners('data')
      stream.pause()
      stream.end()
    },
  })
  t.after(() => slow.close())
  const site = await startSite(t, slow.port)
  const socket = await site.plain()
  socket.allowHalfOpen = true
  const { stream } = await openWebSocket(socket, HOST)
  // With both its ends closed the caller's connection is gone before all of this is out.
  if (!stream.readableEnded) await once(stream, 'end')
  const SIZE = 16 << 20
  stream.end(Buffer.alloc(SIZE, 7))
  const closing = site.harness.gateway.close()
  let seen = 0
  const far = (await slow.connection(0)).socket
  far.on('data', (chunk: Buffer) => (seen += chunk.length))
  far.resume()
  await closing
  assert.equal(seen, SIZE)
  const [line] = await site.harness.lines(1)
  assert.deepEqual([line?.['bytes_received'], ...ending(line)], [SIZE, 101, '-', 'via_upstream', null])
  await site.harness.stop(1)
})

const DENY = documents(authorizationPolicy('deny', 'DENY', [{ from: [{ source: { namespaces: ['mytest'] } }] }]))

test('threat 13: a reload closes those it forbids within five seconds, and no others', async (t) => {
  const site = await startSite(t, outside.port)
  const doomed = await Promise.all(Array.from({ length: 4 }, async () => open(site, 'mesh')))
  // Without an identity: of no namespace.
  const kept = await open(site, 'plain')
  const at = performance.now()
  assert.ok((await site.harness.change({ 'deny.yaml': DENY })).ok)
  for (const { near } of doomed) await closed(near)
  // Spread over four seconds; on a busy machine the last may be late.
  assert.ok(performance.now() - at < 12_000)
  for (const line of await site.harness.lines(4))
    assert.deepEqual(ending(line), [101, '-', 'downstream_local_disconnect(policy_changed)', 'policy_changed'])
  assert.ok(await kept.near.echoes('still here'))
  kept.near.stream.end()
  await site.harness.stop(5)
})

test('a hundred reloads drop no WebSocket whose rule stays', async (t) => {
  const site = await startSite(t, outside.port)
  const pairs = [await open(site, 'mesh'), await open(site, 'plain')]
  for (let round = 0; round < 100; round++) {
    const more = documents(serviceEntry('more', `more-${round}.example`, 1))
    assert.ok((await site.harness.change({ 'more.yaml': more })).ok)
    for (const { near } of pairs) assert.ok(await near.echoes(`${round}`))
  }
  assert.equal(site.harness.gateway.active.generation, 101)
  for (const { near } of pairs) near.stream.end()
  for (const line of await site.harness.lines(2)) assert.deepEqual(ending(line), [101, '-', 'via_upstream', null])
  await site.harness.stop(2)
})

test('one that is forbidden before the site has answered never opens', async (t) => {
  const origin = await startRawOrigin()
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const socket = await site.mesh()
  const seen = rawExchange(socket, handshake(HOST))
  const far = await origin.connection(0)
  await far.until((text) => text.endsWith('\r\n\r\n'))
  assert.ok((await site.harness.change({ 'deny.yaml': DENY })).ok)
  far.socket.write('HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n')
  assert.equal(await seen, '')
  await far.closed
  assert.deepEqual(ending((await site.harness.lines(1))[0]), [
    0,
    '-',
    'downstream_local_disconnect(policy_changed)',
    'policy_changed',
  ])
  await site.harness.stop(1)
})

async function drained(t: TestContext, carrier: 'mesh' | 'plain'): Promise<void> {
  const site = await startSite(t, outside.port, { spec: { drainDuration: '3s' } })
  const first = await open(site, carrier)
  const left = await open(site, carrier)
  const closing = site.harness.gateway.close()
  await eventually('it drains', () => site.harness.gateway.lifecycle.phase === 'draining')
  for (const { near } of [first, left]) assert.ok(await near.echoes('while draining'))
  first.near.stream.end()
  await closed(first.near)
  assert.equal(site.harness.gateway.lifecycle.phase, 'draining')
  await closing
  await closed(left.far)
  assert.deepEqual((await site.harness.lines(2)).map(ending), [
    [101, '-', 'via_upstream', null],
    [101, '-', 'downstream_local_disconnect(drain_deadline)', 'draining'],
  ])
  await site.harness.stop(2)
}

test('a drain lets them run on, and what is left at drainDuration is cut and logged', (t) => drained(t, 'mesh'))
test('the same over plaintext', (t) => drained(t, 'plain'))

test('tunnels.idleTimeout and tunnels.maxDuration hold for them', async (t) => {
  for (const [tunnels, expected] of [
    [{ idleTimeout: '1500ms' }, [101, 'SI', 'stream_idle_timeout', null]],
    [{ maxDuration: '1500ms' }, [101, 'DT', 'max_duration_timeout', null]],
  ] as const) {
    const site = await startSite(t, outside.port, { spec: { tunnels } })
    const { near, far } = await open(site, 'mesh')
    await closed(near)
    await closed(far)
    assert.deepEqual(ending((await site.harness.lines(1))[0]), expected)
    await site.harness.stop(1)
  }
})
