/** Found by test/fuzz: behind an interim answer of HTTP/1.0, which there is none of, our parser read on and Node's did not. */
import assert from 'node:assert/strict'
import { rawExchange } from '../../src/testing/mesh-client.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import { test } from '../integration/engines.ts'
import { HOST, startSite } from '../integration/site.ts'

test('threat 7: an interim answer of HTTP/1.0 is 502, whatever comes behind it', { timeout: 30_000 }, async (t) => {
  const origin = await startRawOrigin({
    onRequest: ({ socket }) =>
      socket.write('HTTP/1.0 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'),
  })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const bytes = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`
  assert.match(await rawExchange(await site.plain(), bytes), /^HTTP\/1\.1 502 /)
  const [line] = await site.harness.lines(1)
  assert.equal(line?.['response_flags'], 'UPE')
  await site.harness.stop(1)
})
