/**
 * Size and time limits of HTTP/1.1 heads (threat 10), and answers that must reach a caller who is still talking:
 * unread bytes would make the system send RST, and the answer would be lost.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { rawExchange, request } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import { test } from './engines.ts'
import { HOST, startSite } from './site.ts'

const H = `Host: ${HOST}\r\n`
const CARRIERS = ['mesh', 'plain'] as const

const TOO_LARGE: Readonly<Record<string, { readonly bytes: string; readonly details: string }>> = {
  '101 fields': {
    bytes: `GET / HTTP/1.1\r\n${H}${'X-A: b\r\n'.repeat(100)}\r\n`,
    details: 'request_headers_too_large',
  },
  '2000 fields': {
    bytes: `GET / HTTP/1.1\r\n${H}${'X-A: b\r\n'.repeat(2000)}\r\n`,
    details: 'request_headers_too_large',
  },
  'a field of 1 MB': {
    bytes: `GET / HTTP/1.1\r\n${H}X-A: ${'b'.repeat(1 << 20)}\r\n\r\n`,
    details: 'http1.headers_too_large',
  },
  'a target of 64 KB': { bytes: `GET /${'b'.repeat(65_536)} HTTP/1.1\r\n${H}\r\n`, details: 'http1.headers_too_large' },
  'a field name of 64 KB': {
    bytes: `GET / HTTP/1.1\r\n${H}${'x'.repeat(65_536)}: b\r\n\r\n`,
    details: 'http1.headers_too_large',
  },
}

test('threat 10: heads over the limits are answered 431 and go nowhere', async (t) => {
  const origin = await startRawOrigin()
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  let count = 0
  for (const carrier of CARRIERS) {
    for (const [name, { bytes, details }] of Object.entries(TOO_LARGE)) {
      await t.test(`${carrier}: ${name}`, async () => {
        const answer = await rawExchange(await site[carrier](), `${bytes}GET /smuggled HTTP/1.1\r\n${H}\r\n`)
        assert.match(answer, /^HTTP\/1\.1 431 Request Header Fields Too Large\r\n/)
        assert.match(answer, /\r\nconnection: close\r\n/i)
        assert.equal(answer.split('HTTP/1.1 ').length, 2)
        count += 1
        const line = (await site.harness.lines(count))[count - 1]
        assert.deepEqual(
          [line?.['response_code'], line?.['response_flags'], line?.['response_code_details'], line?.['reason']],
          [431, 'DPE', details, 'bad_request'],
        )
      })
    }
  }
  assert.equal(origin.connections.length, 0)
  await site.harness.stop(count)
})

test('100 fields and 50 KB are within the limits', async (t) => {
  const origin = await startRawOrigin({
    onRequest: (connection) => connection.socket.write('HTTP/1.1 204 No Content\r\n\r\n'),
  })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const fields = `${H}Connection: close\r\n${'X-A: b\r\n'.repeat(97)}X-Big: ${'c'.repeat(50_000)}\r\n`
  const answer = await rawExchange(await site.mesh(), `GET /headers HTTP/1.1\r\n${fields}\r\n`)
  assert.match(answer, /^HTTP\/1\.1 204 No Content\r\n/)
  const sent = origin.connections[0]?.text ?? ''
  assert.ok(sent.includes(`\r\nx-big: ${'c'.repeat(50_000)}\r\n`))
  assert.equal(sent.split('\r\nx-a: b').length, 98, 'every repetition is carried')
  await site.harness.stop(1)
})

test('limits come from the bootstrap', async (t) => {
  const origin = await startEchoOrigin()
  t.after(() => origin.close())
  const site = await startSite(t, origin.port, { spec: { http: { limits: { maxHeaderBytes: 8192, maxHeaders: 5 } } } })
  const six = await rawExchange(await site.mesh(), `GET / HTTP/1.1\r\n${H}${'X-A: b\r\n'.repeat(5)}\r\n`)
  assert.match(six, /^HTTP\/1\.1 431 /)
  const large = await rawExchange(await site.mesh(), `GET / HTTP/1.1\r\n${H}X-A: ${'b'.repeat(9000)}\r\n\r\n`)
  assert.match(large, /^HTTP\/1\.1 431 /)
  const socket = await site.mesh()
  assert.equal((await request(socket, HOST)).status, 200)
  socket.destroy()
  assert.deepEqual(origin.requests, ['GET /'])
  await site.harness.stop(3)
})

for (const carrier of CARRIERS) {
  test(`threat 10: ${carrier}: a head that never ends is answered 408`, async (t) => {
    const origin = await startRawOrigin()
    t.after(() => origin.close())
    const site = await startSite(t, origin.port, { spec: { http: { limits: { headersTimeout: '500ms' } } } })
    const socket = await site[carrier]()
    const drip = setInterval(() => socket.write('x'), 100)
    const began = performance.now()
    const answer = await rawExchange(socket, `GET / HTTP/1.1\r\n${H}X-Slow: `)
    clearInterval(drip)
    assert.match(answer, /^HTTP\/1\.1 408 Request Timeout\r\n/)
    assert.ok(performance.now() - began < 9_000, 'well before the default of 10 s; the caller cannot stretch it')
    const [line] = await site.harness.lines(1)
    assert.deepEqual(
      [line?.['response_code'], line?.['response_flags'], line?.['response_code_details'], line?.['reason']],
      [408, 'DPE', 'request_header_timeout', 'bad_request'],
    )
    assert.equal(origin.connections.length, 0)
    await site.harness.stop(1)
  })

  test(`threat 10: ${carrier}: a second head that never ends, on a connection that was in order`, async (t) => {
    const origin = await startEchoOrigin()
    t.after(() => origin.close())
    const site = await startSite(t, origin.port, { spec: { http: { limits: { headersTimeout: '500ms' } } } })
    const socket = await site[carrier]()
    const answer = await rawExchange(socket, `GET /status/204 HTTP/1.1\r\n${H}\r\nGET / HTTP/1.1\r\n`)
    assert.match(answer, /^HTTP\/1\.1 204 No Content\r\n/)
    assert.match(answer.slice(8), /HTTP\/1\.1 408 Request Timeout\r\n/)
    await site.harness.stop(2)
  })

  test(`${carrier}: a refusal reaches a caller who goes on sending a body`, async (t) => {
    const origin = await startRawOrigin()
    t.after(() => origin.close())
    const site = await startSite(t, origin.port)
    // One that keeps the connection (nobody registered that host) and two that end it.
    const heads = {
      502: 'POST / HTTP/1.1\r\nHost: unregistered.example\r\n',
      417: `POST / HTTP/1.1\r\n${H}Expect: something\r\n`,
      400: `POST / HTTP/1.1\r\n${H}Host: other.example\r\n`,
    }
    for (const [status, head] of Object.entries(heads)) {
      const socket = await site[carrier]()
      const block = Buffer.alloc(1 << 16, 'x')
      let left = 256
      const pump = () => {
        while (left-- > 0 && socket.writable) if (!socket.write(block)) return void socket.once('drain', pump)
      }
      socket.write(`${head}Content-Length: ${left * block.length}\r\n\r\n`)
      setImmediate(pump)
      const answer = await rawExchange(socket, '', (text) => text.includes('\r\n\r\n'))
      assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `))
      socket.destroy()
    }
    assert.equal(origin.connections.length, 0)
    await site.harness.stop(3)
  })
}

test('a connection that sends no request leaves no line; one that sends a part of it leaves one', async (t) => {
  const origin = await startRawOrigin()
  t.after(() => origin.close())
  const site = await startSite(t, origin.port, { spec: { http: { limits: { headersTimeout: '500ms' } } } })
  const silent = [await site.plain(), await site.plain()]
  silent[0]?.destroy()
  // A sidecar that connects ahead of need: closed in the end, with nothing to say about it.
  assert.equal(await rawExchange(await site.mesh(), ''), '')
  const half = await site.plain()
  half.end('GET / HTTP/1.1\r\n')
  await once(half, 'close')
  const [line] = await site.harness.lines(1)
  assert.deepEqual([line?.['response_code'], line?.['response_flags']], [0, 'DC'])
  silent[1]?.destroy()
  await site.quiet()
  await site.harness.stop(1)
})
