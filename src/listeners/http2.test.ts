import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Duplex } from 'node:stream'
import { test } from 'node:test'
import { FRAME, frame } from '../testing/h2-frames.ts'
import { testSettings } from '../testing/resources.ts'
import { serveHttp2 } from './http2.ts'

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

/** A connection whose far side has sent `bytes` and takes at most `writes` writes. */
function stalled(bytes: Buffer, writes: number): Duplex {
  let taken = 0
  const socket = new Duplex({
    read() {},
    write: (_chunk, _encoding, done) => {
      taken += 1
      if (taken <= writes) done()
    },
  })
  socket.push(bytes)
  return socket
}

test('a connection that takes nothing of what is queued for it is ended', async () => {
  const pings = Buffer.concat(Array.from({ length: 50 }, () => frame(FRAME.ping, 0, 0, Buffer.alloc(8))))
  const socket = stalled(Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0), pings, pings]), 0)
  const session = serveHttp2(socket, testSettings().http, { request: () => null, failed: () => {} }, 50)
  await once(session, 'close')
  assert.equal(session.destroyed, true)
})

test('a connection that is only idle is not', async () => {
  const socket = stalled(Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0)]), Number.POSITIVE_INFINITY)
  const session = serveHttp2(socket, testSettings().http, { request: () => null, failed: () => {} }, 20)
  await once(session, 'remoteSettings')
  await new Promise((resolve) => setTimeout(resolve, 100))
  assert.equal(session.destroyed, false)
  session.destroy()
})
