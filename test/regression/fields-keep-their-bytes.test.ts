/**
 * Found by test/fuzz: a request whose body came later than its head left with every byte of its fields from 0x80 up as two
 * (Node's `flushHeaders` writes UTF-8), so what policy had judged was not what went out. Answers of our own had the same fault.
 */
import assert from 'node:assert/strict'
import { rawExchange } from '../../src/testing/mesh-client.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import { test } from '../integration/engines.ts'
import { documents, virtualService } from '../integration/manifests.ts'
import { freePort } from '../integration/operator.ts'
import { HOST, startSite } from '../integration/site.ts'

test('a request whose body comes later than its head keeps the bytes of its fields', { timeout: 30_000 }, async (t) => {
  const origin = await startRawOrigin()
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const socket = await site.plain()
  socket.write(`POST / HTTP/1.1\r\nHost: ${HOST}\r\nx-latin: \xe9\xff\r\nContent-Length: 5\r\n\r\n`, 'latin1')
  const connection = await origin.connection(0)
  const head = await connection.until((text) => text.includes('\r\n\r\n'))
  assert.match(head, /\r\nx-latin: \xe9\xff\r\n/)
  const answered = rawExchange(socket, 'hello', (text) => text.includes('\r\n\r\n'))
  await connection.until((text) => text.endsWith('hello'))
  connection.socket.write('HTTP/1.1 204 No Content\r\n\r\n')
  assert.match(await answered, /^HTTP\/1\.1 204 /)
  socket.destroy()
  await site.harness.stop(1)
})

test("an answer of the gateway's own keeps the bytes of its fields", { timeout: 30_000 }, async (t) => {
  const port = await freePort()
  const rule = {
    route: [{ destination: { host: HOST, port: { number: 80 } } }],
    corsPolicy: { allowOrigins: [{ regex: '.*' }] },
  }
  const cors = documents(virtualService('cors', [`cors.${HOST}`], [rule]))
  const site = await startSite(t, port, { resources: { 'cors.yaml': cors } })
  const bytes = Buffer.from(
    `GET / HTTP/1.1\r\nHost: cors.${HOST}\r\nOrigin: http://\xe9\r\nConnection: close\r\n\r\n`,
    'latin1',
  )
  const answer = await rawExchange(await site.plain(), bytes)
  assert.match(answer, /^HTTP\/1\.1 503 /)
  assert.match(answer, /\r\naccess-control-allow-origin: http:\/\/\xe9\r\n/i)
  await site.harness.stop(1)
})
