/** Node keeps a request's head until the first byte of its body: a caller that waits for an answer first waited for ever. */
import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { clusterModel, ENGINES, testUpstream } from '../../src/testing/forwarding.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'

for (const [engine, create] of Object.entries(ENGINES)) {
  test(`${engine}: the head is sent before there is any body`, async () => {
    await using origin = await startRawOrigin({
      onRequest: ({ socket }) => socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\ngo\r\n'),
    })
    using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
    const body = new PassThrough()
    const sent = upstream.send({ method: 'POST', target: '/x', headers: ['host', 'site.example'], body })
    const outcome = await sent.outcome
    assert.equal(outcome.kind, 'response')
    const connection = await origin.connection(0)
    assert.match(connection.text, /^POST \/x HTTP\/1\.1\r\nhost: site\.example\r\ntransfer-encoding: chunked\r\n\r\n$/)
    body.end('hello')
    await connection.until((text) => text.endsWith('\r\n\r\n5\r\nhello\r\n0\r\n\r\n'))
    connection.socket.write('0\r\n\r\n')
    if (outcome.kind === 'response') assert.equal((await outcome.body()).toString(), 'go')
  })
}
