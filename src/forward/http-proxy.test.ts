/** What every engine must do beyond the regressions in test/regression/: pools, retries, failover, streaming. */
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { eventually } from '../testing/eventually.ts'
import { CALLER, clusterModel, ENGINES, failureOf, responseOf, testUpstream } from '../testing/forwarding.ts'
import { startRawOrigin } from '../testing/origin.ts'
import { UpstreamEndpoint } from './endpoints.ts'

const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'

for (const [engine, create] of Object.entries(ENGINES)) {
  test(`${engine}: one connection carries many requests and gathers no listeners`, async () => {
    await using origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(OK) })
    using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
    const listeners: number[] = []
    for (let i = 0; i < 30; i++) {
      await upstream.get()
      await new Promise((resolve) => setImmediate(resolve))
      const sent = upstream.send()
      const outcome = responseOf(await sent.outcome)
      await outcome.body()
      assert.deepEqual(
        sent.connected.map(({ reused }) => reused),
        [true],
      )
      assert.match(sent.connected[0]?.host ?? '', /^127\.0\.0\.1:\d+$/)
      assert.match(sent.connected[0]?.localAddress ?? '', /^127\.0\.0\.1:\d+$/)
      await new Promise((resolve) => setImmediate(resolve))
      const endpoint = upstream.cluster.pick({
        requestedHost: 'site.example',
        portOverride: null,
        hash: null,
        caller: CALLER,
      })
      assert.ok(endpoint instanceof UpstreamEndpoint)
      const connection = endpoint.poolFor(CALLER).takeIdle()
      assert.ok(connection !== null)
      const { socket } = connection
      listeners.push(socket.eventNames().reduce((sum, name) => sum + socket.listenerCount(name), 0))
      connection.release()
      await eventually('the connection is idle again', () => endpoint.poolFor(CALLER).idle === 1)
    }
    assert.equal(origin.connections.length, 1)
    const { stats } = upstream.cluster
    assert.deepEqual([stats.upstream_cx_total, stats.upstream_rq_total, stats.upstream_rq.get(200)], [1, 60, 60])
    assert.deepEqual([stats.upstream_rq_active, stats.upstream_rq_completed], [0, 60])
    assert.ok(stats.upstream_cx_rx_bytes_total >= 60 * OK.length)
    assert.equal(new Set(listeners).size, 1)
  })

  test(`${engine}: a reused connection that dies without a word is replaced once, for requests that may be repeated`, async () => {
    for (const [method, body, repeated] of [
      ['GET', null, true],
      ['DELETE', null, true],
      ['POST', null, false],
      ['PUT', Readable.from([Buffer.from('x')]), false],
    ] as const) {
      // The first connection answers once, then closes on the next request; later ones answer.
      await using fresh = await startRawOrigin({
        onRequest: ({ socket }, head) => {
          if (fresh.connections[0]?.socket === socket && !head.includes('/first')) socket.destroy()
          else socket.write(OK)
        },
      })
      using upstream = testUpstream(clusterModel(fresh.port), undefined, { forwarder: create() })
      await upstream.get('/first')
      await new Promise((resolve) => setImmediate(resolve))
      const sent = upstream.send({ method, target: '/second', body })
      const outcome = await sent.outcome
      const { stats } = upstream.cluster
      if (repeated) {
        assert.equal(responseOf(outcome).status, 200)
        assert.deepEqual(
          sent.connected.map(({ reused }) => reused),
          [true, false],
        )
        assert.deepEqual([stats.upstream_rq_retry, stats.upstream_rq_retry_success], [1, 1])
      } else {
        assert.equal(failureOf(outcome).kind, 'upstream_closed')
        assert.deepEqual(
          sent.connected.map(({ reused }) => reused),
          [true],
        )
        assert.equal(stats.upstream_rq_retry, 0)
      }
      assert.deepEqual(sent.surplus, [])
    }
  })

  test(`${engine}: no retry once a byte of an answer has come, nor a second time`, async () => {
    for (const [partial, attempts] of [
      ['HTTP/1.1 2', 1],
      ['', 2],
    ] as const) {
      await using origin = await startRawOrigin({
        onRequest: ({ socket }, head) => {
          if (head.includes('/first')) socket.write(OK)
          else if (partial === '') socket.destroy()
          else socket.end(partial)
        },
      })
      using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
      await upstream.get('/first')
      await new Promise((resolve) => setImmediate(resolve))
      const sent = upstream.send({ target: '/second' })
      assert.equal(failureOf(await sent.outcome).kind, 'upstream_closed')
      assert.equal(sent.connected.length, attempts)
    }
  })
}
