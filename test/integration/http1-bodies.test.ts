/**
 * Bodies stream: memory does not grow with them, and a side that stops reading stops the side that sends. Sizes are for a
 * busy CI machine; `SALLYPORT_TEST_BODY_MB=1024` runs the same with 1 GB.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { test } from './engines.ts'
import { growthDuring, stoodStill } from './growth.ts'
import { HOST, startSite } from './site.ts'

const H = `Host: ${HOST}\r\n`
const SIZE = Number(process.env['SALLYPORT_TEST_BODY_MB'] ?? 256) * 2 ** 20
/** Growth of the whole process, which is caller, gateway and origin at once. Buffering the body would take SIZE. */
const MAX_GROWTH = 112 * 2 ** 20
/** A stopped transfer may fill socket buffers (the system's and ours, on two hops), no more. */
const STALLED_SIZE = 64 * 2 ** 20
const MAX_STALLED = 40 * 2 ** 20
const BLOCK = Buffer.alloc(64 * 1024, 'x')

/** An origin that is given the bare socket: nothing is recorded. */
async function startBareOrigin(t: TestContext, serve: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    serve(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return (server.address() as AddressInfo).port
}

/** Writes `size` bytes as fast as `socket` takes them; `written` tells how far it got. */
function pump(socket: Socket, size: number): { readonly written: () => number } {
  let written = 0
  const more = () => {
    while (written < size && !socket.destroyed) {
      const block = size - written >= BLOCK.length ? BLOCK : BLOCK.subarray(0, size - written)
      written += block.length
      if (!socket.write(block)) return void socket.once('drain', more)
    }
  }
  more()
  return { written: () => written }
}

/** Counts body bytes behind a head; resolves with the count when the stream ends or `size` is reached. */
function countBody(socket: Socket, size: number): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>()
  let head = ''
  let body = -1
  socket.on('data', (chunk: Buffer) => {
    if (body < 0) {
      head += chunk.toString('latin1')
      const end = head.indexOf('\r\n\r\n')
      if (end >= 0) body = head.length - end - 4
    } else body += chunk.length
    if (body >= size) resolve(body)
  })
  socket.once('close', () => resolve(body))
  socket.resume()
  return promise
}

for (const carrier of ['mesh', 'plain'] as const) {
  test(`${carrier}: a large download streams`, async (t) => {
    const port = await startBareOrigin(t, (socket) => {
      socket.once('data', () => {
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${SIZE}\r\n\r\n`)
        pump(socket, SIZE)
      })
    })
    const site = await startSite(t, port)
    const socket = await site[carrier]()
    const growth = await growthDuring(async () => {
      socket.write(`GET / HTTP/1.1\r\n${H}\r\n`)
      assert.equal(await countBody(socket, SIZE), SIZE)
    })
    t.diagnostic(`resident set grew by ${Math.round(growth / 2 ** 20)} MB for ${SIZE / 2 ** 20} MB`)
    assert.ok(growth < MAX_GROWTH, `${growth} bytes`)
    socket.destroy()
    const [line] = await site.harness.lines(1)
    assert.deepEqual([line?.['response_code'], line?.['bytes_sent'], line?.['response_flags']], [200, SIZE, '-'])
    await site.harness.stop(1)
  })

  test(`${carrier}: a large upload streams`, async (t) => {
    const port = await startBareOrigin(t, (socket) => {
      void countBody(socket, SIZE).then((bytes) => {
        const text = String(bytes)
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${text.length}\r\n\r\n${text}`)
      })
    })
    const site = await startSite(t, port)
    const socket = await site[carrier]()
    let answer = ''
    const growth = await growthDuring(async () => {
      socket.write(`POST / HTTP/1.1\r\n${H}Content-Length: ${SIZE}\r\n\r\n`)
      pump(socket, SIZE)
      for await (const chunk of socket) {
        answer += String(chunk)
        if (answer.endsWith(String(SIZE))) break
      }
    })
    t.diagnostic(`resident set grew by ${Math.round(growth / 2 ** 20)} MB for ${SIZE / 2 ** 20} MB`)
    assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/)
    assert.ok(growth < MAX_GROWTH, `${growth} bytes`)
    const [line] = await site.harness.lines(1)
    assert.deepEqual([line?.['response_code'], line?.['bytes_received'], line?.['response_flags']], [200, SIZE, '-'])
    await site.harness.stop(1)
  })

  test(`${carrier}: a caller who stops reading stops the origin, and gets everything when it goes on`, async (t) => {
    let written = () => 0
    const port = await startBareOrigin(t, (socket) => {
      socket.once('data', () => {
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${STALLED_SIZE}\r\n\r\n`)
        written = pump(socket, STALLED_SIZE).written
      })
    })
    const site = await startSite(t, port)
    const socket = await site[carrier]()
    socket.write(`GET / HTTP/1.1\r\n${H}\r\n`)
    await once(socket, 'readable')
    const stalled = await stoodStill(() => written())
    t.diagnostic(`stopped after ${Math.round(stalled / 2 ** 20)} MB`)
    assert.ok(stalled < MAX_STALLED, `${stalled} bytes went into a caller who reads none`)
    assert.equal(await countBody(socket, STALLED_SIZE), STALLED_SIZE)
    socket.destroy()
    await site.harness.stop(1)
  })

  test(`${carrier}: an origin that stops reading stops the caller, and gets everything when it goes on`, async (t) => {
    const { promise: accepted, resolve } = Promise.withResolvers<Socket>()
    const port = await startBareOrigin(t, (socket) => resolve(socket.pause()))
    const site = await startSite(t, port)
    const socket = await site[carrier]()
    socket.write(`POST / HTTP/1.1\r\n${H}Content-Length: ${STALLED_SIZE}\r\n\r\n`)
    const { written } = pump(socket, STALLED_SIZE)
    const origin = await accepted
    const stalled = await stoodStill(written)
    t.diagnostic(`stopped after ${Math.round(stalled / 2 ** 20)} MB`)
    assert.ok(stalled < MAX_STALLED, `${stalled} bytes went into an origin that reads none`)
    assert.equal(await countBody(origin, STALLED_SIZE), STALLED_SIZE)
    origin.write('HTTP/1.1 204 No Content\r\n\r\n')
    const [answer] = (await once(socket, 'data')) as [Buffer]
    assert.match(answer.toString('latin1'), /^HTTP\/1\.1 204 /)
    socket.destroy()
    await site.harness.stop(1)
  })
}
