/**
 * Every operator of the access log over real sockets: a request that was answered, a tunnel, a request that was refused.
 * Each is printed three ways at once: typed JSON, TEXT, and JSON without what is missing.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { OPERATORS } from '../../src/observe/access-log/operators.ts'
import { eventually } from '../../src/testing/eventually.ts'
import { meshConnect, request, SIDECAR_SNI } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import { authorizationPolicy, documents, gateway, ISTIO_MUTUAL, serviceEntry, to, virtualService } from './manifests.ts'
import { started } from './started.ts'
import { DB, l4Service, MESH, OUTBOUND, RAW, tcpRule } from './tunnel-world.ts'

type Expected = string | number | null | RegExp | ((value: unknown) => boolean)
type Row = readonly [template: string, http: Expected, tcp: Expected, refused: Expected]

const HOST = 'site.example'
const CALLER = 'spiffe://cluster.local/ns/apps/sa/sleep'
const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const ADDRESS = /^127\.0\.0\.1:\d+$/
const IP = '127.0.0.1'
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
const UUID = /^[0-9a-f-]{36}$/
const SNI = /^outbound_\.\d+_/
const count = (value: unknown) => typeof value === 'number' && Number.isInteger(value) && value >= 0
const positive = (value: unknown) => count(value) && value !== 0
const text = (value: unknown) => typeof value === 'string' && value !== ''

/** The same in all three. */
const all = (template: string, expected: Expected): Row => [template, expected, expected, expected]
/** Only of requests. */
const both = (template: string, expected: Expected): Row => [template, expected, null, expected]

const ROWS: readonly Row[] = [
  all('%START_TIME%', TIME),
  all('%START_TIME(%Y-%m-%dT%H:%M:%S%z)%', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+0000$/),
  all('%START_TIME(%s.%3f)%', /^\d{10}\.\d{3}$/),
  all('%START_TIME(%s.%6f)%', /^\d{10}\.\d{6}$/),
  all('%START_TIME(%F %E3S)%', /^\d{4}-\d\d-\d\d \d\d\.\d{3}$/),
  all('%START_TIME(%d/%b/%Y:%T):11%', /^\d\d\/[A-Z][a-z]{2}\/\d{4}$/),
  all('%EMIT_TIME%', TIME),
  all('%EMIT_TIME(%s)%', /^\d{10}$/),
  ['%REQ(:METHOD)%', 'GET', null, 'POST'],
  ['%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%', '/anything/x?a=1&q=two', null, '/secret'],
  ['%REQ(:PATH)%', '/moved?a=1&q=two', null, '/secret'],
  ['%REQ(:PATH):6%', '/moved', null, '/secre'],
  both('%REQ(:AUTHORITY)%', HOST),
  both('%REQ(:SCHEME)%', 'https'),
  both('%REQ(USER-AGENT)%', 'curl/8.0 "x"'),
  both('%REQ(user-agent):4%', 'curl'),
  both('%REQ(X-MISSING?USER-AGENT):4%', 'curl'),
  all('%REQ(X-MISSING)%', null),
  both('%REQ(X-REQUEST-ID)%', UUID),
  both('%REQ(X-FORWARDED-FOR)%', IP),
  ['%REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH?:PATH)%', '/anything/x', null, '/secret'],
  ['%REQ_WITHOUT_QUERY(:PATH):3%', '/mo', null, '/se'],
  ['%QUERY_PARAM(q)%', 'two', null, null],
  ['%QUERY_PARAM(q):1%', 't', null, null],
  ['%RESP(CONTENT-TYPE)%', 'text/html', null, 'text/plain'],
  ['%RESP(X-MISSING?CONTENT-TYPE):4%', 'text', null, 'text'],
  ['%RESP(:STATUS)%', '200', null, '403'],
  ['%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%', /^\d+$/, null, null],
  all('%TRAILER(X)%', null),
  both('%PROTOCOL%', 'HTTP/1.1'),
  ['%RESPONSE_CODE%', 200, 0, 403],
  ['%RESPONSE_CODE_DETAILS%', 'via_upstream', null, /^rbac_access_denied_matched_policy\[.*no-secrets.*\]$/],
  ['%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%', 'via_upstream', null, /^rbac_access_denied/],
  all('%RESPONSE_FLAGS%', '-'),
  all('%RESPONSE_FLAGS_LONG%', '-'),
  all('%CONNECTION_TERMINATION_DETAILS%', null),
  ['%BYTES_RECEIVED%', 0, 5, count],
  ['%BYTES_SENT%', positive, 6, 19],
  all('%DURATION%', count),
  ['%REQUEST_DURATION%', count, null, (value) => value === null || count(value)],
  ['%REQUEST_HEADERS_BYTES%', positive, 0, positive],
  ['%RESPONSE_HEADERS_BYTES%', positive, 0, positive],
  ['%RESPONSE_DURATION%', count, null, count],
  ['%RESPONSE_TX_DURATION%', count, null, count],
  ['%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:us)%', count, null, count],
  all('%COMMON_DURATION(DS_RX_BEG:DS_TX_END:ms)%', count),
  all('%COMMON_DURATION(US_CX_BEG:US_CX_END:ms)%', null),
  ['%ROUTE_NAME%', 'the-route', null, 'the-route'],
  ['%UPSTREAM_HOST%', ADDRESS, ADDRESS, null],
  ['%UPSTREAM_REMOTE_ADDRESS%', ADDRESS, ADDRESS, null],
  ['%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%', IP, IP, null],
  ['%UPSTREAM_REMOTE_PORT%', positive, positive, null],
  ['%UPSTREAM_LOCAL_ADDRESS%', ADDRESS, ADDRESS, null],
  ['%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%', IP, IP, null],
  ['%UPSTREAM_LOCAL_PORT%', positive, positive, null],
  ['%UPSTREAM_CLUSTER%', `outbound|80||${HOST}`, `outbound|${RAW}||${DB}`, `outbound|80||${HOST}`],
  ['%UPSTREAM_CLUSTER_RAW%', `outbound|80||${HOST}`, `outbound|${RAW}||${DB}`, `outbound|80||${HOST}`],
  ['%UPSTREAM_PROTOCOL%', 'HTTP/1.1', null, null],
  all('%UPSTREAM_TRANSPORT_FAILURE_REASON%', null),
  ['%UPSTREAM_REQUEST_ATTEMPT_COUNT%', 1, count, 0],
  all('%DOWNSTREAM_REMOTE_ADDRESS%', ADDRESS),
  all('%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%', IP),
  all('%DOWNSTREAM_REMOTE_PORT%', positive),
  all('%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%', ADDRESS),
  all('%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%', IP),
  all('%DOWNSTREAM_DIRECT_REMOTE_PORT%', positive),
  all('%DOWNSTREAM_LOCAL_ADDRESS%', ADDRESS),
  all('%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%', IP),
  all('%DOWNSTREAM_LOCAL_PORT%', positive),
  all('%DOWNSTREAM_DIRECT_LOCAL_ADDRESS%', ADDRESS),
  all('%DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT%', IP),
  all('%DOWNSTREAM_DIRECT_LOCAL_PORT%', positive),
  all('%DOWNSTREAM_PEER_URI_SAN%', CALLER),
  all('%DOWNSTREAM_PEER_DNS_SAN%', 'sleep.example'),
  all('%DOWNSTREAM_PEER_SUBJECT%', (value) => value === null || text(value)),
  all('%DOWNSTREAM_PEER_ISSUER%', text),
  all('%DOWNSTREAM_PEER_SERIAL%', /^[0-9a-f]+$/),
  all('%DOWNSTREAM_PEER_FINGERPRINT_256%', /^[0-9a-f]{64}$/),
  all('%DOWNSTREAM_PEER_CERT_V_START%', TIME),
  all('%DOWNSTREAM_PEER_CERT_V_END(%Y)%', /^\d{4}$/),
  all('%DOWNSTREAM_TLS_VERSION%', 'TLSv1.3'),
  all('%DOWNSTREAM_TLS_CIPHER%', /^TLS_/),
  all('%REQUESTED_SERVER_NAME%', SNI),
  all('%CONNECTION_ID%', positive),
  both('%STREAM_ID%', UUID),
  ['%TRACE_ID%', TRACE, null, TRACE],
  all('%GRPC_STATUS%', null),
  all('%GRPC_STATUS(SNAKE_STRING)%', null),
  all('%GRPC_STATUS_NUMBER%', null),
  all('%HOSTNAME%', hostname()),
  all('%ENVIRONMENT(PATH):4%', (process.env['PATH'] ?? '').slice(0, 4)),
  all('%ENVIRONMENT(SALLYPORT_SURELY_UNSET)%', null),
  ['%CEL(response.code)%', 200, null, 403],
  ['%CEL(has(request.method) ? request.method : "none"):3%', 'GET', 'non', 'POS'],
  ['%CEL(size(request.host))%', HOST.length, null, HOST.length],
  all('%SALLYPORT_SOURCE_NAMESPACE%', 'apps'),
  ['%SALLYPORT_AUTHZ_DECISION%', 'allow', 'allow', 'deny'],
  ['%SALLYPORT_AUTHZ_POLICY%', null, null, /^ns\[istio-system\]-policy\[no-secrets\]-rule\[0\]$/],
  ['%SALLYPORT_AUTHZ_POLICY_SOURCE%', null, null, /all\.yaml:\d+$/],
  all('%SALLYPORT_AUTHZ_SHADOW%', null),
  all('%SALLYPORT_INNER_SERVER_NAME%', null),
  ['%SALLYPORT_REASON%', null, null, 'rbac_denied'],
  // Longer texts: always text, and what is missing within them is a dash.
  ['%RESPONSE_CODE%%REQ(X-MISSING)%', '200-', '0-', '403-'],
  ['code %RESPONSE_CODE%', 'code 200', 'code 0', 'code 403'],
  all('100%% "sure"', '100% "sure"'),
]

const NO_DATA = Object.entries(OPERATORS).filter(([, row]) => 'noData' in row)
const ALL_ROWS: readonly Row[] = [
  ...ROWS,
  ...NO_DATA.filter(([name]) => name !== 'TRAILER').map(([name, { argument }]) =>
    all(`%${name}${argument === 'none' ? '' : '(istio.mixer:status)'}%`, null),
  ),
]
const TEMPLATES = ALL_ROWS.map(([template]) => template)

/** Typed, without what is missing, and the fields of the TEXT line, in the order of ROWS. */
type Printed = {
  readonly typed: Readonly<Record<string, unknown>>
  readonly sparse: Readonly<Record<string, unknown>>
  readonly text: readonly string[]
}

const SEPARATOR = ' ¦ '

async function print(t: TestContext): Promise<readonly Printed[]> {
  await using origin = await startEchoOrigin()
  await using database = await startRawOrigin({
    onConnection: ({ socket }) => socket.once('data', () => socket.end('pong!\n')),
  })
  const manifests = [
    gateway({ number: 80, tls: ISTIO_MUTUAL }, { number: MESH, name: 'mesh', protocol: 'TLS', tls: ISTIO_MUTUAL }),
    serviceEntry('site', HOST, origin.port),
    serviceEntry('db', DB, database.port, { port: RAW, protocol: 'TCP' }),
    virtualService(
      'site',
      [HOST],
      [
        { name: 'the-route', match: [{ uri: { prefix: '/anything/x' } }], rewrite: { uri: '/moved' }, route: to(HOST) },
        { name: 'the-route', route: to(HOST) },
      ],
    ),
    l4Service('db', DB, { tcp: [tcpRule(MESH, DB)] }),
    authorizationPolicy('no-secrets', 'DENY', [
      // Of a tunnel nobody knows the path: without the name, DENY would hold there too.
      { to: [{ operation: { paths: ['/secret'] } }], when: [{ key: 'connection.sni', values: [SIDECAR_SNI] }] },
    ]),
  ]
  const labels = Object.fromEntries(TEMPLATES.map((template) => [template, template]))
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-operators-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const file = (name: string) => join(dir, `${name}.log`)
  const provider = (name: string, more: object) => ({ name, envoyFileAccessLog: { path: file(name), ...more } })
  const harness = await started(t, {
    resources: { 'all.yaml': documents(...manifests) },
    spec: {
      ports: { 80: 0, [MESH]: 0 },
      meshConfig: {
        extensionProviders: [
          provider('typed', { logFormat: { labels } }),
          provider('sparse', { logFormat: { labels }, omitEmptyValues: true }),
          provider('text', { logFormat: { text: TEMPLATES.join(SEPARATOR) } }),
        ],
        defaultProviders: { accessLogging: ['typed', 'sparse', 'text'] },
      },
    },
  })
  const svid = await harness.pki.svid('apps/sleep', { dns: ['sleep.example'] })
  const connect = async (port: number, more: object = {}) =>
    meshConnect({ port: harness.gateway.port(port), svid, ca: harness.pki.root, ...more })
  const headers = { 'user-agent': 'curl/8.0 "x"', traceparent: `00-${TRACE}-00f067aa0ba902b7-01` }
  const web = await connect(80)
  await request(web, HOST, { path: '/anything/x?a=1&q=two', headers })
  const lines = (name: string) =>
    eventually(`lines of ${name}`, () => {
      const whole = readFileSync(file(name), 'utf8').split('\n').slice(0, -1)
      return whole.length >= expected ? whole : null
    })
  let expected = 1
  await lines('typed')
  const tunnel = await connect(MESH, { servername: OUTBOUND, alpn: ['istio-peer-exchange', 'istio'] })
  tunnel.end('ping\n')
  for await (const chunk of tunnel) assert.equal(String(chunk), 'pong!\n')
  expected = 2
  await lines('typed')
  await request(web, HOST, { method: 'POST', path: '/secret', headers, body: 'body' })
  web.destroy()
  expected = 3
  const [typed, sparse, texts] = [await lines('typed'), await lines('sparse'), await lines('text')]
  return typed.map((line, index) => ({
    typed: JSON.parse(line) as Record<string, unknown>,
    sparse: JSON.parse(sparse[index] as string) as Record<string, unknown>,
    text: (texts[index] as string).split(SEPARATOR),
  }))
}

function holds(value: unknown, expected: Expected): boolean {
  if (expected instanceof RegExp) return typeof value === 'string' && expected.test(value)
  return typeof expected === 'function' ? expected(value) : value === expected
}

const UNESCAPED = (value: string) => value.replaceAll(/\\(["\\])/g, '$1').replaceAll('\\x20', ' ')

test('every operator: answered, tunnel, refused', async (t) => {
  const printed = await print(t)
  for (const [index, [template, ...expected]] of ALL_ROWS.entries())
    await t.test(template, () => {
      assert.equal(printed.length, 3)
      for (const [kind, name] of (['answered', 'tunnel', 'refused'] as const).entries()) {
        const { typed, sparse, text: fields } = printed[kind] as Printed
        const value = typed[template] as string | number | null
        assert.ok(holds(value, expected[kind] as Expected), `${name}: ${JSON.stringify(value)}`)
        assert.equal(UNESCAPED(fields[index] as string), value === null ? '-' : String(value), `${name}, TEXT`)
        const dashes = template.endsWith('%REQ(X-MISSING)%') && template !== '%REQ(X-MISSING)%'
        if (value === null) assert.ok(!Object.hasOwn(sparse, template), `${name}, omitEmptyValues`)
        else assert.equal(sparse[template], dashes ? String(value).replace('-', '') : value, `${name}, omitEmptyValues`)
      }
    })
})

test('no operator is missing here', () => {
  const names = new Set(TEMPLATES.flatMap((template) => /^%([A-Z0-9_]+)/.exec(template)?.[1] ?? []))
  assert.deepEqual([...names].toSorted(), Object.keys(OPERATORS).toSorted())
})
