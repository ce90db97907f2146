/**
 * WebSocket over HTTP/1.1 (threats 13, 14; behaviour §10.5): judged like any request, sent as one, then bytes both ways as they
 * come. How it ends is upgrades-endings.test.ts, what is refused upgrades-refused.test.ts.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { eventually } from '../../src/testing/eventually.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import {
  acceptOf,
  BINARY,
  CLOSE,
  frame,
  handshake,
  KEY,
  openWebSocket,
  readHead,
  startWebSocketSite,
  WebSocketEnd,
} from '../../src/testing/websocket.ts'
import { test } from './engines.ts'
import { authorizationPolicy, destinationRule, documents, serviceEntry, to, virtualService } from './manifests.ts'
import { sample, stat } from './operator.ts'
import { CALLER, HOST, startSite } from './site.ts'

/** True when something was written; false when for a while nothing moves, which no event tells. */
async function drains(stream: Duplex): Promise<boolean> {
  const patience = new AbortController()
  const moved = once(stream, 'drain', { signal: patience.signal }).then(
    () => true,
    () => false,
  )
  const timer = setTimeout(() => patience.abort(), 300)
  const answer = await moved
  clearTimeout(timer)
  return answer
}

const CLUSTER = `outbound|80||${HOST}`

for (const carrier of ['mesh', 'plain'] as const) {
  test(`${carrier}: echo, close by both sides, one line`, async (t) => {
    const outside = await startWebSocketSite({ fields: 'Sec-WebSocket-Protocol: chat\r\n' })
    t.after(() => outside.close())
    const site = await startSite(t, outside.port)
    const socket = await site[carrier]()
    socket.allowHalfOpen = true
    socket.write(handshake(HOST, { path: '/chat?x', fields: 'Sec-WebSocket-Protocol: chat\r\nX-Request-Id: r\r\n' }))
    const head = await readHead(socket)
    assert.match(head, /^HTTP\/1\.1 101 Switching Protocols\r\n/)
    assert.match(head, /\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n$/)
    assert.match(head, new RegExp(`\r\nsec-websocket-accept: ${acceptOf(KEY).replaceAll('+', '\\+')}\r\n`))
    assert.match(head, /\r\nsec-websocket-protocol: chat\r\n/)
    assert.match(head, /\r\nserver: sallyport\r\n/)
    const end = new WebSocketEnd(socket, true)
    assert.ok(await end.echoes('hello'))
    assert.ok(await end.echoes('x'.repeat(300)))
    assert.equal(await sample(site.harness, 'sallyport_open_tunnels'), 1)
    assert.equal(await stat(site.harness, `cluster.${CLUSTER}.upstream_rq_active`), 1)
    end.send('', CLOSE)
    assert.equal((await end.take()).opcode, CLOSE)
    socket.end()
    await once(socket, 'close')
    assert.deepEqual(outside.heads, [
      `GET /chat?x HTTP/1.1\r\nhost: ${HOST}\r\nsec-websocket-version: 13\r\nsec-websocket-key: ${KEY}\r\nsec-websocket-protocol: chat\r\nx-request-id: r\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n`,
    ])
    const [line] = await site.harness.lines(1)
    const bytes = [frame(1, 'hello', false), frame(1, 'x'.repeat(300), false), frame(CLOSE, '', false)]
    const sent = bytes.reduce((sum, { length }) => sum + length, 0)
    assert.deepEqual(
      [
        ...['method', 'path', 'protocol', 'authority', 'response_code', 'response_flags', 'response_code_details'],
        ...['bytes_received', 'bytes_sent', 'upstream_cluster', 'reason', 'authz_decision', 'downstream_peer_uri_san'],
      ].map((key) => line?.[key]),
      [
        ...['GET', '/chat?x', 'HTTP/1.1', HOST, 101, '-', 'via_upstream'],
        ...[sent + 3 * 4, sent, CLUSTER, null, 'none', carrier === 'mesh' ? CALLER : null],
      ],
    )
    assert.equal(line?.['upstream_host'], `127.0.0.1:${outside.port}`)
    await site.quiet()
    assert.equal(await sample(site.harness, 'sallyport_open_tunnels'), 0)
    assert.equal(await stat(site.harness, `cluster.${CLUSTER}.upstream_rq_101`), 1)
    await site.harness.stop(1)
  })
}

test('a connection that has carried requests changes too; the site gets a connection of its own', async (t) => {
  const outside = await startRawOrigin({
    onRequest: ({ socket }, head) => {
      if (!head.includes('upgrade: websocket')) socket.write('HTTP/1.1 204 No Content\r\n\r\n')
      else
        socket.write(
          `HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ${acceptOf(KEY)}\r\n\r\n`,
        )
    },
  })
  t.after(() => outside.close())
  const site = await startSite(t, outside.port)
  const socket = await site.mesh()
  socket.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
  assert.match(await readHead(socket), /^HTTP\/1\.1 204 /)
  const end = await openWebSocket(socket, HOST)
  assert.equal(outside.connections.length, 2)
  end.stream.write('any bytes at all')
  const second = await outside.connection(1)
  await second.until((text) => text.endsWith('\r\n\r\nany bytes at all'))
  socket.destroy()
  await second.closed
  await site.harness.stop(2)
})

test('threat 13: what a caller sends before the 101 waits for it', async (t) => {
  const outside = await startRawOrigin()
  t.after(() => outside.close())
  const site = await startSite(t, outside.port)
  const socket = await site.mesh()
  socket.write(`${handshake(HOST)}with the head`)
  const far = await outside.connection(0)
  await far.until((text) => text.endsWith('\r\n\r\n'))
  socket.write(', later')
  // Another request takes the same way, and by then those bytes have arrived.
  const other = await site.mesh()
  other.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
  await (await outside.connection(1)).until((text) => text.endsWith('\r\n\r\n'))
  assert.ok(far.text.endsWith('upgrade: websocket\r\n\r\n'))
  far.socket.write('HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nfirst word')
  await far.until((text) => text.endsWith('upgrade: websocket\r\n\r\nwith the head, later'))
  assert.match(await readHead(socket), /^HTTP\/1\.1 101 /)
  const [first] = (await once(socket, 'data')) as [Buffer]
  assert.equal(first.toString(), 'first word')
  socket.destroy()
  other.destroy()
  await site.harness.stop(2)
})

test('threat 13: one who sends too much before the 101 is refused', async (t) => {
  const outside = await startRawOrigin()
  t.after(() => outside.close())
  const site = await startSite(t, outside.port)
  const socket = await site.mesh()
  socket.write(handshake(HOST))
  const far = await outside.connection(0)
  await far.until((text) => text.endsWith('\r\n\r\n'))
  socket.write(Buffer.alloc(200_000))
  assert.match(await readHead(socket), /^HTTP\/1\.1 400 /)
  await far.closed
  const [line] = await site.harness.lines(1)
  assert.deepEqual([line?.['response_code'], line?.['reason']], [400, 'bad_request'])
  assert.equal(line?.['response_code_details'], 'http1.codec_error{upgrade_early_data}')
  socket.destroy()
  await site.harness.stop(1)
})

test('a site that does not read stops the caller; then everything arrives, both ways, in order', async (t) => {
  const piece = Buffer.from(Uint8Array.from({ length: 65_537 }, (_, i) => i % 251))
  let up = 0
  let wrong = 0
  const outside = await startWebSocketSite({
    onOpen: ({ stream }) => {
      stream.removeAllListeners('data')
      stream.pause()
      stream.on('data', (chunk: Buffer) => {
        for (const byte of chunk) if (byte !== piece[up++ % piece.length]) wrong++
        if (!stream.write(chunk)) stream.pause()
      })
      stream.on('drain', () => stream.resume())
      stream.once('end', () => stream.end())
    },
  })
  t.after(() => outside.close())
  const site = await startSite(t, outside.port)
  const socket = await site.mesh()
  socket.allowHalfOpen = true
  const { stream } = await openWebSocket(socket, HOST)
  stream.removeAllListeners('data')
  let written = 0
  do {
    written += piece.length
    stream.write(piece)
  } while ((!stream.writableNeedDrain || (await drains(stream))) && written < 256 << 20)
  assert.ok(written < 256 << 20, 'somewhere there is an end of what is taken in')
  let down = 0
  stream.on('data', (chunk: Buffer) => {
    for (const byte of chunk) if (byte !== piece[down++ % piece.length]) wrong++
  })
  stream.end()
  outside.ends[0]?.stream.resume()
  await once(stream, 'end')
  assert.deepEqual([up, down, wrong], [written, written, 0])
  const [line] = await site.harness.lines(1)
  assert.deepEqual([line?.['bytes_received'], line?.['bytes_sent'], line?.['response_flags']], [written, written, '-'])
  await site.harness.stop(1)
})

test('half-close goes through both ways', async (t) => {
  const outside = await startWebSocketSite({
    onOpen: ({ stream }) => void stream.once('end', () => stream.end(frame(BINARY, 'after your end', false))),
  })
  t.after(() => outside.close())
  for (const carrier of ['mesh', 'plain'] as const) {
    const site = await startSite(t, outside.port)
    const socket = await site[carrier]()
    socket.allowHalfOpen = true
    const end = await openWebSocket(socket, HOST)
    socket.end()
    assert.equal((await end.take()).payload.toString(), 'after your end')
    await once(socket, 'close')
    const [line] = await site.harness.lines(1)
    assert.deepEqual([line?.['response_code'], line?.['response_flags'], line?.['bytes_sent']], [101, '-', 16])
    await site.harness.stop(1)
  }
})

test('routes and policies see `upgrade: websocket`, however the caller spells it, and edits apply', async (t) => {
  const outside = await startWebSocketSite()
  t.after(() => outside.close())
  const host = 'ws.example'
  const rules = [
    {
      name: 'sockets',
      match: [{ headers: { upgrade: { exact: 'websocket' } } }],
      rewrite: { uri: '/socket/' },
      headers: { request: { set: { 'x-way': 'out' } }, response: { set: { 'x-way': 'back' } } },
      timeout: '1.5s',
      route: to(host),
    },
    { name: 'others', directResponse: { status: 418 } },
  ]
  const deny = authorizationPolicy('deny', 'DENY', [
    {
      to: [{ operation: { paths: ['/denied'] } }],
      when: [{ key: 'request.headers[upgrade]', values: ['websocket'] }],
    },
  ])
  const site = await startSite(t, outside.port, {
    resources: {
      'ws.yaml': documents(serviceEntry('ws', host, outside.port), virtualService('ws', [host], rules), deny),
    },
  })
  const denied = await site.mesh()
  denied.write(handshake(host, { path: '/denied' }))
  assert.match(await readHead(denied), /^HTTP\/1\.1 403 /)
  const plain = await site.mesh()
  plain.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
  assert.match(await readHead(plain), /^HTTP\/1\.1 418 /)
  const socket = await site.mesh()
  socket.write(handshake(host, { path: '/any' }))
  const head = await readHead(socket)
  assert.match(head, /\r\nx-way: back\r\n/)
  assert.match(outside.heads[0] ?? '', /^GET \/socket\/any HTTP\/1\.1\r\n[^]*\r\nx-way: out\r\n/)
  const end = new WebSocketEnd(socket, true)
  // The route's timeout was for the answer: an open WebSocket outlives it.
  const openedAt = performance.now()
  await eventually('two seconds are over', () => performance.now() - openedAt > 2000)
  assert.ok(await end.echoes('still here'))
  for (const open of [denied, plain, socket]) open.destroy()
  const lines = await site.harness.lines(3)
  assert.deepEqual(
    lines.map((line) => [line['response_code'], line['route_name'], line['reason']]),
    [
      [403, 'sockets', 'rbac_denied'],
      [418, 'others', null],
      [101, 'sockets', null],
    ],
  )
  await site.harness.stop(3)
})

test('TLS originated towards the site: wss behind ws', async (t) => {
  const host = 'secure.example'
  const files: string[] = []
  const first = await startSite(t, 1)
  const { pki, paths } = first.harness
  const { cert, key } = await pki.serverCert(host)
  const outside = await startWebSocketSite({ tls: { cert, key } })
  t.after(() => outside.close())
  files.push(paths.caFile)
  const tls = { mode: 'SIMPLE', sni: host, caCertificates: paths.caFile }
  const added = documents(
    serviceEntry('secure', host, outside.port, { port: 443, protocol: 'HTTPS' }),
    destinationRule('secure', host, { tls }),
    virtualService('secure', [host], [{ route: to(host, 443) }]),
  )
  assert.deepEqual((await first.harness.change({ 'secure.yaml': added })).errors, [])
  const end = await openWebSocket(await first.mesh(), host)
  assert.ok(await end.echoes('over TLS'))
  end.stream.destroy()
  await first.harness.stop(1)
})

test('a cluster that speaks HTTP/2 is asked for a WebSocket in HTTP/1.1', async (t) => {
  const outside = await startWebSocketSite()
  t.after(() => outside.close())
  const host = 'h2.example'
  const site = await startSite(t, outside.port, {
    resources: {
      'h2.yaml': documents(
        serviceEntry('h2', host, outside.port, { protocol: 'HTTP2' }),
        virtualService('h2', [host], [{ route: to(host) }]),
      ),
    },
  })
  const end = await openWebSocket(await site.mesh(), host)
  assert.ok(await end.echoes('hello'))
  end.stream.end()
  const [line] = await site.harness.lines(1)
  assert.deepEqual([line?.['response_code'], line?.['upstream_cluster']], [101, `outbound|80||${host}`])
  await site.harness.stop(1)
})
