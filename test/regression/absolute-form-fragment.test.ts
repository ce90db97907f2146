/**
 * Found by test/fuzz: `http://host#x` was taken for a target by our parser and by no other; nothing but a path or a query
 * stands behind an authority (RFC 9112 §3.2.2, RFC 3986 §4.3).
 */
import assert from 'node:assert/strict'
import { rawExchange } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
import { test } from '../integration/engines.ts'
import { HOST, startSite } from '../integration/site.ts'

test('threat 21: a fragment right behind the authority is 400, a query is not', { timeout: 30_000 }, async (t) => {
  const origin = await startEchoOrigin()
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const ask = async (target: string) =>
    rawExchange(await site.plain(), `GET ${target} HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`)
  assert.match(await ask(`http://${HOST}#x`), /^HTTP\/1\.1 400 /)
  assert.match(await ask(`http://${HOST}?x`), /^HTTP\/1\.1 200 /)
  assert.match(await ask(`http://${HOST}`), /^HTTP\/1\.1 200 /)
  assert.deepEqual(origin.requests, ['GET /?x', 'GET /'])
  await site.harness.stop(3)
})
