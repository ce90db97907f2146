/** A gateway that meets everything a dashboard shows: sites that answer, fail, refuse, lie, and callers of every kind. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import type { TestContext } from 'node:test'
import tls from 'node:tls'
import { startDnsServer } from '../../src/testing/dns-server.ts'
import { grpcCall, startGrpcOrigin } from '../../src/testing/grpc.ts'
import { meshH2 } from '../../src/testing/h2-client.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { meshConnect, plainConnect, rawExchange, request } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { RedisServer, skipWithoutRedis } from '../../src/testing/redis.ts'
import { rateLimit } from '../integration/limit-world.ts'
import {
  authorizationPolicy,
  destinationRule,
  documents,
  gateway,
  ISTIO_MUTUAL,
  type Manifest,
  serviceEntry,
  to,
  virtualService,
} from '../integration/manifests.ts'
import { freePort } from '../integration/operator.ts'
import { started } from '../integration/started.ts'

const MESH = 80
const TUNNELS = 443
const PLAIN = 9000
const CARRIED = 'carried.example'
const CALLER = 'shop/cart'
/** Who uses tunnels: a DENY by method would hold there too, as in Istio. */
const COURIER = 'shop/courier'
const FROM_CALLER = [{ source: { principals: ['cluster.local/ns/shop/sa/cart'] } }]
const UNAVAILABLE = 'HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n'
const FINE = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'

/** Never reached. */
const PLENTY = {
  name: 'plenty',
  key: [],
  budget: { requests: 1_000_000, per: 'day' },
  scope: 'global',
  onStoreFailure: 'open',
}

/** What one round sends over HTTP by mTLS, and what comes back. */
const REQUESTS = [
  { host: 'site.example', path: '/', status: 200 },
  { host: 'site.example', path: '/status/404', status: 404 },
  { host: 'site.example', path: '/', status: 403, method: 'DELETE' },
  { host: 'unregistered.example', path: '/', status: 502 },
  { host: 'down.example', path: '/', status: 503 },
  { host: 'flaky.example', path: '/', status: 200 },
  { host: 'broken.example', path: '/', status: 503 },
  { host: 'secure.example', path: '/', status: 200 },
  { host: 'untrusted.example', path: '/', status: 503 },
  { host: 'named.example', path: '/', status: 200 },
  { host: 'inside.example', path: '/', status: 403 },
] as const

export type MixedTraffic = {
  readonly harness: Harness
  /** Everything once: 11 requests over mTLS (one of them refused by policy), one without identity, a gRPC call, a tunnel, a caller without certificate. */
  round(): Promise<void>
  /** Rounds so far. */
  readonly rounds: () => number
  /** From now on the resolver fails. */
  failDns(): void
  /** One more GET over mTLS, by any workload (`NS/SA`), with the path as it is: its status. */
  visit(identity: string, host: string, path?: string): Promise<number>
  /** A tunnel that stays open; the caller ends it. */
  openTunnel(): Promise<Socket>
}

/** Records of one round, by decision. */
export const PER_ROUND = { requests: REQUESTS.length + 3, denied: 1 } as const

const site = (host: string, port: number, protocol = 'HTTP'): readonly Manifest[] => {
  const name = host.slice(0, host.indexOf('.'))
  return [serviceEntry(name, host, port, { protocol }), virtualService(name, [host], [{ route: to(host) }])]
}

const dryRun = (manifest: Manifest): Manifest => ({
  ...manifest,
  metadata: { ...(manifest['metadata'] as object), annotations: { 'istio.io/dry-run': 'true' } },
})

/** The gateway, its sites and its resolver; all of it ends with the test. */
export async function startMixedTraffic(t: TestContext): Promise<MixedTraffic> {
  const pki = await createTestPki()
  const { cert, key } = await pki.serverCert('secure.example')
  const carriedCert = await pki.serverCert(CARRIED)
  const echo = await startEchoOrigin()
  const secure = await startEchoOrigin({ tls: { cert, key } })
  const grpc = await startGrpcOrigin()
  let seen = 0
  const flaky = await startRawOrigin({
    onRequest: ({ socket }) => {
      seen += 1
      socket.write(seen % 2 === 1 ? UNAVAILABLE : FINE)
    },
  })
  const broken = await startRawOrigin({ onRequest: ({ socket }) => void socket.write(UNAVAILABLE) })
  const carried = await startRawOrigin({
    tls: { cert: carriedCert.cert, key: carriedCert.key },
    onConnection: ({ socket }) => void socket.write('hello'),
  })
  let dnsFails = false
  const dns = await startDnsServer(({ name, type }) => {
    if (dnsFails) return { kind: 'rcode', code: 'SERVFAIL' }
    const addresses = type === 'A' ? [name === 'inside.example' ? '10.0.0.1' : '127.0.0.1'] : []
    return { kind: 'answer', addresses, ttl: 1 }
  })
  for (const each of [echo, secure, grpc, flaky, broken, carried, dns]) t.after(async () => each[Symbol.asyncDispose]())

  // Where there is none, what is shared is not shown.
  const redis = skipWithoutRedis === false ? await RedisServer.start() : null
  t.after(() => redis?.close())

  const harness = await started(t, {
    pki,
    resources: {},
    spec: {
      ports: { [MESH]: 0, [TUNNELS]: 0, [PLAIN]: 0 },
      dns: { servers: [dns.address], minTtl: '100ms', maxTtl: '1s' },
      addressGuard: { allow: ['127.0.0.1/32'] },
      ...(redis === null ? {} : { redis: { url: redis.url } }),
    },
  })
  const change = await harness.change({
    'all.yaml': documents(
      gateway(
        { number: MESH, tls: ISTIO_MUTUAL },
        { number: TUNNELS, name: 'tunnels', protocol: 'TLS', tls: ISTIO_MUTUAL },
        { number: PLAIN },
      ),
      ...site('site.example', echo.port),
      ...site('down.example', await freePort()),
      ...site('broken.example', broken.port),
      ...site('secure.example', secure.port),
      ...site('untrusted.example', secure.port),
      ...site('grpc.example', grpc.port, 'GRPC'),
      serviceEntry('flaky', 'flaky.example', flaky.port),
      virtualService(
        'flaky',
        ['flaky.example'],
        [{ route: to('flaky.example'), retries: { attempts: 2, retryOn: '5xx', backoff: '1ms' } }],
      ),
      ...['named', 'inside'].flatMap((name) => [
        serviceEntry(name, `${name}.example`, echo.port, {
          resolution: 'DNS',
          spec: { ports: [{ number: 80, name: 'p', protocol: 'HTTP', targetPort: echo.port }] },
        }),
        virtualService(name, [`${name}.example`], [{ route: to(`${name}.example`) }]),
      ]),
      serviceEntry('carried', CARRIED, carried.port, { port: TUNNELS, protocol: 'TLS' }),
      virtualService('carried', [CARRIED], [], {
        http: undefined,
        tls: [{ match: [{ port: TUNNELS, sniHosts: [CARRIED] }], route: to(CARRIED, TUNNELS) }],
      }),
      destinationRule('secure', 'secure.example', { tls: { mode: 'SIMPLE', caCertificates: harness.paths.caFile } }),
      destinationRule('untrusted', 'untrusted.example', {
        tls: {
          mode: 'SIMPLE',
          sni: 'secure.example',
          subjectAltNames: ['other.example'],
          caCertificates: harness.paths.caFile,
        },
      }),
      authorizationPolicy('no-delete', 'DENY', [{ from: FROM_CALLER, to: [{ operation: { methods: ['DELETE'] } }] }]),
      ...(redis === null ? [] : [rateLimit([PLENTY])]),
      dryRun(
        authorizationPolicy('no-errors', 'DENY', [
          { from: FROM_CALLER, to: [{ operation: { paths: ['/status/*'] } }] },
        ]),
      ),
    ),
  })
  assert.deepEqual(change, { ok: true, errors: [] })

  const { gateway: running } = harness
  const svid = await pki.svid(CALLER)
  const courier = await pki.svid(COURIER)
  const mesh = (port: number, alpn?: readonly string[]) =>
    meshConnect({ port: running.port(port), svid, ca: pki.root, ...(alpn === undefined ? {} : { alpn }) })
  const openTunnel = async (): Promise<Socket> => {
    const below = await meshConnect({
      port: running.port(TUNNELS),
      svid: courier,
      ca: pki.root,
      servername: 'outbound_.443_._.istio-egressgateway.istio-system.svc.cluster.local',
      alpn: ['istio'],
    })
    const socket = tls.connect({ socket: below, servername: CARRIED, ca: pki.root })
    socket.on('error', () => {})
    await once(socket, 'data')
    return socket
  }
  let rounds = 0
  return {
    harness,
    rounds: () => rounds,
    failDns: () => {
      dnsFails = true
    },
    openTunnel,
    visit: async (identity, host, path = '/') => {
      const visitor = await pki.svid(identity)
      const socket = await meshConnect({ port: running.port(MESH), svid: visitor, ca: pki.root })
      // By hand: Node's client would not send every path.
      const head = `GET ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`
      const text = await rawExchange(socket, head)
      return Number(text.split(' ')[1])
    },
    round: async () => {
      const socket = await mesh(MESH)
      for (const { host, path, status, ...rest } of REQUESTS) {
        const answer = await request(socket, host, { path, ...rest })
        assert.equal(answer.status, status, `${host}${path}: ${answer.body}`)
      }
      socket.destroy()
      const plain = await plainConnect(running.port(PLAIN))
      assert.equal((await request(plain, 'site.example')).status, 200)
      plain.destroy()
      const session = await meshH2({ port: running.port(MESH), svid, ca: pki.root })
      const call = grpcCall(session, 'grpc.example', 'Unary')
      call.send('hello')
      call.stream.end()
      call.stream.resume()
      assert.equal(await call.status, 0)
      session.close()
      const tunnel = await openTunnel()
      tunnel.destroy()
      const nobody = await meshConnect({ port: running.port(MESH), svid: null, ca: pki.root })
      if (!nobody.closed) await once(nobody, 'close')
      rounds += 1
    },
  }
}
