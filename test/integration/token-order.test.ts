/**
 * Tokens among the other things that are asked of a request (contract §4, Order): after what is malformed, before policies,
 * registry and routes; for gRPC callers, for what changes its protocol, on tunnels; in the log; and as `explain` tells it.
 */
import assert from 'node:assert/strict'
import { explain } from '../../src/cli/explain.ts'
import { meshConnect, rawExchange } from '../../src/testing/mesh-client.ts'
import { inSeconds, jwksOf, startKeyServer, tokenBy, tokenKey } from '../../src/testing/tokens.ts'
import { openWebSocket, startWebSocketSite } from '../../src/testing/websocket.ts'
import { test } from './engines.ts'
import { authorizationPolicy, documents, requestAuthentication } from './manifests.ts'
import { HOST as SITE, startSite } from './site.ts'
import { bearer, HOST, PROTOCOLS, startTokenWorld } from './token-world.ts'

const KEY = tokenKey('k', 'ES256')
const RULES = requestAuthentication('r', [{ issuer: 'i', jwks: jwksOf(KEY) }])
const TOKEN = tokenBy(KEY, { iss: 'i', sub: 'u', role: 'reader' })
const BAD = tokenBy(tokenKey('k', 'ES256'), { iss: 'i', sub: 'u' })
const REQUIRE = authorizationPolicy('require', 'ALLOW', [{ from: [{ source: { requestPrincipals: ['i/*'] } }] }])

test('a bad token is 401 before a DENY, an unknown host and a missing route are looked at, and after what is malformed', async (t) => {
  const everybody = authorizationPolicy('all', 'DENY', [{}])
  const { ask, become, harness, lastLine } = await startTokenWorld(t, [RULES, everybody])
  for (const protocol of PROTOCOLS) {
    assert.equal((await ask(protocol, bearer(BAD))).status, 401)
    assert.equal((await ask(protocol, bearer(TOKEN))).status, 403)
  }
  await become(RULES)
  for (const protocol of PROTOCOLS) {
    assert.equal((await ask(protocol, { host: 'nowhere.example', ...bearer(BAD) })).status, 401)
    assert.equal((await ask(protocol, { host: 'nowhere.example', ...bearer(TOKEN) })).status, 502)
    assert.equal((await ask(protocol, { path: '/%00', ...bearer(BAD) })).status, 400)
  }
  assert.equal((await lastLine())['reason'], 'bad_request')
  await harness.stop(10)
})

test('a gRPC caller gets status 16, and the words', async (t) => {
  const { ask, lastLine } = await startTokenWorld(t, [RULES])
  const { status, headers } = await ask('HTTP/2', {
    method: 'POST',
    headers: { ...bearer(BAD).headers, 'content-type': 'application/grpc', te: 'trailers' },
  })
  assert.deepEqual(
    [status, headers['grpc-status'], headers['grpc-message'], headers['x-sallyport-reason']],
    [200, '16', 'Jwt verification fails', 'jwt_invalid'],
  )
  assert.equal((await lastLine())['reason'], 'jwt_invalid')
})

test('bodies go through while keys are fetched, and a caller who leaves meanwhile has one line', async (t) => {
  let answer = (): void => undefined
  const fetched = Promise.withResolvers<void>()
  const keys = await startKeyServer((_request, response) => {
    answer = () => void response.end(jwksOf(KEY))
    fetched.resolve()
  })
  t.after(() => keys.close())
  const world = await startTokenWorld(t, [requestAuthentication('r', [{ issuer: 'i', jwksUri: keys.uri }]), REQUIRE])
  await fetched.promise
  const { harness, origin } = world
  const leaver = await meshConnect({
    port: harness.gateway.port(80),
    svid: await harness.pki.svid('apps/sleep'),
    ca: harness.pki.root,
  })
  leaver.write(`GET /left HTTP/1.1\r\nhost: ${HOST}\r\nauthorization: Bearer ${TOKEN}\r\n\r\n`)
  const waiting = world.ask('HTTP/1.1', { method: 'POST', ...bearer(TOKEN), body: 'x'.repeat(200_000) })
  const other = world.ask('HTTP/2', { method: 'POST', path: '/anything/2', ...bearer(TOKEN), body: 'y' })
  leaver.destroy()
  const [line] = await harness.lines(1)
  assert.deepEqual([line?.['path'], line?.['response_flags']], ['/left', 'DC'])
  answer()
  // Two requests at once: whichever the site saw first, both arrived whole.
  await Promise.allSettled([waiting, other])
  assert.equal(keys.asked.length, 1)
  assert.deepEqual(origin.requests.toSorted(), ['POST /anything', 'POST /anything/2'])
  await harness.stop(3)
})

test('a WebSocket keeps what its token said, until a policy forbids it or nobody vouches for its issuer', async (t) => {
  const outside = await startWebSocketSite()
  t.after(() => outside.close())
  const site = await startSite(t, outside.port, {
    resources: { 'tokens.yaml': documents(RULES, REQUIRE) },
  })
  // A second is left to it: too little for what follows, and it does not matter.
  const brief = tokenBy(KEY, { iss: 'i', sub: 'u', exp: inSeconds(-58) })
  const end = await openWebSocket(await site.plain(), SITE, { fields: `Authorization: Bearer ${brief}\r\n` })
  assert.ok(await end.echoes('a'))
  assert.ok(!outside.heads[0]?.includes('Bearer'))
  const reader = authorizationPolicy('more', 'DENY', [{ to: [{ operation: { methods: ['POST'] } }] }])
  assert.ok((await site.harness.change({ 'more.yaml': documents(reader) })).ok)
  assert.ok(await end.echoes('b'))
  end.stream.on('error', () => undefined)
  const closed = new Promise((resolve) => end.stream.once('close', resolve))
  const others = requestAuthentication('r', [{ issuer: 'j', jwks: jwksOf(KEY) }])
  assert.ok((await site.harness.change({ 'tokens.yaml': documents(others, REQUIRE) })).ok)
  await closed
  const [line] = await site.harness.lines(1)
  assert.deepEqual([line?.['response_code'], line?.['reason']], [101, 'policy_changed'])
  await site.harness.stop(1)
})

test('the raw answer of HTTP/1.1: as Envoy writes it, and the connection goes on', async (t) => {
  const { harness } = await startTokenWorld(t, [RULES])
  const socket = await meshConnect({
    port: harness.gateway.port(80),
    svid: await harness.pki.svid('apps/sleep'),
    ca: harness.pki.root,
  })
  const head = `GET /a"b?access_token=${BAD} HTTP/1.1\r\nhost: ${HOST}\r\n`
  const text = await rawExchange(socket, `${head}\r\n${head}connection: close\r\n\r\n`)
  const answers = text.split('HTTP/1.1 401 Unauthorized\r\n').slice(1)
  assert.equal(answers.length, 2)
  for (const answer of answers) {
    assert.match(
      answer,
      /^www-authenticate: Bearer realm="https:\/\/httpbin\.example\/a%22b", error="invalid_token"\r$/m,
    )
    assert.ok(!answer.includes(BAD))
    assert.ok(answer.endsWith('\r\n\r\nJwt verification fails'))
  }
  for (const line of await harness.lines(2)) assert.equal(line['path'], '/a"b')
  socket.destroy()
})

test('a log of fields shows what has gone on: no token, but what it filled', async (t) => {
  const rule = { issuer: 'i', jwks: jwksOf(KEY), outputClaimToHeaders: [{ header: 'x-user', claim: 'sub' }] }
  const accessLogFormat = JSON.stringify({ token: '%REQ(AUTHORIZATION)%', user: '%REQ(X-USER)%' })
  const { ask, harness } = await startTokenWorld(t, [requestAuthentication('r', [rule])], {
    meshConfig: { accessLogFormat },
  })
  assert.equal((await ask('HTTP/1.1', bearer(TOKEN))).status, 200)
  assert.equal((await ask('HTTP/2', { headers: { 'x-user': 'root' } })).status, 200)
  assert.deepEqual(await harness.lines(2), [
    { token: null, user: 'u' },
    { token: null, user: null },
  ])
})

test('explain: a token by what it says, and the same decision', async (t) => {
  const role = authorizationPolicy('role', 'ALLOW', [
    { when: [{ key: 'request.auth.claims[role]', values: ['reader'] }] },
  ])
  const audience = requestAuthentication('r', [{ issuer: 'i', audiences: ['a'], jwks: jwksOf(KEY) }])
  const site = await startSite(t, 9, { resources: { 'tokens.yaml': documents(audience, role) } })
  const told = async (...args: readonly string[]) => {
    let text = ''
    const stdout = { write: (more: string) => (text += more) }
    const code = await explain(['-f', site.harness.configFile, '-o', 'json', ...args, 'GET', `http://${SITE}/`], {
      stdout,
      stderr: { write: () => true },
    })
    const { status, reason, details } = JSON.parse(text)
    return [code, status, reason, details]
  }
  const claims = (...pairs: readonly string[]) => pairs.flatMap((pair) => ['--claim', pair])
  const known = claims('iss=i', 'sub=u', 'aud=a')
  assert.deepEqual((await told(...known, ...claims('role=reader'))).slice(0, 3), [0, null, null])
  assert.deepEqual((await told(...known, ...claims('role=writer', 'role=reader'))).slice(0, 3), [0, null, null])
  assert.deepEqual((await told(...known, ...claims('role[x]=reader'))).slice(0, 3), [1, 403, 'rbac_denied'])
  assert.deepEqual((await told()).slice(0, 3), [1, 403, 'rbac_denied'])
  assert.deepEqual(await told(...claims('iss=j')), [
    1,
    401,
    'jwt_invalid',
    'jwt_authn_access_denied{Jwt_issuer_is_not_configured}',
  ])
  assert.deepEqual(await told(...claims('iss=i', 'aud=b')), [
    1,
    401,
    'jwt_invalid',
    'jwt_authn_access_denied{Audiences_in_Jwt_are_not_allowed}',
  ])
  await assert.rejects(told('-H', `authorization: Bearer ${TOKEN}`), /say what it says with --claim/)
  await assert.rejects(told('--claim', 'role'), /--claim takes NAME=VALUE/)
  await assert.rejects(told(...claims('a=1', 'a[b]=1')), /a value and an object at once/)
})
