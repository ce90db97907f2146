/** The kill switch in one process (contract §11, `blocked`): what it covers is refused, and ended where it is under way. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { after, before, test as plainTest, type TestContext } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { h2Request, meshH2 } from '../../src/testing/h2-client.ts'
import type { Harness, LogLine } from '../../src/testing/harness.ts'
import { request } from '../../src/testing/mesh-client.ts'
import {
  type EchoOrigin,
  type RawOrigin,
  type RecordedConnection,
  startEchoOrigin,
  startRawOrigin,
} from '../../src/testing/origin.ts'
import { createTestPki, type TestPki } from '../../src/testing/pki.ts'
import { openWebSocket, startWebSocketSite, type WebSocketSite } from '../../src/testing/websocket.ts'
import { test } from './engines.ts'
import { documents } from './manifests.ts'
import { askControl, sample } from './operator.ts'
import { CALLER, HOST, startSite as startHttp } from './site.ts'
import { started } from './started.ts'
import { CNN, DB, PORTS, startDatabase, startSite, tunnelManifests, WAYS, watch } from './tunnel-world.ts'

let outside: EchoOrigin
let sockets: WebSocketSite
let pki: TestPki
let far: RawOrigin
let database: RawOrigin
before(async () => {
  outside = await startEchoOrigin()
  sockets = await startWebSocketSite()
  pki = await createTestPki()
  const echo = ({ socket }: RecordedConnection) => {
    socket.on('data', (chunk: Buffer) => socket.write(chunk))
    socket.once('end', () => socket.end())
  }
  far = await startSite(pki, CNN, echo)
  database = await startDatabase(echo)
})
after(async () => {
  await outside.close()
  await sockets.close()
  await far.close()
  await database.close()
})

async function block(harness: Harness, query: Readonly<Record<string, string>>): Promise<string> {
  const { body, status } = await askControl(
    harness,
    'admin',
    `/blocks?${new URLSearchParams(query).toString()}`,
    'POST',
  )
  assert.equal(status, 200, body)
  return (JSON.parse(body) as { readonly id: string }).id
}

async function lift(harness: Harness, id: string): Promise<void> {
  assert.equal((await askControl(harness, 'admin', `/blocks?id=${id}`, 'DELETE')).status, 200)
}

const of = (line: LogLine | undefined, ...keys: readonly string[]) => keys.map((key) => line?.[key])

test('a caller that is blocked gets 403 and the reason, others go on; lifting it is enough', async (t) => {
  const site = await startHttp(t, outside.port)
  const { harness } = site
  const [blocked, other] = [await site.mesh(), await site.plain()]
  assert.equal((await request(blocked, HOST)).status, 200)
  const id = await block(harness, { from: CALLER, for: '30m', reason: 'leaked credential (INC-7)' })
  const seen = outside.requests.length
  const refused = await request(blocked, HOST, { method: 'POST', body: 'secret' })
  assert.deepEqual(
    [refused.status, refused.body, refused.headers['x-sallyport-reason']],
    [403, 'blocked', 'blocked'],
    'the caller is told that, not why',
  )
  assert.equal(outside.requests.length, seen, 'nothing went out')
  assert.equal((await request(other, HOST)).status, 200)
  const dump = JSON.parse((await askControl(harness, 'admin', '/config_dump')).body) as {
    readonly blocks: readonly Readonly<Record<string, unknown>>[]
  }
  assert.deepEqual(
    dump.blocks.map(({ from, id: shown, reason, to }) => [shown, from, to, reason]),
    [[id, CALLER, null, 'leaked credential (INC-7)']],
  )
  assert.equal(await sample(harness, 'sallyport_blocks_active'), 1)
  assert.equal(await sample(harness, 'sallyport_blocked_total'), 1)
  assert.equal(await sample(harness, 'sallyport_refused_requests_total{reason="blocked"}'), 1)
  await lift(harness, id)
  assert.equal((await request(await site.mesh(), HOST)).status, 200)
  assert.equal(await sample(harness, 'sallyport_blocks_active'), 0)
  const lines = await harness.lines(4)
  assert.deepEqual(
    of(lines[1], 'reason', 'response_code', 'response_flags', 'upstream_host', 'response_code_details'),
    ['blocked', 403, '-', null, `blocked{${id}:leaked_credential_(INC-7)}`],
  )
  assert.ok(
    await eventually('the log tells of it', () =>
      harness.log().some((line) => line['message'] === 'blocked' && line['id'] === id),
    ),
  )
  await harness.stop(4)
})

test('a block ends by itself, and one that names a host covers that host', async (t) => {
  const site = await startHttp(t, outside.port)
  const { harness } = site
  await block(harness, { from: 'ns/mytest', to: 'elsewhere.example', for: '1h', reason: 'x' })
  await block(harness, { from: 'ns/other', for: '1h', reason: 'x' })
  const socket = await site.mesh()
  assert.equal((await request(socket, HOST)).status, 200)
  await block(harness, { from: 'ns/mytest', to: '*.org', for: '5s', reason: 'x' })
  assert.equal((await request(socket, HOST)).status, 403)
  await eventually('it is over', async () => (await request(socket, HOST)).status === 200)
  await eventually('and forgotten', async () => (await sample(harness, 'sallyport_blocks_active')) === 2)
})

test('a request under way is cut: the upstream goes, the caller is told, or reset where an answer had begun', async (t) => {
  // Begins an answer of a hundred bytes, unless it is asked to wait.
  const slow = await startRawOrigin({
    onConnection: (connection) => {
      connection.socket.on('data', (chunk: Buffer) => {
        if (!chunk.includes('/wait')) connection.socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc')
      })
    },
  })
  t.after(() => slow.close())
  const site = await startHttp(t, slow.port)
  const { harness } = site
  const waiting = request(await site.mesh(), HOST, { path: '/wait' })
  const streaming = await site.mesh()
  const cut = once(streaming, 'close')
  let got = ''
  streaming.on('data', (chunk: Buffer) => (got += chunk))
  streaming.on('error', () => undefined)
  streaming.write(`GET / HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`)
  await eventually('an answer has begun', () => got.endsWith('abc') && slow.connections.length === 2)
  await block(harness, { from: CALLER, for: '1h', reason: 'now' })
  const { status, headers } = await waiting
  assert.deepEqual([status, headers['x-sallyport-reason']], [403, 'blocked'])
  await cut
  const lines = await harness.lines(2)
  for (const line of lines) assert.deepEqual(of(line, 'reason'), ['blocked'])
  assert.deepEqual(
    lines.map((line) => Number(line['response_code'])).sort((a, b) => a - b),
    [200, 403],
  )
  for (const line of lines) assert.match(String(line['response_code_details']), /^blocked\{b-[0-9a-f]{12}:now\}$/)
  await harness.stop(2)
})

plainTest('over HTTP/2: streams under way are ended, new ones refused, the connection goes on', async (t) => {
  const slow = await startRawOrigin()
  t.after(() => slow.close())
  const site = await startHttp(t, slow.port)
  const { harness } = site
  const svid = await harness.pki.svid('mytest/sleep')
  const session = await meshH2({ port: harness.gateway.port(443), svid, ca: harness.pki.root })
  const waiting = h2Request(session, HOST)
  await slow.connection(0)
  const id = await block(harness, { from: 'ns/mytest', for: '1h', reason: 'now' })
  const answers = [await waiting, await h2Request(session, HOST)]
  for (const { headers, status } of answers) assert.deepEqual([status, headers['x-sallyport-reason']], [403, 'blocked'])
  session.close()
  for (const line of await harness.lines(2))
    assert.deepEqual(of(line, 'reason', 'response_code_details'), ['blocked', `blocked{${id}:now}`])
})

test('a WebSocket is closed', async (t) => {
  const site = await startHttp(t, sockets.port)
  const { harness } = site
  const near = await openWebSocket(await site.mesh(), HOST)
  assert.ok(await near.echoes('hello'))
  const id = await block(harness, { from: CALLER, to: HOST, for: '1h', reason: 'now' })
  if (!near.stream.closed) await new Promise((resolve) => near.stream.once('close', resolve))
  const [line] = await harness.lines(1)
  assert.deepEqual(of(line, 'reason', 'response_code', 'response_code_details'), ['blocked', 101, `blocked{${id}:now}`])
})

/** TABLE: which block → which of the ways through are closed, and refused from then on. */
const COVERED: readonly (readonly [query: Readonly<Record<string, string>>, ways: readonly (keyof typeof WAYS)[]])[] = [
  [{ from: '*' }, ['TLS in mTLS', 'bytes in mTLS', 'passthrough', 'plaintext']],
  [{ from: 'ns/default' }, ['TLS in mTLS', 'bytes in mTLS']],
  [{ from: '*', to: CNN }, ['TLS in mTLS', 'passthrough']],
  [{ from: '*', to: DB }, ['bytes in mTLS', 'plaintext']],
  [{ from: 'spiffe://cluster.local/ns/default/sa/sleep', to: '*.cnn.com' }, ['TLS in mTLS']],
  [{ from: 'spiffe://other.domain/ns/default/sa/sleep' }, []],
]

for (const [query, covered] of COVERED) {
  plainTest(
    `tunnels and ${JSON.stringify(query)}: ${covered.join(', ') || 'nothing'} is closed`,
    async (t: TestContext) => {
      const resources = { 'all.yaml': documents(...tunnelManifests(far.port, database.port)) }
      const harness = await started(t, { pki, resources, spec: { ports: PORTS } })
      const open = new Map<string, Socket>()
      for (const [name, way] of Object.entries(WAYS)) {
        const socket = await way(harness)
        const bytes = watch(socket)
        socket.write('hello')
        await bytes.until((all) => all.endsWith('hello'))
        open.set(name, socket)
      }
      const id = await block(harness, { ...query, for: '1h', reason: 'now' })
      const lines = await harness.lines(covered.length)
      assert.equal(lines.length, covered.length)
      for (const line of lines)
        assert.deepEqual(of(line, 'reason', 'response_code_details'), ['blocked', `blocked{${id}:now}`])
      await eventually('they are closed', () =>
        [...open].every(
          ([name, socket]) =>
            !covered.includes(name as keyof typeof WAYS) || socket.destroyed || socket.closed || socket.readableEnded,
        ),
      )
      assert.equal(await sample(harness, 'sallyport_open_tunnels'), open.size - covered.length)
      const dialled = far.connections.length + database.connections.length
      for (const name of covered) {
        // The application's own handshake fails, or the connection ends without a byte.
        const again = await WAYS[name](harness).catch(() => null)
        if (again === null) continue
        again.on('error', () => undefined)
        again.resume()
        again.write('hello')
        await eventually('it is closed', () => again.readableEnded || again.closed)
        again.destroy()
      }
      const after = await harness.lines(2 * covered.length)
      for (const line of after) assert.equal(line['reason'], 'blocked')
      assert.equal(far.connections.length + database.connections.length, dialled, 'nothing was dialled')
      for (const socket of open.values()) socket.destroy()
    },
  )
}
