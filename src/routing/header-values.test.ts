/** Command operators in header values, row by row, and what they may never bring into a message. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HEADER_OPERATORS, parseHeaderValue } from '../core/header-operators.ts'
import { certificatePeer, type RequestOptions, spiffePeer } from '../testing/policy-fixtures.ts'
import { headerFacts } from '../testing/routes.ts'
import { headerText, type ResponseFacts } from './header-values.ts'

const response: ResponseFacts = {
  status: 503,
  headers: ['x-r', 'answer'],
  details: 'no_healthy_upstream',
  flags: ['UH'],
  bytesReceived: 12,
  requestDurationMs: 1.7,
  responseDurationMs: null,
  upstreamHost: '[::1]:443',
  upstreamLocalAddress: '127.0.0.1:5',
  upstreamProtocol: 'HTTP/2',
  attempts: 2,
}
const facts = { routeName: 'r', cluster: 'outbound|80||a.com', response }
const peer = certificatePeer({
  subject: 'CN=x',
  issuer: 'CN=ca',
  serial: '0a',
  sha256: 'ab',
  uriSans: ['spiffe://a/b', 'spiffe://a/c'],
  dnsSans: ['x.example'],
  notBefore: Date.parse('2024-01-01T00:00:00Z'),
  notAfter: Number.NaN,
})

/** null: the header is not sent. */
function text(value: string, options: RequestOptions = {}): string | null {
  return headerText(parseHeaderValue(value, 'response'), headerFacts(options, facts))
}

test('one row for each operator', () => {
  const options: RequestOptions = { peer, sni: 'a.com', path: '/p', query: 'q=1', headers: ['x-a', '1', 'x-a', '2'] }
  const rows: Record<string, string | null> = {
    REQ: null,
    RESP: null,
    START_TIME: '2024-02-03T04:05:06.007Z',
    PROTOCOL: 'HTTP/1.1',
    HOSTNAME: 'gateway-0',
    ROUTE_NAME: 'r',
    UPSTREAM_CLUSTER: 'outbound|80||a.com',
    UPSTREAM_CLUSTER_RAW: 'outbound|80||a.com',
    REQUEST_ID: 'id',
    STREAM_ID: 'id',
    CONNECTION_ID: '7',
    REQUESTED_SERVER_NAME: 'a.com',
    DOWNSTREAM_REMOTE_ADDRESS: '10.1.0.5:40000',
    DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: '10.1.0.5',
    DOWNSTREAM_REMOTE_PORT: '40000',
    DOWNSTREAM_DIRECT_REMOTE_ADDRESS: '10.1.0.5:40000',
    DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: '10.1.0.5',
    DOWNSTREAM_DIRECT_REMOTE_PORT: '40000',
    DOWNSTREAM_LOCAL_ADDRESS: '10.1.0.9:8080',
    DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: '10.1.0.9',
    DOWNSTREAM_LOCAL_PORT: '8080',
    DOWNSTREAM_PEER_URI_SAN: 'spiffe://a/b,spiffe://a/c',
    DOWNSTREAM_PEER_DNS_SAN: 'x.example',
    DOWNSTREAM_PEER_SUBJECT: 'CN=x',
    DOWNSTREAM_PEER_ISSUER: 'CN=ca',
    DOWNSTREAM_PEER_SERIAL: '0a',
    DOWNSTREAM_PEER_FINGERPRINT_256: 'ab',
    DOWNSTREAM_PEER_CERT_V_START: '2024-01-01T00:00:00.000Z',
    DOWNSTREAM_PEER_CERT_V_END: null,
    DOWNSTREAM_TLS_VERSION: 'TLSv1.3',
    DOWNSTREAM_TLS_CIPHER: 'AES',
    RESPONSE_CODE: '503',
    RESPONSE_CODE_DETAILS: 'no_healthy_upstream',
    RESPONSE_FLAGS: 'UH',
    BYTES_RECEIVED: '12',
    REQUEST_DURATION: '1',
    RESPONSE_DURATION: null,
    UPSTREAM_HOST: '[::1]:443',
    UPSTREAM_REMOTE_ADDRESS: '[::1]:443',
    UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: '::1',
    UPSTREAM_REMOTE_PORT: '443',
    UPSTREAM_LOCAL_ADDRESS: '127.0.0.1:5',
    UPSTREAM_PROTOCOL: 'HTTP/2',
    UPSTREAM_REQUEST_ATTEMPT_COUNT: '2',
  }
  assert.deepEqual(Object.keys(rows), Object.keys(HEADER_OPERATORS))
  for (const [name, expected] of Object.entries(rows)) {
    const argument = name === 'REQ' || name === 'RESP' ? '(x-missing)' : ''
    assert.equal(text(`%${name}${argument}%`, options), expected, name)
  }
})

test('arguments, alternatives, lengths, literals', () => {
  const options: RequestOptions = { path: '/p', query: 'q=1', headers: ['x-a', 'one', 'x-a', 'two'] }
  const rows: readonly (readonly [string, string | null])[] = [
    ['%REQ(X-A)%', 'one'],
    ['%REQ(X-B?X-A)%', 'one'],
    ['%REQ(X-A):2%', 'on'],
    ['a %REQ(X-B)% b', 'a  b'],
    ['100%% %REQ(x-a)%%%', '100% one%'],
    [' %REQ(x-b)% ', null],
    ['%REQ(:METHOD)% %REQ(:SCHEME)%://%REQ(:AUTHORITY)%%REQ(:PATH)%', 'GET http://httpbin.org/p?q=1'],
    ['%RESP(X-R)% %RESP(:STATUS)%', 'answer 503'],
    ['%START_TIME(%Y-%m-%d %s)%', '2024-02-03 1706933106'],
    ['%DOWNSTREAM_PEER_URI_SAN%', null],
    ['plain', 'plain'],
  ]
  for (const [value, expected] of rows) assert.equal(text(value, options), expected, value)
})

test('the identity of the caller', () => {
  assert.equal(
    text('%DOWNSTREAM_PEER_URI_SAN%', { peer: spiffePeer('cluster.local/ns/a/sa/b') }),
    'spiffe://cluster.local/ns/a/sa/b',
  )
})

test('what the caller claims about itself is never copied', () => {
  const headers = [
    'x-forwarded-for',
    '6.6.6.6',
    'x-request-id',
    'forged',
    'x-envoy-peer',
    'forged',
    'forwarded',
    'for=6',
  ]
  const read = (name: string) => text(`%REQ(${name})%`, { headers })
  assert.equal(read('x-forwarded-for'), '10.1.0.5')
  assert.equal(read('x-request-id'), 'id')
  assert.equal(read('x-forwarded-proto'), 'http')
  assert.equal(read('x-envoy-peer'), null)
  assert.equal(read('forwarded'), null)
})

test('nothing that is no field value gets into a message', () => {
  for (const subject of ['CN=a\r\nx: y', 'CN=a\u0000', 'CN=a\n', 'CN=\u0416'])
    assert.equal(text('s=%DOWNSTREAM_PEER_SUBJECT%.', { peer: certificatePeer({ subject }) }), null, subject)
})
