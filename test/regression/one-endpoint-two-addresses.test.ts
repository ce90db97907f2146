/**
 * One remote endpoint may be connected to two of our addresses at once. Handshakes were told apart by remote endpoint and
 * local port alone: the second took the first one's place, and the first was never heard of again, not even in the log.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { test } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { gatewayYaml, siteYaml } from '../../src/testing/egress-resources.ts'
import { startHarness } from '../../src/testing/harness.ts'
import { request, SIDECAR_ALPN, SIDECAR_SNI } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'

const HOST = 'site.example'
// Elsewhere only 127.0.0.1 is on the loopback interface.
const skip = process.platform === 'linux' ? false : 'needs all of 127.0.0.0/8 on loopback (Linux)'

test('two handshakes from one endpoint to two local addresses are two callers', { skip }, async (t) => {
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
  const first = await dial('127.0.0.1')
  const second = await dial('127.0.0.2', first.localPort)
  const secured = [] as Promise<Socket>[]
  for (const [account, socket] of [
    ['apps/first', first],
    ['apps/second', second],
  ] as const) {
    const { cert, key } = await harness.pki.svid(account)
    const tls = { servername: SIDECAR_SNI, ALPNProtocols: [...SIDECAR_ALPN], ca: harness.pki.root, cert, key }
    const client = connectTls({ socket, ...tls, checkServerIdentity: () => undefined })
    secured.push(once(client, 'secureConnect').then(() => client))
  }
  const clients = await Promise.all(secured)
  for (const client of clients) assert.equal((await request(client, HOST)).status, 200)
  const lines = await harness.lines(2)
  assert.deepEqual(
    lines.map((line) => [line['downstream_peer_uri_san'], String(line['downstream_local_address']).split(':')[0]]),
    [
      ['spiffe://cluster.local/ns/apps/sa/first', '127.0.0.1'],
      ['spiffe://cluster.local/ns/apps/sa/second', '127.0.0.2'],
    ],
  )
  for (const client of clients) client.destroy()
  await harness.stop(2)
})
