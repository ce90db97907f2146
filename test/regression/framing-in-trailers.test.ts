/**
 * Found by test/fuzz: a body's trailers that say how long the body is, or how it is coded, were read and dropped. Node's
 * parser refuses such a message, and whoever merges trailers into the head would believe them.
 */
import assert from 'node:assert/strict'
import { rawExchange } from '../../src/testing/mesh-client.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import { test } from '../integration/engines.ts'
import { HOST, startSite } from '../integration/site.ts'

const TRAILERS = ['content-length: 0', 'Content-Length: 5', 'transfer-encoding: chunked', 'x-t: 1\r\ncontent-length: 5']

test('threat 6: trailers that frame the message are refused, and the body never ends at the site', async (t) => {
  const origin = await startRawOrigin({})
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  for (const trailers of TRAILERS) {
    const head = `POST / HTTP/1.1\r\nHost: ${HOST}\r\nTransfer-Encoding: chunked\r\n\r\n`
    const bytes = `${head}5\r\nhello\r\n0\r\n${trailers}\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`
    const answer = await rawExchange(await site.plain(), bytes)
    assert.match(answer, /^HTTP\/1\.1 400 [^]*\r\nconnection: close\r\n/, trailers)
    assert.equal(answer.split('HTTP/1.1 ').length, 2, trailers)
  }
  await Promise.all(origin.connections.map(({ closed }) => closed))
  for (const { text } of origin.connections) {
    assert.doesNotMatch(text, /\r\n0\r\n/)
    assert.doesNotMatch(text, /smuggled/)
  }
  await site.harness.stop(TRAILERS.length)
})

test('threat 7: an answer whose trailers frame it is cut', async (t) => {
  const body = '5\r\nhello\r\n0\r\ncontent-length: 5\r\n\r\n'
  const origin = await startRawOrigin({
    onRequest: ({ socket }) => socket.write(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${body}`),
  })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const answer = await rawExchange(await site.plain(), `GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
  assert.doesNotMatch(answer, /\r\n0\r\n/)
  await (await origin.connection(0)).closed
  await site.harness.stop(1)
})
