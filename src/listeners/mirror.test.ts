/** Copies of requests against real origins that are well, slow, dead or talkative: what they may cost, and that they cost the original nothing. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { PassThrough, type Readable } from 'node:stream'
import { describe, test } from 'node:test'
import { setImmediate as immediately } from 'node:timers/promises'
import type { OutgoingRequest } from '../forward/forwarder.ts'
import { eventually } from '../testing/eventually.ts'
import { clusterModel, ENGINES, outgoing, testUpstream } from '../testing/forwarding.ts'
import { startRawOrigin } from '../testing/origin.ts'
import { type MirrorLimits, Mirrors } from './mirror.ts'

const LIMITS: MirrorLimits = {
  underWay: 8,
  behind: 1024 * 1024,
  allBehind: 1024 * 1024,
  timeoutMs: 60_000,
  answer: 64 * 1024,
}
const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'

function requestOf(body: Readable | null): OutgoingRequest {
  const headers = ['host', 'site.example-shadow']
  return outgoing({ method: body === null ? 'GET' : 'POST', target: '/a', headers, body })
}

/** As requests do, what is there flows before more comes. */
async function flowing(body: Readable): Promise<void> {
  body.resume()
  await once(body, 'resume')
}

const none = (mirrors: Mirrors) => eventually('no copy is under way', () => mirrors.size === 0)

for (const [engine, create] of Object.entries(ENGINES)) {
  describe(`mirrors over ${engine}`, () => {
    test('a copy is sent whole, its answer is dropped, its connection is used again', async () => {
      await using origin = await startRawOrigin({ onRequest: (connection) => void connection.socket.write(OK) })
      using upstream = testUpstream(clusterModel(origin.port))
      const mirrors = new Mirrors(create(), LIMITS)
      for (let i = 1; i <= 2; i++) {
        assert.notEqual(mirrors.send(upstream.cluster, requestOf(null), null), null)
        assert.equal(mirrors.size, 1)
        await none(mirrors)
        // Given back, it is there again a turn of the event loop later.
        await immediately()
      }
      assert.equal(origin.connections.length, 1)
      const head = 'GET /a HTTP/1.1\r\nhost: site.example-shadow\r\n\r\n'
      assert.equal(origin.connections[0]?.text, head + head)
      assert.equal(upstream.cluster.stats.upstream_rq_total, 2)
      assert.equal(upstream.cluster.stats.upstream_rq_active, 0)
    })

    test('a body is read as the original flows, which a copy never sets flowing', async () => {
      await using origin = await startRawOrigin()
      using upstream = testUpstream(clusterModel(origin.port))
      const mirrors = new Mirrors(create(), LIMITS)
      const body = new PassThrough()
      body.write('hello ')
      mirrors.send(upstream.cluster, requestOf(body), null)
      const connection = await origin.connection(0)
      await connection.until((text) => text.includes('\r\n\r\n'))
      assert.equal(body.readableFlowing, null)
      assert.match(connection.text, /transfer-encoding: chunked\r\n\r\n$/)
      await flowing(body)
      body.end('world')
      await connection.until((text) => text.endsWith('0\r\n\r\n'))
      const chunks = connection.text.split('\r\n\r\n').slice(1).join('\r\n\r\n').split('\r\n')
      assert.equal(chunks.filter((_, i) => i % 2 === 1).join(''), 'hello world')
      connection.socket.write(OK)
      await none(mirrors)
    })

    test('a request that is cut takes its copy along: a part never counts as whole', async () => {
      await using origin = await startRawOrigin()
      using upstream = testUpstream(clusterModel(origin.port))
      for (const way of ['cut', 'destroyed'] as const) {
        const mirrors = new Mirrors(create(), LIMITS)
        const body = new PassThrough()
        const mirror = mirrors.send(upstream.cluster, requestOf(body), null)
        await flowing(body)
        body.write('part')
        const connection = await origin.connection(origin.connections.length)
        await connection.until((text) => text.includes('part'))
        if (way === 'cut') mirror?.cut()
        else body.destroy()
        await connection.closed
        assert.doesNotMatch(connection.text, /\r\n0\r\n\r\n$/)
        await none(mirrors)
      }
    })

    test('`cut` after the whole body was seen leaves the copy alone', async () => {
      await using origin = await startRawOrigin()
      using upstream = testUpstream(clusterModel(origin.port))
      const mirrors = new Mirrors(create(), LIMITS)
      const body = new PassThrough()
      const mirror = mirrors.send(upstream.cluster, requestOf(body), null)
      await flowing(body)
      body.end('all')
      await once(body, 'end')
      mirror?.cut()
      const connection = await origin.connection(0)
      await connection.until((text) => text.endsWith('0\r\n\r\n'))
      connection.socket.write(OK)
      await none(mirrors)
    })

    test('a mirror that does not read is dropped once it is too far behind; the original goes on to its end', async () => {
      await using origin = await startRawOrigin({ onConnection: ({ socket }) => void socket.pause() })
      using upstream = testUpstream(clusterModel(origin.port))
      const mirrors = new Mirrors(create(), LIMITS)
      const body = new PassThrough()
      mirrors.send(upstream.cluster, requestOf(body), null)
      let read = 0
      body.on('data', (chunk: Buffer) => (read += chunk.length))
      await once(body, 'resume')
      const block = Buffer.alloc(64 * 1024, 'x')
      // Far more than kernel buffers and the limit together hold.
      const total = 32 * 1024 * 1024
      for (let sent = 0; sent < total; sent += block.length) if (!body.write(block)) await once(body, 'drain')
      body.end()
      await once(body, 'end')
      assert.equal(read, total)
      await none(mirrors)
    })

    test('all copies together have a limit too, and what one held is free again when it ends', async () => {
      await using origin = await startRawOrigin()
      using upstream = testUpstream(clusterModel(origin.port))
      const mirrors = new Mirrors(create(), { ...LIMITS, behind: 1000, allBehind: 1500 })
      const bodies = [new PassThrough(), new PassThrough()] as const
      const [first, second] = bodies
      for (const body of bodies) mirrors.send(upstream.cluster, requestOf(body), null)
      // Before there is a connection, everything has to wait.
      for (const body of bodies) body.write(Buffer.alloc(900, 'x'))
      await Promise.all(bodies.map(flowing))
      await eventually('the one that went too far is gone', () => mirrors.size === 1)
      const third = new PassThrough()
      first.destroy()
      await none(mirrors)
      mirrors.send(upstream.cluster, requestOf(third), null)
      await flowing(third)
      third.end(Buffer.alloc(900, 'y'))
      await eventually('the third arrives whole', () =>
        origin.connections.some(({ text }) => text.includes('yyy') && text.endsWith('0\r\n\r\n')),
      )
      second.destroy()
      mirrors.destroy()
      assert.equal(mirrors.size, 0)
    })

    test('a mirror that is dead, breaks off or answers without end is no trouble', async () => {
      await using closed = await startRawOrigin()
      const { port } = closed
      await closed.close()
      using dead = testUpstream(clusterModel(port))
      const mirrors = new Mirrors(create(), LIMITS)
      mirrors.send(dead.cluster, requestOf(null), null)
      await none(mirrors)
      assert.equal(dead.cluster.stats.upstream_cx_connect_fail, 1)

      const answers = [
        'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart',
        `HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(200_000)}`,
      ]
      for (const answer of answers) {
        await using origin = await startRawOrigin({
          onRequest: ({ socket }) => {
            socket.write(answer)
            if (answer.endsWith('part')) socket.end()
          },
        })
        using upstream = testUpstream(clusterModel(origin.port))
        mirrors.send(upstream.cluster, requestOf(null), null)
        await (await origin.connection(0)).closed
        await none(mirrors)
      }
    })

    test('a mirror that never answers is given its time from the end of the request, and no more', async () => {
      await using origin = await startRawOrigin()
      using upstream = testUpstream(clusterModel(origin.port))
      const mirrors = new Mirrors(create(), { ...LIMITS, timeoutMs: 20 })
      for (const timeoutMs of [null, 0, 10]) {
        mirrors.send(upstream.cluster, requestOf(null), timeoutMs)
        await (await origin.connection(origin.connections.length)).closed
        await none(mirrors)
      }
    })

    test('too many at once: the next is not sent, and counted', async () => {
      await using origin = await startRawOrigin()
      using upstream = testUpstream(clusterModel(origin.port))
      const mirrors = new Mirrors(create(), { ...LIMITS, underWay: 2 })
      for (let i = 0; i < 2; i++) assert.notEqual(mirrors.send(upstream.cluster, requestOf(null), null), null)
      assert.equal(mirrors.send(upstream.cluster, requestOf(null), null), null)
      assert.equal(upstream.cluster.stats.upstream_rq_cancelled, 1)
      await origin.connection(1)
      mirrors.destroy()
      await Promise.all(origin.connections.map(({ closed }) => closed))
      assert.equal(origin.connections.length, 2)
    })
  })
}
