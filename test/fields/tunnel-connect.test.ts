/** `tunnel`: streams go to their target through a proxy, which the endpoints are (behaviour §5.6). */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { after, before, type TestContext, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import type { RawOrigin } from '../../src/testing/origin.ts'
import { createTestPki, type TestCertificate, type TestPki } from '../../src/testing/pki.ts'
import { documents, gateway, type Manifest, serviceEntry, to, virtualService } from '../integration/manifests.ts'
import { started } from '../integration/started.ts'
import {
  application,
  CNN,
  DB,
  ended,
  PASS,
  PORTS,
  RAW,
  rawTunnel,
  startDatabase,
  startSite,
  tunnelManifests,
  watch,
} from '../integration/tunnel-world.ts'

const TUNNEL = 'DestinationRule.trafficPolicy.tunnel'

let pki: TestPki
let site: RawOrigin
let database: RawOrigin
before(async () => {
  pki = await createTestPki()
  site = await startSite(pki, CNN)
  database = await startDatabase()
})
after(async () => {
  await site.close()
  await database.close()
})

type Proxy = {
  readonly port: number
  /** `METHOD target host` of each request. */
  readonly asked: string[]
  /** SNI of each connection, where TLS is spoken. */
  readonly sni: unknown[]
}

/** A forward proxy by Node's own HTTP server: CONNECT and POST, to the real ports of the targets it knows. */
async function startProxy(
  t: TestContext,
  known: Readonly<Record<string, number>>,
  tls: TestCertificate | null = null,
): Promise<Proxy> {
  const asked: string[] = []
  const sni: unknown[] = []
  const reach = ({ method, url, headers }: IncomingMessage): Socket | null => {
    asked.push(`${method} ${url} ${headers.host}`)
    const port = known[headers.host ?? '']
    return port === undefined
      ? null
      : connect({ port, host: '127.0.0.1', allowHalfOpen: true }).on('error', () => undefined)
  }
  const server = tls === null ? createServer() : createSecureServer({ cert: tls.cert, key: tls.key })
  server.on('connect', (req: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on('error', () => undefined)
    const target = reach(req)
    if (target === null) return void socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n')
    socket.allowHalfOpen = true
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
    target.write(head)
    socket.pipe(target).pipe(socket)
    socket.once('close', () => target.destroy())
  })
  server.on('request', (req, res) => {
    const target = reach(req)
    if (target === null) return void res.writeHead(403).end()
    res.flushHeaders()
    req.pipe(target).pipe(res)
    res.once('close', () => target.destroy())
  })
  server.on('secureConnection', (socket: { readonly servername?: unknown }) => sni.push(socket.servername))
  server.on('tlsClientError', () => undefined)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(async () => {
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  })
  return { port: (server.address() as AddressInfo).port, asked, sni }
}

/** A rule whose subsets `cnn` and `db` are tunnels through the proxy, and the routes that lead there. */
function manifests(proxy: number, policies: { readonly cnn?: object; readonly db?: object }): readonly Manifest[] {
  const PROXY = 'proxy.example'
  const [tunnels] = tunnelManifests(1, 1)
  const route = (subset: string) => [{ destination: { host: PROXY, port: { number: 3128 }, subset } }]
  const l4 = (name: string, host: string, rules: object) =>
    virtualService(name, [host], [], { http: undefined, ...rules })
  return [
    tunnels as Manifest,
    serviceEntry('proxy', PROXY, proxy, { port: 3128, protocol: 'TCP' }),
    l4('cnn', CNN, { tls: [{ match: [{ port: PASS, sniHosts: [CNN] }], route: route('cnn') }] }),
    l4('db', DB, { tcp: [{ match: [{ port: RAW }], route: route('db') }] }),
    {
      apiVersion: 'networking.istio.io/v1',
      kind: 'DestinationRule',
      metadata: { name: 'proxy', namespace: 'istio-system' },
      spec: {
        host: PROXY,
        subsets: [
          { name: 'cnn', trafficPolicy: policies.cnn },
          { name: 'db', trafficPolicy: policies.db },
        ],
      },
    },
  ]
}

const start = (t: TestContext, all: readonly Manifest[]): Promise<Harness> =>
  started(t, { pki, resources: { 'all.yaml': documents(...all) }, spec: { ports: PORTS } })

const tunnelTo = (targetHost: string, targetPort: number, protocol?: string) => ({
  tunnel: { targetHost, targetPort, ...(protocol === undefined ? {} : { protocol }) },
})

for (const [protocol, line] of [
  [undefined, 'CONNECT db.example:5432 db.example:5432'],
  ['CONNECT', 'CONNECT db.example:5432 db.example:5432'],
  ['POST', 'POST / db.example:5432'],
] as const)
  test(`field ${TUNNEL}.protocol, DestinationRule.subsets[].trafficPolicy.tunnel: ${protocol ?? 'not said'}: bytes both ways, half-open`, async (t) => {
    const proxy = await startProxy(t, { 'db.example:5432': database.port })
    const harness = await start(t, manifests(proxy.port, { db: tunnelTo(DB, 5432, protocol) }))
    const index = database.connections.length
    const socket = await rawTunnel(harness)
    const near = watch(socket)
    socket.write('hello')
    const far = await database.connection(index)
    await far.until((text) => text === 'hello')
    far.socket.write('hello')
    await near.until((text) => text === 'hello')
    socket.end('last words')
    await far.until((text) => text.endsWith('last words'))
    await ended(far.socket)
    far.socket.end(' and the answer')
    await near.closed
    assert.equal(near.text, 'hello and the answer')
    assert.deepEqual(proxy.asked, [line])
    const [entry] = await harness.lines(1)
    assert.equal(entry?.['upstream_host'], `127.0.0.1:${proxy.port}`)
    assert.equal(entry?.['upstream_cluster'], 'outbound|3128|db|proxy.example')
    assert.equal(entry?.['response_flags'], '-')
    assert.deepEqual([entry?.['bytes_received'], entry?.['bytes_sent']], [15, 20])
    await harness.stop(1)
  })

test(`field ${TUNNEL}.targetHost, ${TUNNEL}.targetPort: what the proxy is asked for, whatever the caller's name`, async (t) => {
  const known = { 'other.example:7': database.port, '[::1]:8': database.port, '192.0.2.1:9': database.port }
  const proxy = await startProxy(t, known)
  for (const [host, port, asked] of [
    ['other.example', 7, 'CONNECT other.example:7 other.example:7'],
    ['::1', 8, 'CONNECT [::1]:8 [::1]:8'],
    ['192.0.2.1', 9, 'CONNECT 192.0.2.1:9 192.0.2.1:9'],
  ] as const) {
    const harness = await start(t, manifests(proxy.port, { db: tunnelTo(host, port) }))
    const index = database.connections.length
    const socket = await rawTunnel(harness)
    socket.write('hello')
    const far = await database.connection(index)
    await far.until((text) => text === 'hello')
    assert.deepEqual(proxy.asked.splice(0), [asked])
    socket.destroy()
    far.socket.end()
    await harness.stop(1)
  }
})

test(`field ${TUNNEL}, DestinationRule.trafficPolicy.tls: TLS of the rule is for the way to the proxy; the application's goes through`, async (t) => {
  const proxy = await startProxy(t, { [`${CNN}:443`]: site.port }, await pki.serverCert('proxy.example'))
  const policy = {
    tls: { mode: 'SIMPLE', sni: 'proxy.example', caCertificates: '/placeholder' },
    ...tunnelTo(CNN, 443),
  }
  const harness = await started(t, { pki, resources: {}, spec: { ports: PORTS } })
  policy.tls.caCertificates = harness.paths.caFile
  const result = await harness.change({ 'all.yaml': documents(...manifests(proxy.port, { cnn: policy })) })
  assert.equal(result.ok, true)
  const index = site.connections.length
  const socket = await application(harness, await plainConnect(harness.gateway.port(PASS)))
  socket.write('hello')
  const far = await site.connection(index)
  await far.until((text) => text === 'hello')
  assert.deepEqual(proxy.asked, [`CONNECT ${CNN}:443 ${CNN}:443`])
  assert.deepEqual(proxy.sni, ['proxy.example'])
  socket.destroy()
  far.socket.end()
  await harness.stop(1)
})

test(`field ${TUNNEL}: a proxy that refuses, or is none: closed, UF, and the reason in the log`, async (t) => {
  const proxy = await startProxy(t, {})
  const index = database.connections.length
  for (const [port, why] of [
    [proxy.port, 'tunnel refused: 403'],
    [(await startMute(t)).port, 'tunnel refused: INVALID_VERSION'],
  ] as const) {
    const harness = await start(t, manifests(port, { db: tunnelTo(DB, 5432) }))
    const socket = await rawTunnel(harness)
    socket.allowHalfOpen = false
    const near = watch(socket)
    socket.write('hello')
    await near.closed
    assert.equal(near.text, '')
    const [line] = await harness.lines(1)
    assert.equal(line?.['response_flags'], 'UF')
    assert.equal(line?.['upstream_transport_failure_reason'], why)
    await harness.stop(1)
  }
  assert.equal(database.connections.length, index)
})

/** Speaks first, and not HTTP. */
async function startMute(t: TestContext): Promise<{ readonly port: number }> {
  const server = await startDatabase(({ socket }) => void socket.write('220 smtp.example ESMTP\r\n\r\n'))
  t.after(() => server.close())
  return server
}

test(`field ${TUNNEL}: requests do not go through it, as in Istio`, async (t) => {
  const proxy = await startProxy(t, {})
  const resources = documents(
    gateway(),
    serviceEntry('site', 'site.example', proxy.port),
    virtualService('site', ['site.example'], [{ route: to('site.example') }]),
    {
      apiVersion: 'networking.istio.io/v1',
      kind: 'DestinationRule',
      metadata: { name: 'site', namespace: 'istio-system' },
      spec: { host: 'site.example', trafficPolicy: tunnelTo('other.example', 80) },
    },
  )
  const harness = await started(t, { pki, resources: { 'all.yaml': resources } })
  const caller = await plainConnect(harness.gateway.port(80))
  await request(caller, 'site.example', { path: '/a' })
  assert.deepEqual(proxy.asked, ['GET /a site.example'])
  caller.destroy()
  await eventually('the request is over', async () => (await harness.lines(1)).length === 1)
  await harness.stop(1)
})
