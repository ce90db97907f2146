/**
 * http-proxy throws synchronously on a request it cannot send (HTTP/2 pseudo-headers, models.md finding 6), which took
 * the process down. A request that cannot be carried is a failure like any other, and nothing of it reaches the wire.
 */
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import type { OutgoingRequest } from '../../src/forward/forwarder.ts'
import { clusterModel, ENGINES, failureOf, testUpstream } from '../../src/testing/forwarding.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'

const UNSENDABLE: Readonly<Record<string, Partial<OutgoingRequest>>> = {
  'a pseudo-header': { headers: ['host', 'site.example', ':scheme', 'https'] },
  'CR LF in a value': { headers: ['host', 'site.example', 'x-a', 'b\r\nx-evil: 1'] },
  'NUL in a value': { headers: ['host', 'site.example', 'x-a', 'b\0c'] },
  'a character beyond Latin-1': { headers: ['host', 'site.example', 'x-a', '\u0100'] },
  'an empty name': { headers: ['host', 'site.example', '', 'x'] },
  'a space in a name': { headers: ['host', 'site.example', 'x a', 'x'] },
  ['__proto__']: { headers: ['host', 'site.example', '__proto__', 'x'] },
  'a space in the target': { target: '/a b' },
  'CR LF in the target': { target: '/a\r\nx-evil: 1' },
  'a wide character in the target': { target: '/\u0100' },
  'a method that is no token': { method: 'GET /x HTTP/1.1\r\nx:' },
  CONNECT: { method: 'CONNECT', target: 'site.example:443' },
  'two lengths': {
    headers: ['host', 'site.example', 'content-length', '1', 'content-length', '2'],
    body: Readable.from([]),
  },
  'a length that is none': { headers: ['host', 'site.example', 'content-length', '+1'], body: Readable.from([]) },
  'a length without a body': { headers: ['host', 'site.example', 'content-length', '5'] },
}

for (const [engine, create] of Object.entries(ENGINES)) {
  for (const [name, request] of Object.entries(UNSENDABLE)) {
    test(`threat 19: ${engine}: ${name} is refused and nothing is sent`, async () => {
      await using origin = await startRawOrigin()
      using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
      const sent = upstream.send(request)
      assert.equal(failureOf(await sent.outcome).kind, 'bad_headers')
      const connection = await origin.connection(0)
      await connection.closed
      assert.equal(connection.text, '')
      assert.deepEqual(sent.surplus, [])
      assert.equal(upstream.cluster.stats.upstream_rq_active, 0)
    })
  }
}
