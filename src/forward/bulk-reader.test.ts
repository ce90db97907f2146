/** Back-pressure, the bounds of what may wait, and who is read this way at all. That no byte changes: splice.test.ts. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { Duplex, PassThrough } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { createSecureContext, createServer as createTlsServer } from 'node:tls'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Worker } from 'node:worker_threads'
import { newClusterStats } from '../core/stats.ts'
import { eventually } from '../testing/eventually.ts'
import { createTestPki } from '../testing/pki.ts'
import { Breakers } from './breakers.ts'
import { BulkReader } from './bulk-reader.ts'
import type { DialTls } from './dial.ts'
import { UpstreamPool } from './pool.ts'
import { type PoolIdentity, poolKey } from './pool-identity.ts'
import type { PooledConnection } from './pooled-connection.ts'

const MB = 1 << 20
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

async function listening(t: TestContext, onConnection: (socket: Socket) => void): Promise<number> {
  const server: Server = createServer((socket) => {
    socket.on('error', () => {})
    onConnection(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return (server.address() as AddressInfo).port
}

function start(t: TestContext, port: number): { readonly reader: BulkReader; readonly socket: Socket } {
  const reader = new BulkReader()
  const socket = reader.connect({ host: '127.0.0.1', port })
  socket.on('error', () => {})
  t.after(() => socket.destroy())
  return { reader, socket }
}

/** A destination that takes `freely` bytes, and then no write is done before `release`. */
class Stubborn extends Duplex {
  length = 0
  readonly #freely: number
  #held: (() => void) | null = null
  #released = false

  constructor(freely: number) {
    super()
    this.#freely = freely
  }

  get holds(): boolean {
    return this.#held !== null
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.length += chunk.length
    if (this.#released || this.length <= this.#freely) done()
    else this.#held = done
  }

  override _read(): void {}

  release(): void {
    this.#released = true
    this.#held?.()
    this.#held = null
  }
}

test('nothing is read before start, and nothing is lost then', async (t) => {
  const port = await listening(t, (socket) => void socket.write('early'))
  const { reader, socket } = start(t, port)
  await once(socket, 'connect')
  // When another has its word, this one's has come too.
  const other = connect(port, '127.0.0.1')
  await once(other, 'data')
  other.destroy()
  assert.equal(socket.bytesRead, 0)
  const to = new PassThrough()
  let counted = 0
  reader.start(to, (count) => (counted += count))
  const [word] = (await once(to, 'data')) as [Buffer]
  assert.deepEqual([word.toString(), counted, socket.bytesRead], ['early', 5, 5])
})

test('a destination that does not write stops the reading; when it has written, reading goes on', async (t) => {
  const port = await listening(t, (socket) => void socket.end(Buffer.alloc(4 * MB)))
  const { reader, socket } = start(t, port)
  const to = new Stubborn(0)
  reader.start(to, () => {})
  await eventually('it is held', () => to.holds)
  const far = start(t, port)
  const quick = new Stubborn(8 * MB)
  far.reader.start(quick, () => {})
  await once(far.socket, 'end')
  assert.equal(quick.length, 4 * MB)
  assert.ok(socket.bytesRead <= 64 * 1024, `${socket.bytesRead} bytes were read`)
  to.release()
  await once(socket, 'end')
  assert.equal(to.length, 4 * MB)
})

test('a socket that has much leaves others their turn', async (t) => {
  const total = 64 * MB
  // In a thread of its own: this one may be busy reading for as long as it likes.
  const sender = new Worker(
    `const { parentPort } = require('node:worker_threads')
    require('node:net').createServer((socket) => {
      socket.on('error', () => {}).end(Buffer.alloc(${total}))
    }).listen(0, '127.0.0.1', function () { parentPort.postMessage(this.address().port) })`,
    { eval: true },
  )
  t.after(() => sender.terminate())
  const [port] = (await once(sender, 'message')) as [number]
  const { reader, socket } = start(t, port)
  let [run, longest] = [0, 0]
  const turn = (): void => {
    run = 0
    if (!socket.destroyed) setImmediate(turn)
  }
  turn()
  const to = new Stubborn(total)
  reader.start(to, (count) => {
    run += count
    longest = Math.max(longest, run)
    // The next read shall always find its window full.
    for (const until = performance.now() + 1; performance.now() < until; );
  })
  await once(socket, 'end')
  assert.equal(to.length, total)
  assert.ok(longest <= 2.5 * MB, `${longest / MB} MB in one turn`)
})

test('what waits for those who do not read is bounded, and given back afterwards', async (t) => {
  const held = () => {
    collect()
    collect()
    return process.memoryUsage().arrayBuffers / MB
  }
  const body = Buffer.alloc(4 * MB)
  const port = await listening(t, (socket) => void socket.end(body))
  const before = held()
  const all = Array.from({ length: 200 }, () => ({ ...start(t, port), to: new Stubborn(300 * 1024) }))
  for (const { reader, to } of all) reader.start(to, () => {})
  await eventually('all are held', () => all.every(({ to }) => to.holds), 30_000)
  // 128 that may read 256 KB at a time, 72 that may read 64 KB.
  const waiting = held() - before
  assert.ok(waiting < 40, `${waiting} MB wait`)
  for (const { to } of all) to.release()
  for (const { socket } of all) if (!socket.readableEnded) await once(socket, 'end')
  for (const { to } of all) assert.equal(to.length, body.length)
  const extra = held() - before
  assert.ok(extra < 12, `${extra} MB are kept`)
})

test('a pool reads in bulk where it is asked to, and never over TLS', async (t) => {
  const port = await listening(t, () => {})
  const pki = await createTestPki()
  const secured = createTlsServer(await pki.serverCert('a.example')).on('tlsClientError', () => {})
  secured.listen(0, '127.0.0.1')
  await once(secured, 'listening')
  t.after(() => secured.close())
  const open = (to: number, tls: DialTls | null, bulk?: boolean) => {
    const at = { address: '127.0.0.1', port: to, connectTimeoutMs: 5000, keepAliveMs: 30_000 }
    const limits = { cluster: 'c', idleTimeoutMs: 5000, maxRequests: null, maxDurationMs: 0 }
    const identity: PoolIdentity = { ...at, ...limits, http2: null, proxy: null, tls: null }
    const breakers = new Breakers(newClusterStats('c'))
    const pool = new UpstreamPool(poolKey(identity), identity, { ...at, preface: null, tls }, breakers)
    return new Promise<PooledConnection>((resolve, reject) => {
      pool.dial({ onReady: resolve, onFailed: ({ cause }) => reject(new Error(cause)) }, bulk ? 'bulk' : 'stream')
    })
  }
  const tls = { context: createSecureContext(), serverName: null, names: ['a.example'], skipVerify: true, alpn: null }
  const plain = await open(port, null)
  const bulk = await open(port, null, true)
  const over = await open((secured.address() as AddressInfo).port, tls, true)
  assert.deepEqual([plain.reader, over.reader], [null, null])
  assert.ok(bulk.reader instanceof BulkReader)
  assert.deepEqual([plain.socket.isPaused(), bulk.socket.isPaused(), over.socket.isPaused()], [false, true, false])
  for (const each of [plain, bulk, over]) each.destroy()
})
