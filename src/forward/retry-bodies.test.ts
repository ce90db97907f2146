/** What of a request is sent again, and how long a try may take, over real sockets and for every engine. */
import assert from 'node:assert/strict'
import { PassThrough, Readable } from 'node:stream'
import { test } from 'node:test'
import { eventually } from '../testing/eventually.ts'
import { failingOrigin, OK, UNAVAILABLE } from '../testing/failing-origin.ts'
import { clusterModel, ENGINES, failureOf, responseOf, retryModel, testUpstream } from '../testing/forwarding.ts'
import { type RecordedConnection, startRawOrigin } from '../testing/origin.ts'

for (const [engine, create] of Object.entries(ENGINES)) {
  test(`${engine}: a body is sent again byte for byte, whole or half sent, counted or chunked`, async () => {
    const bytes = Buffer.from(Array.from({ length: 60_000 }, (_, i) => (i * 31) % 251))
    for (const counted of [true, false])
      for (const answerAt of [0, 30_000, 60_000]) {
        const bodyOf = ({ text }: RecordedConnection): Buffer => {
          const from = Buffer.from(text.slice(text.indexOf('\r\n\r\n') + 4), 'latin1')
          return counted ? from : unchunk(from)
        }
        let bad = 1
        await using origin = await startRawOrigin({
          onConnection: (connection) => {
            let answered = false
            connection.on('bytes', () => {
              if (answered || !connection.text.includes('\r\n\r\n')) return
              const complete = bodyOf(connection).length
              if (bad > 0 ? complete < answerAt : complete < bytes.length) return
              answered = true
              connection.socket.write(bad-- > 0 ? UNAVAILABLE : OK)
            })
          },
        })
        using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
        const body = new PassThrough()
        const headers = ['host', 'site.example', ...(counted ? ['content-length', String(bytes.length)] : [])]
        const sent = upstream.send({ method: 'POST', headers, body }, retryModel({ on: ['5xx'] }))
        body.write(bytes.subarray(0, 30_000))
        if (answerAt < bytes.length) await (await origin.connection(1)).until((text) => text.includes('\r\n\r\n'))
        body.end(bytes.subarray(30_000))
        assert.equal(responseOf(await sent.outcome).status, 200)
        assert.deepEqual(bodyOf(await origin.connection(1)), bytes, `${counted} ${answerAt}`)
        assert.deepEqual(sent.surplus, [])
      }
  })

  test(`${engine}: what is too large to be kept streams on and is not tried again`, async () => {
    const size = 1024 * 1024
    await using failing = await startRawOrigin({
      onConnection: (connection) =>
        connection.on('bytes', () => {
          if (connection.bytes.length > size) connection.socket.write(UNAVAILABLE)
        }),
    })
    using upstream = testUpstream(clusterModel(failing.port), undefined, { forwarder: create() })
    const chunk = Buffer.alloc(16 * 1024, 'x')
    const body = Readable.from(Array.from({ length: size / chunk.length }, () => chunk))
    const sent = upstream.send(
      { method: 'PUT', headers: ['host', 'a', 'content-length', String(size)], body },
      retryModel({ on: ['5xx'] }),
    )
    const outcome = responseOf(await sent.outcome)
    assert.deepEqual([outcome.status, (await outcome.body()).toString(), failing.connections.length], [503, 'bad', 1])
    assert.deepEqual(sent.notes, [])
    const { stats } = upstream.cluster
    assert.deepEqual([stats.retry_or_shadow_abandoned, stats.upstream_rq_retry], [1, 0])
  })

  test(`${engine}: a try that takes too long is replaced; the last one is 504`, async () => {
    await using failing = await failingOrigin(1, () => undefined)
    using upstream = testUpstream(clusterModel(failing.origin.port), undefined, { forwarder: create() })
    const policy = { perTryTimeoutMs: 500, on: ['gateway-error'] }
    const sent = upstream.send({}, retryModel(policy))
    assert.equal(responseOf(await sent.outcome).status, 200)
    assert.deepEqual(sent.notes, ['retry 2'])
    await (await failing.origin.connection(0)).closed
    assert.equal(upstream.cluster.stats.upstream_rq_per_try_timeout, 1)

    await using silent = await failingOrigin(99, () => undefined)
    using never = testUpstream(clusterModel(silent.origin.port), undefined, { forwarder: create() })
    for (const [on, tries, notes] of [
      [['5xx'], 3, ['retry 2', 'retry 3', 'exhausted']],
      [['connect-failure'], 1, []],
    ] as const) {
      const before = silent.seen()
      const waiting = never.send({}, retryModel({ ...policy, on: [...on] }))
      const failure = failureOf(await waiting.outcome)
      assert.deepEqual([failure.kind, silent.seen() - before, waiting.notes], ['per_try_timeout', tries, notes])
      assert.deepEqual(waiting.surplus, [])
    }
    const { stats } = never.cluster
    assert.deepEqual([stats.upstream_rq_per_try_timeout, stats.upstream_rq.get(504)], [4, 2])
    await eventually('every connection is closed', () => stats.upstream_cx_active === 0)
  })

  test(`${engine}: a response that has begun is not bounded by perTryTimeout, nor is a request that is still being sent`, async () => {
    await using slow = await startRawOrigin({
      onRequest: ({ socket }) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nsl'),
    })
    using upstream = testUpstream(clusterModel(slow.port), undefined, { forwarder: create() })
    const policy = retryModel({ perTryTimeoutMs: 300, on: ['5xx'] })
    const sent = upstream.send({}, policy)
    const { response } = responseOf(await sent.outcome)
    setTimeout(() => slow.connections[0]?.socket.write('ow'), 600)
    let text = ''
    for await (const chunk of response.body) text += String(chunk)
    assert.equal(text, 'slow')

    await using origin = await startRawOrigin({
      onConnection: (connection) =>
        connection.on('bytes', () => {
          if (connection.text.endsWith('0\r\n\r\n')) connection.socket.write(OK)
        }),
    })
    using uphill = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
    const body = new PassThrough()
    const uploading = uphill.send({ method: 'POST', body }, policy)
    body.write('half')
    setTimeout(() => body.end(), 600)
    assert.equal(responseOf(await uploading.outcome).status, 200)
    assert.equal(origin.connections.length, 1)
  })
}

/** The payload so far of a chunked body. */
function unchunk(bytes: Buffer): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; ; ) {
    const end = bytes.indexOf('\r\n', at)
    const size = end < 0 ? 0 : Number.parseInt(bytes.toString('latin1', at, end), 16)
    if (size === 0) return Buffer.concat(parts)
    parts.push(bytes.subarray(end + 2, end + 2 + size))
    at = end + 2 + size + 2
    if (at >= bytes.length) return Buffer.concat(parts)
  }
}
