/** What holds for every request, whichever HTTP version it leaves in and whatever carries it. */
import assert from 'node:assert/strict'
import { PassThrough, Readable } from 'node:stream'
import { test } from 'node:test'
import type { ClusterModel } from '../model/cluster.ts'
import { eventually } from '../testing/eventually.ts'
import {
  clusterEnvironment,
  clusterModel,
  failureOf,
  responseOf,
  testUpstream,
  upstreamTls,
  VERSIONS,
} from '../testing/forwarding.ts'
import { startEchoOrigin, startRawOrigin } from '../testing/origin.ts'

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

for (const [version, { http2, create }] of Object.entries(VERSIONS)) {
  const model = (port: number, options: Partial<ClusterModel> = {}): ClusterModel =>
    clusterModel(port, { protocol: http2 ? 'http2' : 'http1', ...options })

  test(`${version}: a refused connection says so in Envoy's words; one try dials one endpoint`, async () => {
    const gone = await startRawOrigin()
    await gone.close()
    using alone = testUpstream(model(gone.port), undefined, { forwarder: create() })
    const failure = failureOf(await alone.request({ method: 'POST', body: Readable.from([Buffer.from('x')]) }))
    assert.deepEqual(failure, {
      kind: 'connect_failure',
      details:
        'upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}',
      body: 'upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport failure reason: delayed connect error: Connection refused',
      transportFailure: 'delayed connect error: Connection refused',
      host: `127.0.0.1:${gone.port}`,
    })
    const { stats } = alone.cluster
    assert.deepEqual([stats.upstream_cx_connect_fail, stats.upstream_rq_pending_failure_eject], [1, 1])
    assert.deepEqual([stats.upstream_rq_total, stats.upstream_rq.get(503)], [0, 1])

    await using origin = await startEchoOrigin({ http2 })
    const endpoints = [gone.port, origin.port].map((port) => ({
      address: '127.0.0.1',
      port,
      weight: 1,
      locality: '',
      priority: 0,
    }))
    using both = testUpstream(model(0, { endpoints }), undefined, { forwarder: create() })
    const ends: string[] = []
    for (let i = 0; i < 4; i++) ends.push((await both.request()).kind)
    assert.deepEqual(ends, ['failure', 'response', 'failure', 'response'])
    assert.equal(both.cluster.stats.upstream_cx_connect_fail, 2)
  })

  test(`${version}: connections to a silent address time out as UF`, async () => {
    // The timeout covers the handshake, and a server that never says hello is easier to have than one that drops SYNs.
    await using silent = await startRawOrigin()
    using upstream = testUpstream(
      model(silent.port, { connectTimeoutMs: 50, tls: upstreamTls({ insecureSkipVerify: true }) }),
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

  test(`${version}: a slow reader holds the upstream back, a slow upstream holds the caller back`, async () => {
    await using origin = await startEchoOrigin({ http2 })
    using upstream = testUpstream(model(origin.port), undefined, { forwarder: create() })
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
    using uphill = testUpstream(model(stalled.port), undefined, { forwarder: create() })
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

  test(`${version}: an upload streams and its length arrives`, async () => {
    await using origin = await startEchoOrigin({ http2 })
    using upstream = testUpstream(model(origin.port), undefined, { forwarder: create() })
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
