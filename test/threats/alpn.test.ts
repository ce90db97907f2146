/** ALPN as sidecars send it (threat 36): each list gets a protocol both sides mean, and never the one that would prepend a preamble of metadata. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import tls from 'node:tls'
import { buildHello } from '../../src/testing/hello.ts'
import { meshConnect, plainConnect } from '../../src/testing/mesh-client.ts'
import type { RawOrigin } from '../../src/testing/origin.ts'
import { createTestPki, type TestPki } from '../../src/testing/pki.ts'
import { documents } from '../integration/manifests.ts'
import { started } from '../integration/started.ts'
import { CNN, MESH, OUTBOUND, PORTS, startDatabase, tunnelManifests, watch } from '../integration/tunnel-world.ts'

let pki: TestPki
let site: RawOrigin
let database: RawOrigin
before(async () => {
  pki = await createTestPki()
  site = await startDatabase()
  database = await startDatabase()
})
after(async () => {
  await site.close()
  await database.close()
})

/** TABLE: what is offered → what is chosen; false: nothing was offered. */
const LISTS: readonly (readonly [offered: readonly string[], chosen: string | false])[] = [
  [['istio-peer-exchange', 'istio'], 'istio'],
  [['istio', 'istio-peer-exchange'], 'istio'],
  [['istio-http/1.1', 'istio', 'http/1.1'], 'http/1.1'],
  [['istio-h2', 'istio', 'h2'], 'h2'],
  [['istio'], 'istio'],
  [[], false],
]

for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`threat 36: ${maxVersion}: a tunnel carries its bytes and no others, whatever list its sidecar offered`, async (t) => {
    const resources = { 'all.yaml': documents(...tunnelManifests(site.port, database.port)) }
    const harness = await started(t, { pki, resources, spec: { ports: PORTS } })
    const svid = await pki.svid('default/sleep')
    const connect = (alpn: readonly string[]) =>
      meshConnect({ port: harness.gateway.port(MESH), svid, ca: pki.root, servername: OUTBOUND, alpn, maxVersion })
    for (const [offered, chosen] of LISTS) {
      for (const [outside, bytes] of [
        [site, buildHello({ names: [CNN] })],
        [database, Buffer.from('bytes of no protocol')],
      ] as const) {
        const index = outside.connections.length
        const socket = await connect(offered)
        assert.equal(socket.alpnProtocol, chosen, offered.join())
        const seen = watch(socket)
        socket.write(bytes)
        const far = await outside.connection(index)
        await far.until((text) => text.length >= bytes.length)
        far.socket.end('answer')
        await seen.closed
        assert.equal(seen.text, 'answer', 'no preamble towards the caller')
        await far.closed
        assert.ok(far.bytes.equals(bytes), 'none towards the outside')
      }
    }
    const lines = await harness.lines(2 * LISTS.length)
    assert.deepEqual(
      new Set(lines.map((line) => line['downstream_peer_uri_san'])),
      new Set(['spiffe://cluster.local/ns/default/sa/sleep']),
    )
    await harness.stop(2 * LISTS.length)
  })

  test(`threat 36: ${maxVersion}: a list with nothing we speak is an alert, one line, nothing dialled`, async (t) => {
    const resources = { 'all.yaml': documents(...tunnelManifests(site.port, database.port)) }
    const harness = await started(t, { pki, resources, spec: { ports: PORTS } })
    const dialled = site.connections.length + database.connections.length
    const { cert, key } = await pki.svid('default/sleep')
    const lists = [['istio-peer-exchange'], ['istio-http/1.0', 'http/1.0'], ['h3']]
    for (const ALPNProtocols of lists) {
      const raw = await plainConnect(harness.gateway.port(MESH))
      const socket = tls.connect({
        socket: raw,
        servername: OUTBOUND,
        ca: pki.root,
        cert,
        key,
        ALPNProtocols,
        maxVersion,
      })
      const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException]
      assert.equal(error.code, 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL', ALPNProtocols.join())
      raw.destroy()
    }
    for (const line of await harness.lines(lists.length)) {
      assert.deepEqual([line['response_code'], line['upstream_host']], [0, null])
      assert.match(String(line['connection_termination_details']), /^TLS_error:.*PROTOCOL/i)
    }
    assert.equal(site.connections.length + database.connections.length, dialled)
    await harness.stop(lists.length)
  })
}
