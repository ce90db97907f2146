/** Which HTTP version leaves, and the limits of connections that several requests share (behaviour §5.3, §5.4). */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createSecureServer } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { h2Over, h2Request, h2Stream } from '../../src/testing/h2-client.ts'
import { ACK, FRAME, type FrameServer } from '../../src/testing/h2-frames.ts'
import { type FrameOrigin, startFrameOrigin } from '../../src/testing/h2-origin.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { destinationRule, documents, gateway, serviceEntry } from '../integration/manifests.ts'
import { stat } from '../integration/operator.ts'
import { started } from '../integration/started.ts'
import { routeTo } from './outside.ts'

const HOST = 'site.example'
const HTTP = 'DestinationRule.trafficPolicy.connectionPool.http'
const CLUSTER = `cluster.outbound|80||${HOST}`

type Site = {
  readonly harness: Harness
  /** Answers the status of one request by a caller who speaks this version. */
  readonly ask: (version: 'HTTP/1.1' | 'HTTP/2') => Promise<number>
  /** HTTP/1.1 and HTTP/2 connections to the outside so far. */
  readonly connections: () => Promise<readonly (number | null)[]>
}

/** One port that takes both versions. `tls`: of the rule. */
async function site(
  t: TestContext,
  target: number,
  protocol: string,
  http: object,
  tls: object | null = null,
): Promise<Site> {
  const policy = { connectionPool: { http }, ...(tls === null ? {} : { tls }) }
  const manifests = [
    gateway({ protocol: 'HTTP2' }),
    serviceEntry('site', HOST, target, { protocol }),
    routeTo(HOST),
    destinationRule('site', HOST, policy),
  ]
  const harness = await started(t, { resources: { 'all.yaml': documents(...manifests) } })
  const port = harness.gateway.port(80)
  return {
    harness,
    ask: async (version) => {
      const socket = await plainConnect(port)
      try {
        if (version === 'HTTP/1.1') return (await request(socket, HOST)).status
        return (await h2Request(h2Over(socket), HOST)).status
      } finally {
        socket.destroy()
      }
    },
    connections: async () =>
      Promise.all([1, 2].map(async (version) => stat(harness, `${CLUSTER}.upstream_cx_http${version}_total`))),
  }
}

test('field ServiceEntry.ports[].protocol: HTTP2 and GRPC leave as HTTP/2, HTTP and GRPC-WEB as HTTP/1.1, whatever the caller speaks', async (t) => {
  for (const [protocol, http2] of [
    ['HTTP', false],
    ['GRPC-WEB', false],
    ['HTTP2', true],
    ['GRPC', true],
  ] as const) {
    await using origin = await startEchoOrigin({ http2 })
    const { ask, connections, harness } = await site(t, origin.port, protocol, {})
    assert.deepEqual([await ask('HTTP/1.1'), await ask('HTTP/2')], [200, 200], protocol)
    assert.deepEqual(await connections(), http2 ? [0, 1] : [1, 0])
    assert.equal(origin.requests.length, 2)
    await harness.stop(2)
  }
})

test(`field ${HTTP}.h2UpgradePolicy: UPGRADE leaves as HTTP/2; DEFAULT and DO_NOT_UPGRADE leave it to the port`, async (t) => {
  for (const [h2UpgradePolicy, protocol, http2] of [
    ['UPGRADE', 'HTTP', true],
    ['DEFAULT', 'HTTP', false],
    ['DO_NOT_UPGRADE', 'HTTP', false],
    ['DO_NOT_UPGRADE', 'HTTP2', true],
  ] as const) {
    await using origin = await startEchoOrigin({ http2 })
    const { ask, connections, harness } = await site(t, origin.port, protocol, { h2UpgradePolicy })
    assert.equal(await ask('HTTP/1.1'), 200, h2UpgradePolicy)
    assert.deepEqual(await connections(), http2 ? [0, 1] : [1, 0])
    await harness.stop(1)
  }
})

test(`field ${HTTP}.useClientProtocol: leaves as what the caller speaks, over TLS by ALPN`, async (t) => {
  const pki = await createTestPki()
  const { cert, key } = await pki.serverCert(HOST)
  const seen: string[] = []
  const server = createSecureServer({ cert, key, allowHTTP1: true }, ({ httpVersion }, response) => {
    seen.push(httpVersion)
    response.end('ok')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-h2-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const tls = { mode: 'SIMPLE', caCertificates: pki.writeTo(dir) }
  const { ask, connections } = await site(
    t,
    (server.address() as AddressInfo).port,
    'HTTP',
    { useClientProtocol: true },
    tls,
  )
  const statuses = []
  for (const version of ['HTTP/2', 'HTTP/1.1', 'HTTP/2', 'HTTP/1.1'] as const) statuses.push(await ask(version))
  assert.deepEqual(
    [statuses, seen],
    [
      [200, 200, 200, 200],
      ['2.0', '1.1', '2.0', '1.1'],
    ],
  )
  assert.deepEqual(await connections(), [1, 1])
})

/** Requests on one HTTP/2 connection to the gateway, none of which is answered by itself. */
async function callers(site: Site, count: number): Promise<{ destroy(): void }> {
  const session = h2Over(await plainConnect(site.harness.gateway.port(80)))
  for (let i = 0; i < count; i++) h2Stream(session, HOST).end()
  return session
}

const carried = ({ connections }: FrameOrigin): number[] => connections.map(({ requests }) => requests.length)

test(`field ${HTTP}.maxConcurrentStreams: requests that one connection carries at once; 0 is no limit`, async (t) => {
  for (const [maxConcurrentStreams, expected] of [
    [2, [2, 2, 2]],
    [0, [6]],
  ] as const) {
    await using origin = await startFrameOrigin()
    const outside = await site(t, origin.port, 'HTTP2', { maxConcurrentStreams })
    const session = await callers(outside, 6)
    await eventually('six requests', () => carried(origin).reduce((sum, each) => sum + each, 0) === 6)
    assert.deepEqual(carried(origin), expected)
    session.destroy()
  }
})

const pings = ({ frames }: FrameServer) =>
  frames.filter(({ type, flags }) => type === FRAME.ping && (flags & ACK) === 0)

test(`field ${HTTP}.http2KeepAlive.interval, ${HTTP}.http2KeepAlive.timeout: PINGs, and the end when none is answered`, async (t) => {
  await using origin = await startFrameOrigin()
  const outside = await site(t, origin.port, 'HTTP2', { http2KeepAlive: { interval: '0.1s', timeout: '2s' } })
  const session = await callers(outside, 1)
  const connection = await origin.connection(0)
  for (const index of [0, 1]) {
    await connection.until(() => pings(connection).length > index)
    connection.pong(pings(connection)[index]?.payload ?? Buffer.alloc(8))
  }
  assert.equal(connection.closed, false)
  await connection.until(() => false)
  assert.equal(await stat(outside.harness, `${CLUSTER}.http2.keepalive_timeout`), 1)
  const [line] = await outside.harness.lines(1)
  assert.deepEqual([line?.['response_code'], line?.['response_flags']], [503, 'UC'])
  session.destroy()
})
