/** Callers who hang up in the middle: of the handshake (gone at once, one line), or only their half (still answered). */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { it } from 'node:test'
import tls from 'node:tls'
import { meshConnect, plainConnect, rawExchange, SIDECAR_ALPN, SIDECAR_SNI } from '../../src/testing/mesh-client.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import { documents, gateway, ISTIO_MUTUAL, virtualService } from './manifests.ts'
import { sample } from './operator.ts'
import { started } from './started.ts'

const HOST = 'site.example'
const RESOURCES = {
  'all.yaml': documents(
    gateway({ tls: ISTIO_MUTUAL }),
    virtualService('direct', [HOST], [{ directResponse: { status: 200 } }]),
  ),
}

/** What a sidecar's first flight looks like, byte for byte. */
async function clientHello(): Promise<Buffer> {
  const listener = await startRawOrigin()
  const socket = tls.connect({
    host: '127.0.0.1',
    port: listener.port,
    servername: SIDECAR_SNI,
    ALPNProtocols: [...SIDECAR_ALPN],
  })
  socket.on('error', () => {})
  const connection = await listener.connection(0)
  // A record says how long it is (RFC 8446 §5.1).
  await connection.until((text) => text.length >= 5 && text.length >= 5 + text.charCodeAt(3) * 256 + text.charCodeAt(4))
  socket.destroy()
  await listener.close()
  return connection.bytes
}

it('a FIN in the middle of the handshake ends it at once, with one line', async (t) => {
  const harness = await started(t, { resources: RESOURCES })
  const socket = await plainConnect(harness.gateway.port(80))
  const from = performance.now()
  socket.on('data', () => {}).end(await clientHello())
  await once(socket, 'close')
  assert.ok(performance.now() - from < 12_000, 'not the handshake timeout of 15 s')
  const [line] = await harness.lines(1)
  assert.deepEqual(
    ['response_code', 'response_flags', 'requested_server_name', 'reason'].map((key) => line?.[key]),
    [0, 'DC', SIDECAR_SNI, null],
  )
  assert.match(String(line?.['connection_termination_details']), /^TLS_error:/)
  assert.equal(await sample(harness, 'sallyport_open_connections'), 0)
  await harness.stop(1)
})

it('a reset in the middle of the handshake leaves one line too', async (t) => {
  const harness = await started(t, { resources: RESOURCES })
  const socket = await plainConnect(harness.gateway.port(80))
  socket.write(await clientHello())
  await once(socket, 'data')
  socket.resetAndDestroy()
  const [line] = await harness.lines(1)
  assert.deepEqual([line?.['response_code'], line?.['response_flags']], [0, 'DC'])
  await harness.stop(1)
})

it('after the handshake a caller may close its half and still get its answer', async (t) => {
  const harness = await started(t, { resources: RESOURCES })
  const svid = await harness.pki.svid('mytest/sleep')
  const socket = await meshConnect({ port: harness.gateway.port(80), svid, ca: harness.pki.root, alpn: ['http/1.1'] })
  const answer = rawExchange(socket, `GET / HTTP/1.1\r\nhost: ${HOST}\r\nconnection: close\r\n\r\n`)
  socket.end()
  assert.match(await answer, /^HTTP\/1\.1 200 /)
  const [line] = await harness.lines(1)
  assert.deepEqual([line?.['response_code'], line?.['response_flags']], [200, '-'])
  await harness.stop(1)
})
