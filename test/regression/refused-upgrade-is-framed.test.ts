/** Found by test/fuzz: a gRPC request that asks for an upgrade was refused with an answer that did not say how long it is. */
import assert from 'node:assert/strict'
import { rawExchange } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
import { test } from '../integration/engines.ts'
import { HOST, startSite } from '../integration/site.ts'

test('threat 13: a refused upgrade says where its answer ends, to gRPC callers too', { timeout: 30_000 }, async (t) => {
  const origin = await startEchoOrigin()
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  for (const [type, status] of [
    ['application/grpc', 200],
    ['text/plain', 403],
  ] as const) {
    const fields = `Host: ${HOST}\r\nContent-Type: ${type}\r\nUpgrade: h2c\r\nConnection: upgrade`
    const answer = await rawExchange(await site.plain(), `POST / HTTP/1.1\r\n${fields}\r\n\r\n`)
    assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} [^]*\r\ncontent-length: 0\r\n`), type)
    assert.ok(answer.endsWith('\r\n\r\n'), type)
  }
  assert.deepEqual(origin.requests, [])
  await site.harness.stop(2)
})
