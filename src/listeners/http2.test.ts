import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type ServerHttp2Session } from 'node:http2'
import { type AddressInfo, connect as connectTcp, createServer, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { FrameClient } from '../testing/h2-frames.ts'
import { testSettings } from '../testing/resources.ts'
import { type Http2Handlers, serveHttp2 } from './http2.ts'

const LIVENESS_MS = 50

type Served = {
  readonly session: ServerHttp2Session
  readonly ended: readonly boolean[]
  readonly requested: Promise<void>
}

/** Serves one connection, which `dial` makes; its requests are never answered. */
async function serveOne(
  t: TestContext,
  dial: (port: number) => { destroy(): unknown },
  idleTimeoutMs = 3_600_000,
): Promise<Served> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const arrived = once(server, 'connection') as Promise<[Socket]>
  const client = dial((server.address() as AddressInfo).port)
  const [socket] = await arrived
  const { promise: requested, resolve } = Promise.withResolvers<void>()
  const ended: boolean[] = []
  const handlers: Http2Handlers = {
    request: () => {
      resolve()
      return { onClose: (complete) => ended.push(complete), onBodyMalformed: () => {} }
    },
    failed: () => {},
  }
  const limits = { ...testSettings().http, idleTimeoutMs }
  const { session } = serveHttp2(socket, limits, handlers, LIVENESS_MS)
  t.after(() => {
    client.destroy()
    session.destroy()
    server.close()
  })
  return { session, ended, requested }
}

test('a caller with an open stream that answers no PING is gone', async (t) => {
  const { session, ended } = await serveOne(t, (port) => {
    const socket = connectTcp({ host: '127.0.0.1', port })
    const get = [
      [':method', 'GET'],
      [':scheme', 'http'],
      [':authority', 'a'],
      [':path', '/'],
    ] as const
    new FrameClient(socket).request(1, get)
    return socket
  })
  await once(session, 'close')
  assert.deepEqual(ended, [false])
})

test('a caller that answers them may take as long as it likes', async (t) => {
  const { promise: asked, resolve } = Promise.withResolvers<void>()
  const { session, ended, requested } = await serveOne(t, (port) => {
    const client = connect(`http://127.0.0.1:${port}`)
    client.on('error', () => {})
    let pings = 0
    // Each comes after the one before was answered.
    client.on('ping', () => {
      pings += 1
      if (pings === 4) resolve()
    })
    client.request({ ':path': '/' }).on('error', () => {})
    return client
  })
  await requested
  await asked
  assert.deepEqual([session.destroyed, ended], [false, []])
})

test('a session without streams ends after the idle timeout; the time begins anew when the last stream ends', async (t) => {
  const idleMs = 200
  const { promise: closed, resolve } = Promise.withResolvers<number>()
  let endedAt = 0
  await serveOne(
    t,
    (port) => {
      const client = connect(`http://127.0.0.1:${port}`)
      client.on('error', () => {})
      client.on('goaway', (code) => resolve(code))
      const stream = client.request({ ':path': '/' }).on('error', () => {})
      // Longer than the idle timeout: a stream is open, so nothing is idle.
      setTimeout(() => {
        assert.equal(client.closed, false)
        endedAt = performance.now()
        stream.close()
      }, 2 * idleMs)
      return client
    },
    idleMs,
  )
  assert.equal(await closed, 0)
  assert.ok(performance.now() - endedAt >= idleMs - 20)
})
