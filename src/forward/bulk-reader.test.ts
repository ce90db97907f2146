/** Back-pressure, the bounds of what may wait, and who is read this way at all. That no byte changes: splice.test.ts. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { Duplex, PassThrough } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { createSecureContext, createServer as createTlsServer } from 'node:tls'
import { Worker } from 'node:worker_threads'
import { newClusterStats } from '../core/stats.ts'
import { eventually } from '../testing/eventually.ts'
import { collectGarbage } from '../testing/garbage.ts'
import { createTestPki } from '../testing/pki.ts'
import { Breakers } from './breakers.ts'
import { BulkReader } from './bulk-reader.ts'
import type { DialTls } from './dial.ts'
import { UpstreamPool } from './pool.ts'
import { type PoolIdentity, poolKey } from './pool-identity.ts'
import type { PooledConnection } from './pooled-connection.ts'

const MB = 1 << 20

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

/** A server in a thread of its own, since this one may be busy: answers everybody `total` bytes of noise. */
async function startSender(t: TestContext, total: number): Promise<{ readonly port: number; readonly hash: string }> {
  const worker = new Worker(
    `const { parentPort } = require('node:worker_threads')
    const { createHash, randomBytes } = require('node:crypto')
    const noise = randomBytes(${total})
    const hash = createHash('sha256').update(noise).digest('hex')
    require('node:net').createServer((socket) => {
      socket.on('error', () => {}).end(noise)
    }).listen(0, '127.0.0.1', function () { parentPort.postMessage({ port: this.address().port, hash }) })`,
    { eval: true },
  )
  t.after(() => worker.terminate())
  const [answer] = (await once(worker, 'message')) as [{ readonly port: number; readonly hash: string }]
  return answer
}

/** Slower than a sender in another thread: the next read will find its window full. */
function dawdle(): void {
  for (const until = performance.now() + 1; performance.now() < until; );
}

/** A destination that takes `freely` bytes, and then no write is done before `release`. */
class Stubborn extends Duplex {
  length = 0
  readonly #freely: number
  #held: (() => void) | null = null
  #released = false

  constructor(freely: number, writableHighWaterMark?: number) {
    super(writableHighWaterMark === undefined ? {} : { writableHighWaterMark })
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

/** A destination that does not finish writing its first piece of more than 256 KB before it is told to. */
class Keeper extends Duplex {
  readonly #hash = createHash('sha256')
  readonly #end = Promise.withResolvers<string>()
  kept: Buffer | null = null
  #done: (() => void) | null = null

  /** Of everything, when it has ended. */
  get hash(): Promise<string> {
    return this.#end.promise
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    dawdle()
    if (this.kept === null && chunk.length > 256 * 1024) {
      this.kept = chunk
      this.#done = done
      return
    }
    this.#hash.update(chunk)
    done()
  }

  override _final(done: () => void): void {
    this.#end.resolve(this.#hash.digest('hex'))
    done()
  }

  override _read(): void {}

  release(): void {
    if (this.kept !== null) this.#hash.update(this.kept)
    this.#done?.()
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

// Below the mark the write's callback tells that it has been written, from there on 'drain' does.
for (const mark of [1024, undefined, 16 * MB]) {
  const name = mark === undefined ? 'the usual' : `${mark / 1024} KB`
  test(`a destination (high water mark: ${name}) that does not write stops the reading; later reading goes on`, async (t) => {
    const port = await listening(t, (socket) => void socket.end(Buffer.alloc(4 * MB)))
    const { reader, socket } = start(t, port)
    const to = new Stubborn(0, mark)
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
}

test('a piece that waits to be written is never read into, even when somebody resumes the socket', async (t) => {
  const { port, hash } = await startSender(t, 32 * MB)
  const { reader, socket } = start(t, port)
  const to = new Keeper()
  reader.start(to, () => {})
  socket.once('end', () => to.end())
  const kept = await eventually('a large piece waits', () => to.kept)
  const before = Buffer.from(kept)
  for (let i = 0; i < 4; i++) {
    const { bytesRead } = socket
    socket.resume()
    await eventually('more is read', () => socket.bytesRead > bytesRead)
  }
  assert.ok(before.equals(kept))
  to.release()
  assert.equal(await to.hash, hash)
})

test('large windows come back from connections that die while they are written from', async (t) => {
  const { port, hash } = await startSender(t, 32 * MB)
  // More than there are.
  for (let i = 0; i < 8; i++) {
    const { reader, socket } = start(t, port)
    const to = new Keeper()
    reader.start(to, () => {})
    await eventually(`a large piece waits (${i})`, () => to.kept)
    const closed = [once(to, 'close'), once(socket, 'close')]
    to.destroy()
    socket.destroy()
    await Promise.all(closed)
  }
  const { reader, socket } = start(t, port)
  const to = new Keeper()
  reader.start(to, () => {})
  socket.once('end', () => to.end())
  await eventually('a large piece waits', () => to.kept)
  to.release()
  assert.equal(await to.hash, hash)
})

test('a socket that has much leaves others their turn', async (t) => {
  const total = 64 * MB
  const { port } = await startSender(t, total)
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
    dawdle()
  })
  await once(socket, 'end')
  assert.equal(to.length, total)
  assert.ok(longest <= 2.5 * MB, `${longest / MB} MB in one turn`)
})

test('what waits for those who do not read is bounded, and given back afterwards', async (t) => {
  const held = () => {
    collectGarbage()
    return process.memoryUsage().arrayBuffers / MB
  }
  const body = Buffer.alloc(4 * MB)
  const port = await listening(t, (socket) => void socket.end(body))
  const before = held()
  const all = Array.from({ length: 200 }, () => ({ ...start(t, port), to: new Stubborn(300 * 1024) }))
  for (const { reader, to } of all) reader.start(to, () => {})
  await eventually('all are held', () => all.every(({ to }) => to.holds), 30_000)
  // 4 that may read 1 MB at a time, 112 that may read 256 KB, the others 64 KB.
  const waiting = held() - before
  assert.ok(waiting < 40, `${waiting} MB wait`)
  for (const { to } of all) to.release()
  for (const { socket } of all) if (!socket.readableEnded) await once(socket, 'end')
  for (const { to } of all) assert.equal(to.length, body.length)
  const extra = held() - before
  // Up to 14 are: 4 windows, 32 buffers of 256 KB, 32 of 64 KB.
  assert.ok(extra < 15, `${extra} MB are kept`)
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
