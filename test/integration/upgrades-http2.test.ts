/**
 * WebSocket over HTTP/2 (RFC 8441, behaviour §10.5): extended CONNECT is judged as the GET it stands for and becomes an HTTP/1.1
 * handshake outside; each side of the stream ends by itself, and a cut is a reset.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type ClientHttp2Session, type ClientHttp2Stream, constants, type IncomingHttpHeaders } from 'node:http2'
import { after, before, type TestContext, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { h2Answer, h2Over, h2Request, SIDECAR_H2_ALPN } from '../../src/testing/h2-client.ts'
import type { LogLine } from '../../src/testing/harness.ts'
import { meshConnect } from '../../src/testing/mesh-client.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import {
  acceptOf,
  CLOSE,
  KEY,
  startWebSocketSite,
  WebSocketEnd,
  type WebSocketSite,
} from '../../src/testing/websocket.ts'
import { authorizationPolicy, documents, serviceEntry, to, virtualService } from './manifests.ts'
import { sample } from './operator.ts'
import { HOST, type Site, startSite } from './site.ts'

let outside: WebSocketSite
before(async () => {
  outside = await startWebSocketSite({ fields: 'Sec-WebSocket-Protocol: chat\r\n' })
})
after(() => outside.close())

async function session(t: TestContext, site: Site): Promise<ClientHttp2Session> {
  const { harness } = site
  const svid = await harness.pki.svid('mytest/sleep')
  const opened = h2Over(
    await meshConnect({ port: harness.gateway.port(443), svid, ca: harness.pki.root, alpn: SIDECAR_H2_ALPN }),
  )
  t.after(() => opened.destroy())
  if (!opened.remoteSettings.enableConnectProtocol) await once(opened, 'remoteSettings')
  assert.equal(opened.remoteSettings.enableConnectProtocol, true)
  return opened
}

function connect(over: ClientHttp2Session, fields: Readonly<Record<string, string>> = {}): ClientHttp2Stream {
  const stream = over.request(
    {
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':scheme': 'https',
      ':authority': HOST,
      ':path': '/chat',
      'sec-websocket-version': '13',
      ...fields,
    },
    { endStream: false },
  )
  stream.on('error', () => {})
  return stream
}

async function head(stream: ClientHttp2Stream): Promise<IncomingHttpHeaders> {
  const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders]
  return headers
}

async function open(over: ClientHttp2Session): Promise<{ readonly near: WebSocketEnd; readonly far: WebSocketEnd }> {
  const stream = connect(over)
  assert.equal((await head(stream))[':status'], 200)
  const near = new WebSocketEnd(stream, true)
  assert.ok(await near.echoes('hello'))
  const far = outside.ends.at(-1)
  assert.ok(far !== undefined)
  return { near, far }
}

async function closed({ stream }: WebSocketEnd): Promise<void> {
  if (!stream.closed) await new Promise((resolve) => void stream.once('close', resolve))
}

const ending = (line: LogLine | undefined) =>
  ['response_code', 'response_flags', 'response_code_details', 'reason'].map((key) => line?.[key])
const rst = ({ stream }: WebSocketEnd) => (stream as ClientHttp2Stream).rstCode

test('echo and close; the site sees an ordinary handshake with a key of its own', async (t) => {
  const site = await startSite(t, outside.port)
  const over = await session(t, site)
  const first = outside.heads.length
  const stream = connect(over, { ':path': '/chat?x=y', 'sec-websocket-protocol': 'chat', 'x-request-id': 'r' })
  const headers = await head(stream)
  assert.deepEqual(
    [':status', 'sec-websocket-protocol', 'sec-websocket-accept', 'connection', 'upgrade', 'server'].map(
      (name) => headers[name],
    ),
    [200, 'chat', undefined, undefined, undefined, 'sallyport'],
  )
  const near = new WebSocketEnd(stream, true)
  assert.ok(await near.echoes('hello'))
  // Other streams of the session go their own way meanwhile.
  assert.equal((await h2Request(over, 'unregistered.example')).status, 502)
  assert.ok(await near.echoes('again'))
  assert.equal(await sample(site.harness, 'sallyport_open_tunnels'), 1)
  near.send('', CLOSE)
  assert.equal((await near.take()).opcode, CLOSE)
  stream.end()
  await closed(near)
  assert.equal(rst(near), constants.NGHTTP2_NO_ERROR)
  const sent = outside.heads[first] ?? ''
  const key = /\r\nsec-websocket-key: ([A-Za-z0-9+/]{22}==)\r\n/.exec(sent)?.[1]
  assert.equal(
    sent,
    `GET /chat?x=y HTTP/1.1\r\nhost: ${HOST}\r\nsec-websocket-version: 13\r\nsec-websocket-protocol: chat\r\nx-request-id: r\r\nsec-websocket-key: ${key}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n`,
  )
  const [, line] = await site.harness.lines(2)
  assert.deepEqual(
    ['method', 'path', 'protocol', 'bytes_received', 'bytes_sent'].map((name) => line?.[name]),
    ['GET', '/chat?x=y', 'HTTP/2', 11 + 11 + 6, 7 + 7 + 2],
  )
  assert.deepEqual(ending(line), [101, '-', 'via_upstream', null])
  over.close()
  await site.quiet()
  await site.harness.stop(2)
})

test('a key that a sidecar carries for its caller goes to the site, and the answer to it comes back', async (t) => {
  const site = await startSite(t, outside.port)
  const over = await session(t, site)
  const stream = connect(over, { 'sec-websocket-key': KEY })
  assert.equal((await head(stream))['sec-websocket-accept'], acceptOf(KEY))
  assert.match(outside.heads.at(-1) ?? '', new RegExp(`\r\nsec-websocket-key: ${KEY}\r\n`))
  stream.end()
  await closed(new WebSocketEnd(stream, true))
  await site.harness.stop(1)
})

test('threat 13: a site that cannot have read our key: 502 UPE, no tunnel', async (t) => {
  const answers = [acceptOf(KEY), '', 'x', null]
  const origin = await startRawOrigin({
    onRequest: ({ socket }) => {
      const accept = answers[origin.connections.length - 1]
      const field = typeof accept === 'string' ? `sec-websocket-accept: ${accept}\r\n` : ''
      socket.write(`HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket\r\n${field}\r\n`)
    },
  })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const over = await session(t, site)
  for (const _ of answers) assert.equal((await h2Answer(connect(over))).status, 502)
  for (const line of await site.harness.lines(answers.length)) {
    assert.deepEqual([line['response_code'], line['response_flags']], [502, 'UPE'])
    assert.match(String(line['response_code_details']), /\|websocket_accept\}$/)
  }
  over.close()
  await site.harness.stop(answers.length)
})

test('threat 13: other protocols, bodies, plain CONNECT, policies, the unregistered: refused as such', async (t) => {
  const site = await startSite(t, outside.port, {
    resources: {
      'more.yaml': documents(
        serviceEntry('denied', 'denied.example', outside.port),
        virtualService('denied', ['denied.example'], [{ route: to('denied.example') }]),
        authorizationPolicy('deny', 'DENY', [
          {
            to: [{ operation: { hosts: ['denied.example'], methods: ['GET'] } }],
            when: [{ key: 'request.headers[upgrade]', values: ['websocket'] }],
          },
        ]),
      ),
    },
  })
  const over = await session(t, site)
  const before = outside.connections.length
  const rows: readonly (readonly [fields: Readonly<Record<string, string>>, status: number, details: string])[] = [
    [{ ':protocol': 'connect-udp' }, 403, 'upgrade_failed'],
    [{ ':protocol': 'websocket, h2c' }, 403, 'upgrade_failed'],
    [{ 'content-length': '5' }, 400, 'http1.upgrade_with_body'],
    [
      { ':authority': 'denied.example' },
      403,
      'rbac_access_denied_matched_policy[ns[istio-system]-policy[deny]-rule[0]]',
    ],
    [{ ':authority': 'unregistered.example' }, 502, 'direct_response'],
  ]
  for (const [index, [fields, status, details]] of rows.entries()) {
    const answer = await h2Answer(connect(over, fields))
    assert.equal(answer.status, status, JSON.stringify(fields))
    const line = (await site.harness.lines(index + 1))[index]
    assert.deepEqual([line?.['response_code'], line?.['response_code_details']], [status, details])
  }
  const plain = over.request({ ':method': 'CONNECT', ':authority': HOST }, { endStream: true })
  plain.on('error', () => {})
  assert.equal((await h2Answer(plain)).status, 404)
  assert.equal(outside.connections.length, before)
  over.close()
  await site.quiet()
  await site.harness.stop(rows.length + 1)
})

test('a site that declines is heard with its body', async (t) => {
  const origin = await startRawOrigin({
    onRequest: ({ socket }) =>
      void socket.write(
        'HTTP/1.1 403 Forbidden\r\ntransfer-encoding: chunked\r\nx-why: y\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
      ),
  })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const over = await session(t, site)
  const answer = await h2Answer(connect(over))
  assert.deepEqual([answer.status, answer.headers['x-why'], answer.body.toString()], [403, 'y', 'hello'])
  await (await origin.connection(0)).closed
  assert.deepEqual(ending((await site.harness.lines(1))[0]), [403, '-', 'via_upstream', null])
  over.close()
  await site.quiet()
  await site.harness.stop(1)
})

test('what is sent before the answer waits for it; half-close goes through', async (t) => {
  const origin = await startRawOrigin({ onConnection: ({ socket }) => void (socket.allowHalfOpen = true) })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const over = await session(t, site)
  const stream = connect(over)
  stream.end('early')
  const answered = h2Answer(stream)
  const far = await origin.connection(0)
  await far.until((text) => text.endsWith('\r\n\r\n'))
  const key = /sec-websocket-key: (.*)\r\n/.exec(far.text)?.[1] ?? ''
  assert.equal((await h2Request(over, 'unregistered.example')).status, 502, 'a round trip')
  assert.ok(far.text.endsWith('upgrade: websocket\r\n\r\n'))
  far.socket.write(
    `HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ${acceptOf(key)}\r\n\r\n`,
  )
  await far.until((text) => text.endsWith('\r\n\r\nearly'))
  if (!far.socket.readableEnded) await once(far.socket, 'end')
  far.socket.end('late')
  const answer = await answered
  assert.deepEqual([answer.status, answer.body.toString(), answer.rstCode], [200, 'late', 0])
  assert.deepEqual(ending((await site.harness.lines(2))[1]), [101, '-', 'via_upstream', null])
  over.close()
  await site.harness.stop(2)
})

test('big transfers with back-pressure on a stream leave the others alone', async (t) => {
  const site = await startSite(t, outside.port)
  const over = await session(t, site)
  const { near } = await open(over)
  const other = await open(over)
  // Nobody reads: the echo fills the window, and everything behind it.
  near.stream.pause()
  for (let i = 0; i < 32; i++) near.send(Buffer.alloc(1 << 20, i), 2)
  for (let i = 0; i < 5; i++) assert.ok(await other.near.echoes(`${i}`))
  near.stream.resume()
  for (let i = 0; i < 32; i++) {
    const { payload } = await near.take()
    assert.equal(payload.length, 1 << 20)
    assert.ok(payload.every((byte) => byte === i))
  }
  for (const { near: each } of [{ near }, other]) {
    each.stream.end()
    await closed(each)
  }
  for (const line of await site.harness.lines(2)) assert.deepEqual(ending(line), [101, '-', 'via_upstream', null])
  over.close()
  await site.harness.stop(2)
})

test('cuts are resets: by the caller, by the site, by the end of the connection', async (t) => {
  const site = await startSite(t, outside.port)
  const over = await session(t, site)
  const first = await open(over)
  ;(first.near.stream as ClientHttp2Stream).close(constants.NGHTTP2_CANCEL)
  await closed(first.far)
  assert.deepEqual(ending((await site.harness.lines(1))[0]), [101, 'DC', 'downstream_remote_disconnect', null])
  const second = await open(over)
  ;(second.far.stream as unknown as { resetAndDestroy(): void }).resetAndDestroy()
  await closed(second.near)
  assert.notEqual(rst(second.near), constants.NGHTTP2_NO_ERROR)
  assert.deepEqual(ending((await site.harness.lines(2))[1]), [
    101,
    'UC',
    'upstream_reset_after_response_started{connection_termination}',
    null,
  ])
  const third = await open(over)
  const waiting = connect(over)
  await eventually('it has arrived', () => outside.ends.length > 0 && !waiting.pending)
  over.destroy()
  await closed(third.far)
  assert.deepEqual(ending((await site.harness.lines(3)).find((line) => line['bytes_sent'] !== 0)).slice(0, 2), [
    101,
    'DC',
  ])
  await site.quiet()
  await site.harness.stop()
})

test('reload and drain: forbidden streams are reset and no others, the drain waits, then cuts', async (t) => {
  const site = await startSite(t, outside.port, { spec: { drainDuration: '3s' } })
  const over = await session(t, site)
  const doomed = await open(over)
  const deny = (paths: readonly string[]) =>
    documents(authorizationPolicy('deny', 'DENY', [{ to: [{ operation: { paths } }] }]))
  const keptStream = connect(over, { ':path': '/kept' })
  assert.equal((await head(keptStream))[':status'], 200)
  const kept = new WebSocketEnd(keptStream, true)
  assert.ok((await site.harness.change({ 'deny.yaml': deny(['/chat']) })).ok)
  await closed(doomed.near)
  assert.notEqual(rst(doomed.near), constants.NGHTTP2_NO_ERROR)
  assert.deepEqual(ending((await site.harness.lines(1))[0]), [
    101,
    '-',
    'downstream_local_disconnect(policy_changed)',
    'policy_changed',
  ])
  const closing = site.harness.gateway.close()
  await once(over, 'goaway')
  assert.ok(await kept.echoes('while draining'))
  await closing
  await closed(kept)
  assert.deepEqual(ending((await site.harness.lines(2))[1]), [
    101,
    '-',
    'downstream_local_disconnect(drain_deadline)',
    'draining',
  ])
  await site.harness.stop(2)
})
