/**
 * One remote endpoint may be connected to two of our addresses at once. Handshakes were told apart by remote endpoint and
 * local port alone: the second took the first one's place, and the first was never heard of again, not even in the log.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import { test } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { gatewayYaml, siteYaml } from '../../src/testing/egress-resources.ts'
import { startHarness } from '../../src/testing/harness.ts'
import { request, SIDECAR_ALPN, SIDECAR_SNI } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'

const HOST = 'site.example'
// Elsewhere only 127.0.0.1 is on the loopback interface.
const skip = process.platform === 'linux' ? false : 'needs all of 127.0.0.0/8 on loopback (Linux)'

test('two handshakes from one endpoint to two local addresses are told apart', { skip }, async (t) => {
  const origin = await startEchoOrigin()
  t.after(() => origin.close())
  const resources = { 'all.yaml': `${gatewayYaml()}---\n${siteYaml(HOST, origin.port)}` }
  const harness = await startHarness({ resources, spec: { bindAddress: '0.0.0.0' } })
  t.after(async () => {
    if (harness.gateway.lifecycle.phase !== 'closed') await harness.gateway.destroy()
  })
  const port = harness.gateway.port(80)
  const dial = async (host: string, localPort?: number): Promise<Socket> => {
    const socket = connect({ host, port, localAddress: '127.0.0.1', ...(localPort === undefined ? {} : { localPort }) })
    await once(socket, 'connect')
    return socket
  }
  const { cert, key } = await harness.pki.svid('apps/sleep')
  const overTls = (socket: Duplex) => {
    const tls = { servername: SIDECAR_SNI, ALPNProtocols: [...SIDECAR_ALPN], ca: harness.pki.root, cert, key }
    return connectTls({ socket, ...tls, checkServerIdentity: () => undefined }).on('error', () => {})
  }
  // The first handshake stops half way: our hello is answered, and the client never hears of it.
  const first = await dial('127.0.0.1')
  const [near, far] = duplexPair()
  const stalled = overTls(near)
  far.on('data', (chunk: Buffer) => first.write(chunk))
  await once(first, 'data')
  const second = await dial('127.0.0.2', first.localPort)
  const client = overTls(second)
  await once(client, 'secureConnect')
  assert.equal((await request(client, HOST)).status, 200)
  first.destroy()
  stalled.destroy()
  const lines = await harness.lines(2)
  assert.deepEqual(
    lines.map((line) => [line['response_code'], line['response_flags'], String(line['downstream_local_address'])]),
    [
      [200, '-', `127.0.0.2:${port}`],
      [0, 'DC', `127.0.0.1:${port}`],
    ],
  )
  client.destroy()
  await harness.stop(2)
})
