/**
 * WebSockets that do not come about (threats 7, 8, 13; behaviour §10.3, §10.5): refused here, refused by the site, or answered in a
 * way that is no answer. Whatever it is, nothing behind the handshake is ever taken for a request.
 */
import assert from 'node:assert/strict'
import { rawExchange } from '../../src/testing/mesh-client.ts'
import { type RecordedConnection, startRawOrigin } from '../../src/testing/origin.ts'
import { handshake, KEY } from '../../src/testing/websocket.ts'
import { test } from './engines.ts'
import { authorizationPolicy, documents, serviceEntry, to, virtualService } from './manifests.ts'
import { freePort } from './operator.ts'
import { HOST, type Site, startSite } from './site.ts'

const RESET = 'upstream connect error or disconnect/reset before headers. reset reason: '

/** A handshake on a connection of its own, with what a smuggler would send behind it; everything until it is closed. */
async function ask(site: Site, host = HOST, carrier: 'mesh' | 'plain' = 'mesh'): Promise<string> {
  return rawExchange(await site[carrier](), `${handshake(host)}GET /smuggled HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
}

async function line(site: Site, index: number): Promise<readonly unknown[]> {
  const found = (await site.harness.lines(index + 1))[index]
  return ['response_code', 'response_flags', 'response_code_details', 'reason'].map((key) => found?.[key])
}

/** TABLE: what a site answers that does not want a WebSocket → what the caller reads behind the head. */
const ANSWERS: Readonly<Record<string, readonly [bytes: string, status: number, body: string]>> = {
  'a length': ['HTTP/1.1 403 Forbidden\r\ncontent-length: 5\r\nx-why: y\r\n\r\nhello, and more', 403, 'hello'],
  chunks: [
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nx-t: 1\r\n\r\nHTTP/1.1 200 OK\r\n\r\n',
    200,
    '5\r\nabcde\r\n0\r\n\r\n',
  ],
  'until close': ['HTTP/1.1 426 Upgrade Required\r\nupgrade: foo\r\n\r\nhello', 426, '5\r\nhello\r\n0\r\n\r\n'],
  'HTTP/1.0': ['HTTP/1.0 404 Not Found\r\n\r\nhello', 404, '5\r\nhello\r\n0\r\n\r\n'],
  'no content': ['HTTP/1.1 204 No Content\r\n\r\n', 204, ''],
  'a body on 304': ['HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nhello', 304, ''],
  'interim answers first': [
    'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n',
    200,
    '',
  ],
}

for (const carrier of ['mesh', 'plain'] as const) {
  test(`${carrier}: a site that declines is heard, and the connection ends there`, async (t) => {
    let answer = ''
    const origin = await startRawOrigin({
      onRequest: ({ socket }) => {
        socket.write(answer)
        if (!answer.includes('content-length') && !answer.includes('chunked')) socket.end()
      },
    })
    t.after(() => origin.close())
    const site = await startSite(t, origin.port)
    for (const [index, [name, [bytes, status, body]]] of Object.entries(ANSWERS).entries()) {
      await t.test(name, async () => {
        answer = bytes
        const text = await ask(site, HOST, carrier)
        const [head = '', ...rest] = text.split('\r\n\r\n')
        assert.match(head, new RegExp(`^HTTP/1\\.1 ${status} `))
        assert.match(head, /\r\nconnection: close(?:\r\n|$)/)
        assert.doesNotMatch(head, /upgrade: /i)
        assert.equal(/\r\nx-why: y/.test(head), name === 'a length')
        const seen = rest.join('\r\n\r\n')
        // How the pieces of a chunked body are cut is nobody's business.
        const whole = /transfer-encoding: chunked/.test(head)
          ? [seen.replaceAll(/[0-9a-f]+\r\n|\r\n/g, ''), seen.endsWith('\r\n0\r\n\r\n')]
          : [seen, true]
        assert.deepEqual(whole, [body.replaceAll(/[0-9a-f]+\r\n|\r\n/g, ''), true])
        assert.deepEqual(await line(site, index), [status, '-', 'via_upstream', null])
      })
    }
    const all = origin.connections.map(({ text }) => text).join('')
    assert.equal(
      all.split('GET ').length - 1,
      Object.keys(ANSWERS).length,
      'one request for each, and nothing smuggled',
    )
    await site.quiet()
    await site.harness.stop(Object.keys(ANSWERS).length)
  })
}

const CHANGES = 'connection: upgrade\r\nupgrade: websocket\r\n'

/** TABLE of 101s and other bytes that are no answer to a handshake. */
const NO_ANSWERS: Readonly<Record<string, string>> = {
  'another protocol': 'HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n',
  'several protocols': 'HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket, h2c\r\n\r\n',
  'one protocol twice': `HTTP/1.1 101 x\r\n${CHANGES}upgrade: websocket\r\n\r\n`,
  'no protocol': 'HTTP/1.1 101 x\r\n\r\n',
  'a protocol that Connection does not name': 'HTTP/1.1 101 x\r\nupgrade: websocket\r\n\r\n',
  'HTTP/1.0': `HTTP/1.0 101 x\r\n${CHANGES}\r\n`,
  'with a length': `HTTP/1.1 101 x\r\n${CHANGES}content-length: 5\r\n\r\nhello`,
  'with a coding': `HTTP/1.1 101 x\r\n${CHANGES}transfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
  'bare LF': 'HTTP/1.1 101 x\nconnection: upgrade\nupgrade: websocket\n\n',
  'a folded line': `HTTP/1.1 101 x\r\n${CHANGES}x: y\r\n z\r\n\r\n`,
  'a space before the colon': `HTTP/1.1 101 x\r\n${CHANGES}x : y\r\n\r\n`,
  'no HTTP': 'SSH-2.0-OpenSSH_9.6\r\n\r\n',
  'a head without end': `HTTP/1.1 101 x\r\n${CHANGES}x: ${'y'.repeat(70_000)}`,
  'too many fields': `HTTP/1.1 101 x\r\n${CHANGES}${'x: y\r\n'.repeat(200)}\r\n`,
  'a flood of interim answers': 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(40),
  'an interim answer of HTTP/1.0': `HTTP/1.0 102 x\r\n\r\nHTTP/1.1 101 x\r\n${CHANGES}\r\n`,
  'an interim answer that closes': `HTTP/1.1 103 x\r\nconnection: close\r\n\r\nHTTP/1.1 101 x\r\n${CHANGES}\r\n`,
  'two lengths': 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!',
  'a length and chunks': 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
  'no length at all': 'HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello',
}

test('threat 13: a 101 that is not the one asked for, and answers that are none: 502 UPE, no tunnel', async (t) => {
  let answer = ''
  const origin = await startRawOrigin({ onRequest: ({ socket }) => void socket.write(answer) })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  for (const [index, [name, bytes]] of Object.entries(NO_ANSWERS).entries()) {
    await t.test(name, async () => {
      answer = bytes
      const text = await ask(site)
      assert.match(text, /^HTTP\/1\.1 502 /)
      assert.ok(text.endsWith(`\r\n\r\n${RESET}protocol error`))
      await (await origin.connection(index)).closed
      const [code, flags, details, reason] = await line(site, index)
      assert.deepEqual([code, flags, reason], [502, 'UPE', null])
      assert.match(String(details), /^upstream_reset_before_response_started\{protocol_error\|/)
    })
  }
  await site.harness.stop(Object.keys(NO_ANSWERS).length)
})

const ENDS = {
  FIN: ({ socket }: RecordedConnection) => void socket.end(),
  RST: (connection: RecordedConnection) => connection.reset(),
} as const

for (const [ending, end] of Object.entries(ENDS)) {
  test(`threat 8: ${ending} instead of an answer is 503 UC, in the middle of one a cut`, async (t) => {
    let before = ''
    const origin = await startRawOrigin({
      onRequest: (connection) =>
        before === '' ? end(connection) : connection.socket.write(before, () => void setImmediate(end, connection)),
    })
    t.after(() => origin.close())
    const site = await startSite(t, origin.port)
    for (const [index, bytes] of ['', 'HTTP/1.1 101 x\r\nconn'].entries()) {
      before = bytes
      const text = await ask(site)
      assert.match(text, /^HTTP\/1\.1 503 /)
      assert.ok(text.endsWith(`${RESET}connection termination`))
      assert.deepEqual((await line(site, index)).slice(0, 2), [503, 'UC'])
    }
    const framings = ['content-length: 100\r\n\r\nhello', 'transfer-encoding: chunked\r\n\r\nff\r\nhello']
    for (const [index, framing] of framings.entries()) {
      before = `HTTP/1.1 403 Forbidden\r\n${framing}`
      const text = await ask(site)
      // RST may overtake the head.
      if (ending === 'FIN') assert.match(text, /^HTTP\/1\.1 403 /)
      assert.doesNotMatch(text, /\r\n0\r\n\r\n$/)
      const [code, flags] = await line(site, index + 2)
      assert.deepEqual([code, flags], [text.startsWith('HTTP/1.1 403 ') ? 403 : 503, 'UC'])
    }
    assert.equal(origin.connections.length, 4, 'nothing is asked twice')
    await site.quiet()
    await site.harness.stop(4)
  })
}

test('judged in the usual order: policy, registry, route, the route’s own answers, faults; nobody listening', async (t) => {
  const origin = await startRawOrigin()
  t.after(() => origin.close())
  const entry = (host: string, port = origin.port) => serviceEntry(host.replaceAll('.', '-'), host, port)
  const service = (host: string, ...rules: readonly object[]) =>
    virtualService(host.replaceAll('.', '-'), [host], rules)
  const abort = { abort: { httpStatus: 418, percentage: { value: 100 } } }
  const site = await startSite(t, origin.port, {
    resources: {
      'more.yaml': documents(
        entry('denied.example'),
        entry('routeless.example'),
        entry('moved.example'),
        entry('broken.example'),
        entry('silent.example'),
        entry('gone.example', await freePort()),
        authorizationPolicy('deny', 'DENY', [{ to: [{ operation: { hosts: ['denied.example'] } }] }]),
        service('denied.example', { route: to('denied.example') }),
        service('routeless.example', { match: [{ uri: { exact: '/other' } }], route: to('routeless.example') }),
        service('moved.example', { redirect: { authority: 'other.example' } }),
        service('broken.example', { fault: abort, route: to('broken.example') }),
        service('silent.example', { timeout: '1.5s', route: to('silent.example') }),
        service('gone.example', { route: to('gone.example') }),
      ),
    },
  })
  const rows: readonly (readonly [host: string, status: number, flags: string, reason: string | null])[] = [
    ['denied.example', 403, '-', 'rbac_denied'],
    ['unregistered.example', 502, '-', 'not_registered'],
    ['routeless.example', 404, 'NR', 'no_route'],
    ['moved.example', 301, '-', null],
    ['broken.example', 418, 'FI', null],
    ['silent.example', 504, 'UT', null],
    ['gone.example', 503, 'UF,URX', null],
  ]
  for (const [index, [host, status, flags, reason]] of rows.entries()) {
    const text = await ask(site, host)
    assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} `), host)
    assert.match(text, /\r\nconnection: close\r\n/)
    assert.equal(text.split('HTTP/1.1 ').length, 2, 'one answer, and the connection is closed')
    assert.equal(text.includes(`x-sallyport-reason: ${reason}\r\n`), reason !== null)
    const [code, flag, , said] = await line(site, index)
    assert.deepEqual([code, flag, said], [status, flags, reason], host)
  }
  assert.equal(origin.connections.length, 1, 'only the silent one was asked')
  assert.match(origin.connections[0]?.text ?? '', /^[^]*upgrade: websocket\r\n\r\n$/)
  await site.quiet()
  await site.harness.stop(rows.length)
})

test('threat 9: a caller who leaves before the answer frees the site at once', async (t) => {
  const origin = await startRawOrigin()
  t.after(() => origin.close())
  for (const carrier of ['mesh', 'plain'] as const) {
    for (const leave of ['end', 'destroy'] as const) {
      const before = origin.connections.length
      const site = await startSite(t, origin.port)
      const socket = await site[carrier]()
      socket.write(handshake(HOST))
      const far = await origin.connection(before)
      await far.until((text) => text.endsWith('\r\n\r\n'))
      if (leave === 'end') socket.end()
      else socket.destroy()
      await far.closed
      assert.deepEqual(await line(site, 0), [0, 'DC', 'downstream_remote_disconnect', null])
      await site.quiet()
      await site.harness.stop(1)
    }
  }
})

test('threat 13: a handshake sent ahead, behind requests without an answer yet, is 400 in its turn', async (t) => {
  const held: RecordedConnection[] = []
  const origin = await startRawOrigin({ onRequest: (connection) => void held.push(connection) })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const socket = await site.mesh()
  const text = rawExchange(socket, `GET /first HTTP/1.1\r\nHost: ${HOST}\r\n\r\n${handshake(HOST)}bytes of a frame`)
  const far = await origin.connection(0)
  await far.until((all) => all.endsWith('\r\n\r\n'))
  far.socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
  const all = await text
  assert.match(all, /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nokHTTP\/1\.1 400 /)
  assert.match(all, /\r\nconnection: close\r\n/)
  assert.equal(origin.connections.length, 1)
  assert.equal(held.length, 1)
  assert.deepEqual(await line(site, 1), [400, 'DPE', 'http1.upgrade_pipelined', 'bad_request'])
  await site.harness.stop(2)
})

test('a handshake without a key goes out without one: what callers leave out over HTTP/1.1 is not made up', async (t) => {
  const origin = await startRawOrigin({
    onRequest: ({ socket }) => void socket.write('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n'),
  })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const text = await rawExchange(await site.mesh(), handshake(HOST).replace(`Sec-WebSocket-Key: ${KEY}\r\n`, ''))
  assert.match(text, /^HTTP\/1\.1 400 /)
  assert.doesNotMatch(origin.connections[0]?.text ?? '', /sec-websocket-key/i)
  await site.harness.stop(1)
})

test('a long answer keeps back-pressure; a caller who leaves in the middle of one frees the site', async (t) => {
  const SIZE = 24 << 20
  const piece = Buffer.alloc(1 << 20, 'x')
  const origin = await startRawOrigin({
    onRequest: ({ socket }) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${SIZE}\r\n\r\n`)
      for (let sent = 0; sent < SIZE; sent += piece.length) socket.write(piece)
    },
  })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const socket = await site.mesh()
  let bytes = 0
  const started = new Promise((resolve) => void socket.once('data', resolve))
  socket.on('data', (chunk: Buffer) => (bytes += chunk.length))
  socket.write(handshake(HOST))
  await started
  socket.pause()
  // Another one, meanwhile, goes all the way and then is left.
  const other = await site.mesh()
  other.write(handshake(HOST))
  await new Promise((resolve) => void other.once('data', resolve))
  other.destroy()
  await (await origin.connection(1)).closed
  assert.ok((await origin.connection(0)).socket.writableLength > 0, 'the site waits for the caller')
  socket.resume()
  await new Promise((resolve) => void socket.once('close', resolve))
  assert.ok(bytes > SIZE && bytes < SIZE + 1000)
  const lines = await site.harness.lines(2)
  assert.deepEqual(
    lines.map((each) => [each['response_code'], each['response_flags']]),
    [
      [200, 'DC'],
      [200, '-'],
    ],
  )
  assert.equal(lines[1]?.['bytes_sent'], SIZE)
  await site.quiet()
  await site.harness.stop(2)
})
