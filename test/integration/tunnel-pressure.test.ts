/** Much at once: a slow reader stops the sender, memory does not grow with what passes, many tunnels end cleanly. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { after, before, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { collectGarbage } from '../../src/testing/garbage.ts'
import type { RawOrigin } from '../../src/testing/origin.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import { createTestPki, type TestPki } from '../../src/testing/pki.ts'
import { documents } from './manifests.ts'
import { sample } from './operator.ts'
import { started } from './started.ts'
import { CNN, PORTS, startDatabase, tunnelManifests, WAYS } from './tunnel-world.ts'

const MB = 1 << 20
const TOTAL = 64 * MB
/** More than twice what systems keep for the four sockets on a way: tcp_rmem may be 32 MB each, tcp_wmem 4. */
const MUCH = 256 * MB

/** Of callers, gateway and sites together: all run here. */
function heldBytes(): number {
  collectGarbage()
  return process.memoryUsage().arrayBuffers
}

const BLOCK = Buffer.alloc(64 * 1024, 'x')

let pki: TestPki
/** Both answer so many bytes as the line they are sent says; they keep nothing of what they receive. */
let site: RawOrigin
let database: RawOrigin
before(async () => {
  pki = await createTestPki()
  const { cert, key } = await pki.serverCert(CNN)
  const serve = ({ socket }: { socket: Socket }) => {
    socket.removeAllListeners('data')
    socket.once('data', (chunk: Buffer) => {
      latest = { sent: 0 }
      void send(socket, Number(chunk.toString()), latest)
    })
  }
  site = await startRawOrigin({ tls: { cert, key }, onConnection: serve })
  database = await startRawOrigin({ onConnection: serve })
})
after(async () => {
  await site.close()
  await database.close()
})

type Progress = { sent: number }
/** Of the answer begun last. */
let latest: Progress | null = null

/** As fast as the other side takes it. */
async function send(socket: Socket, count: number, progress: Progress): Promise<void> {
  for (; progress.sent < count && !socket.destroyed; progress.sent += BLOCK.length) {
    if (!socket.write(BLOCK)) await writable(socket)
  }
  socket.end()
}

/** Resolves when more can be written, or never will be. */
function writable(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off('drain', done)
      socket.off('close', done)
      resolve()
    }
    socket.on('drain', done)
    socket.on('close', done)
  })
}

async function receive(socket: Socket, onBytes: (count: number) => void = () => undefined): Promise<number> {
  let count = 0
  socket.on('data', (chunk: Buffer) => {
    count += chunk.length
    onBytes(count)
  })
  socket.resume()
  await once(socket, 'end')
  socket.end()
  return count
}

for (const [way, connect] of Object.entries(WAYS)) {
  test(`${way}: ${TOTAL / MB} MB arrive whole, and few of them are in memory at once`, async (t) => {
    const resources = { 'all.yaml': documents(...tunnelManifests(site.port, database.port)) }
    const harness = await started(t, { pki, resources, spec: { ports: PORTS } })
    const socket = await connect(harness)
    const before = heldBytes()
    let held: number | null = null
    const received = receive(socket, (count) => {
      if (held === null && count > TOTAL / 2) held = heldBytes() - before
    })
    socket.write(String(TOTAL))
    assert.equal(await received, TOTAL)
    const line = (await harness.lines(1))[0]
    assert.ok(Number(line?.['bytes_sent']) >= TOTAL)
    assert.equal(line?.['response_flags'], '-')
    assert.ok(held !== null && held < TOTAL / 4, `${Number(held) / MB} MB on their way`)
    await harness.stop(1)
  })
}

test('a caller that does not read makes the site wait; then it gets everything', async (t) => {
  const resources = { 'all.yaml': documents(...tunnelManifests(site.port, database.port)) }
  const harness = await started(t, { pki, resources, spec: { ports: PORTS } })
  for (const connect of Object.values(WAYS)) {
    const socket = await connect(harness)
    socket.pause()
    latest = null
    socket.write(String(MUCH))
    const progress = await eventually('the site has begun', () => (latest !== null && latest.sent > 0 ? latest : null))
    const stuck = await settled(() => progress.sent)
    assert.ok(stuck < MUCH / 2, `${stuck / MB} MB went out although nobody read`)
    assert.equal(await receive(socket), MUCH)
  }
  await harness.lines(4)
  await harness.stop(4)
})

test('an outside that does not read makes the caller wait; then it gets everything', async (t) => {
  const deaf = await startDatabase(({ socket }) => void socket.removeAllListeners('data').pause())
  t.after(() => deaf.close())
  const resources = { 'all.yaml': documents(...tunnelManifests(site.port, deaf.port)) }
  const harness = await started(t, { pki, resources, spec: { ports: PORTS } })
  for (const [index, connect] of [WAYS['bytes in mTLS'], WAYS.plaintext].entries()) {
    const socket = await connect(harness)
    const progress = { sent: 0 }
    const sending = send(socket, MUCH, progress)
    const far = await deaf.connection(index)
    const stuck = await settled(() => progress.sent)
    assert.ok(stuck < MUCH / 2, `${stuck / MB} MB were taken although nobody read`)
    assert.equal(await receive(far.socket), MUCH)
    await sending
    socket.resume()
  }
  const lines = await harness.lines(2)
  for (const line of lines) assert.deepEqual([line['bytes_received'], line['response_flags']], [MUCH, '-'])
  await harness.stop(2)
})

/** A number once it has stayed the same for twenty polls. */
async function settled(read: () => number): Promise<number> {
  let last = -1
  let same = 0
  return eventually('it settles', () => {
    const now = read()
    same = now === last ? same + 1 : 0
    last = now
    return same >= 20 ? now + 1 : null
  })
}

test('a hundred tunnels at once, in every way, and the gauge comes back to nothing', async (t) => {
  const resources = { 'all.yaml': documents(...tunnelManifests(site.port, database.port)) }
  const harness = await started(t, { pki, resources, spec: { ports: PORTS } })
  const ways = Object.values(WAYS)
  const open = await Promise.all(
    Array.from({ length: 100 }, (_, i) => (ways[i % ways.length] ?? WAYS.plaintext)(harness)),
  )
  assert.ok(((await sample(harness, 'sallyport_open_tunnels')) ?? 0) >= 75, 'bytes in mTLS have said nothing yet')
  const counts = open.map((socket) => {
    const received = receive(socket)
    socket.write(String(2 * BLOCK.length))
    return received
  })
  for (const count of counts) assert.equal(await count, 2 * BLOCK.length)
  await harness.lines(100)
  assert.equal(await sample(harness, 'sallyport_open_tunnels'), 0)
  await harness.stop(100)
})
