/**
 * http-proxy left the caller hanging when the upstream died in mid-body (threats C1); Node's client ends a body that
 * is delimited by the connection cleanly even when that connection is reset. A cut-off answer is never a whole one.
 */
import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { clusterModel, ENGINES, failureOf, responseOf, testUpstream } from '../../src/testing/forwarding.ts'
import { type RecordedConnection, startRawOrigin } from '../../src/testing/origin.ts'

const HEADS = {
  'content-length': 'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello',
  chunked: 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n',
  'in a chunk': 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nhello',
  'until close': 'HTTP/1.1 200 OK\r\n\r\nhello',
} as const

const ENDS = {
  FIN: ({ socket }: RecordedConnection) => socket.end(),
  RST: (connection: RecordedConnection) => connection.reset(),
} as const

for (const [engine, create] of Object.entries(ENGINES)) {
  for (const [framing, bytes] of Object.entries(HEADS)) {
    for (const [ending, end] of Object.entries(ENDS)) {
      const clean = framing === 'until close' && ending === 'FIN'
      test(`threat 8: ${engine}: ${ending} in a body (${framing}) ${clean ? 'ends it' : 'breaks it'}`, async () => {
        await using origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(bytes) })
        using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
        const outcome = responseOf(await upstream.request())
        const connection = await origin.connection(0)
        outcome.response.body.once('data', () => end(connection))
        const body = outcome.body()
        const started = performance.now()
        if (clean) assert.equal((await body).toString(), 'hello')
        else await assert.rejects(body)
        assert.ok(performance.now() - started < 10_000, 'no hang')
        const { stats } = upstream.cluster
        await eventually('nothing is open', () => stats.upstream_rq_active + stats.upstream_cx_active === 0)
        assert.equal(stats.upstream_rq_rx_reset, clean ? 0 : 1)
      })
    }
  }

  test(`threat 8: ${engine}: closing or resetting before the head is UC, once`, async () => {
    for (const end of Object.values(ENDS)) {
      for (const partial of ['', 'HTTP/1.1 200 OK\r\ncontent-le']) {
        await using origin = await startRawOrigin({
          onRequest: (connection) => {
            if (partial === '') end(connection)
            else connection.socket.write(partial, () => end(connection))
          },
        })
        using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
        const sent = upstream.send()
        const failure = failureOf(await sent.outcome)
        assert.equal(failure.kind, 'upstream_closed')
        await new Promise((resolve) => setImmediate(resolve))
        assert.deepEqual(sent.surplus, [])
        assert.equal(origin.connections.length, 1)
      }
    }
  })

  test(`${engine}: an early answer on a connection that then closes still arrives`, async () => {
    await using origin = await startRawOrigin({
      onRequest: ({ socket }) =>
        socket.end('HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig'),
    })
    using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
    const body = new PassThrough()
    const sent = upstream.send({ method: 'POST', body })
    body.write('part')
    const outcome = responseOf(await sent.outcome)
    assert.equal(outcome.status, 413)
    assert.equal((await outcome.body()).toString(), 'big')
    await (await origin.connection(0)).closed
    sent.handle.abort()
  })
}
