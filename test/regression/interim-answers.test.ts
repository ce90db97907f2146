/**
 * Found by test/fuzz: our parser read on behind interim answers behind which Node's did not: of HTTP/1.0, which has none, and
 * with `connection: close`. What one reader takes for the answer, and another for what nobody asked for, is neither.
 */
import assert from 'node:assert/strict'
import { rawExchange } from '../../src/testing/mesh-client.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import { test } from '../integration/engines.ts'
import { HOST, startSite } from '../integration/site.ts'

const ANSWER = 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'
const INTERIM = {
  'of HTTP/1.0': 'HTTP/1.0 102 Processing\r\n\r\n',
  'that closes': 'HTTP/1.1 103 Early Hints\r\nconnection: close\r\n\r\n',
}

for (const [what, interim] of Object.entries(INTERIM))
  test(`threat 7: an interim answer ${what} is 502, whatever comes behind it`, { timeout: 30_000 }, async (t) => {
    const origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(`${interim}${ANSWER}`) })
    t.after(() => origin.close())
    const site = await startSite(t, origin.port)
    const bytes = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`
    assert.match(await rawExchange(await site.plain(), bytes), /^HTTP\/1\.1 502 /)
    const [line] = await site.harness.lines(1)
    assert.equal(line?.['response_flags'], 'UPE')
    await site.harness.stop(1)
  })
