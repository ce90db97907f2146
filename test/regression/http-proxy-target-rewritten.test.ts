/**
 * http-proxy parsed and joined the target again after it was judged: `//admin` went out as `/admin`, `/a\b` as `/a/b`
 * (models.md finding 2). Node upper-cases methods, joins cookies and re-encodes `content-disposition`. What was judged
 * is what goes out, byte for byte.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clusterModel, ENGINES, responseOf, testUpstream } from '../../src/testing/forwarding.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'

const TARGETS = [
  '//admin',
  '//evil.example/x',
  '/a//b///c',
  '/public\\..\\admin',
  '/a/../b/./c',
  '/%2e%2e/%2fadmin%5c',
  '/http://other.example//x',
  '/https:/x',
  '/?',
  '/?a=b?c=d??',
  '/x?u=http://a//b',
  '/;a=b',
  '/"<>^`{|}',
  '/caf\u00c3\u00a9\u00ff',
  '*',
  `/${'a'.repeat(60_000)}`,
]

for (const [engine, create] of Object.entries(ENGINES)) {
  test(`${engine}: hostile targets reach the wire untouched`, async () => {
    await using origin = await startRawOrigin({
      onRequest: (connection) => connection.socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'),
    })
    using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
    for (const target of TARGETS) {
      await responseOf(await upstream.request({ method: 'OPTIONS', target })).body()
    }
    const lines = origin.connections.flatMap(({ text }) =>
      text.split('\r\n').filter((line) => line.startsWith('OPTIONS')),
    )
    assert.deepEqual(new Set(lines), new Set(TARGETS.map((target) => `OPTIONS ${target} HTTP/1.1`)))
    assert.equal(lines.length, TARGETS.length)
  })

  test(`${engine}: method and header bytes reach the wire untouched, in order, nothing added`, async () => {
    await using origin = await startRawOrigin({
      onRequest: (connection) => connection.socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'),
    })
    using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
    const headers = [
      ...['host', 'site.example:8080'],
      ...['cookie', 'a=1'],
      ...['x-b', ''],
      ...['cookie', 'b=2'],
      ...['7', 'integer-like names keep their place'],
      ...['content-length', '0'],
      // UTF-8 bytes as Latin-1: Node turned C3 A9 into E9 here once it knew the content-length.
      ...['content-disposition', 'form-data; filename="caf\u00c3\u00a9"'],
      ...['date', 'Thu, 01 Jan 1970 00:00:00 GMT'],
      ...['x-b', 'again'],
    ]
    await responseOf(await upstream.request({ method: 'm-Search', target: '/x', headers })).body()
    const expected = Array.from(
      { length: headers.length / 2 },
      (_, i) => `${headers[i * 2]}: ${headers[i * 2 + 1]}\r\n`,
    )
    assert.equal(origin.connections[0]?.text, `m-Search /x HTTP/1.1\r\n${expected.join('')}\r\n`)
  })
}
