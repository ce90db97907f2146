/**
 * Several requests on one connection (threat 4): answered in order, one after the other; a body stays a body
 * whatever the method; and nothing behind a malformed request is ever a request.
 */
import assert from 'node:assert/strict'
import { eventually } from '../../src/testing/eventually.ts'
import { rawExchange } from '../../src/testing/mesh-client.ts'
import { type RecordedConnection, startEchoOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import { differences, test } from './engines.ts'
import { HOST, startSite } from './site.ts'

const H = `Host: ${HOST}\r\n`
const count = (text: string, part: string) => text.split(part).length - 1
const ok = (body: string) => `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`

for (const carrier of ['mesh', 'plain'] as const) {
  test(`${carrier}: pipelined requests are answered in order, whoever is quicker`, async (t) => {
    const origin = await startEchoOrigin()
    t.after(() => origin.close())
    const site = await startSite(t, origin.port)
    const paths = ['/delay/0.3', '/status/201', '/delay/0.1', '/status/202', '/status/203']
    const bytes = paths.map((path) => `GET ${path} HTTP/1.1\r\n${H}\r\n`).join('')
    const socket = await site[carrier]()
    const answer = await rawExchange(socket, bytes, (text) => count(text, 'HTTP/1.1 ') === 5)
    socket.destroy()
    const statuses = [...answer.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)
    assert.deepEqual(statuses, ['200', '201', '200', '202', '203'])
    assert.deepEqual(
      origin.requests,
      paths.map((path) => `GET ${path}`),
    )
    await site.harness.stop(5)
  })

  test(`${carrier}: refusals and answers keep their places`, async (t) => {
    const origin = await startEchoOrigin()
    t.after(() => origin.close())
    const site = await startSite(t, origin.port)
    const hosts = [HOST, 'unregistered.example', HOST, 'unregistered.example']
    const bytes = hosts.map((host) => `GET /status/204 HTTP/1.1\r\nHost: ${host}\r\n\r\n`).join('')
    const socket = await site[carrier]()
    const answer = await rawExchange(socket, bytes, (text) => count(text, 'HTTP/1.1 ') === 4)
    socket.destroy()
    assert.deepEqual(
      [...answer.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status),
      ['204', '502', '204', '502'],
    )
    await site.harness.stop(4)
  })

  test(`${carrier}: a malformed request behind one that still runs: that one is answered, then 400, then nothing`, async (t) => {
    const origin = await startEchoOrigin()
    t.after(() => origin.close())
    const site = await startSite(t, origin.port)
    const bytes = `GET /delay/0.2 HTTP/1.1\r\n${H}\r\nGET / HTTP/1.1\r\n${H}X Y: z\r\n\r\nGET /smuggled HTTP/1.1\r\n${H}\r\n`
    const answer = await rawExchange(await site[carrier](), bytes)
    assert.deepEqual(
      [...answer.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status),
      ['200', '400'],
    )
    assert.deepEqual(origin.requests, ['GET /delay/0.2'])
    const lines = await site.harness.lines(2)
    assert.deepEqual(new Set(lines.map((line) => line['response_code'])), new Set([200, 400]))
    await site.harness.stop(2)
  })

  test(`${carrier}: an ambiguous request behind one that still runs (found by us, not by the parser)`, async (t) => {
    const origin = await startEchoOrigin()
    t.after(() => origin.close())
    const site = await startSite(t, origin.port)
    const bytes = `GET /delay/0.2 HTTP/1.1\r\n${H}\r\nGET / HTTP/1.1\r\n${H}${H}\r\nGET /smuggled HTTP/1.1\r\n${H}\r\n`
    const answer = await rawExchange(await site[carrier](), bytes)
    assert.deepEqual(
      [...answer.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status),
      ['200', '400'],
    )
    assert.deepEqual(origin.requests, ['GET /delay/0.2'])
    await site.harness.stop(2)
  })

  test(`${carrier}: the caller leaves while answers are queued: one line for each request that was read`, async (t) => {
    const origin = await startRawOrigin()
    t.after(() => origin.close())
    const site = await startSite(t, origin.port)
    const socket = await site[carrier]()
    socket.write(`GET /a HTTP/1.1\r\n${H}\r\nGET /b HTTP/1.1\r\n${H}\r\nGET /c HTTP/1.1\r\n${H}\r\n`)
    const first = await origin.connection(0)
    await first.until((text) => text.includes('\r\n\r\n'))
    const read = differences().readsAhead ? ['/a', '/b', '/c'] : ['/a']
    const active = () => site.metric('envoy_http_downstream_rq_active')
    await eventually('all that were read are running', async () => (await active()) === read.length)
    socket.destroy()
    await first.closed
    const lines = await site.harness.lines(read.length)
    for (const line of lines) assert.deepEqual([line['response_code'], line['response_flags']], [0, 'DC'])
    assert.deepEqual(new Set(lines.map((line) => line['path'])), new Set(read))
    await site.quiet()
    await site.harness.stop(read.length)
  })
}

const SMUGGLED = `GET /smuggled HTTP/1.1\r\n${H}\r\n`

for (const method of ['DELETE', 'OPTIONS', 'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'PROPFIND']) {
  test(`threat 4: the body of a ${method} stays a body, chunked or counted, and the connection stays in step`, async (t) => {
    const answered = (connection: RecordedConnection) =>
      void connection
        .until((text) => text.includes('0\r\n\r\n'))
        .then(
          () => connection.socket.write('HTTP/1.1 204 No Content\r\n\r\n'),
          () => undefined,
        )
    const origin = await startRawOrigin({ onConnection: answered })
    t.after(() => origin.close())
    const site = await startSite(t, origin.port)
    const chunked = `${method} /x HTTP/1.1\r\n${H}X-Request-Id: r-1\r\nTransfer-Encoding: chunked\r\n\r\n${SMUGGLED.length.toString(16)}\r\n${SMUGGLED}\r\n0\r\n\r\n`
    const socket = await site.mesh()
    const first = await rawExchange(socket, chunked, (text) => text.includes('\r\n\r\n'))
    assert.match(first, /^HTTP\/1\.1 204 No Content\r\n/)
    const connection = await origin.connection(0)
    assert.equal(
      connection.text,
      `${method} /x HTTP/1.1\r\nhost: ${HOST}\r\nx-request-id: r-1\r\ntransfer-encoding: chunked\r\n\r\n${SMUGGLED.length.toString(16)}\r\n${SMUGGLED}\r\n0\r\n\r\n`,
    )
    const before = connection.text.length
    socket.write(
      `${method} /y HTTP/1.1\r\n${H}X-Request-Id: r-2\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`,
    )
    const sent = await connection.until((text) => text.endsWith(SMUGGLED) && text.length > before)
    assert.equal(
      sent.slice(before),
      `${method} /y HTTP/1.1\r\nhost: ${HOST}\r\ncontent-length: ${SMUGGLED.length}\r\nx-request-id: r-2\r\n\r\n${SMUGGLED}`,
    )
    connection.socket.write('HTTP/1.1 204 No Content\r\n\r\n')
    const lines = await site.harness.lines(2)
    assert.deepEqual(
      lines.map((line) => [line['method'], line['path'], line['response_code'], line['bytes_received']]),
      [
        [method, '/x', 204, SMUGGLED.length],
        [method, '/y', 204, SMUGGLED.length],
      ],
    )
    socket.destroy()
    assert.equal(origin.connections.length, 1)
    await site.harness.stop(2)
  })
}

test('chunk extensions and trailers end here: the body goes out as chunks of our own', async (t) => {
  const origin = await startRawOrigin({
    onConnection: (connection) =>
      void connection
        .until((text) => text.endsWith('0\r\n\r\n'))
        .then(
          () => connection.socket.write(ok('done')),
          () => undefined,
        ),
  })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const socket = await site.mesh()
  const body = `5;a=b;c="d"\r\nhello\r\n0;z\r\nX-Trailer: t\r\n\r\n`
  const answer = await rawExchange(
    socket,
    `POST / HTTP/1.1\r\n${H}X-Request-Id: r\r\nTrailer: x-trailer\r\nTransfer-Encoding: chunked\r\n\r\n${body}`,
    (text) => text.endsWith('done'),
  )
  assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/)
  socket.destroy()
  assert.equal(
    origin.connections[0]?.text,
    `POST / HTTP/1.1\r\nhost: ${HOST}\r\nx-request-id: r\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
  )
  await site.harness.stop(1)
})

test('keep-alive: a hundred requests over one connection use one connection to the origin', async (t) => {
  const origin = await startEchoOrigin()
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const socket = await site.mesh()
  for (let i = 0; i < 100; i++) {
    const answer = await new Promise<string>((resolve) => {
      socket.once('data', (chunk: Buffer) => resolve(chunk.toString('latin1')))
      socket.write(`GET /status/204 HTTP/1.1\r\n${H}\r\n`)
    })
    assert.match(answer, /^HTTP\/1\.1 204 /)
  }
  socket.destroy()
  assert.deepEqual([origin.accepted(), origin.requests.length], [1, 100])
  assert.equal(await site.metric('envoy_cluster_upstream_cx_total', HOST), 1)
  await site.harness.stop(100)
})
