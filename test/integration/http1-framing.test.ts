/**
 * HTTP/1.1 framing attacks through the whole gateway (threats 1–3, 5, 6, 23): whatever two parsers could read in two ways is
 * answered 400, the connection is closed, what follows on it is never a request, the origin sees nothing of it, and the
 * log has exactly one line.
 */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { rawExchange } from '../../src/testing/mesh-client.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import { differences, test } from './engines.ts'
import { HOST, type Site, startSite } from './site.ts'

const H = `Host: ${HOST}\r\n`
const CHUNKED = 'Transfer-Encoding: chunked\r\n'
const FOLLOWING = `GET /smuggled HTTP/1.1\r\n${H}\r\n`
const post = (fields: string, body: string) => `POST / HTTP/1.1\r\n${H}${fields}\r\n${body}`
const get = (fields: string) => `GET / HTTP/1.1\r\n${H}${fields}\r\n`

/** Wrong before the body: the origin is not even dialled. TABLES: what is wrong → the bytes. */
type Heads = Readonly<Record<string, string>>

const TWO_FRAMINGS: Heads = {
  'content-length, then chunked': post(`Content-Length: 5\r\n${CHUNKED}`, '0\r\n\r\n'),
  'chunked, then content-length': post(`${CHUNKED}Content-Length: 5\r\n`, '0\r\n\r\n'),
}

const CODINGS: Heads = {
  xchunked: post('Transfer-Encoding: xchunked\r\n', '0\r\n\r\n'),
  'chunked, identity': post('Transfer-Encoding: chunked, identity\r\n', '0\r\n\r\n'),
  'gzip, chunked': post('Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n'),
  'chunked, chunked': post('Transfer-Encoding: chunked, chunked\r\n', '0\r\n\r\n'),
  'identity alone': post('Transfer-Encoding: identity\r\n', ''),
  'empty transfer-encoding': post('Transfer-Encoding:\r\n', '0\r\n\r\n'),
  'two transfer-encodings': post(CHUNKED + CHUNKED, '0\r\n\r\n'),
  'space before the colon': post('Transfer-Encoding : chunked\r\n', '0\r\n\r\n'),
  'vertical tab before the coding': post('Transfer-Encoding: \x0bchunked\r\n', '0\r\n\r\n'),
  'transfer-encoding folded': post('Transfer-Encoding:\r\n chunked\r\n', '0\r\n\r\n'),
  'transfer-encoding behind a fold': post('X-A: a\r\n Transfer-Encoding: chunked\r\n', '0\r\n\r\n'),
}

const LENGTHS: Heads = {
  'content-length twice': post('Content-Length: 5\r\nContent-Length: 5\r\n', 'hello'),
  'two content-lengths': post('Content-Length: 5\r\nContent-Length: 6\r\n', 'hello!'),
  'content-length +5': post('Content-Length: +5\r\n', 'hello'),
  'content-length -5': post('Content-Length: -5\r\n', 'hello'),
  'content-length 5, 5': post('Content-Length: 5, 5\r\n', 'hello'),
  'content-length 0x5': post('Content-Length: 0x5\r\n', 'hello'),
  'content-length 5 5': post('Content-Length: 5 5\r\n', 'hello'),
  'content-length empty': post('Content-Length:\r\n', 'hello'),
  'content-length over 64 bits': post('Content-Length: 18446744073709551621\r\n', 'hello'),
}

const BYTES: Heads = {
  'another field folded': get('X-A: a\r\n b\r\n'),
  'first field folded': `GET / HTTP/1.1\r\n X-A: a\r\n${H}\r\n`,
  'bare LF throughout': `GET / HTTP/1.1\nHost: ${HOST}\n\n`,
  'bare LF after a field': `GET / HTTP/1.1\r\nHost: ${HOST}\nX-A: b\r\n\r\n`,
  'bare LF after the request line': `GET / HTTP/1.1\nHost: ${HOST}\r\n\r\n`,
  'bare LF at the end of the head': `GET / HTTP/1.1\r\n${H}\n`,
  'bare CR as a line end': `GET / HTTP/1.1\r\nHost: ${HOST}\rX-A: b\r\n\r\n`,
  'CR in a value': get('X-A: a\rb\r\n'),
  'NUL in a value': get('X-A: a\0b\r\n'),
  'control character in a value': get('X-A: a\x01b\r\n'),
  'DEL in a value': get('X-A: a\x7fb\r\n'),
  'NUL in a name': get('X\0A: b\r\n'),
  'space in a name': get('X A: b\r\n'),
  'no colon': get('XA\r\n'),
  'empty name': get(': b\r\n'),
  'parenthesis in a name': get('X(A): b\r\n'),
  'byte over 0x7f in a name': get('X\xc3\xa9: b\r\n'),
  'the name __proto__': get('__proto__: b\r\n'),
  'no version': 'GET /\r\n',
}

const METHODS: Heads = {
  'tab after the method': `GET\t/ HTTP/1.1\r\n${H}\r\n`,
  'space in the target': `GET / x HTTP/1.1\r\n${H}\r\n`,
  'space after the version': `GET / HTTP/1.1 \r\n${H}\r\n`,
  'HTTP/1.2': `GET / HTTP/1.2\r\n${H}\r\n`,
  'version in lower case': `GET / http/1.1\r\n${H}\r\n`,
  'space before the method': ` GET / HTTP/1.1\r\n${H}\r\n`,
  'method in lower case': `get / HTTP/1.1\r\n${H}\r\n`,
  'unknown method': `FOO / HTTP/1.1\r\n${H}\r\n`,
}

/** Wrong inside the body, after a head that was in order: what went out of it must never be completed. */
const BODIES: Readonly<Record<string, string>> = {
  'chunk size over 64 bits': '10000000000000005\r\nhello\r\n0\r\n\r\n',
  'negative chunk size': '-1\r\nhello\r\n0\r\n\r\n',
  'chunk size 0x5': '0x5\r\nhello\r\n0\r\n\r\n',
  'space after the chunk size': '5 \r\nhello\r\n0\r\n\r\n',
  'bare LF after the chunk size': '5\nhello\r\n0\r\n\r\n',
  'bare LF in a chunk extension': '5;a\nhello\r\n0\r\n\r\n',
  'chunk extension of 1 MB': `5;${'a'.repeat(1 << 20)}\r\nhello\r\n0\r\n\r\n`,
  'no CRLF after the chunk': '5\r\nhello0\r\n\r\n',
  'chunk longer than its size': '5\r\nhelloX\r\n0\r\n\r\n',
  'space in a trailer name': '5\r\nhello\r\n0\r\nX T: 1\r\n\r\n',
  'no CRLF at the end of the body': '5\r\nhello\r\n0\r\n',
}

type Carrier = 'mesh' | 'plain'

/** What every caller of a malformed request gets. */
async function refused(site: Site, carrier: Carrier, bytes: string): Promise<void> {
  const answer = await rawExchange(await site[carrier](), Buffer.from(bytes + FOLLOWING, 'latin1'))
  assert.match(answer, /^HTTP\/1\.1 400 Bad Request\r\n/)
  assert.match(answer, /\r\nconnection: close\r\n/i)
  assert.match(answer, /\r\nx-sallyport-reason: bad_request\r\n/)
  assert.equal(answer.split('HTTP/1.1 ').length, 2, 'the request behind it got no answer')
}

async function sweep(t: TestContext, carrier: Carrier, heads: Heads): Promise<void> {
  const origin = await startRawOrigin()
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const rows = Object.entries(heads)
  for (const [name, head] of rows) {
    await t.test(`${carrier}: ${name}`, async () => {
      await refused(site, carrier, head)
      assert.equal(origin.connections.length, 0, 'nothing was dialled')
    })
  }
  for (const line of await site.harness.lines(rows.length)) {
    assert.deepEqual([line['response_code'], line['reason'], line['protocol']], [400, 'bad_request', 'HTTP/1.1'])
  }
  await site.quiet()
  await site.harness.stop(rows.length)
}

for (const carrier of ['mesh', 'plain'] as const) {
  test(`threat 1: ${carrier}: content-length and chunked at once`, (t) => sweep(t, carrier, TWO_FRAMINGS))
  test(`threat 2: ${carrier}: transfer codings that are not exactly chunked`, (t) => sweep(t, carrier, CODINGS))
  test(`threat 3: ${carrier}: content-lengths that are not one number`, (t) => sweep(t, carrier, LENGTHS))
  test(`threat 5: ${carrier}: bare LF and CR, NUL and other bytes that end nothing`, (t) => sweep(t, carrier, BYTES))
  test(`threat 23: ${carrier}: methods and versions that are none`, (t) => sweep(t, carrier, METHODS))
}

test('threat 6: malformed bodies: the caller gets 400, the origin never a whole request', async (t) => {
  const origin = await startRawOrigin()
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  let count = 0
  for (const carrier of ['mesh', 'plain'] as const) {
    for (const [name, body] of Object.entries(BODIES)) {
      await t.test(`${carrier}: ${name}`, async () => {
        count += 1
        await refused(site, carrier, post(CHUNKED, body))
      })
    }
  }
  for (const line of await site.harness.lines(count)) {
    assert.deepEqual([line['response_code'], line['reason'], line['response_flags']], [400, 'bad_request', 'DPE'])
    const [, fault] = /^http1\.codec_error\{(.*)\}$/.exec(String(line['response_code_details'])) ?? []
    assert.match(String(fault), differences().fault)
  }
  await site.quiet()
  for (const connection of origin.connections) {
    await connection.closed
    assert.ok(!connection.text.endsWith('\r\n0\r\n\r\n'), `the body was never completed: ${connection.text.slice(-60)}`)
    assert.ok(!connection.text.includes('/smuggled'))
  }
  await site.harness.stop(count)
})

test('threat 6: a malformed body behind an answer that came early: one line, and the connection ends', async (t) => {
  const origin = await startRawOrigin({
    onRequest: (connection) => connection.socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'),
  })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const socket = await site.mesh()
  let answer = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    if (answer === '') socket.write(`zz\r\n${FOLLOWING}`)
    answer += chunk
  })
  socket.write(post(CHUNKED, '5\r\nhello\r\n'))
  await new Promise((resolve) => socket.once('close', resolve))
  assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/)
  assert.equal(answer.split('HTTP/1.1 ').length, 2)
  await (await origin.connection(0)).closed
  assert.ok(!origin.connections.some((connection) => connection.text.includes('/smuggled')))
  const [line] = await site.harness.lines(1)
  assert.equal(line?.['response_code'], 200)
  await site.harness.stop(1)
})
