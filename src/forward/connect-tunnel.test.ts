import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'
import { eventually } from '../testing/eventually.ts'
import { CALLER, clusterEnvironment, clusterModel, testUpstream, upstreamTls } from '../testing/forwarding.ts'
import { type RecordedConnection, startRawOrigin } from '../testing/origin.ts'
import { createTestPki } from '../testing/pki.ts'
import { connectUpstream } from './connect.ts'
import type { TunnelTarget } from './connect-tunnel.ts'

const TARGET = { requestedHost: 'site.example', portOverride: null, hash: null, caller: CALLER }
const CONNECT: TunnelTarget = { method: 'CONNECT', host: 'db.example', port: 5432 }
const POST: TunnelTarget = { ...CONNECT, method: 'POST' }

type Opened = { readonly stream: Duplex; readonly bulk: boolean } | string

/** What comes of a tunnel through a proxy that answers the first bytes like this. */
async function through(
  tunnel: TunnelTarget,
  answer: (connection: RecordedConnection) => void,
  use: (opened: Opened, proxy: RecordedConnection) => Promise<void> | void,
  connectTimeoutMs = 5_000,
): Promise<void> {
  await using proxy = await startRawOrigin({
    onConnection: (connection) => {
      connection.socket.allowHalfOpen = true
      connection.once('bytes', () => answer(connection))
    },
  })
  const model = clusterModel(proxy.port, { tunnel, connectTimeoutMs })
  using upstream = testUpstream(model)
  const opened = new Promise<Opened>((resolve) => {
    connectUpstream(upstream.cluster, TARGET, {
      bulk: true,
      onConnected: ({ stream, reader }) => resolve({ stream, bulk: reader !== null }),
      onFailed: ({ kind, transportFailure }) => resolve(`${kind}: ${transportFailure}`),
    })
  })
  const connection = await proxy.connection(0)
  const is = await opened
  await use(is, connection)
  if (typeof is !== 'string') is.stream.destroy()
  await eventually('all is free', () => upstream.cluster.stats.upstream_cx_active === 0)
  assert.equal(upstream.cluster.stats.upstream_rq_pending_active, 0)
}

const say = (text: string) => (connection: RecordedConnection) => void connection.socket.write(text, 'latin1')

test('CONNECT: the target is asked for, and what follows the answer is the tunnel', async () => {
  await through(CONNECT, say('HTTP/1.1 200 OK\r\n\r\nhello'), async (opened, proxy) => {
    assert.ok(typeof opened !== 'string')
    assert.equal(opened.bulk, false)
    assert.equal(proxy.text, 'CONNECT db.example:5432 HTTP/1.1\r\nhost: db.example:5432\r\n\r\n')
    const { stream } = opened
    stream.write('there')
    await proxy.until((text) => text.endsWith('\r\n\r\nthere'))
    proxy.socket.end(' world')
    assert.equal((await buffer(stream)).toString(), 'hello world')
  })
  await through({ ...CONNECT, host: '2001:db8::1' }, say('HTTP/1.1 200 OK\r\n\r\n'), (_opened, proxy) =>
    assert.equal(proxy.text, 'CONNECT [2001:db8::1]:5432 HTTP/1.1\r\nhost: [2001:db8::1]:5432\r\n\r\n'),
  )
})

/** Framing fields of a 2xx to CONNECT mean nothing (RFC 9110 §9.3.6); heads come in pieces, and after interim ones. */
const ACCEPTED = [
  'HTTP/1.1 200 Connection established\r\n\r\n',
  'HTTP/1.0 200 OK\r\nProxy-Agent: x\r\n\r\n',
  'HTTP/1.1 204 \r\ncontent-length: 10\r\n\r\n',
  'HTTP/1.1 299 X\r\ntransfer-encoding: chunked\r\n\r\n',
  'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\na: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n',
]

for (const answer of ACCEPTED)
  test(`CONNECT: ${JSON.stringify(answer)} opens the tunnel, whole or byte by byte`, async () => {
    await through(CONNECT, say(`${answer}x`), async (opened) => {
      assert.ok(typeof opened !== 'string')
      const [first] = await once(opened.stream, 'data')
      assert.equal(String(first), 'x')
    })
    await through(
      CONNECT,
      ({ socket }) => {
        socket.setNoDelay(true)
        for (const byte of `${answer}x`) socket.write(byte)
      },
      async (opened) => {
        assert.ok(typeof opened !== 'string')
        const [first] = await once(opened.stream, 'data')
        assert.equal(String(first), 'x')
      },
    )
  })

const REFUSED: readonly (readonly [answer: string, why: string])[] = [
  ['HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n', '407'],
  ['HTTP/1.1 302 Found\r\nlocation: http://a.example/\r\n\r\n', '302'],
  ['HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n', '101'],
  [`${'HTTP/1.1 100 Continue\r\n\r\n'.repeat(9)}HTTP/1.1 200 OK\r\n\r\n`, '100'],
  ['HTTP/1.0 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n\r\n', 'interim_response_of_http_1_0'],
  ['HTTP/1.1 103 X\r\nConnection: close\r\n\r\nHTTP/1.1 200 OK\r\n\r\n', 'interim_response_closes'],
  ['HTTP/1.1 2000 OK\r\n\r\n', 'INVALID_STATUS'],
  ['HTTP/2 200\r\n\r\n', 'INVALID_VERSION'],
  ['SSH-2.0-OpenSSH_9.6\r\n\r\n', 'INVALID_VERSION'],
  ['HTTP/1.1 200 OK\n\n', 'INVALID_LINE_END'],
  ['HTTP/1.1 200 OK\r\na b: c\r\n\r\n', 'INVALID_FIELD_NAME'],
  [`HTTP/1.1 200 OK\r\na: ${'b'.repeat(8_192)}\r\n\r\n`, 'the head is too large'],
]

for (const [answer, why] of REFUSED)
  test(`CONNECT: ${JSON.stringify(answer.slice(0, 60))} does not open the tunnel`, async () => {
    await through(CONNECT, say(answer), (opened) => assert.equal(opened, `connect_failure: tunnel refused: ${why}`))
  })

test('CONNECT: a proxy that hangs up, or never answers', async () => {
  await through(
    CONNECT,
    ({ socket }) => void socket.end('HTTP/1.1 200'),
    (opened) => assert.equal(opened, 'connect_failure: tunnel refused: ECONNRESET'),
  )
  await through(
    CONNECT,
    () => undefined,
    (opened) => assert.equal(opened, 'connect_timeout: null'),
    50,
  )
})

const CHUNKED = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n'

/** The bytes of the answer behind its head, and what comes out; null: the stream breaks. */
const BODIES: readonly (readonly [answer: string, ends: boolean, body: string | null])[] = [
  [`${CHUNKED}5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n`, false, 'hello world'],
  [`${CHUNKED}5\r\nhello\r\n0\r\na: b\r\n\r\n`, false, 'hello'],
  [`${CHUNKED}5\r\nhello\r\n`, true, null],
  [`${CHUNKED}5\r\nhello\r\n0\r\n\r\nmore`, false, null],
  [`${CHUNKED}5 \r\nhello\r\n0\r\n\r\n`, false, null],
  ['HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello', false, 'hello'],
  ['HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n', false, ''],
  ['HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello!', false, null],
  ['HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell', true, null],
  ['HTTP/1.1 200 OK\r\n\r\nhello', true, 'hello'],
]

for (const [answer, ends, body] of BODIES)
  test(`POST: ${JSON.stringify(answer)} ${body === null ? 'is an error' : 'is a stream'}`, async () => {
    await through(
      POST,
      ({ socket }) => void (ends ? socket.end(answer) : socket.write(answer)),
      async (opened, proxy) => {
        assert.ok(typeof opened !== 'string')
        const { stream } = opened
        const read = buffer(stream).then(String, () => null)
        assert.equal(await read, body)
        assert.ok(
          proxy.text.startsWith('POST / HTTP/1.1\r\nhost: db.example:5432\r\ntransfer-encoding: chunked\r\n\r\n'),
        )
      },
    )
  })

test('POST: what is sent is chunked, and ends without ending the connection', async () => {
  await through(POST, say(CHUNKED), async (opened, proxy) => {
    assert.ok(typeof opened !== 'string')
    const { stream } = opened
    stream.write('hello')
    stream.end(Buffer.alloc(26, 'x'))
    await proxy.until((text) => text.endsWith(`\r\n\r\n5\r\nhello\r\n1a\r\n${'x'.repeat(26)}\r\n0\r\n\r\n`))
    proxy.socket.write('3\r\nbye\r\n0\r\n\r\n')
    assert.equal((await buffer(stream)).toString(), 'bye')
    if (!proxy.socket.readableEnded) await once(proxy.socket, 'end')
  })
})

for (const [answer, why] of [
  ['HTTP/1.1 204 No Content\r\n\r\n', '204: no body'],
  ['HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n', 'invalid'],
  ['HTTP/1.1 500 X\r\n\r\n', '500'],
] as const)
  test(`POST: ${JSON.stringify(answer)} does not open the tunnel`, async () => {
    await through(POST, say(answer), (opened) => assert.equal(opened, `connect_failure: tunnel refused: ${why}`))
  })

test('TLS to the proxy comes first, and is verified', async () => {
  const pki = await createTestPki()
  const proxy = await startRawOrigin({
    tls: await pki.serverCert('proxy.example'),
    onRequest: ({ socket }) => void socket.write('HTTP/1.1 200 OK\r\n\r\n'),
  })
  for (const [sni, expected] of [
    ['proxy.example', 'open'],
    ['other.example', 'connect_failure'],
  ] as const) {
    const model = clusterModel(proxy.port, { tunnel: CONNECT, tls: upstreamTls({ sni }) })
    using upstream = testUpstream(model, clusterEnvironment({ ca: pki.root }))
    const outcome = await new Promise<string>((resolve) => {
      connectUpstream(upstream.cluster, TARGET, {
        bulk: true,
        onConnected: ({ stream }) => {
          stream.destroy()
          resolve('open')
        },
        onFailed: ({ kind }) => resolve(kind),
      })
    })
    assert.equal(outcome, expected)
  }
  await proxy.close()
})
