/** What each attribute reads of a request and of a tunnel, and what becomes of expressions that cannot be evaluated. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Connection } from '../core/attributes.ts'
import { CEL_ATTRIBUTES } from '../core/cel/attributes.ts'
import { compileCelOperator, compileFilter, compileTag } from './cel-attributes.ts'
import { newRecord } from './record.ts'

const CONNECTION: Connection = {
  id: 7,
  openedAt: 0,
  remoteAddress: '10.0.0.1',
  remotePort: 40_000,
  localAddress: 'fd00::2',
  localPort: 8080,
  gatewayPort: 80,
  peer: {
    kind: 'certificate',
    certificate: {
      sha256: 'ab12',
      subject: 'CN=sleep',
      issuer: 'O=mesh',
      serial: '01',
      uriSans: ['spiffe://cluster.local/ns/a/sa/b', 'spiffe://second'],
      dnsSans: ['sleep.example'],
      notBefore: 0,
      notAfter: 1,
    },
  },
  tls: { sni: 'outer.example', alpn: null, version: 'TLSv1.3', cipher: 'x' },
}

const HTTP = Object.assign(newRecord('http', CONNECTION, Date.parse('2024-01-02T03:04:05Z')), {
  durationMs: 1500,
  method: 'GET',
  path: '/a?b=c',
  protocol: 'HTTP/2',
  authority: 'site.example',
  requestHeaders: ['referer', 'r', 'user-agent', 'u', 'x-a', '1', 'x-a', '2'],
  responseHeaders: ['server', 's'],
  requestId: 'id',
  responseCode: 503,
  responseCodeDetails: 'no_healthy_upstream',
  flags: ['UH', 'DC'],
  bytesReceived: 10,
  bytesSent: 20,
  grpcStatus: 14,
  upstreamServiceTimeMs: 250,
  upstreamHost: '[2001:db8::1]:443',
  upstreamLocalAddress: '10.0.0.2:50000',
  upstreamTransportFailure: 'TLS_error',
  upstreamAttempts: 2,
  upstreamCluster: 'outbound|443||site.example',
  routeName: 'the-route',
  connectionTerminationDetails: 'why',
} as const)

const TUNNEL = newRecord('tcp', { ...CONNECTION, peer: { kind: 'none' }, tls: null }, 0)

/** Attribute → what `string()` (a map: its size) makes of it, of the request and of the tunnel; null: it is missing. */
const ROWS: Readonly<Record<string, readonly [http: string | null, tunnel: string | null]>> = {
  'request.path': ['/a?b=c', null],
  'request.url_path': ['/a', null],
  'request.query': ['b=c', null],
  'request.host': ['site.example', null],
  'request.scheme': ['https', null],
  'request.method': ['GET', null],
  'request.headers': ['3', null],
  'request.referer': ['r', null],
  'request.useragent': ['u', null],
  'request.time': ['2024-01-02T03:04:05.000Z', null],
  'request.id': ['id', null],
  'request.protocol': ['HTTP/2', null],
  'request.duration': ['1.5s', null],
  'request.size': ['10', null],
  'request.total_size': ['37', null],
  'response.code': ['503', null],
  'response.code_details': ['no_healthy_upstream', null],
  'response.flags': [String((1 << 1) | (1 << 14)), '0'],
  'response.grpc_status': ['14', null],
  'response.headers': ['1', null],
  'response.size': ['20', null],
  'response.total_size': ['27', null],
  'response.backend_latency': ['0.25s', null],
  'source.address': ['10.0.0.1:40000', '10.0.0.1:40000'],
  'source.port': ['40000', '40000'],
  'destination.address': ['[fd00::2]:8080', '[fd00::2]:8080'],
  'destination.port': ['8080', '8080'],
  'connection.id': ['7', '7'],
  'connection.mtls': ['true', 'false'],
  'connection.requested_server_name': ['outer.example', null],
  'connection.tls_version': ['TLSv1.3', null],
  'connection.uri_san_peer_certificate': ['spiffe://cluster.local/ns/a/sa/b', null],
  'connection.dns_san_peer_certificate': ['sleep.example', null],
  'connection.subject_peer_certificate': ['CN=sleep', null],
  'connection.sha256_peer_certificate_digest': ['ab12', null],
  'connection.termination_details': ['why', null],
  'upstream.address': ['[2001:db8::1]:443', null],
  'upstream.port': ['443', null],
  'upstream.local_address': ['10.0.0.2:50000', null],
  'upstream.transport_failure_reason': ['TLS_error', null],
  'upstream.request_attempt_count': ['2', '0'],
  'xds.cluster_name': ['outbound|443||site.example', null],
  'xds.route_name': ['the-route', null],
  'xds.listener_direction': ['2', '2'],
}

for (const [name, row] of Object.entries<{ readonly type: string; readonly noData?: true }>(CEL_ATTRIBUTES))
  test(name, () => {
    const expected = row.noData === true ? [null, null] : ROWS[name]
    const read = compileCelOperator(row.type === 'map' ? `string(size(${name}))` : `string(${name})`)
    assert.deepEqual([read(HTTP), read(TUNNEL)], expected)
    const has = compileCelOperator(`has(${name})`)
    assert.deepEqual(
      [has(HTTP), has(TUNNEL)],
      expected?.map((value) => String(value !== null)),
    )
  })

test('a filter that cannot be evaluated writes the line', () => {
  const filter = compileFilter('response.code >= 400')
  assert.deepEqual([filter(HTTP), filter(TUNNEL), filter({ ...HTTP, responseCode: 200 })], [true, true, false])
  assert.equal(compileFilter('has(response.code) && response.code >= 400')(TUNNEL), false)
})

test('a tag that cannot be evaluated is unknown; anything else is printed', () => {
  const tags = ['request.headers["x-a"]', 'response.code', 'connection.mtls', 'request.method + "!"']
  assert.deepEqual(
    tags.map((text) => compileTag(text)(HTTP)),
    ['1,2', '503', 'true', 'GET!'],
  )
  assert.equal(compileTag('request.method')(TUNNEL), 'unknown')
})

test('an operator keeps numbers, and has no value for maps', () => {
  assert.equal(compileCelOperator('response.code + 1')(HTTP), 504)
  assert.equal(compileCelOperator('request.headers')(HTTP), null)
})
