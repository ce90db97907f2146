/**
 * What an upstream may not do to the next request on its connection or to the caller's reading of this one
 * (threats 7, 13): ambiguous framing, bytes nobody asked for, answers to requests that were not made.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import {
  clusterEnvironment,
  clusterModel,
  ENGINES,
  failureOf,
  responseOf,
  testUpstream,
} from '../../src/testing/forwarding.ts'
import { MISBEHAVIOURS, startRawOrigin } from '../../src/testing/origin.ts'

const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
const ODD_BUT_CLEAR = {
  'informational responses': `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n${OK}`,
  'HTTP/1.0 with keep-alive': 'HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok',
} as const

for (const [engine, create] of Object.entries(ENGINES)) {
  for (const [name, bytes] of Object.entries(MISBEHAVIOURS)) {
    test(`threat 7: ${engine}: ${name} is a protocol error, and the connection is gone`, async () => {
      await using origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(bytes) })
      using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
      const sent = upstream.send()
      const failure = failureOf(await sent.outcome)
      assert.equal(failure.kind, 'upstream_protocol')
      assert.match(failure.details ?? '', /^upstream_reset_before_response_started\{protocol_error\|\w+\}$/)
      assert.equal(failure.transportFailure, null)
      await (await origin.connection(0)).closed
      assert.deepEqual(sent.surplus, [])
    })
  }

  test(`${engine}: too many or too large response fields are a protocol error`, async () => {
    const many = Array.from({ length: 101 }, (_, i) => `x-${i}: 1\r\n`).join('')
    for (const fields of [many, `x-large: ${'x'.repeat(70_000)}\r\n`]) {
      await using origin = await startRawOrigin({
        onRequest: ({ socket }) => socket.write(`HTTP/1.1 204 No Content\r\n${fields}\r\n`),
      })
      using upstream = testUpstream(clusterModel(origin.port), clusterEnvironment(), { forwarder: create() })
      assert.equal(failureOf(await upstream.request()).kind, 'upstream_protocol')
    }
  })

  test(`threat 7: ${engine}: a flood of interim responses ends`, async () => {
    await using origin = await startRawOrigin({
      onRequest: ({ socket }) => socket.write('HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(1_000)),
    })
    using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
    assert.equal(failureOf(await upstream.request()).kind, 'upstream_protocol')
    await (await origin.connection(0)).closed
  })

  for (const [name, bytes] of Object.entries(ODD_BUT_CLEAR)) {
    test(`threat 7: ${engine}: ${name} give one clean response`, async () => {
      await using origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(bytes) })
      using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
      assert.deepEqual(await upstream.get(), { status: 200, text: 'ok', reused: false })
    })
  }

  const surplus = {
    'a second response': `${OK}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil`,
    'bytes after the body': `${OK}evil`,
    'a body on 304': 'HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nevil',
    'a body on 204': 'HTTP/1.1 204 No Content\r\n\r\nevil',
  } as const
  for (const [name, bytes] of Object.entries(surplus)) {
    test(`threat 7: ${engine}: ${name}: the caller gets the first answer only and the connection is not used again`, async () => {
      await using origin = await startRawOrigin({
        onRequest: ({ socket }, _head, index) => {
          socket.write(index === 0 && origin.connections.length === 1 ? bytes : OK)
        },
      })
      using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
      const outcome = responseOf(await upstream.request())
      assert.ok(!(await outcome.body()).toString().includes('evil'))
      await (await origin.connection(0)).closed
      assert.deepEqual(await upstream.get(), { status: 200, text: 'ok', reused: false })
      assert.equal(origin.connections.length, 2)
    })
  }

  test(`threat 7: ${engine}: a body on the answer to HEAD is never read as the next answer`, async () => {
    await using origin = await startRawOrigin({
      onRequest: ({ socket }, head) => {
        socket.write(head.startsWith('HEAD') ? 'HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil' : OK)
      },
    })
    using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
    const outcome = responseOf(await upstream.request({ method: 'HEAD' }))
    assert.equal((await outcome.body()).length, 0)
    await (await origin.connection(0)).closed
    assert.deepEqual(await upstream.get(), { status: 200, text: 'ok', reused: false })
  })

  test(`threat 7: ${engine}: bytes on an idle connection close it`, async () => {
    await using origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(OK) })
    using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
    await upstream.get()
    const connection = await origin.connection(0)
    connection.socket.write('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil')
    await connection.closed
    assert.deepEqual(await upstream.get(), { status: 200, text: 'ok', reused: false })
  })

  test(`threat 11: ${engine}: hop-by-hop fields and what Connection names stay behind; the rest keeps its order`, async () => {
    const fields = [
      ...['X-First: 1', 'Connection: keep-alive, X-Secret', 'Keep-Alive: timeout=5', 'X-Secret: s'],
      ...['Proxy-Authenticate: Basic', 'Proxy-Connection: close', 'Upgrade: h2c', 'Trailer: X-T', 'TE: trailers'],
      'Set-Cookie: a=1',
    ]
    const text = `HTTP/1.1 200 OK\r\n${fields.join('\r\n')}\r\nSet-Cookie: b=2\r\nTransfer-Encoding: chunked\r\nX-Last: \u00e9\r\n\r\n0\r\n\r\n`
    await using origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(Buffer.from(text, 'latin1')) })
    using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
    const outcome = responseOf(await upstream.request())
    assert.deepEqual(outcome.headers, ['x-first', '1', 'set-cookie', 'a=1', 'set-cookie', 'b=2', 'x-last', '\u00e9'])
    await outcome.body()
  })

  test(`threat 43: ${engine}: a redirect is passed through, never followed`, async () => {
    const moved = 'HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n'
    await using origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(moved) })
    using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
    const outcome = responseOf(await upstream.request())
    assert.equal(outcome.status, 302)
    assert.ok(outcome.headers.includes('http://127.0.0.1:1/'))
    outcome.response.body.resume()
    await once(outcome.response.body, 'close')
    assert.equal(upstream.cluster.stats.upstream_rq_total, 1)
  })
}
