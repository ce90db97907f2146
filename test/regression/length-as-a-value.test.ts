/**
 * Found by test/fuzz: an answer with `connection: content-length` and no length of its own was taken for one of no bytes,
 * since a value was looked at as if it were a name. What came later stood before the next answer on that connection.
 */
import assert from 'node:assert/strict'
import { rawExchange } from '../../src/testing/mesh-client.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import { test } from '../integration/engines.ts'
import { HOST, startSite } from '../integration/site.ts'

const FIELDS = ['connection: content-length', 'x-a: transfer-encoding', 'x-a: content-length']

test('threat 7: an answer is framed by its fields, not by their values', { timeout: 30_000 }, async (t) => {
  const origin = await startRawOrigin({
    onRequest: ({ socket }, head) => {
      const field = FIELDS[Number(/^GET \/(\d)/.exec(head)?.[1])] ?? ''
      socket.write(`HTTP/1.1 200 OK\r\n${field}\r\n\r\n`)
      setImmediate(() => socket.end('until the end'))
    },
  })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  for (const [i, field] of FIELDS.entries()) {
    const bytes = `GET /${i} HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`
    assert.match(await rawExchange(await site.plain(), bytes), /\r\nd\r\nuntil the end\r\n0\r\n\r\n$/, field)
  }
  assert.equal(origin.connections.length, FIELDS.length)
  await site.harness.stop(FIELDS.length)
})
