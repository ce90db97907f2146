/** What only this engine can get wrong, beyond the conformance tests of all: its own reading, flowing bodies, shared memory. */
import assert from 'node:assert/strict'
import { PassThrough, Readable } from 'node:stream'
import { test } from 'node:test'
import fc from 'fast-check'
import { type ClusterModel, UNLIMITED_POOL } from '../../model/cluster.ts'
import { eventually } from '../../testing/eventually.ts'
import {
  clusterEnvironment,
  clusterModel,
  failureOf,
  responseOf,
  sendThrough,
  type TestUpstream,
  testUpstream,
  upstreamTls,
} from '../../testing/forwarding.ts'
import { type RecordedConnection, startRawOrigin } from '../../testing/origin.ts'
import { createTestPki } from '../../testing/pki.ts'
import type { BodySink } from '../forwarder.ts'
import { upgradeForwarder } from '../upgrade.ts'
import { createWireForwarder } from './forwarder.ts'

const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'

function wireTo(port: number, options: Partial<ClusterModel> = {}): TestUpstream {
  return testUpstream(clusterModel(port, options), undefined, { forwarder: createWireForwarder() })
}

/** Writes the pieces so that each is likely to be read by itself. */
async function inPieces({ socket }: RecordedConnection, pieces: readonly Buffer[]): Promise<void> {
  socket.setNoDelay(true)
  for (const piece of pieces) {
    await new Promise((resolve) => socket.write(piece, resolve))
    await new Promise((resolve) => setImmediate(resolve))
  }
}

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const ends = [...new Set(at.map((each) => each % bytes.length))].sort((a, b) => a - b)
  let from = 0
  const pieces: Buffer[] = []
  for (const end of [...ends, bytes.length]) {
    if (end > from) pieces.push(bytes.subarray(from, end))
    from = Math.max(from, end)
  }
  return pieces
}

/** Collects what flows; says `enough` after each piece until told to go on. */
class Collected implements BodySink {
  readonly pieces: Buffer[] = []
  ended = false
  failed: Error | null = null
  readonly #patient: boolean

  constructor(patient = true) {
    this.#patient = patient
  }
  get text(): string {
    return Buffer.concat(this.pieces).toString('latin1')
  }
  write(chunk: Buffer): boolean {
    assert.ok(!this.ended && this.failed === null)
    this.pieces.push(Buffer.from(chunk))
    return this.#patient
  }
  end(): void {
    assert.ok(!this.ended && this.failed === null)
    this.ended = true
  }
  fail(error: Error): void {
    assert.ok(!this.ended && this.failed === null)
    this.failed = error
  }
}

const INTERIM = 'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n'
const ANSWERS = [
  ['hello', 'HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 5\r\n\r\nhello'],
  ['', 'HTTP/1.1 204 No Content\r\nserver: x\r\n\r\n'],
  [
    'hello',
    'HTTP/1.1 200 OK\r\nserver: x\r\ntransfer-encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nx: y\r\n\r\n',
  ],
  ['hello', `${INTERIM}${INTERIM}HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 5\r\n\r\nhello`],
] as const

test('wherever an answer is cut into pieces it is the same, and the connection is good for the next', async () => {
  let plan: readonly Buffer[] = []
  await using origin = await startRawOrigin({ onRequest: (connection) => void inPieces(connection, plan) })
  using upstream = wireTo(origin.port)
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...ANSWERS),
      fc.array(fc.nat(200), { maxLength: 6 }),
      fc.boolean(),
      async ([body, answer], at, flows) => {
        plan = cut(Buffer.from(answer, 'latin1'), at)
        const { response } = responseOf(await upstream.request())
        assert.deepEqual(response.headers.slice(0, 2), ['server', 'x'])
        if (flows) {
          const sink = new Collected()
          response.flow?.into(sink)
          await eventually('it is over', () => sink.ended)
          assert.equal(sink.text, body)
        } else assert.equal((await response.body.toArray()).join(''), body)
        await new Promise((resolve) => setImmediate(resolve))
      },
    ),
    { numRuns: 60 },
  )
  assert.equal(origin.connections.length, 1)
})

test('what is no answer is refused as soon as that is sure, in however many pieces it comes', async () => {
  for (const [text, why] of [
    ['SSH-2.0-x', 'INVALID_VERSION'],
    ['HTTP/2', 'INVALID_VERSION'],
    ['\r\nHTTP/1.1 200 OK\r\n', 'INVALID_VERSION'],
    ['HTTP/1.1 200 OK\r\na: b\n', 'INVALID_LINE_END'],
    ['HTTP/1.1 200 OK\r\na: b\rc', 'INVALID_LINE_END'],
    [`HTTP/1.1 200 OK\r\na: ${'b'.repeat(70_000)}`, 'header_overflow'],
    ['HTTP/1.1 200 OK\r\ncontent-length: 007\r\n\r\n', 'content_length'],
    ['HTTP/1.1 101 Switching Protocols\r\n\r\n', 'unexpected_101'],
    [`${'HTTP/1.1 100 Continue\r\n\r\n'.repeat(33)}`, 'too_many_interim_responses'],
  ] as const) {
    for (const at of [[], [1, 4, 9, 20]]) {
      await using origin = await startRawOrigin({
        onRequest: (connection) => void inPieces(connection, cut(Buffer.from(text), at)).catch(() => {}),
      })
      using upstream = wireTo(origin.port)
      const failure = failureOf(await upstream.request())
      assert.equal(failure.kind, 'upstream_protocol')
      assert.ok(failure.details?.endsWith(`|${why}}`), `${failure.details} for ${JSON.stringify(text.slice(0, 40))}`)
      await (await origin.connection(0)).closed
    }
  }
})

test('answers nobody has asked for yet are kept apart, although all connections read into the same memory', async () => {
  await using origin = await startRawOrigin({
    onRequest: ({ socket }, head) => {
      const letter = /\/(\w)/.exec(head)?.[1] ?? '?'
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n${letter.repeat(3000)}`)
    },
  })
  using upstream = wireTo(origin.port)
  const letters = 'abcdefgh'.split('')
  const outcomes = await Promise.all(letters.map((letter) => upstream.request({ target: `/${letter}` })))
  await eventually('all of it has come', () => upstream.cluster.stats.upstream_rq.get(200) === letters.length)
  for (const [i, outcome] of outcomes.entries())
    assert.equal((await responseOf(outcome).body()).toString(), letters[i]?.repeat(3000))
})

test('a sink that has enough gets little more until it asks', async () => {
  const size = 8 * 1024 * 1024
  await using origin = await startRawOrigin({
    onRequest: ({ socket }) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${size}\r\n\r\n`)
      socket.write(Buffer.alloc(size, 'x'))
    },
  })
  using upstream = wireTo(origin.port)
  const { response } = responseOf(await upstream.request())
  const sink = new Collected(false)
  response.flow?.into(sink)
  let resumed = 0
  await eventually('the whole body is there', () => {
    const before = sink.pieces.length
    if (sink.ended) return true
    resumed++
    response.flow?.resume()
    assert.ok(sink.pieces.length - before <= 1, 'nothing comes at once')
    return false
  })
  assert.equal(sink.text.length, size)
  assert.ok(resumed > size / (256 * 1024), `${resumed} pieces`)
})

test('an answer that breaks off fails its sink, once; one that is given up too, later', async () => {
  await using origin = await startRawOrigin({
    onRequest: (connection, head) => {
      connection.socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello')
      if (head.includes('/cut')) setImmediate(() => connection.reset())
    },
  })
  using upstream = wireTo(origin.port)
  const cutOff = new Collected()
  responseOf(await upstream.request({ target: '/cut' })).response.flow?.into(cutOff)
  await eventually('it has failed', () => cutOff.failed !== null)
  const sent = upstream.send()
  const given = new Collected()
  const { response, handle } = responseOf(await sent.outcome)
  response.flow?.into(given)
  handle.abort()
  assert.equal(given.failed, null)
  await eventually('it has failed', () => given.failed !== null)
  await (await origin.connection(1)).closed
  await eventually('nothing is open', () => upstream.cluster.stats.upstream_rq_active === 0)
})

test('after an early answer the request may finish, and only then the connection is used again', async () => {
  await using origin = await startRawOrigin({
    onRequest: ({ socket }) => socket.write(OK),
  })
  using upstream = wireTo(origin.port)
  const body = new PassThrough()
  const sent = upstream.send({ method: 'POST', body, headers: ['host', 'a', 'content-length', '6'] })
  const outcome = responseOf(await sent.outcome)
  assert.equal((await outcome.body()).toString(), 'ok')
  assert.equal((await upstream.get()).reused, false)
  body.end('abcdef')
  await (await origin.connection(0)).until((text) => text.endsWith('abcdef'))
  await eventually('both are done', () => upstream.cluster.stats.upstream_rq_active === 0)
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual([(await upstream.get()).reused, origin.connections.length], [true, 2])
  // Whoever gives up instead leaves nothing behind.
  const other = upstream.send({ method: 'POST', body: new PassThrough() })
  await responseOf(await other.outcome).body()
  other.handle.abort()
  await eventually('it is gone', () => upstream.cluster.stats.upstream_rq_active === 0)
})

test('a body that is not as long as its head says is never taken for another request', async () => {
  for (const [length, pieces] of [
    [3, ['abc', 'd']],
    [3, ['abcd']],
    [3, ['ab']],
    [0, ['a']],
  ] as const) {
    await using origin = await startRawOrigin()
    using upstream = wireTo(origin.port)
    const headers = ['host', 'a', 'content-length', String(length)]
    const body = Readable.from(pieces.map((piece) => Buffer.from(piece)))
    assert.equal(failureOf(await upstream.request({ method: 'POST', headers, body })).kind, 'bad_headers')
    const connection = await origin.connection(0)
    await connection.closed
    assert.ok(!connection.text.includes('d'), connection.text)
  }
})

test('connections are used again only when both sides mean it', async () => {
  for (const [answer, reused] of [
    [OK, true],
    ['HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok', false],
    ['HTTP/1.1 200 OK\r\nconnection: keep-alive, Close\r\ncontent-length: 2\r\n\r\nok', false],
    ['HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok', false],
    ['HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 2\r\n\r\nok', true],
    ['HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\ncontent-length: 2\r\n\r\nok', false],
    ['HTTP/1.1 200 OK\r\nkeep-alive: timeout=60\r\ncontent-length: 2\r\n\r\nok', true],
    [`${OK}x`, false],
  ] as const) {
    await using origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(answer) })
    using upstream = wireTo(origin.port)
    await upstream.get()
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal((await upstream.get()).reused, reused, answer)
  }
})

test('TLS on top of a connection that is there already (PROXY protocol) is read all the same', async () => {
  const pki = await createTestPki({ trustDomain: 'outside.example' })
  let answered = 0
  // The origin speaks TLS only behind the PROXY line, which a raw server in front of it takes off.
  await using site = await startRawOrigin({
    tls: await pki.serverCert('site.example'),
    onRequest: ({ socket }) => {
      answered++
      socket.write(OK)
    },
  })
  const { connect } = await import('node:net')
  await using front = await startRawOrigin({
    onConnection: (connection) => {
      connection.socket.removeAllListeners('data')
      const inner = connect(site.port, '127.0.0.1')
      inner.on('error', () => connection.socket.destroy())
      connection.socket.once('data', (first: Buffer) => {
        const end = first.indexOf('\r\n') + 2
        assert.match(first.toString('latin1', 0, end), /^PROXY TCP4 /)
        inner.write(first.subarray(end))
        connection.socket.pipe(inner)
        inner.pipe(connection.socket)
      })
    },
  })
  using upstream = testUpstream(
    clusterModel(front.port, { proxyProtocol: 'V1', tls: upstreamTls({ sni: 'site.example' }) }),
    clusterEnvironment({ ca: pki.root }),
    { forwarder: createWireForwarder() },
  )
  assert.deepEqual(await upstream.get(), { status: 200, text: 'ok', reused: false })
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(await upstream.get(), { status: 200, text: 'ok', reused: true })
  assert.equal(answered, 2)
})

test('a request to change protocols waits for a connection of its own: the one that others used makes way', async () => {
  await using origin = await startRawOrigin({
    onRequest: ({ socket }, head) => {
      if (head.includes('upgrade')) socket.write('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n')
    },
  })
  using upstream = wireTo(origin.port, { pool: { ...UNLIMITED_POOL, maxConnections: 1 } })
  const first = upstream.send()
  const connection = await origin.connection(0)
  await connection.until((text) => text.endsWith('\r\n\r\n'))
  const headers = ['host', 'a', 'upgrade', 'websocket', 'connection', 'upgrade', 'sec-websocket-key', 'x']
  const change = sendThrough(upgradeForwarder, upstream.cluster, { headers })
  const after = upstream.send()
  await eventually('both wait', () => upstream.cluster.breakers.waiting === 2)
  connection.socket.write(OK)
  assert.equal((await responseOf(await first.outcome).body()).toString(), 'ok')
  const refused = responseOf(await change.outcome)
  assert.equal(refused.status, 403)
  assert.deepEqual(
    change.connected.map(({ reused }) => reused),
    [false],
  )
  await connection.closed
  await refused.body()
  await (await origin.connection(2)).until((text) => text.endsWith('\r\n\r\n'))
  after.handle.abort()
})
