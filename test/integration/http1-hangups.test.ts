/**
 * Callers who leave (threat 9): before, during and after a request, by FIN, RST or half-close. The upstream connection
 * is freed within a second, the one line says DC, and nothing is left open.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { type RecordedConnection, startRawOrigin } from '../../src/testing/origin.ts'
import { test } from './engines.ts'
import { HOST, startSite } from './site.ts'

const H = `Host: ${HOST}\r\n`

type Row = {
  /** Sent at once. */
  readonly bytes: string
  /** What the origin waits for before it acts. */
  readonly until: (text: string) => boolean
  /** What the origin then says. */
  readonly answer: string
  readonly code: number
}

const complete = (text: string) => text.includes('\r\n\r\n')

/** TABLE: how far things got when the caller leaves. */
const MOMENTS: Readonly<Record<string, Row>> = {
  'before the answer': { bytes: `GET / HTTP/1.1\r\n${H}\r\n`, until: complete, answer: '', code: 0 },
  'in the middle of the answer, counted': {
    bytes: `GET / HTTP/1.1\r\n${H}\r\n`,
    until: complete,
    answer: 'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello',
    code: 200,
  },
  'in the middle of the answer, chunked': {
    bytes: `GET / HTTP/1.1\r\n${H}\r\n`,
    until: complete,
    answer: 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n',
    code: 200,
  },
  'in the middle of a counted upload': {
    bytes: `POST / HTTP/1.1\r\n${H}Content-Length: 100\r\n\r\nhello`,
    until: (text) => text.endsWith('hello'),
    answer: '',
    code: 0,
  },
  'in the middle of a chunked upload': {
    bytes: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`,
    until: (text) => text.endsWith('hello\r\n'),
    answer: '',
    code: 0,
  },
  'in the middle of an upload that is being answered': {
    bytes: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`,
    until: (text) => text.endsWith('hello\r\n'),
    answer: 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n',
    code: 200,
  },
}

/** TABLE: ways to leave. */
const WAYS = {
  'closes (FIN, then nobody there)': (socket: Socket) => void socket.destroy(),
  'half-closes (FIN): as Envoy, that is leaving': (socket: Socket) => void socket.end(),
  'resets (RST)': (socket: Socket) => void socket.resetAndDestroy(),
} as const

for (const carrier of ['mesh', 'plain'] as const) {
  for (const [way, leave] of Object.entries(WAYS)) {
    // A TLS socket cannot be made to send RST.
    if (carrier === 'mesh' && way.startsWith('resets')) continue
    test(`threat 9: ${carrier}: the caller ${way}`, async (t) => {
      const origin = await startRawOrigin()
      t.after(() => origin.close())
      const site = await startSite(t, origin.port)
      const moments = Object.entries(MOMENTS)
      for (const [index, [name, { bytes, until, answer }]] of moments.entries()) {
        await t.test(name, async () => {
          const socket = await site[carrier]()
          socket.write(bytes)
          const connection: RecordedConnection = await origin.connection(index)
          await connection.until(until)
          const heard = answer === '' ? Promise.resolve() : once(socket, 'data')
          connection.socket.write(answer)
          await heard
          const began = performance.now()
          leave(socket)
          await connection.closed
          assert.ok(performance.now() - began < 10_000, 'the upstream connection is freed at once')
          assert.ok(!connection.text.endsWith('\r\n0\r\n\r\n'), 'a body that was cut does not end')
        })
      }
      const lines = await site.harness.lines(moments.length)
      for (const [index, [name, { code }]] of moments.entries()) {
        const line = lines[index]
        const got = [
          line?.['response_code'],
          line?.['response_flags'],
          line?.['response_code_details'],
          line?.['reason'],
        ]
        assert.deepEqual(got, [code, 'DC', 'downstream_remote_disconnect', null], name)
        assert.equal(line?.['upstream_host'], `127.0.0.1:${origin.port}`)
      }
      await site.quiet()
      assert.equal(await site.metric('envoy_cluster_upstream_cx_active', HOST), 0)
      await site.harness.stop(moments.length)
    })
  }
}

test('threat 9: a caller who leaves between requests leaves no further line, and the upstream connection stays good', async (t) => {
  const origin = await startRawOrigin({
    onRequest: (connection) => connection.socket.write('HTTP/1.1 204 No Content\r\n\r\n'),
  })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  for (const carrier of ['mesh', 'plain', 'mesh'] as const) {
    const socket = await site[carrier]()
    socket.write(`GET / HTTP/1.1\r\n${H}\r\n`)
    await once(socket, 'data')
    socket.destroy()
  }
  await site.quiet()
  assert.equal(origin.connections.length, 1)
  await site.harness.stop(3)
})
