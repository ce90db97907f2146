/** What tests of tunnels share: the three kinds of ports that carry opaque bytes, their callers, and their log line. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import tls from 'node:tls'
import type { Harness, LogLine } from '../../src/testing/harness.ts'
import { meshConnect, plainConnect } from '../../src/testing/mesh-client.ts'
import { type RawOrigin, type RawOriginOptions, RecordedConnection, startRawOrigin } from '../../src/testing/origin.ts'
import type { TestCertificate, TestPki } from '../../src/testing/pki.ts'
import { gateway, ISTIO_MUTUAL, type Manifest, serviceEntry, to, virtualService } from './manifests.ts'

export const CNN = 'edition.cnn.com'
export const DB = 'db.example'
export const SLEEP = 'default/sleep'
/** Gateway ports: mTLS around anything, the application's own TLS, bytes. */
export const MESH = 443
export const PASS = 8443
export const RAW = 9000
export const PORTS = { [MESH]: 0, [PASS]: 0, [RAW]: 0 }
export const OUTBOUND = 'outbound_.443_._.istio-egressgateway.istio-system.svc.cluster.local'
const TCP_ALPN = ['istio-peer-exchange', 'istio']

export const tlsRule = (port: number, host: string, destination = host) => ({
  match: [{ port, sniHosts: [host] }],
  route: to(destination, 443),
})

export const tcpRule = (port: number, host: string) => ({ match: [{ port }], route: to(host, RAW) })

/** `tls` or `tcp` rules of a VirtualService bound to the Gateway. */
export function l4Service(name: string, host: string, rules: object): Manifest {
  return virtualService(name, [host], [], { http: undefined, ...rules })
}

export function tunnelGateway(): Manifest {
  return gateway(
    { number: MESH, name: 'mesh', protocol: 'TLS', tls: ISTIO_MUTUAL },
    { number: PASS, name: 'pass', protocol: 'TLS', tls: { mode: 'PASSTHROUGH' } },
    { number: RAW, name: 'raw', protocol: 'TCP' },
  )
}

/** `edition.cnn.com` by SNI on MESH and PASS; `db.example` for bytes on MESH and RAW. */
export function tunnelManifests(site: number, database: number): readonly Manifest[] {
  return [
    tunnelGateway(),
    serviceEntry('cnn', CNN, site, { port: 443, protocol: 'TLS' }),
    serviceEntry('db', DB, database, { port: RAW, protocol: 'TCP' }),
    l4Service('cnn', CNN, { tls: [tlsRule(MESH, CNN), tlsRule(PASS, CNN)] }),
    l4Service('db', DB, { tcp: [tcpRule(MESH, DB), tcpRule(RAW, DB)] }),
  ]
}

/** A site whose connections stay half-open until it says otherwise. */
export async function startSite(
  pki: TestPki,
  name: string,
  onConnection: RawOriginOptions['onConnection'] = () => undefined,
): Promise<RawOrigin> {
  const { cert, key } = await pki.serverCert(name)
  return startRawOrigin({
    tls: { cert, key, options: { allowHalfOpen: true } },
    onConnection: (connection, index) => {
      connection.socket.allowHalfOpen = true
      onConnection(connection, index)
    },
  })
}

/** The same without TLS. */
export async function startDatabase(
  onConnection: RawOriginOptions['onConnection'] = () => undefined,
): Promise<RawOrigin> {
  return startRawOrigin({
    onConnection: (connection, index) => {
      connection.socket.allowHalfOpen = true
      onConnection(connection, index)
    },
  })
}

/** One certificate for all connections of a caller. */
const svids = new WeakMap<TestPki, Map<string, Promise<TestCertificate>>>()

async function svidOf(pki: TestPki, identity: string): Promise<TestCertificate> {
  const known = svids.get(pki) ?? new Map<string, Promise<TestCertificate>>()
  svids.set(pki, known)
  const svid = known.get(identity) ?? pki.svid(identity)
  known.set(identity, svid)
  return svid
}

/** A sidecar's mTLS connection; half-open until told otherwise. */
export async function meshTunnel(
  harness: Harness,
  options: { readonly identity?: string; readonly servername?: string; readonly port?: number } = {},
): Promise<tls.TLSSocket> {
  const socket = await meshConnect({
    port: harness.gateway.port(options.port ?? MESH),
    svid: await svidOf(harness.pki, options.identity ?? SLEEP),
    ca: harness.pki.root,
    servername: options.servername ?? OUTBOUND,
    alpn: TCP_ALPN,
  })
  socket.allowHalfOpen = true
  return socket
}

export async function rawTunnel(harness: Harness, port = RAW): Promise<Socket> {
  const socket = await plainConnect(harness.gateway.port(port))
  socket.allowHalfOpen = true
  return socket
}

/** The application's own TLS over whatever carries it. @throws the handshake's error when the gateway cuts it */
export async function application(
  harness: Harness,
  below: Socket,
  servername = CNN,
  options: tls.ConnectionOptions = {},
): Promise<tls.TLSSocket> {
  const socket = tls.connect({ socket: below, servername, ca: harness.pki.root, ...options })
  await once(socket, 'secureConnect')
  socket.on('error', () => {})
  socket.allowHalfOpen = true
  return socket
}

/** All three ways in, ready to carry bytes to an outside that is already there. */
export const WAYS = {
  'TLS in mTLS': async (harness: Harness) => application(harness, await meshTunnel(harness)),
  'bytes in mTLS': (harness: Harness) => meshTunnel(harness),
  passthrough: async (harness: Harness) => application(harness, await plainConnect(harness.gateway.port(PASS))),
  plaintext: (harness: Harness) => rawTunnel(harness),
} as const satisfies Record<string, (harness: Harness) => Promise<Socket>>

export const watch = (socket: Socket): RecordedConnection => new RecordedConnection(socket)

/** Resolves when the other side has sent its FIN (or close_notify). */
export async function ended(socket: Socket): Promise<void> {
  if (!socket.readableEnded) await once(socket, 'end')
}

const ADDRESS = /^127\.0\.0\.1:\d+$/

/** The whole line of a tunnel that ran, but for what differs each time, which is checked to be there (behaviour §8.4). */
export function assertTunnelLine(line: LogLine | undefined, expected: Readonly<Record<string, unknown>>): void {
  assert.ok(line !== undefined)
  const { start_time, duration, upstream_local_address, downstream_local_address, downstream_remote_address } = line
  assert.match(String(start_time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  assert.ok(typeof duration === 'number' && duration >= 0)
  assert.match(String(downstream_local_address), ADDRESS)
  assert.match(String(downstream_remote_address), ADDRESS)
  if (expected['upstream_host'] === null) assert.equal(upstream_local_address, null)
  else assert.match(String(upstream_local_address), ADDRESS)
  const nothing = Object.fromEntries(
    [
      ...['route_name', 'method', 'path', 'protocol', 'response_code_details', 'connection_termination_details'],
      ...['upstream_service_time', 'x_forwarded_for', 'user_agent', 'request_id', 'authority', 'trace_id', 'reason'],
      ...['requested_server_name', 'upstream_transport_failure_reason', 'authz_policy', 'authz_shadow'],
      ...['inner_server_name', 'downstream_peer_uri_san', 'source_namespace'],
    ].map((key) => [key, null]),
  )
  assert.deepEqual(line, {
    ...{ start_time, duration, upstream_local_address, downstream_local_address, downstream_remote_address },
    ...nothing,
    ...{ response_code: 0, response_flags: '-', authz_decision: 'none' },
    ...expected,
  })
}
