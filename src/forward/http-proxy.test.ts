/** What every engine must do beyond the regressions in test/regression/: pools, retries, failover, streaming. */
import assert from 'node:assert/strict'
import { PassThrough, Readable } from 'node:stream'
import { test } from 'node:test'
import { eventually } from '../testing/eventually.ts'
import {
  CALLER,
  clusterEnvironment,
  clusterModel,
  ENGINES,
  failureOf,
  responseOf,
  testUpstream,
  upstreamTls,
} from '../testing/forwarding.ts'
import { startEchoOrigin, startRawOrigin } from '../testing/origin.ts'
import { UpstreamEndpoint } from './endpoints.ts'

/** Resolves when a number has stopped changing. */
async function still(read: () => number): Promise<void> {
  let last = Number.NaN
  let same = 0
  await eventually('it stands still', () => {
    const now = read()
    same = now === last ? same + 1 : 0
    last = now
    return same >= 10
  })
}

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
      const connection = endpoint.pool.takeIdle()
      assert.ok(connection !== null)
      const { socket } = connection
      listeners.push(socket.eventNames().reduce((sum, name) => sum + socket.listenerCount(name), 0))
      connection.release()
      await eventually('the connection is idle again', () => endpoint.pool.idle === 1)
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

  test(`${engine}: a refused connection says so in Envoy's words; one try dials one endpoint`, async () => {
    const gone = await startRawOrigin()
    await gone.close()
    using alone = testUpstream(clusterModel(gone.port), undefined, { forwarder: create() })
    const failure = failureOf(await alone.request({ method: 'POST', body: Readable.from([Buffer.from('x')]) }))
    assert.deepEqual(failure, {
      kind: 'connect_failure',
      details:
        'upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}',
      body: 'upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport failure reason: delayed connect error: Connection refused',
      transportFailure: 'delayed connect error: Connection refused',
    })
    const { stats } = alone.cluster
    assert.deepEqual([stats.upstream_cx_connect_fail, stats.upstream_rq_pending_failure_eject], [1, 1])
    assert.deepEqual([stats.upstream_rq_total, stats.upstream_rq.get(503)], [0, 1])

    await using origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(OK) })
    const endpoints = [gone.port, origin.port].map((port) => ({
      address: '127.0.0.1',
      port,
      weight: 1,
      locality: '',
      priority: 0,
    }))
    using both = testUpstream(clusterModel(0, { endpoints }), undefined, { forwarder: create() })
    const ends: string[] = []
    for (let i = 0; i < 4; i++) ends.push((await both.request()).kind)
    assert.deepEqual(ends, ['failure', 'response', 'failure', 'response'])
    assert.equal(both.cluster.stats.upstream_cx_connect_fail, 2)
  })

  test(`${engine}: connections to a silent address time out as UF`, async () => {
    // The timeout covers the handshake, and a server that never says hello is easier to have than one that drops SYNs.
    await using silent = await startRawOrigin()
    using upstream = testUpstream(
      clusterModel(silent.port, { connectTimeoutMs: 50, tls: upstreamTls({ insecureSkipVerify: true }) }),
      clusterEnvironment(),
      { forwarder: create() },
    )
    const failure = failureOf(await upstream.request())
    assert.equal(failure.kind, 'connect_timeout')
    const { stats } = upstream.cluster
    assert.deepEqual(
      [stats.upstream_cx_connect_timeout, stats.upstream_cx_connect_fail, stats.upstream_cx_active],
      [1, 1, 0],
    )
    await (await silent.connection(0)).closed
  })

  test(`${engine}: a slow reader holds the upstream back, a slow upstream holds the caller back`, async () => {
    await using origin = await startEchoOrigin()
    using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
    const size = 64 * 1024 * 1024
    const { response } = responseOf(await upstream.request({ target: `/bytes/${size}` }))
    response.body.once('readable', () => undefined)
    await eventually('something has arrived', () => response.body.readableLength > 0)
    // Nobody reads: what is in memory stays near the high-water mark however long the origin would go on.
    await still(() => upstream.cluster.stats.upstream_cx_rx_bytes_total + response.body.readableLength)
    assert.ok(response.body.readableLength < 1024 * 1024, String(response.body.readableLength))
    let bytes = 0
    for await (const chunk of response.body) bytes += (chunk as Buffer).length
    assert.equal(bytes, size)

    await using stalled = await startRawOrigin({ onConnection: ({ socket }) => socket.pause() })
    using uphill = testUpstream(clusterModel(stalled.port), undefined, { forwarder: create() })
    const body = new PassThrough()
    const sent = uphill.send({ method: 'POST', body })
    let written = 0
    const chunk = Buffer.alloc(64 * 1024)
    const pump = (): void => {
      while (written < size) {
        written += chunk.length
        if (!body.write(chunk)) return
      }
    }
    body.on('drain', pump)
    pump()
    // A few megabytes fit into the kernel's buffers; after that, nobody asks for more.
    await still(() => written)
    assert.ok(written < size / 2, String(written))
    sent.handle.abort()
  })

  test(`${engine}: an upload streams and its length arrives`, async () => {
    await using origin = await startEchoOrigin()
    using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
    const chunk = Buffer.alloc(64 * 1024, 'x')
    const count = 256
    for (const headers of [
      ['host', 'site.example'],
      ['host', 'site.example', 'content-length', String(chunk.length * count)],
    ]) {
      const body = Readable.from(
        (function* () {
          for (let i = 0; i < count; i++) yield chunk
        })(),
      )
      const outcome = responseOf(await upstream.request({ method: 'POST', target: '/upload', headers, body }))
      assert.deepEqual(JSON.parse((await outcome.body()).toString()), { bytes: chunk.length * count })
    }
  })
}
