/** Every row of contract §4's table that carries opaque bytes: what arrives outside, and the one line it leaves. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, describe, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { plainConnect } from '../../src/testing/mesh-client.ts'
import type { RawOrigin } from '../../src/testing/origin.ts'
import { createTestPki, type TestPki } from '../../src/testing/pki.ts'
import { documents } from './manifests.ts'
import { askControl, sample, stat } from './operator.ts'
import { started } from './started.ts'
import {
  application,
  assertTunnelLine,
  CNN,
  meshTunnel,
  OUTBOUND,
  PASS,
  PORTS,
  rawTunnel,
  startDatabase,
  startSite,
  tunnelManifests,
  watch,
} from './tunnel-world.ts'

const GREETING = '220 db.example ready\r\n'
const CNN_CLUSTER = 'outbound|443||edition.cnn.com'
const DB_CLUSTER = 'outbound|9000||db.example'
const CALLER = { downstream_peer_uri_san: 'spiffe://cluster.local/ns/default/sa/sleep', source_namespace: 'default' }

let pki: TestPki
let site: RawOrigin
let database: RawOrigin
/** Greets before it is spoken to. */
let greeter: RawOrigin
before(async () => {
  pki = await createTestPki()
  site = await startSite(pki, CNN, ({ socket }) => socket.once('data', () => socket.end('answer')))
  database = await startDatabase(({ socket }) => socket.once('data', () => socket.end('answer')))
  greeter = await startDatabase(({ socket }) => socket.write(GREETING))
})
after(async () => {
  await site.close()
  await database.close()
  await greeter.close()
})

function options(databasePort: number) {
  return {
    pki,
    spec: { ports: PORTS },
    resources: { 'all.yaml': documents(...tunnelManifests(site.port, databasePort)) },
  }
}

describe('ways through', () => {
  test('application TLS in mTLS: identity of the outer, SNI of the inner, bytes as they are', async (t) => {
    const harness = await started(t, options(database.port))
    const app = await application(harness, await meshTunnel(harness))
    assert.equal(app.getPeerCertificate().subjectaltname, `DNS:${CNN}`, 'the site’s own certificate, end to end')
    assert.equal(await sample(harness, 'sallyport_open_tunnels'), 1)
    const seen = watch(app)
    app.end('question')
    await seen.closed
    assert.equal(seen.text, 'answer')
    assert.equal((await site.connection(0)).text, 'question')
    const [line] = await harness.lines(1)
    // Counted apart from the copy: what the socket to the outside has carried.
    const up = await stat(harness, `cluster.${CNN_CLUSTER}.upstream_cx_tx_bytes_total`)
    const down = await stat(harness, `cluster.${CNN_CLUSTER}.upstream_cx_rx_bytes_total`)
    assert.ok(up !== null && up > 1000 && down !== null && down > 1000, `${up} ${down}`)
    assertTunnelLine(line, {
      ...CALLER,
      bytes_received: up,
      bytes_sent: down,
      upstream_host: `127.0.0.1:${site.port}`,
      upstream_cluster: CNN_CLUSTER,
      requested_server_name: OUTBOUND,
      inner_server_name: CNN,
    })
    await eventually('the gauge is down again', async () => (await sample(harness, 'sallyport_open_tunnels')) === 0)
    await harness.stop(1)
  })

  test('bytes in mTLS take the tcp route, to the byte', async (t) => {
    const harness = await started(t, options(database.port))
    const tunnel = await meshTunnel(harness)
    const seen = watch(tunnel)
    tunnel.end('PRI')
    await seen.closed
    assert.equal(seen.text, 'answer')
    const [line] = await harness.lines(1)
    assertTunnelLine(line, {
      ...CALLER,
      bytes_received: 3,
      bytes_sent: 6,
      upstream_host: `127.0.0.1:${database.port}`,
      upstream_cluster: DB_CLUSTER,
      requested_server_name: OUTBOUND,
    })
    await harness.stop(1)
  })

  test('a first byte that could begin an HTTP/2 preface is not waited for where no HTTP is spoken', async (t) => {
    const harness = await started(t, options(database.port))
    const tunnel = await meshTunnel(harness)
    const seen = watch(tunnel)
    const at = performance.now()
    tunnel.write('P')
    await seen.until((text) => text === 'answer')
    assert.ok(performance.now() - at < 4000, 'well before the wait for a ClientHello ends')
    tunnel.end()
    await seen.closed
    await harness.stop(1)
  })

  test('a server that speaks first: after five silent seconds in mTLS, at once on a plaintext port', async (t) => {
    const harness = await started(t, options(greeter.port))
    const plain = await rawTunnel(harness)
    const plainSeen = watch(plain)
    const meshed = await meshTunnel(harness)
    const meshedSeen = watch(meshed)
    await plainSeen.until((text) => text === GREETING)
    assert.equal(meshedSeen.text, '', 'the caller in mTLS may still send a ClientHello')
    await meshedSeen.until((text) => text === GREETING)
    for (const index of [0, 1]) (await greeter.connection(index)).socket.end()
    plain.end()
    meshed.end('QUIT\r\n')
    await Promise.all([plainSeen.closed, meshedSeen.closed])
    const lines = await harness.lines(2)
    const byBytes = lines.toSorted((a, b) => Number(a['bytes_received']) - Number(b['bytes_received']))
    const shared = {
      bytes_sent: GREETING.length,
      upstream_host: `127.0.0.1:${greeter.port}`,
      upstream_cluster: DB_CLUSTER,
    }
    assertTunnelLine(byBytes[0], { ...shared, bytes_received: 0 })
    assertTunnelLine(byBytes[1], { ...shared, ...CALLER, bytes_received: 6, requested_server_name: OUTBOUND })
    assert.ok(Number(byBytes[1]?.['duration']) >= 5000, 'the life of the connection, the wait included')
    await harness.stop(2)
  })

  test('passthrough by SNI without identity, the caller’s bytes counted as sent', async (t) => {
    const harness = await started(t, options(database.port))
    const below = await plainConnect(harness.gateway.port(PASS))
    const app = await application(harness, below)
    assert.equal(app.getPeerCertificate().subjectaltname, `DNS:${CNN}`)
    const seen = watch(app)
    app.end('question')
    await seen.closed
    const [line] = await harness.lines(1)
    assertTunnelLine(line, {
      bytes_received: await stat(harness, `cluster.${CNN_CLUSTER}.upstream_cx_tx_bytes_total`),
      bytes_sent: await stat(harness, `cluster.${CNN_CLUSTER}.upstream_cx_rx_bytes_total`),
      upstream_host: `127.0.0.1:${site.port}`,
      upstream_cluster: CNN_CLUSTER,
      requested_server_name: CNN,
    })
    await harness.stop(1)
  })

  test('plaintext bytes, judged and dialled at once; counted as one TCP connection', async (t) => {
    const harness = await started(t, options(database.port))
    const tunnel = await rawTunnel(harness)
    const seen = watch(tunnel)
    tunnel.end('SELECT 1')
    await seen.closed
    const [line] = await harness.lines(1)
    assertTunnelLine(line, {
      bytes_received: 8,
      bytes_sent: 6,
      upstream_host: `127.0.0.1:${database.port}`,
      upstream_cluster: DB_CLUSTER,
    })
    const { body } = await askControl(harness, 'metrics', '/stats/prometheus')
    const value = (name: string) =>
      body.split('\n').find((each) => each.startsWith(`${name}{`) && each.includes('destination_service="db.example"'))
    for (const [name, count] of [
      ['istio_tcp_connections_opened_total', 1],
      ['istio_tcp_connections_closed_total', 1],
      ['istio_tcp_received_bytes_total', 8],
      ['istio_tcp_sent_bytes_total', 6],
    ] as const)
      assert.match(value(name) ?? `no ${name}`, new RegExp(` ${count}$`))
    await harness.stop(1)
  })

  test('a connection that never sends a byte leaves no line and dials nothing', async (t) => {
    const harness = await started(t, options(database.port))
    const before = site.connections.length + database.connections.length
    for (const socket of [await meshTunnel(harness), await plainConnect(harness.gateway.port(PASS))]) {
      const closed = once(socket, 'close')
      socket.on('data', () => undefined)
      socket.end()
      await closed
    }
    assert.equal(site.connections.length + database.connections.length, before)
    await harness.stop(0)
  })
})
