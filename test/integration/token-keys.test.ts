/**
 * Where keys for tokens come from, and everything that can be wrong there: down, slow, lying, redirecting, changing. It must
 * never let a token through that nobody has verified, and never hold up requests (figures: docs/request-authentication.md).
 */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { jwksOf, type KeyServer, startKeyServer, tokenBy, tokenKey } from '../../src/testing/tokens.ts'
import { authorizationPolicy, requestAuthentication } from './manifests.ts'
import { freePort, sample } from './operator.ts'
import { type Asked, bearer, PROTOCOLS, startTokenWorld, type TokenWorld } from './token-world.ts'

const KEY = tokenKey('first')
const ISSUER = 'https://issuer.example'
const TOKEN = tokenBy(KEY, { iss: ISSUER, sub: 'user' })
const FETCH_FAILED = 'Jwks remote fetch is failed'

async function keyServer(t: TestContext, answer: KeyServer['answer']): Promise<KeyServer> {
  const server = await startKeyServer(answer)
  t.after(() => server.close())
  return server
}

/** A gateway that lets nobody through without a token of the issuer. */
function worldOf(t: TestContext, jwksUri: string, rule: object = {}, spec?: object): Promise<TokenWorld> {
  return startTokenWorld(
    t,
    [
      requestAuthentication('users', [{ issuer: ISSUER, jwksUri, ...rule }]),
      authorizationPolicy('users', 'ALLOW', [{ from: [{ source: { requestPrincipals: [`${ISSUER}/*`] } }] }]),
    ],
    ...(spec === undefined ? [] : [{ ...spec }]),
  )
}

function assertRefused({ status, body, target }: Asked, expected: string): void {
  assert.deepEqual([status, body, target], [401, expected, null])
}

/** Why keys could not be fetched, in the operational log. */
function failureOf(world: TokenWorld): Promise<string> {
  const failed = () =>
    world.harness.log().find(({ message }) => message === 'keys for tokens could not be fetched')?.['error']
  return eventually('a line about keys', () => failed() as string | undefined)
}

test('nobody there: refused at once, and who has no token is judged as ever', async (t) => {
  const world = await worldOf(t, `http://127.0.0.1:${await freePort()}/jwks.json`)
  for (const protocol of PROTOCOLS) {
    assertRefused(await world.ask(protocol, bearer(TOKEN)), FETCH_FAILED)
    assert.equal((await world.ask(protocol)).status, 403)
  }
  assert.match(await failureOf(world), /refused/i)
})

test('no answer: refused when the timeout is over, by one question however many wait', async (t) => {
  const keys = await keyServer(t, () => undefined)
  const world = await worldOf(t, keys.uri, { timeout: '300ms' })
  const since = performance.now()
  const first = await Promise.all(Array.from({ length: 20 }, () => world.ask('HTTP/2', bearer(TOKEN))))
  t.diagnostic(`20 requests that waited for keys: ${Math.round(performance.now() - since)} ms (timeout 300 ms)`)
  for (const answer of first) assertRefused(answer, FETCH_FAILED)
  assert.equal(keys.asked.length, 1)
  // Nobody waits again before it is worth a try.
  const again = performance.now()
  assertRefused(await world.ask('HTTP/1.1', bearer(TOKEN)), FETCH_FAILED)
  t.diagnostic(`the next one: ${Math.round(performance.now() - again)} ms`)
  assert.match(await failureOf(world), /no answer within \d+ ms/)
  keys.answer = jwksOf(KEY)
  const answer = await eventually('the keys are asked for again', async () => {
    const later = await world.ask('HTTP/1.1', bearer(TOKEN))
    return later.status === 200 ? later : null
  })
  assert.equal(answer.status, 200)
})

test('an answer that trickles: the timeout is on all of it', async (t) => {
  const keys = await keyServer(t, (_request, response) => {
    response.write('{"keys":[')
    const timer = setInterval(() => response.write(' '), 50)
    response.once('close', () => clearInterval(timer))
  })
  const world = await worldOf(t, keys.uri, { timeout: '400ms' })
  assertRefused(await world.ask('HTTP/1.1', bearer(TOKEN)), FETCH_FAILED)
  assert.match(await failureOf(world), /no answer within/)
})

const SYMMETRIC = { kty: 'oct', kid: 'first', alg: 'RS256', k: 'c2VjcmV0' }
const { n, e } = KEY.jwk
const LIES: readonly (readonly [what: string, answer: KeyServer['answer'], why: RegExp])[] = [
  ['a page', '<!doctype html><title>login</title>', /JSON/],
  ['nothing', '', /JSON/],
  ['another object', '{"error":"x"}', /no list `keys`/],
  ['no key', '{"keys":[]}', /none of its keys can verify/],
  ['a symmetric key', JSON.stringify({ keys: [SYMMETRIC] }), /none of its keys can verify/],
  ['a key of another type', JSON.stringify({ keys: [{ kty: 'EC', crv: 'P-256', kid: 'first', n, e }] }), /none of its/],
  ['a key that is too short', jwksOf(tokenKey('first', 'RS256', 1024)), /none of its keys can verify/],
  ['an exponent of one', JSON.stringify({ keys: [{ ...KEY.jwk, e: 'AQ' }] }), /none of its keys can verify/],
  ['more than a megabyte', `${jwksOf(KEY)}${' '.repeat(1_200_000)}`, /more than 1048576 bytes/],
  ['another status', (_, response) => void response.writeHead(500).end(jwksOf(KEY)), /answered 500/],
  [
    'a coding nobody asked for',
    (_, response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end(jwksOf(KEY)),
    /content-encoding gzip/,
  ],
  [
    'half of it',
    (_, response) => {
      response.writeHead(200, { 'content-length': 1000 }).write(jwksOf(KEY).slice(0, 100))
      setImmediate(() => response.destroy())
    },
    /aborted|reset|hang up/,
  ],
]

for (const [what, lie, why] of LIES)
  test(`a lie (${what}): refused, and the last good keys are kept`, async (t) => {
    const keys = await keyServer(t, lie)
    const world = await worldOf(t, keys.uri)
    assertRefused(await world.ask('HTTP/1.1', bearer(TOKEN)), FETCH_FAILED)
    assert.match(await failureOf(world), why)
    assert.equal(keys.asked.length, 1)
  })

test('a redirect is not followed: a private address hears nothing', async (t) => {
  const inside = await keyServer(t, jwksOf(KEY))
  const keys = await keyServer(t, (_, response) => void response.writeHead(302, { location: inside.uri }).end())
  const world = await worldOf(t, keys.uri)
  assertRefused(await world.ask('HTTP/1.1', bearer(TOKEN)), FETCH_FAILED)
  assert.deepEqual([keys.asked.length, inside.asked.length], [1, 0])
  assert.match(await failureOf(world), /answered 302; redirects are not followed/)
})

test('an address that nobody has allowed is not dialled', async (t) => {
  const keys = await keyServer(t, jwksOf(KEY))
  const world = await worldOf(t, keys.uri, {}, { addressGuard: { allow: ['10.0.0.0/8'] } })
  assertRefused(await world.ask('HTTP/1.1', bearer(TOKEN)), FETCH_FAILED)
  assert.equal(keys.asked.length, 0)
  assert.match(await failureOf(world), /127\.0\.0\.1 \(loopback\), which spec\.addressGuard\.allow does not hold/)
})

test('the gateway does not ask itself', async (t) => {
  const port = await freePort()
  const world = await worldOf(
    t,
    `http://127.0.0.1:${port}/stats`,
    {},
    {
      addressGuard: { allow: ['127.0.0.0/8'] },
      metrics: { address: '127.0.0.1', port },
    },
  )
  // The first try comes while the ports are still being bound.
  await eventually('it has noticed', async () => {
    await world.ask('HTTP/1.1', bearer(TOKEN))
    return world.harness.log().some(({ error }) => /the gateway itself/.test(String(error)))
  })
})

test('new keys: asked for when a token names one that is not there, and not for every such token', async (t) => {
  const keys = await keyServer(t, jwksOf(KEY))
  const world = await worldOf(t, keys.uri)
  assert.equal((await world.ask('HTTP/1.1', bearer(TOKEN))).status, 200)
  const second = tokenKey('second', 'ES256')
  keys.answer = jwksOf(second)
  // Nothing has happened that would tell of the change: what was good is good.
  assert.equal((await world.ask('HTTP/2', bearer(TOKEN))).status, 200)
  const rotated = tokenBy(second, { iss: ISSUER, sub: 'user' })
  for (const protocol of PROTOCOLS) assert.equal((await world.ask(protocol, bearer(rotated))).status, 200)
  assert.equal(keys.asked.length, 2)
  // The old key is gone, also for tokens that were found good before.
  for (const protocol of PROTOCOLS)
    assertRefused(await world.ask(protocol, bearer(TOKEN)), "Jwks doesn't have key to match kid or alg from Jwt")
  const stranger = tokenKey('third')
  await Promise.all(
    Array.from({ length: 50 }, (_, i) => world.ask('HTTP/2', bearer(tokenBy(stranger, { iss: ISSUER, sub: `${i}` })))),
  )
  assert.equal(keys.asked.length, 2)
})

test('keys that can no longer be had: the last good ones are kept', async (t) => {
  const keys = await keyServer(t, jwksOf(KEY))
  const world = await worldOf(t, keys.uri)
  assert.equal((await world.ask('HTTP/1.1', bearer(TOKEN))).status, 200)
  keys.answer = '{"keys":[]}'
  const forged = tokenBy(tokenKey('first'), { iss: ISSUER, sub: 'admin' })
  assertRefused(await world.ask('HTTP/1.1', bearer(forged)), 'Jwt verification fails')
  assert.equal(keys.asked.length, 2)
  assert.match(await failureOf(world), /none of its keys can verify/)
  const ofKeys = (name: string, more = '') => sample(world.harness, `sallyport_token_${name}{uri="${keys.uri}"${more}}`)
  assert.equal(await ofKeys('keys'), 1)
  assert.equal(await ofKeys('key_fetches_total', ',result="success"'), 1)
  assert.equal(await ofKeys('key_fetches_total', ',result="failure"'), 1)
  assert.ok((await ofKeys('keys_age_seconds')) !== null)
  for (const protocol of PROTOCOLS) assert.equal((await world.ask(protocol, bearer(TOKEN))).status, 200)
})

test('a reload keeps the keys that are there, also when it changes how they are fetched', async (t) => {
  const keys = await keyServer(t, jwksOf(KEY))
  const world = await worldOf(t, keys.uri)
  assert.equal((await world.ask('HTTP/1.1', bearer(TOKEN))).status, 200)
  await keys.close()
  const { configFile, gateway } = world.harness
  const bootstrap = JSON.parse(readFileSync(configFile, 'utf8')) as { spec: Record<string, unknown> }
  bootstrap.spec['addressGuard'] = { allow: ['10.0.0.0/8'] }
  writeFileSync(configFile, JSON.stringify(bootstrap))
  assert.ok((await gateway.reload()).ok)
  assert.deepEqual(gateway.active.settings.addressGuard.allow, ['10.0.0.0/8'])
  await world.become(requestAuthentication('users', [{ issuer: ISSUER, jwksUri: keys.uri, timeout: '3s' }]))
  for (const protocol of PROTOCOLS) assert.equal((await world.ask(protocol, bearer(TOKEN))).status, 200)
})

test('no jwks and no jwksUri: the issuer says where its keys are', async (t) => {
  const keys = await keyServer(t, '')
  const issuer = `http://127.0.0.1:${keys.port}/realms/users`
  const document = (of: string) => JSON.stringify({ issuer: of, jwks_uri: keys.uri })
  keys.answer = (request, response) => void response.end(request.url === '/jwks.json' ? jwksOf(KEY) : document(issuer))
  const world = await startTokenWorld(t, [requestAuthentication('users', [{ issuer }])])
  const token = tokenBy(KEY, { iss: issuer, sub: 'user' })
  assert.equal((await world.ask('HTTP/1.1', bearer(token))).status, 200)
  assert.deepEqual(keys.asked, ['/realms/users/.well-known/openid-configuration', '/jwks.json'])

  // The document of another issuer, found where ours should be, is not ours.
  const liar = await keyServer(t, document('http://127.0.0.1:1/realms/users'))
  const lied = `http://127.0.0.1:${liar.port}`
  await world.become(requestAuthentication('users', [{ issuer: lied }]))
  assertRefused(await world.ask('HTTP/1.1', bearer(tokenBy(KEY, { iss: lied }))), FETCH_FAILED)
  assert.match(await failureOf(world), /is of the issuer/)
})
