import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type ServerHttp2Session } from 'node:http2'
import { type AddressInfo, connect as connectTcp, createServer, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { FRAME, FrameClient, frame, uint32 } from '../testing/h2-frames.ts'
import { testSettings } from '../testing/resources.ts'
import type { Downstream } from './downstream.ts'
import { type Http2Handlers, serveHttp2 } from './http2.ts'

const HOUR_MS = 3_600_000
const GET = [
  [':method', 'GET'],
  [':scheme', 'http'],
  [':authority', 'a'],
  [':path', '/'],
] as const

type Served = {
  readonly session: ServerHttp2Session
  readonly ended: readonly boolean[]
  readonly requested: Promise<void>
}

type Options = {
  readonly idleTimeoutMs?: number
  /** How often a caller is asked whether it is there; not, unless said: FrameClient never answers. */
  readonly livenessMs?: number
  readonly answer?: (downstream: Downstream) => void
}

/** Serves one connection, which `dial` makes; its requests are not answered unless `answer` does. */
async function serveOne(
  t: TestContext,
  dial: (port: number) => { destroy(): unknown },
  { idleTimeoutMs = HOUR_MS, livenessMs = HOUR_MS, answer = () => {} }: Options = {},
): Promise<Served> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const arrived = once(server, 'connection') as Promise<[Socket]>
  const client = dial((server.address() as AddressInfo).port)
  const [socket] = await arrived
  const { promise: requested, resolve } = Promise.withResolvers<void>()
  const ended: boolean[] = []
  const handlers: Http2Handlers = {
    request: (downstream) => {
      resolve()
      answer(downstream)
      return { onClose: (complete) => ended.push(complete), onBodyMalformed: () => {} }
    },
    failed: () => {},
  }
  const limits = { ...testSettings().http, idleTimeoutMs }
  const { session } = serveHttp2(socket, limits, handlers, livenessMs)
  t.after(() => {
    client.destroy()
    session.destroy()
    server.close()
  })
  return { session, ended, requested }
}

test('a caller with an open stream that answers no PING is gone', async (t) => {
  const { session, ended } = await serveOne(
    t,
    (port) => {
      const socket = connectTcp({ host: '127.0.0.1', port })
      new FrameClient(socket).request(1, GET)
      return socket
    },
    { livenessMs: 50 },
  )
  await once(session, 'close')
  assert.deepEqual(ended, [false])
})

test('a caller that answers them may take as long as it likes', async (t) => {
  const { promise: asked, resolve } = Promise.withResolvers<void>()
  const { session, ended, requested } = await serveOne(
    t,
    (port) => {
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
    },
    { livenessMs: 1000 },
  )
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
    { idleTimeoutMs: idleMs },
  )
  assert.equal(await closed, 0)
  assert.ok(performance.now() - endedAt >= idleMs - 20)
})

test('an answer that is cut is reset, and does not look whole before that', async (t) => {
  const { promise: dialled, resolve } = Promise.withResolvers<FrameClient>()
  await serveOne(
    t,
    (port) => {
      const socket = connectTcp({ host: '127.0.0.1', port })
      const client = new FrameClient(socket)
      client.request(1, GET)
      resolve(client)
      return socket
    },
    { answer: (downstream) => void downstream.start(200, [], false, null).write('half', () => downstream.reset()) },
  )
  const client = await dialled
  const end = await client.endOf(1)
  assert.deepEqual([end?.type, end?.payload.readUInt32BE()], [FRAME.reset, 2])
})

test('a long answer to a caller who reads slowly ends with END_STREAM', async (t) => {
  const { promise: dialled, resolve } = Promise.withResolvers<FrameClient>()
  const size = 200_000
  await serveOne(
    t,
    (port) => {
      const socket = connectTcp({ host: '127.0.0.1', port })
      const client = new FrameClient(socket)
      client.request(1, GET)
      resolve(client)
      return socket
    },
    {
      answer: (downstream) => {
        const sink = downstream.start(200, [], false, null)
        for (let i = 0; i < 10; i++) sink.write(Buffer.alloc(size / 10))
        setImmediate(() => sink.end())
      },
    },
  )
  const client = await dialled
  const received = () =>
    client.frames.reduce((sum, { type, payload }) => (type === FRAME.data ? sum + payload.length : sum), 0)
  // The window is used up; everything else waits in the gateway. With the last byte it is used up again.
  await client.until(() => received() === 65_535)
  for (const stream of [0, 1]) client.send(frame(FRAME.windowUpdate, 0, stream, uint32(size - 65_535)))
  await client.until(() => received() === size)
  for (const stream of [0, 1]) client.send(frame(FRAME.windowUpdate, 0, stream, uint32(1)))
  const end = await client.endOf(1)
  assert.deepEqual([end?.type, received()], [FRAME.data, size])
})
