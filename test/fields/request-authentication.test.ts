/** Every field of RequestAuthentication: one caller, tokens of one issuer, and what becomes of whom (docs/request-authentication.md). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { jwksOf, startKeyServer, tokenBy, tokenKey } from '../../src/testing/tokens.ts'
import { authorizationPolicy, type Manifest, requestAuthentication } from '../integration/manifests.ts'
import { bearer, HOST, startTokenWorld, type TokenWorld } from '../integration/token-world.ts'

const RULE = 'RequestAuthentication.jwtRules[]'
const KEY = tokenKey('k', 'ES256')
const CLAIMS = { iss: 'i', sub: 'u' }
const TOKEN = tokenBy(KEY, CLAIMS)
const FORGED = tokenBy(tokenKey('k', 'ES256'), CLAIMS)
const JWKS = jwksOf(KEY)
const GATEWAY_API = 'gateway.networking.k8s.io'

/** Nobody without a principal gets through. */
const REQUIRE = authorizationPolicy('require', 'ALLOW', [{ from: [{ source: { requestPrincipals: ['*'] } }] }])
const rule = (more: object = {}): Manifest => requestAuthentication('r', [{ issuer: 'i', jwks: JWKS, ...more }])
/** A whole resource with other fields beside its rules. */
const targeted = (more: object): Manifest => {
  const { spec, ...rest } = rule() as Manifest & { readonly spec: object }
  return { ...rest, spec: { ...spec, ...more } }
}

async function status(world: TokenWorld, token: string): Promise<number> {
  return (await world.ask('HTTP/1.1', bearer(token))).status
}

test('field RequestAuthentication.selector.matchLabels: gateways with all the labels', async (t) => {
  const world = await startTokenWorld(t, [targeted({ selector: { matchLabels: { istio: 'egressgateway' } } })])
  assert.deepEqual([await status(world, TOKEN), await status(world, FORGED)], [200, 401])
  await world.become(targeted({ selector: { matchLabels: { istio: 'ingressgateway' } } }))
  assert.equal(await status(world, FORGED), 200)
})

for (const [title, reference] of [
  [
    'field RequestAuthentication.targetRef.group, RequestAuthentication.targetRef.kind, RequestAuthentication.targetRef.name, RequestAuthentication.targetRef.namespace: a gateway of the Gateway API, which this is not',
    (ref: object) => ({ targetRef: ref }),
  ],
  [
    'field RequestAuthentication.targetRefs[].group, RequestAuthentication.targetRefs[].kind, RequestAuthentication.targetRefs[].name, RequestAuthentication.targetRefs[].namespace: the same, as a list',
    (ref: object) => ({ targetRefs: [ref] }),
  ],
] as const)
  test(title, async (t) => {
    const world = await startTokenWorld(t, [])
    const ours = { group: GATEWAY_API, kind: 'Gateway', name: 'egress', namespace: 'istio-system' }
    await world.become(targeted(reference(ours)))
    assert.equal(await status(world, FORGED), 200)
    for (const wrong of [{ group: 'apps' }, { kind: 'Pod' }, { name: '' }, { namespace: 'apps' }]) {
      const documents = JSON.stringify(targeted(reference({ ...ours, ...wrong })))
      const { errors } = await world.harness.change({ 'tokens.yaml': documents })
      assert.match(errors.join(), / SP5009 /, JSON.stringify(wrong))
    }
  })

test(`field ${RULE}.issuer: only its tokens, or with keys from somewhere anybody's`, async (t) => {
  const world = await startTokenWorld(t, [rule()])
  const other = tokenBy(KEY, { iss: 'j', sub: 'u' })
  assert.deepEqual([await status(world, TOKEN), await status(world, other)], [200, 401])
  const keys = await startKeyServer(JWKS)
  t.after(() => keys.close())
  await world.become(requestAuthentication('r', [{ jwksUri: keys.uri }]), REQUIRE)
  assert.deepEqual([await status(world, TOKEN), await status(world, other)], [200, 200])
  assert.equal(await status(world, FORGED), 401)
})

test(`field ${RULE}.audiences: one of them`, async (t) => {
  const world = await startTokenWorld(t, [rule({ audiences: ['a', 'b'] })])
  const to = (aud: unknown) => status(world, tokenBy(KEY, { ...CLAIMS, aud }))
  assert.deepEqual(
    [await to('b'), await to(['x', 'a']), await to('x'), await status(world, TOKEN)],
    [200, 200, 401, 401],
  )
})

test(`field ${RULE}.jwks, ${RULE}.jwksUri, ${RULE}.timeout: keys written down, or fetched in time`, async (t) => {
  const world = await startTokenWorld(t, [rule()])
  assert.deepEqual([await status(world, TOKEN), await status(world, FORGED)], [200, 401])
  const keys = await startKeyServer(JWKS)
  t.after(() => keys.close())
  await world.become(requestAuthentication('r', [{ issuer: 'i', jwksUri: keys.uri }]))
  assert.deepEqual([await status(world, TOKEN), await status(world, FORGED)], [200, 401])
  const silent = await startKeyServer(() => undefined)
  t.after(() => silent.close())
  await world.become(requestAuthentication('r', [{ issuer: 'i', jwksUri: silent.uri, timeout: '50ms' }]))
  assert.equal((await world.ask('HTTP/1.1', bearer(TOKEN))).body, 'Jwks remote fetch is failed')
})

test(`field ${RULE}.fromHeaders[].name, ${RULE}.fromHeaders[].prefix: there and nowhere else`, async (t) => {
  const world = await startTokenWorld(t, [rule({ fromHeaders: [{ name: 'X-Token', prefix: 'istio ' }] }), REQUIRE])
  const get = async (value: string) => (await world.ask('HTTP/1.1', { headers: { 'x-token': value } })).status
  assert.deepEqual([await get(`istio ${TOKEN}`), await get(`istio ${FORGED}`), await get(TOKEN)], [200, 401, 403])
  assert.equal(await status(world, TOKEN), 403)
  await world.become(rule({ fromHeaders: [{ name: 'x-token' }] }), REQUIRE)
  assert.deepEqual([await get(TOKEN), await get(`istio ${TOKEN}`)], [200, 401])
})

test(`field ${RULE}.fromParams: parameters, which the site then does not see, nor the log`, async (t) => {
  const world = await startTokenWorld(t, [rule({ fromParams: ['jwt'] }), REQUIRE])
  const answer = await world.ask('HTTP/1.1', { path: `/anything?a=1&jwt=${TOKEN}&b=2` })
  assert.deepEqual([answer.status, answer.target], [200, '/anything?a=1&b=2'])
  assert.equal((await world.lastLine())['path'], '/anything?a=1&b=2')
  assert.equal((await world.ask('HTTP/1.1', { path: `/anything?jwt=${FORGED}` })).status, 401)
  assert.equal((await world.lastLine())['path'], '/anything')
  // The places of old are no places any more.
  assert.equal((await world.ask('HTTP/1.1', { path: `/anything?access_token=${TOKEN}` })).status, 403)
  await world.become(rule(), REQUIRE)
  assert.equal((await world.ask('HTTP/1.1', { path: `/anything?access_token=${TOKEN}` })).status, 200)
})

test(`field ${RULE}.fromCookies: cookies, also when HTTP/2 splits them`, async (t) => {
  const world = await startTokenWorld(t, [rule({ fromCookies: ['session'] }), REQUIRE])
  const one = await world.ask('HTTP/1.1', { headers: { cookie: `a=1; session=${TOKEN}; b=2` } })
  assert.deepEqual([one.status, one.arrived?.['Cookie']], [200, 'a=1; b=2'])
  const split = await world.ask('HTTP/2', { headers: { cookie: ['a=1', `session=${TOKEN}`] } })
  assert.deepEqual([split.status, split.arrived?.['Cookie']], [200, 'a=1'])
  assert.equal((await world.ask('HTTP/1.1', { headers: { cookie: `session=${FORGED}` } })).status, 401)
})

test(`field ${RULE}.forwardOriginalToken: it goes on only if that is said`, async (t) => {
  const world = await startTokenWorld(t, [rule()])
  const arrived = async () => (await world.ask('HTTP/1.1', bearer(TOKEN))).arrived?.['Authorization']
  assert.equal(await arrived(), undefined)
  await world.become(rule({ forwardOriginalToken: true }))
  assert.equal(await arrived(), `Bearer ${TOKEN}`)
  // What is judged is what goes out: a policy about the field sees what the site would.
  const present = authorizationPolicy('p', 'DENY', [
    { when: [{ key: 'request.headers[authorization]', values: ['*'] }] },
  ])
  await world.become(rule({ forwardOriginalToken: true }), present)
  assert.equal(await status(world, TOKEN), 403)
  await world.become(rule(), present)
  assert.equal(await status(world, TOKEN), 200)
})

test(`field ${RULE}.outputPayloadToHeader: the payload as it came, and nobody else's`, async (t) => {
  const world = await startTokenWorld(t, [rule({ outputPayloadToHeader: 'x-payload' })])
  const { arrived } = await world.ask('HTTP/1.1', bearer(TOKEN))
  assert.equal(arrived?.['X-Payload'], TOKEN.split('.')[1])
  const forged = await world.ask('HTTP/1.1', { headers: { 'x-payload': 'e30' } })
  assert.equal(forged.arrived?.['X-Payload'], undefined)
  // On HTTP/1.1 a caller might have us take the field away again, or send one behind the body.
  const nominated = { ...bearer(TOKEN).headers, 'x-payload': 'e30', connection: 'x-payload, keep-alive' }
  const sent = (await world.ask('HTTP/1.1', { headers: nominated })).arrived?.['X-Payload']
  assert.equal(sent, TOKEN.split('.')[1])
})

test(`field ${RULE}.outputClaimToHeaders[].header, ${RULE}.outputClaimToHeaders[].claim: claims that are text, numbers or truth values`, async (t) => {
  const outputs = ['text', 'whole', 'part', 'truth', 'list', 'in.ner', 'no'].map((claim) => ({
    header: `x-${claim.replace('.', '-')}`,
    claim,
  }))
  const world = await startTokenWorld(t, [rule({ outputClaimToHeaders: outputs })])
  const claims = { ...CLAIMS, text: 'a b', whole: 12, part: 1.5, truth: false, list: [1], in: { ner: 'deep' } }
  const { arrived } = await world.ask('HTTP/1.1', bearer(tokenBy(KEY, claims)))
  assert.deepEqual(
    ['X-Text', 'X-Whole', 'X-Part', 'X-Truth', 'X-List', 'X-In-Ner', 'X-No'].map((name) => arrived?.[name]),
    ['a b', '12', '1.500000', 'false', undefined, 'deep', undefined],
  )
  // A claim that would not stay one field is no reason to send another one.
  for (const text of ['a\r\nx-admin: 1', ' a', '\u0000'])
    assert.equal(await status(world, tokenBy(KEY, { ...CLAIMS, text })), 401)
})

test(`field ${RULE}.spaceDelimitedClaims: claims whose words are a list, as scope and permission always are`, async (t) => {
  const world = await startTokenWorld(t, [])
  const asked = async (claim: string, more: object) => {
    const policy = authorizationPolicy('p', 'ALLOW', [
      { when: [{ key: `request.auth.claims[${claim}]`, values: ['b'] }] },
    ])
    await world.become(rule(more), policy)
    return status(world, tokenBy(KEY, { ...CLAIMS, scope: 'a b', roles: 'a b' }))
  }
  assert.deepEqual(
    [await asked('scope', {}), await asked('roles', {}), await asked('roles', { spaceDelimitedClaims: ['roles'] })],
    [200, 403, 200],
  )
})

test('several tokens, and the same one twice', async (t) => {
  const world = await startTokenWorld(t, [rule(), REQUIRE])
  const other = tokenBy(KEY, { iss: 'i', sub: 'v' })
  for (const protocol of ['HTTP/1.1', 'HTTP/2'] as const) {
    const twice = await world.ask(protocol, { ...bearer(TOKEN), path: `/anything?access_token=${TOKEN}` })
    assert.deepEqual([twice.status, twice.target], [200, '/anything'])
    const two = await world.ask(protocol, { ...bearer(TOKEN), path: `/anything?access_token=${other}` })
    assert.deepEqual([two.status, two.body], [401, 'Found multiple Jwt tokens'])
    assert.equal(two.headers['www-authenticate'], `Bearer realm="https://${HOST}/anything", error="invalid_token"`)
  }
})
