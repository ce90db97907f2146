/** CUSTOM policies with an authorizer that speaks HTTP (issue 8, behaviour §1.6), over real sockets, HTTP/1.1 and h2. */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import type { Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { h2Request, meshH2 } from '../../src/testing/h2-client.ts'
import type { Harness, LogLine } from '../../src/testing/harness.ts'
import { type Answer, meshConnect, type RequestOptions, request } from '../../src/testing/mesh-client.ts'
import { type RawOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import { customPolicy, type HttpAuthorizer, httpProvider, startHttpAuthorizer } from './authorizers.ts'
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
import { freePort, stat } from './operator.ts'
import { started } from './started.ts'

const HOST = 'site.example'
const SLEEP = 'apps/sleep'

type World = {
  readonly harness: Harness
  readonly authorizer: HttpAuthorizer
  readonly site: RawOrigin
  readonly socket: Socket
  /** One request on the open connection; its answer and its line. */
  readonly call: (options?: RequestOptions) => Promise<{ readonly answer: Answer; readonly line: LogLine }>
  /** Heads that the site was sent. */
  readonly sent: () => string[]
}

async function world(
  t: TestContext,
  options: {
    readonly provider?: object
    readonly rules?: readonly object[]
    readonly policies?: readonly Manifest[]
    readonly port?: number
    readonly answer?: string
  } = {},
): Promise<World> {
  const authorizer = await startHttpAuthorizer(t)
  const answer =
    options.answer ?? 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\nset-cookie: site=1\r\nx-both: site\r\n\r\nok'
  const site = await startRawOrigin({ onRequest: ({ socket }) => void socket.write(answer) })
  t.after(() => site.close())
  const harness = await started(t, {
    spec: { meshConfig: { extensionProviders: [httpProvider(options.port ?? authorizer.port, options.provider)] } },
    resources: {
      'all.yaml': documents(
        gateway({ tls: ISTIO_MUTUAL }),
        serviceEntry('site', HOST, site.port),
        virtualService('site', [HOST], [{ route: to(HOST) }]),
        ...(options.policies ?? [customPolicy(options.rules ?? [{}])]),
      ),
    },
  })
  const svid = await harness.pki.svid(SLEEP)
  const socket = await meshConnect({ port: harness.gateway.port(80), svid, ca: harness.pki.root })
  t.after(() => socket.destroy())
  let count = 0
  return {
    harness,
    authorizer,
    site,
    socket,
    call: async (asked = {}) => {
      const got = await request(socket, HOST, asked)
      count += 1
      return { answer: got, line: (await harness.lines(count))[count - 1] ?? {} }
    },
    sent: () => site.connections.flatMap(({ text }) => text.split(/(?=(?:GET|POST|HEAD) )/)),
  }
}

const outcome = ({
  response_code,
  response_flags,
  response_code_details,
  reason,
  authz_decision,
  authz_policy,
}: LogLine) => ({
  response_code,
  response_flags,
  response_code_details,
  reason,
  authz_decision,
  authz_policy,
})

const REFUSED = {
  response_code: 403,
  response_flags: 'UAEX',
  reason: 'ext_authz_denied',
  authz_decision: 'deny',
  authz_policy: 'ns[istio-system]-policy[ask]-rule[0]',
}

test('a check is the request itself, without what the authorizer is not to see', async (t) => {
  const { authorizer, call, harness, sent } = await world(t, {
    provider: {
      pathPrefix: '/v1/check',
      includeRequestHeadersInCheck: ['x-team', 'x-trace-*', '*-token', 'x-forwarded-for', 'x-forwarded-client-cert'],
      includeAdditionalHeadersInCheck: { 'X-Gateway': 'egress', 'x-team': 'ours' },
    },
  })
  const headers = {
    authorization: 'Bearer abc',
    'x-team': 'mine',
    'x-trace-a': '1',
    'my-token': 't',
    'x-secret': 's',
    cookie: 'a=b',
    'x-forwarded-for': '1.2.3.4',
  }
  const { answer, line } = await call({ path: '/a%2fb?q=1', headers })
  assert.equal(answer.status, 200)
  assert.equal(line['response_flags'], '-')
  const [check] = authorizer.checks
  assert.ok(check !== undefined)
  const { 'x-forwarded-client-cert': xfcc, ...seen } = check.headers
  assert.deepEqual([check.method, check.path, check.body], ['GET', '/v1/check/a%2fb?q=1', ''])
  assert.deepEqual(seen, {
    host: HOST,
    'content-length': '0',
    authorization: 'Bearer abc',
    'x-trace-a': '1',
    'my-token': 't',
    'x-forwarded-for': '1.2.3.4,127.0.0.1',
    'x-gateway': 'egress',
    'x-team': 'ours',
  })
  // Who asks, as the gateway knows it.
  assert.match(String(xfcc), /^Hash=[0-9a-f]{64};Subject="[^"]*";URI=spiffe:\/\/cluster\.local\/ns\/apps\/sa\/sleep$/)
  // The site gets what the caller sent, and nothing of the check.
  assert.match(sent()[0] ?? '', /\r\nx-team: mine\r\n/)
  assert.doesNotMatch(sent()[0] ?? '', /x-gateway|client-cert/)
  await harness.stop(1)
})

test('200 lets through: what it says goes to the site, to policy, and to the caller', async (t) => {
  const { authorizer, call, sent } = await world(t, {
    provider: {
      headersToUpstreamOnAllow: ['x-user', 'x-group-*', 'authorization'],
      headersToDownstreamOnAllow: ['x-both', 'set-cookie', 'x-checked'],
    },
    policies: [
      customPolicy([{}]),
      authorizationPolicy('users', 'ALLOW', [{ when: [{ key: 'request.headers[x-user]', values: ['ann'] }] }]),
    ],
  })
  authorizer.decide = () => ({
    status: 200,
    headers: {
      'x-user': 'ann',
      'x-group-a': '1',
      'x-group-b': '2',
      'x-other': 'no',
      'set-cookie': 'authz=1',
      'x-both': 'authz',
      'x-checked': 'yes',
      'x-envoy-auth-headers-to-remove': 'x-raw, cookie',
    },
  })
  const { answer } = await call({
    headers: { 'x-user': 'mallory', 'x-raw': '1', cookie: 'a=b', connection: 'keep-alive, x-user' },
  })
  assert.equal(answer.status, 200, answer.body)
  const [head = ''] = sent()
  const fields = head.split('\r\n').filter((line) => /^(x-user|x-group|x-other|x-raw|cookie|authorization)/.test(line))
  // What the caller's Connection names is the caller's to lose, not the authorizer's word.
  assert.deepEqual(fields, ['x-user: ann', 'x-group-a: 1', 'x-group-b: 2'])
  assert.equal(answer.headers['x-both'], 'authz')
  assert.equal(answer.headers['x-checked'], 'yes')
  assert.deepEqual(answer.headers['set-cookie'], ['site=1', 'authz=1'])

  authorizer.decide = () => ({ status: 200 })
  const refused = await call({ headers: { 'x-user': 'mallory' } })
  assert.equal(refused.answer.status, 403)
  assert.equal(refused.answer.body, 'RBAC: access denied')
  assert.equal(refused.line['reason'], 'rbac_denied')
})

test('any answer but 200 and 5xx is the refusal, with its status, fields and body', async (t) => {
  const { authorizer, call, harness, sent } = await world(t)
  authorizer.decide = () => ({
    status: 401,
    headers: {
      'www-authenticate': 'Basic realm="x"',
      'content-type': 'application/json',
      'x-why': 'no',
      server: 'opa',
    },
    body: '{"allowed":false}',
  })
  const { answer, line } = await call()
  assert.deepEqual([answer.status, answer.body], [401, '{"allowed":false}'])
  const { date: _, connection: __, 'keep-alive': ___, ...headers } = answer.headers
  assert.deepEqual(headers, {
    'content-length': '17',
    'x-sallyport-reason': 'ext_authz_denied',
    'www-authenticate': 'Basic realm="x"',
    'content-type': 'application/json',
    'x-why': 'no',
    server: 'sallyport',
  })
  assert.deepEqual(outcome(line), { ...REFUSED, response_code: 401, response_code_details: 'ext_authz_denied' })

  authorizer.decide = () => ({ status: 302, headers: { location: 'https://login.example/?a=b' } })
  const redirected = await call()
  assert.deepEqual([redirected.answer.status, redirected.answer.headers.location], [302, 'https://login.example/?a=b'])
  authorizer.decide = () => ({ status: 204, headers: { 'x-sallyport-reason': 'none' } })
  const empty = await call()
  assert.deepEqual([empty.answer.status, empty.answer.headers['x-sallyport-reason']], [204, 'ext_authz_denied'])
  assert.deepEqual(sent(), [])
  assert.equal(await stat(harness, `cluster.outbound|${authorizer.port}||127.0.0.1.ext_authz.denied`), 3)
  await harness.stop(3)
})

test('headersToDownstreamOnDeny, when there are any: those, and what a browser needs', async (t) => {
  const { authorizer, call } = await world(t, { provider: { headersToDownstreamOnDeny: ['x-why', 'x-a-*'] } })
  const headers = { location: '/login', 'www-authenticate': 'Bearer', 'x-why': 'no', 'x-a-b': '1', 'x-secret': 's' }
  authorizer.decide = () => ({ status: 403, headers })
  const { answer } = await call()
  const { 'x-secret': secret, ...shown } = answer.headers
  assert.equal(secret, undefined)
  for (const name of ['location', 'www-authenticate', 'x-why', 'x-a-b'] as const)
    assert.equal(shown[name], headers[name], name)
})

test('rules decide who is asked about', async (t) => {
  const { authorizer, call } = await world(t, {
    rules: [
      { to: [{ operation: { paths: ['/admin/*'], notMethods: ['HEAD'] } }] },
      { when: [{ key: 'request.headers[x-ask]', values: ['*'] }] },
    ],
  })
  authorizer.decide = () => ({ status: 403 })
  assert.equal((await call({ path: '/' })).answer.status, 200)
  assert.equal(authorizer.checks.length, 0)
  assert.equal((await call({ path: '/admin/x' })).line['authz_policy'], 'ns[istio-system]-policy[ask]-rule[0]')
  assert.equal(
    (await call({ path: '/', headers: { 'x-ask': '1' } })).line['authz_policy'],
    'ns[istio-system]-policy[ask]-rule[1]',
  )
  assert.equal((await call({ path: '/admin/x', method: 'HEAD' })).answer.status, 200)
  assert.equal(authorizer.checks.length, 2)
})

test('the authorizer is asked before DENY and ALLOW are judged; what it lets through they may still refuse', async (t) => {
  const { authorizer, call } = await world(t, {
    policies: [customPolicy([{}]), authorizationPolicy('no', 'DENY', [{ to: [{ operation: { paths: ['/no'] } }] }])],
  })
  assert.equal((await call({ path: '/no' })).line['reason'], 'rbac_denied')
  authorizer.decide = () => ({ status: 418 })
  assert.equal((await call({ path: '/no' })).line['reason'], 'ext_authz_denied')
  assert.equal(authorizer.checks.length, 2)
})

test('the authorizer is asked before tokens are verified, and what it adds is verified too', async (t) => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwks = JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'a', alg: 'ES256' }] })
  const { authorizer, call } = await world(t, {
    provider: { headersToUpstreamOnAllow: ['authorization'] },
    policies: [
      customPolicy([{}]),
      {
        apiVersion: 'security.istio.io/v1',
        kind: 'RequestAuthentication',
        metadata: { name: 'jwt', namespace: 'istio-system' },
        spec: { jwtRules: [{ issuer: 'someone', jwks }] },
      },
    ],
  })
  const token = { authorization: 'Bearer not.a.token' }
  authorizer.decide = () => ({ status: 403 })
  assert.equal((await call({ headers: token })).line['reason'], 'ext_authz_denied')
  authorizer.decide = () => ({ status: 200 })
  assert.equal((await call({ headers: token })).line['reason'], 'jwt_invalid')
  assert.equal((await call()).answer.status, 200)
  authorizer.decide = () => ({ status: 200, headers: token })
  assert.equal((await call()).line['reason'], 'jwt_invalid')
})

const GARBAGE = 'SSH-2.0-OpenSSH_9.6\r\n'
const FAILURES: readonly (readonly [name: string, act: (world: World) => void])[] = [
  ['answers 500', ({ authorizer }) => (authorizer.decide = () => ({ status: 500, body: 'sorry' }))],
  ['answers 503', ({ authorizer }) => (authorizer.decide = () => ({ status: 503 }))],
  ['says nothing', ({ authorizer }) => (authorizer.decide = () => null)],
  ['hangs up', ({ authorizer }) => (authorizer.decide = (_, response) => void response.socket?.destroy())],
  ['talks nonsense', ({ authorizer }) => (authorizer.decide = (_, response) => void response.socket?.end(GARBAGE))],
  [
    'breaks off',
    ({ authorizer }) =>
      (authorizer.decide = (_, response) => {
        response.writeHead(200, { 'content-length': '10' })
        response.write('a')
        setImmediate(() => response.socket?.destroy())
        return undefined
      }),
  ],
  ['says too much', ({ authorizer }) => (authorizer.decide = () => ({ status: 200, body: 'x'.repeat(300_000) }))],
]

for (const [name, act] of FAILURES)
  test(`an authorizer that ${name} refuses, unless failOpen`, async (t) => {
    for (const failOpen of [false, true]) {
      const asked = await world(t, { provider: { timeout: '400ms', failOpen, statusOnError: '502' } })
      const { authorizer, call, harness, sent } = asked
      act(asked)
      const { answer, line } = await call()
      const stats = `cluster.outbound|${authorizer.port}||127.0.0.1.ext_authz`
      assert.equal(await stat(harness, `${stats}.error`), 1)
      assert.equal(await stat(harness, `${stats}.failure_mode_allowed`), failOpen ? 1 : 0)
      assert.deepEqual([answer.status, answer.body, sent().length], failOpen ? [200, 'ok', 1] : [502, '', 0])
      if (!failOpen)
        assert.deepEqual(outcome(line), { ...REFUSED, response_code: 502, response_code_details: 'ext_authz_error' })
      await eventually('a line of the operational log', () =>
        harness.log().find(({ message }) => /without (?:asking )?the authorizer/.test(String(message))),
      )
      await harness.stop(1)
    }
  })

test('an authorizer that is not there refuses with 403', async (t) => {
  const { call, sent } = await world(t, { port: await freePort() })
  const { answer, line } = await call()
  assert.deepEqual([answer.status, answer.body], [403, ''])
  assert.deepEqual(outcome(line), { ...REFUSED, response_code_details: 'ext_authz_error' })
  assert.deepEqual(sent(), [])
})

test('a provider that nobody has defined refuses everything, as in Istio', async (t) => {
  const { authorizer, call, harness, sent } = await world(t, {
    policies: [customPolicy([{ to: [{ operation: { paths: ['/admin'] } }] }], 'nobody')],
  })
  const { answer, line } = await call({ path: '/' })
  assert.equal(answer.status, 403)
  assert.deepEqual([line['response_flags'], line['reason']], ['UAEX', 'ext_authz_denied'])
  assert.deepEqual([authorizer.checks.length, sent().length], [0, 0])
  await eventually('the warning', () => harness.log().find(({ message }) => String(message).includes('SP8302')))
})

test('a caller who leaves takes the check along', async (t) => {
  const { authorizer, harness, socket } = await world(t)
  const closed = Promise.withResolvers<void>()
  authorizer.decide = (_, response) => {
    response.socket?.once('close', () => closed.resolve())
    return null
  }
  socket.write(`GET / HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`)
  await eventually('the check', () => authorizer.checks[0])
  socket.destroy()
  await closed.promise
  const [line] = await harness.lines(1)
  assert.deepEqual([line?.['response_code'], line?.['response_flags']], [0, 'DC'])
  assert.equal(await stat(harness, `cluster.outbound|${authorizer.port}||127.0.0.1.ext_authz.error`), 0)
  await harness.stop(1)
})

test('connections to the authorizer are kept, and one that it has closed costs nothing', async (t) => {
  const { authorizer, call, harness } = await world(t)
  for (let i = 0; i < 5; i += 1) assert.equal((await call()).answer.status, 200)
  const stats = `cluster.outbound|${authorizer.port}||127.0.0.1`
  assert.equal(await stat(harness, `${stats}.upstream_cx_total`), 1)
  authorizer.hangUp()
  assert.equal((await call()).answer.status, 200)
  assert.equal(await stat(harness, `${stats}.ext_authz.ok`), 6)
})

test('HTTP/2 callers are asked about in the same way', async (t) => {
  const { authorizer, harness, sent } = await world(t, { provider: { headersToUpstreamOnAllow: ['x-user'] } })
  const svid = await harness.pki.svid(SLEEP)
  const session = await meshH2({ port: harness.gateway.port(80), svid, ca: harness.pki.root })
  t.after(() => session.destroy())
  authorizer.decide = ({ path }) => ({ status: path === '/yes' ? 200 : 403, headers: { 'x-user': 'ann' }, body: 'no' })
  const [yes, no, grpc] = await Promise.all([
    h2Request(session, HOST, { path: '/yes' }),
    h2Request(session, HOST, { path: '/no' }),
    h2Request(session, HOST, { path: '/grpc', method: 'POST', headers: { 'content-type': 'application/grpc' } }),
  ])
  assert.deepEqual([yes.status, no.status, no.body.toString()], [200, 403, 'no'])
  assert.deepEqual([grpc.status, grpc.headers['grpc-status'], grpc.headers['grpc-message']], [200, '7', 'no'])
  assert.match(sent()[0] ?? '', /\r\nx-user: ann\r\n/)
  assert.equal(sent().length, 1)
})
