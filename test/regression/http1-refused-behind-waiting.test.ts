/**
 * Found by test/fuzz: a request whose framing is refused when two others in front of it were not answered yet took the
 * waiting one along: that was never answered, had no line, and the connection hung until somebody gave up. Only an engine
 * that reads ahead could come to that.
 */
import assert from 'node:assert/strict'
import { rawExchange } from '../../src/testing/mesh-client.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import { test } from '../integration/engines.ts'
import { HOST, startSite } from '../integration/site.ts'

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`

test('a refusal behind requests that wait leaves them their turn', { timeout: 30_000 }, async (t) => {
  const origin = await startRawOrigin({
    onRequest: ({ socket }, head) => {
      const path = head.split(' ', 2)[1] ?? ''
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${path.length}\r\n\r\n${path}`)
    },
  })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const bytes = `${get('/first')}${get('/second')}POST /third HTTP/1.1\r\nHost: ${HOST}\r\nTransfer-Encoding: chunke\r\n\r\n0\r\n\r\n`
  const answer = await rawExchange(await site.plain(), bytes)
  assert.deepEqual(
    [...answer.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status),
    ['200', '200', '400'],
  )
  assert.match(answer, /\r\n\r\n\/firstHTTP.*\r\n\r\n\/secondHTTP/s)
  assert.deepEqual(
    (await site.harness.lines(3)).map((line) => line['response_code']),
    [200, 200, 400],
  )
  await site.harness.stop(3)
})
