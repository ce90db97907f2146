/**
 * http-proxy waits for an `aborted` event that Node no longer emits for fully read requests, so an upstream stayed
 * open after its caller had gone (http-party/node-http-proxy#1586, #1559). Here `abort()` frees it at once, at any step.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { clusterModel, ENGINES, responseOf, testUpstream } from '../../src/testing/forwarding.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'

for (const [engine, create] of Object.entries(ENGINES)) {
  test(`threat 9: ${engine}: abort before the response head closes the upstream and reports nothing`, async () => {
    await using origin = await startRawOrigin()
    using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
    const sent = upstream.send()
    const connection = await origin.connection(0)
    await connection.until((text) => text.endsWith('\r\n\r\n'))
    sent.handle.abort()
    sent.handle.abort()
    await connection.closed
    connection.socket.destroy()
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(sent.surplus, [])
    assert.equal(await Promise.race([sent.outcome, Promise.resolve('nothing')]), 'nothing')
    const { stats } = upstream.cluster
    assert.deepEqual([stats.upstream_rq_active, stats.upstream_cx_active], [0, 0])
    assert.deepEqual(upstream.set.describe()[0]?.endpoints[0]?.rqActive, 0)
  })

  test(`threat 9: ${engine}: abort during the response closes the upstream and breaks the body`, async () => {
    await using origin = await startRawOrigin()
    using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
    const sent = upstream.send()
    const connection = await origin.connection(0)
    await connection.until((text) => text.endsWith('\r\n\r\n'))
    connection.socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello')
    const outcome = responseOf(await sent.outcome)
    const body = outcome.body()
    sent.handle.abort()
    await assert.rejects(body)
    await connection.closed
    assert.equal(upstream.cluster.stats.upstream_cx_active, 0)
  })

  test(`threat 9: ${engine}: a caller's body that breaks off closes the upstream without finishing the request`, async () => {
    for (const [headers, seen] of [
      [['host', 'site.example'], '5\r\nhello\r\n'],
      [['host', 'site.example', 'content-length', '10'], 'hello'],
    ] as const) {
      await using origin = await startRawOrigin()
      using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
      const body = new PassThrough()
      upstream.send({ method: 'POST', headers, body })
      body.write('hello')
      const connection = await origin.connection(0)
      await connection.until((text) => text.endsWith(seen))
      body.destroy()
      await connection.closed
      assert.ok(connection.text.endsWith(seen), connection.text)
    }
  })

  test(`threat 9: ${engine}: abort while connecting and before anything happened`, async () => {
    await using origin = await startRawOrigin()
    using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
    const early = upstream.send()
    early.handle.abort()
    const connecting = upstream.send()
    await new Promise((resolve) => process.nextTick(resolve))
    assert.equal(upstream.cluster.stats.upstream_cx_active, 1)
    connecting.handle.abort()
    assert.equal(upstream.cluster.stats.upstream_cx_active, 0)
    assert.equal(upstream.cluster.stats.upstream_rq_cancelled, 2)
    assert.deepEqual([early.connected, connecting.connected], [[], []])
  })

  test(`threat 9: ${engine}: abort after the end of the body leaves the connection to the pool`, async () => {
    await using origin = await startRawOrigin({
      onRequest: ({ socket }) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'),
    })
    using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
    const sent = upstream.send()
    const outcome = responseOf(await sent.outcome)
    outcome.response.body.resume()
    await once(outcome.response.body, 'close')
    await new Promise((resolve) => setImmediate(resolve))
    await new Promise((resolve) => setImmediate(resolve))
    sent.handle.abort()
    assert.equal((await upstream.get()).reused, true)
    assert.equal(origin.connections.length, 1)
  })
}
