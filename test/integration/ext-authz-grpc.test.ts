/**
 * CUSTOM policies with an authorizer of Envoy's published gRPC API, served by `@grpc/grpc-js` (issue 8): what it is told,
 * what its answers do, and tunnels.
 */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { h2Request, meshH2 } from '../../src/testing/h2-client.ts'
import type { Harness, LogLine } from '../../src/testing/harness.ts'
import { type Answer, meshConnect, type RequestOptions, request } from '../../src/testing/mesh-client.ts'
import { type RawOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import {
  customPolicy,
  type GrpcAuthorizer,
  grpcProvider,
  header,
  httpProvider,
  startGrpcAuthorizer,
  startHttpAuthorizer,
} from './authorizers.ts'
import {
  authorizationPolicy,
  documents,
  gateway,
  ISTIO_MUTUAL,
  type Manifest,
  serviceEntry,
  to,
  virtualService,
} from './manifests.ts'
import { stat } from './operator.ts'
import { started } from './started.ts'
import { CNN, ended, meshTunnel, PORTS, SLEEP, startDatabase, tunnelManifests, watch } from './tunnel-world.ts'

const HOST = 'site.example'

type World = {
  readonly harness: Harness
  readonly authorizer: GrpcAuthorizer
  readonly site: RawOrigin
  readonly call: (options?: RequestOptions) => Promise<{ readonly answer: Answer; readonly line: LogLine }>
  /** Fields that the site was sent with its last request, without the gateway's own. */
  readonly fields: () => string[]
}

async function world(
  t: TestContext,
  provider: object = {},
  policies: readonly Manifest[] = [customPolicy([{}])],
): Promise<World> {
  const authorizer = await startGrpcAuthorizer(t)
  const site = await startRawOrigin({
    onRequest: ({ socket }) => void socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-site: 1\r\n\r\nok'),
  })
  t.after(() => site.close())
  const harness = await started(t, {
    spec: { meshConfig: { extensionProviders: [grpcProvider(authorizer.port, provider)] } },
    resources: {
      'all.yaml': documents(
        gateway({ tls: ISTIO_MUTUAL }),
        serviceEntry('site', HOST, site.port),
        virtualService('site', [HOST], [{ route: to(HOST) }]),
        ...policies,
      ),
    },
  })
  const socket = await meshConnect({
    port: harness.gateway.port(80),
    svid: await harness.pki.svid('apps/sleep'),
    ca: harness.pki.root,
  })
  t.after(() => socket.destroy())
  let count = 0
  return {
    harness,
    authorizer,
    site,
    call: async (asked = {}) => {
      const answer = await request(socket, HOST, asked)
      count += 1
      return { answer, line: (await harness.lines(count))[count - 1] ?? {} }
    },
    fields: () => {
      const heads = site.connections
        .map(({ text }) => text)
        .join('')
        .split(/(?=(?:GET|POST) )/)
      const lines = (heads.at(-1) ?? '').split('\r\n').slice(1)
      return lines.filter((line) => line !== '' && !/^(host|x-request-id|content-length):/.test(line))
    },
  }
}

test('a check tells who asks for what', async (t) => {
  const { authorizer, call, harness } = await world(t, {
    includeRequestBodyInCheck: { maxRequestBytes: 5, allowPartialMessage: true },
  })
  const before = Date.now()
  const { line } = await call({
    method: 'POST',
    path: '/a?b=c',
    headers: { 'x-one': ['1', '2'], 'x-utf': Buffer.from('é').toString('latin1'), 'x-envoy-original-path': '/x' },
    // As bytes: Node would write the head as UTF-8 together with a text.
    body: Buffer.from('hello world'),
  })
  const [check] = authorizer.checks
  assert.ok(check !== undefined)
  const { source, destination, request: asked, tls_session: tls } = check.attributes
  assert.equal(source.principal, 'spiffe://cluster.local/ns/apps/sa/sleep')
  assert.equal(source.address.socket_address.address, '127.0.0.1')
  assert.equal(destination.address.socket_address.port_value, harness.gateway.port(80))
  assert.ok(Math.abs(asked.time.seconds * 1000 - before) < 60_000)
  assert.match(tls?.sni ?? '', /^outbound_/)
  const { headers, ...http } = asked.http ?? assert.fail()
  const { 'x-forwarded-client-cert': xfcc, 'x-request-id': id, ...seen } = headers
  assert.match(String(xfcc), /URI=spiffe:\/\/cluster\.local\/ns\/apps\/sa\/sleep$/)
  assert.equal(id, line['request_id'])
  assert.deepEqual(seen, {
    ':authority': HOST,
    ':method': 'POST',
    ':path': '/a?b=c',
    ':scheme': 'https',
    'x-one': '1,2',
    'x-utf': 'é',
    'x-forwarded-for': '127.0.0.1',
    'x-forwarded-proto': 'https',
    'x-envoy-auth-partial-body': 'true',
  })
  assert.deepEqual(http, {
    id,
    method: 'POST',
    path: '/a?b=c',
    host: HOST,
    scheme: 'https',
    size: 11,
    protocol: 'HTTP/1.1',
    body: 'hello',
  })
})

test('packAsBytes: the body as bytes', async (t) => {
  const { authorizer, call } = await world(t, { includeRequestBodyInCheck: { maxRequestBytes: 50, packAsBytes: true } })
  const body = Buffer.from([0, 255, 1, 254])
  assert.equal((await call({ method: 'POST', body })).answer.status, 200)
  const http = authorizer.checks[0]?.attributes.request.http
  assert.deepEqual(http?.raw_body, body)
  assert.equal(http?.body, undefined)
})

test('OK changes the request and the answer, in Envoy’s order', async (t) => {
  const { authorizer, call, fields } = await world(t, {}, [
    customPolicy([{}]),
    authorizationPolicy('users', 'ALLOW', [{ when: [{ key: 'request.headers[x-set]', values: ['new'] }] }]),
  ])
  authorizer.decide = () => ({
    status: { code: 0 },
    ok_response: {
      headers: [
        header('X-Set', 'new'),
        header('x-append', 'b', true),
        header('x-append-absent', 'c', true),
        header('x-false', 'd', false),
        { header: { key: 'x-if-absent', value: 'e' }, append_action: 1 },
        { header: { key: 'x-added', value: 'f' }, append_action: 1 },
        { header: { key: 'x-overwrite', value: 'g' }, append_action: 2 },
        { header: { key: 'x-nowhere', value: 'h' }, append_action: 3 },
      ],
      headers_to_remove: ['X-Gone', 'host', ':path'],
      response_headers_to_add: [header('x-checked', 'yes')],
    },
  })
  const { answer } = await call({
    headers: {
      'x-set': ['old', 'older'],
      'x-append': 'a',
      'x-false': 'old',
      'x-if-absent': 'old',
      'x-overwrite': 'old',
      'x-gone': '1',
    },
  })
  assert.deepEqual(
    [answer.status, answer.headers['x-checked'], answer.headers['x-site']],
    [200, 'yes', '1'],
    answer.body,
  )
  assert.deepEqual(fields().toSorted(), [
    'x-added: f',
    'x-append: a,b',
    'x-false: d',
    'x-if-absent: old',
    'x-overwrite: g',
    'x-set: new',
  ])
})

test('any other status refuses, with what the answer says', async (t) => {
  const { authorizer, call, harness, site } = await world(t)
  authorizer.decide = () => ({
    status: { code: 16 },
    denied_response: {
      status: { code: 401 },
      headers: [header('WWW-Authenticate', 'Bearer'), header('x-bad', 'a\r\nb')],
      body: 'who?',
    },
  })
  const { answer, line } = await call()
  assert.deepEqual([answer.status, answer.body, answer.headers['www-authenticate']], [401, 'who?', 'Bearer'])
  assert.equal(answer.headers['x-bad'], undefined)
  assert.deepEqual(
    [line['response_flags'], line['response_code_details'], line['reason'], line['authz_policy']],
    ['UAEX', 'ext_authz_denied', 'ext_authz_denied', 'ns[istio-system]-policy[ask]-rule[0]'],
  )
  for (const [verdict, status] of [
    [{ status: { code: 7 } }, 403],
    [{ status: { code: 0 }, denied_response: {} }, 403],
    [{ status: { code: 7 }, denied_response: { status: { code: 99 } } }, 403],
  ] as const) {
    authorizer.decide = () => verdict
    assert.equal((await call()).answer.status, status, JSON.stringify(verdict))
  }
  assert.equal(site.connections.length, 0)
  assert.equal(await stat(harness, `cluster.outbound|${authorizer.port}||127.0.0.1.ext_authz.denied`), 4)
})

test('what fails, or cannot be honoured, refuses', async (t) => {
  const { authorizer, call, harness, site } = await world(t, { timeout: '400ms', statusOnError: '503' })
  const cases: readonly GrpcAuthorizer['decide'][] = [
    () => 13,
    () => 14,
    () => null,
    () => ({}),
    () => ({ status: { code: 0 }, ok_response: { headers: [header(':path', '/other')] } }),
    () => ({ status: { code: 0 }, ok_response: { headers: [header('Host', 'other.example')] } }),
    () => ({ status: { code: 0 }, ok_response: { headers: [header('transfer-encoding', 'chunked')] } }),
    () => ({ status: { code: 0 }, ok_response: { headers: [header('x-a', 'b\r\nx-injected: 1')] } }),
    () => ({ status: { code: 0 }, ok_response: { headers: [header('x a', 'b')] } }),
    () => ({ status: { code: 0 }, ok_response: { headers: [header('x-a', 'b'.repeat(100_000))] } }),
    () => ({ status: { code: 0 }, ok_response: { query_parameters_to_set: [{ key: 'a', value: 'b' }] } }),
  ]
  for (const decide of cases) {
    authorizer.decide = decide
    const { answer, line } = await call()
    assert.deepEqual([answer.status, line['response_code_details']], [503, 'ext_authz_error'], String(decide))
  }
  assert.equal(site.connections.length, 0)
  assert.equal(await stat(harness, `cluster.outbound|${authorizer.port}||127.0.0.1.ext_authz.error`), cases.length)
})

test('what is no gRPC server at all refuses', async (t) => {
  const nonsense = await startHttpAuthorizer(t)
  const site = await startRawOrigin()
  t.after(() => site.close())
  const harness = await started(t, {
    spec: { meshConfig: { extensionProviders: [grpcProvider(nonsense.port, { timeout: '1s' })] } },
    resources: {
      'all.yaml': documents(
        gateway({ tls: ISTIO_MUTUAL }),
        serviceEntry('site', HOST, site.port),
        virtualService('site', [HOST], [{ route: to(HOST) }]),
        customPolicy([{}]),
      ),
    },
  })
  const socket = await meshConnect({
    port: harness.gateway.port(80),
    svid: await harness.pki.svid('apps/sleep'),
    ca: harness.pki.root,
  })
  assert.equal((await request(socket, HOST)).status, 403)
  socket.destroy()
  assert.equal(site.connections.length, 0)
  await harness.stop(1)
})

test('HTTP/2 callers, many at once, over one connection to the authorizer', async (t) => {
  const { authorizer, harness } = await world(t)
  authorizer.decide = ({ attributes }) =>
    attributes.request.http?.path === '/yes' ? { status: { code: 0 } } : { status: { code: 7 } }
  const session = await meshH2({
    port: harness.gateway.port(80),
    svid: await harness.pki.svid('apps/sleep'),
    ca: harness.pki.root,
  })
  t.after(() => session.destroy())
  const paths = Array.from({ length: 40 }, (_, i) => (i % 2 === 0 ? '/yes' : '/no'))
  const answers = await Promise.all(paths.map((path) => h2Request(session, HOST, { path })))
  assert.deepEqual(
    answers.map(({ status }) => status),
    paths.map((path) => (path === '/yes' ? 200 : 403)),
  )
  assert.equal(authorizer.checks[0]?.attributes.request.http?.protocol, 'HTTP/2')
  assert.equal(await stat(harness, `cluster.outbound|${authorizer.port}||127.0.0.1.upstream_cx_http2_total`), 1)
})

test('a stuck authorizer holds 1024 requests, and no more', async (t) => {
  const { authorizer, harness } = await world(t, { timeout: '60s' })
  authorizer.decide = () => null
  const svid = await harness.pki.svid('apps/sleep')
  const connect = async () => meshH2({ port: harness.gateway.port(80), svid, ca: harness.pki.root })
  const sessions = await Promise.all(Array.from({ length: 11 }, connect))
  let refused = 0
  for (const session of sessions)
    for (let i = 0; i < 94; i += 1)
      void h2Request(session, HOST).then(({ status }) => (refused += status === 403 ? 1 : 0))
  const error = `cluster.outbound|${authorizer.port}||127.0.0.1.ext_authz.error`
  await eventually('all the others refused', () => (refused === 11 * 94 - 1024 ? true : null))
  assert.equal(await stat(harness, error), 11 * 94 - 1024)
  for (const session of sessions) session.destroy()
  // Those who wait have left, and the next one is asked about.
  await harness.lines(11 * 94)
  authorizer.decide = () => ({ status: { code: 0 } })
  const session = await connect()
  assert.equal((await h2Request(session, HOST)).status, 200)
  session.destroy()
  await harness.stop(11 * 94 + 1)
})

/** A tunnel of bytes in mTLS to the database, and what became of it. */
async function tunnel(t: TestContext, provider: (t: TestContext) => Promise<object>, rules: readonly object[] = [{}]) {
  const database = await startDatabase(({ socket }) => void socket.end('rows'))
  t.after(() => database.close())
  const harness = await started(t, {
    spec: { ports: PORTS, meshConfig: { extensionProviders: [await provider(t)] } },
    resources: { 'all.yaml': documents(...tunnelManifests(1, database.port), customPolicy(rules)) },
  })
  const socket = await meshTunnel(harness)
  const seen = watch(socket)
  socket.write('select')
  await Promise.race([ended(socket), seen.closed])
  socket.destroy()
  const [line] = await harness.lines(1)
  return { harness, line, text: seen.text, reached: database.connections.length }
}

test('tunnels: a gRPC authorizer is asked who wants to open one, and where to', async (t) => {
  const authorizer = await startGrpcAuthorizer(t)
  const allowed = await tunnel(t, async () => grpcProvider(authorizer.port))
  assert.deepEqual([allowed.text, allowed.reached, allowed.line?.['reason']], ['rows', 1, null])
  const { source, request: asked } = authorizer.checks[0]?.attributes ?? assert.fail()
  assert.equal(source.principal, `spiffe://cluster.local/ns/${SLEEP.replace('/', '/sa/')}`)
  assert.equal(asked.http, undefined)
  authorizer.decide = () => ({ status: { code: 7 } })
  const refused = await tunnel(t, async () => grpcProvider(authorizer.port))
  assert.deepEqual([refused.text, refused.reached], ['', 0])
  assert.deepEqual([refused.line?.['response_flags'], refused.line?.['reason']], ['UAEX', 'ext_authz_denied'])
})

test('tunnels: where the authorizer speaks HTTP they are refused, with a warning at load', async (t) => {
  const http = async (asked: TestContext) => httpProvider((await startHttpAuthorizer(asked)).port)
  const refused = await tunnel(t, http)
  assert.deepEqual([refused.text, refused.reached], ['', 0])
  assert.deepEqual([refused.line?.['response_flags'], refused.line?.['reason']], ['UAEX', 'ext_authz_denied'])
  await eventually('a warning', () => refused.harness.log().some(({ message }) => String(message).includes('SP8305')))
  // A rule for a name that is not asked for does not cover it.
  const other = await tunnel(t, http, [{ when: [{ key: 'connection.sni', values: [CNN] }] }])
  assert.deepEqual([other.text, other.reached], ['rows', 1])
})
