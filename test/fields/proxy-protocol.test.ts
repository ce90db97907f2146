/** `proxyProtocol`: upstreams are told whose connection it is, before anything else is said (behaviour §5.6). */
import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import { before, type TestContext, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { type RawOrigin, startEchoOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import { createTestPki, type TestPki } from '../../src/testing/pki.ts'
import { destinationRule, documents, gateway, serviceEntry, to, virtualService } from '../integration/manifests.ts'
import { started } from '../integration/started.ts'
import { DB, PORTS, rawTunnel, tunnelManifests } from '../integration/tunnel-world.ts'
import { heldOrigin } from './held-origin.ts'
import { HOST, retrySite } from './retry-site.ts'

const PROXY = 'DestinationRule.trafficPolicy.proxyProtocol'

let pki: TestPki
before(async () => {
  pki = await createTestPki()
})

const V2 = '\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c'

/** The header that tells of this caller. */
function headerOf(version: 'V1' | 'V2', caller: Socket): string {
  const [from, to] = [caller.localPort ?? 0, caller.remotePort ?? 0]
  if (version === 'V1') return `PROXY TCP4 127.0.0.1 127.0.0.1 ${from} ${to}\r\n`
  const rest = Buffer.from([127, 0, 0, 1, 127, 0, 0, 1, from >> 8, from & 255, to >> 8, to & 255])
  return V2 + rest.toString('latin1')
}

/** Answers each request, whatever stands before it. */
async function startOrigin(t: TestContext): Promise<RawOrigin> {
  const origin = await startRawOrigin({
    onConnection: (connection) => {
      let answered = 0
      connection.on('bytes', () => {
        for (const asked = connection.text.split('GET / HTTP/1.1').length - 1; answered < asked; answered++)
          connection.socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
      })
    },
  })
  t.after(() => origin.close())
  return origin
}

for (const [spec, version] of [
  [{ version: 'V1' }, 'V1'],
  [{ version: 'V2' }, 'V2'],
  [{}, 'V1'],
] as const) {
  test(`field ${PROXY}.version: requests: ${JSON.stringify(spec)}`, async (t) => {
    const origin = await startOrigin(t)
    const { harness } = await retrySite(t, {
      endpoints: [{ port: origin.port }],
      retries: null,
      policy: { proxyProtocol: spec },
    })
    const port = harness.gateway.port(80)
    const callers = [await plainConnect(port), await plainConnect(port)]
    // What belongs to one caller is never lent to another; its own requests share a connection.
    for (let round = 0; round < 3; round++)
      for (const caller of callers) assert.equal((await request(caller, HOST)).status, 200)
    assert.equal(origin.connections.length, 2)
    for (const [i, caller] of callers.entries()) {
      const { text } = await origin.connection(i)
      const header = headerOf(version, caller)
      assert.equal(text.slice(0, header.length), header)
      assert.ok(text.slice(header.length).startsWith('GET / HTTP/1.1\r\nhost: site.example\r\n'))
      assert.equal(text.indexOf(header.slice(0, 12), 1), -1)
      caller.destroy()
    }
    await harness.stop(6)
  })

  test(`field ${PROXY}.version: tunnels: ${JSON.stringify(spec)}`, async (t) => {
    const database = await startRawOrigin()
    t.after(() => database.close())
    const rule = destinationRule('db', DB, { proxyProtocol: spec })
    const resources = { 'all.yaml': documents(...tunnelManifests(1, database.port), rule) }
    const harness = await started(t, { pki, resources, spec: { ports: PORTS } })
    const socket = await rawTunnel(harness)
    socket.write('hello')
    const far = await database.connection(0)
    await far.until((text) => text === `${headerOf(version, socket)}hello`)
    socket.destroy()
    await far.closed
    await harness.stop(1)
  })
}

test(`field ${PROXY}.version: it is not spoken unless asked for`, async (t) => {
  const outside = await heldOrigin(t)
  outside.answerAll()
  const { harness, get } = await retrySite(t, { endpoints: [{ port: outside.origin.port }], retries: null })
  for (let i = 0; i < 2; i++) assert.equal((await get()).status, 200)
  assert.equal(outside.origin.connections.length, 1)
  assert.ok((await outside.origin.connection(0)).text.startsWith('GET / HTTP/1.1\r\n'))
  await harness.stop(2)
})

/** Takes a header of version 1 off each connection and relays the rest. */
async function startRelay(t: TestContext, to: number, headers: string[]): Promise<number> {
  const relay = await startRawOrigin({
    onConnection: ({ socket }) => {
      const behind = connect(to, '127.0.0.1').on('error', () => socket.destroy())
      let waiting: Buffer | null = Buffer.alloc(0)
      socket.on('data', (chunk: Buffer) => {
        if (waiting === null) return void behind.write(chunk)
        waiting = Buffer.concat([waiting, chunk])
        const end = waiting.indexOf('\r\n') + 2
        if (end < 2) return
        headers.push(waiting.toString('latin1', 0, end))
        behind.write(waiting.subarray(end))
        waiting = null
      })
      socket.once('close', () => behind.destroy())
      behind.pipe(socket)
    },
  })
  t.after(() => relay.close())
  return relay.port
}

test(`field ${PROXY}.version: before TLS, which is verified as ever`, async (t) => {
  const site = await startEchoOrigin({ tls: await pki.serverCert(HOST) })
  t.after(() => site.close())
  const headers: string[] = []
  const port = await startRelay(t, site.port, headers)
  const harness = await started(t, { pki, resources: {} })
  const under = (sni: string) => {
    const tls = { mode: 'SIMPLE', sni, caCertificates: harness.paths.caFile }
    const rule = destinationRule('site', HOST, { tls, proxyProtocol: { version: 'V1' } })
    const route = virtualService('site', [HOST], [{ route: to(HOST), retries: { attempts: 0 } }])
    return harness.change({ 'all.yaml': documents(gateway(), serviceEntry('site', HOST, port), route, rule) })
  }
  for (const [sni, status] of [
    [HOST, 200],
    ['other.example', 503],
  ] as const) {
    assert.equal((await under(sni)).ok, true)
    const caller = await plainConnect(harness.gateway.port(80))
    assert.equal((await request(caller, HOST)).status, status)
    await eventually('the header is there', () => headers.length > 0)
    assert.deepEqual(headers.splice(0), [headerOf('V1', caller)])
    caller.destroy()
  }
  await harness.stop(2)
})
