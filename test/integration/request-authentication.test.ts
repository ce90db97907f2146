/**
 * Istio's documented examples of RequestAuthentication with AuthorizationPolicy (tasks "JWT Token", "Authentication Policy",
 * "Copy JWT Claims to HTTP Headers" and the two reference pages), over real sockets, in HTTP/1.1 and HTTP/2.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { validate } from '../../src/cli/validate.ts'
import { base64url, inSeconds, jwksOf, startKeyServer, tokenBy, tokenKey } from '../../src/testing/tokens.ts'
import { authorizationPolicy, requestAuthentication } from './manifests.ts'
import { type Asked, bearer, HOST, OTHER_HOST, PROTOCOLS, startTokenWorld } from './token-world.ts'

const KEY = tokenKey('DHFbpoIUqrY8t2zpA2qXfCmr5VO5ZEr4RzHU_-envvQ')
const ISSUER = 'testing@secure.istio.io'
/** The demo token of Istio's samples, and the one with groups. */
const DEMO = tokenBy(KEY, { iss: ISSUER, sub: ISSUER, foo: 'bar' })
const GROUPS = tokenBy(KEY, { iss: ISSUER, sub: ISSUER, groups: ['group1', 'group2'], scope: ['scope1', 'scope2'] })

function assertRefused(answer: Asked, body: string, path = '/anything'): void {
  assert.deepEqual([answer.status, answer.body], [401, body])
  assert.equal(answer.headers['www-authenticate'], `Bearer realm="https://${HOST}${path}", error="invalid_token"`)
  assert.equal(answer.headers['x-sallyport-reason'], 'jwt_invalid')
  assert.equal(answer.headers['content-type'], 'text/plain')
  assert.equal(answer.target, null)
}

for (const protocol of PROTOCOLS)
  test(`tasks/security/authorization/authz-jwt (${protocol})`, async (t) => {
    const keys = await startKeyServer(jwksOf(KEY))
    t.after(() => keys.close())
    const jwtExample = requestAuthentication('jwt-example', [{ issuer: ISSUER, jwksUri: keys.uri }])
    const { ask, become, lastLine } = await startTokenWorld(t, [jwtExample])
    // "a request with an invalid JWT is denied", "a request without a JWT is allowed": there is no authorization policy.
    assertRefused(
      await ask(protocol, bearer('invalidToken')),
      'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections',
    )
    const line = await lastLine()
    assert.deepEqual(
      [line['response_code'], line['response_code_details'], line['reason'], line['upstream_host']],
      [
        401,
        'jwt_authn_access_denied{Jwt_is_not_in_the_form_of_Header.Payload.Signature_with_two_dots_and_3_sections}',
        'jwt_invalid',
        null,
      ],
    )
    assert.equal((await ask(protocol)).status, 200)

    const requireJwt = authorizationPolicy('require-jwt', 'ALLOW', [
      { from: [{ source: { requestPrincipals: [`${ISSUER}/${ISSUER}`] } }] },
    ])
    await become(jwtExample, requireJwt)
    const allowed = await ask(protocol, bearer(DEMO))
    assert.equal(allowed.status, 200)
    // forwardOriginalToken is false unless it is said.
    assert.equal(allowed.arrived?.['Authorization'], undefined)
    const refused = await ask(protocol)
    assert.deepEqual([refused.status, refused.body], [403, 'RBAC: access denied'])

    const requireGroup = authorizationPolicy('require-jwt', 'ALLOW', [
      {
        from: [{ source: { requestPrincipals: [`${ISSUER}/${ISSUER}`] } }],
        when: [{ key: 'request.auth.claims[groups]', values: ['group1'] }],
      },
    ])
    await become(jwtExample, requireGroup)
    assert.equal((await ask(protocol, bearer(GROUPS))).status, 200)
    assert.equal((await ask(protocol, bearer(DEMO))).status, 403)
    // All of this with one look at the keys, which outlived two reloads.
    assert.deepEqual(keys.asked, ['/jwks.json'])
  })

for (const protocol of PROTOCOLS)
  test(`tasks/security/authentication/authn-policy, end-user authentication (${protocol})`, async (t) => {
    const example = requestAuthentication('httpbin', [{ issuer: ISSUER, jwks: jwksOf(KEY) }])
    const { ask, become } = await startTokenWorld(t, [example])
    assert.equal((await ask(protocol)).status, 200)
    assertRefused(await ask(protocol, bearer('deadbeef.x.y')), 'Jwt header is an invalid JSON')
    assert.equal((await ask(protocol, bearer(DEMO))).status, 200)
    // Tokens expire: the sample script signs one for five seconds; the clock may be a minute off, as in Envoy.
    assert.equal((await ask(protocol, bearer(tokenBy(KEY, { iss: ISSUER, exp: inSeconds(-50) })))).status, 200)
    assertRefused(
      await ask(protocol, bearer(tokenBy(KEY, { iss: ISSUER, sub: ISSUER, exp: inSeconds(-65) }))),
      'Jwt is expired',
    )

    // "Require a valid token": a DENY of everybody without a request principal.
    const deny = (operation: object) =>
      authorizationPolicy('frontend-ingress', 'DENY', [
        { from: [{ source: { notRequestPrincipals: ['*'] } }], ...operation },
      ])
    await become(example, deny({}))
    assert.equal((await ask(protocol)).status, 403)
    assert.equal((await ask(protocol, bearer(DEMO))).status, 200)

    // "Require valid tokens per-path".
    await become(example, deny({ to: [{ operation: { paths: ['/headers'] } }] }))
    assert.equal((await ask(protocol, { path: '/headers' })).status, 403)
    assert.equal((await ask(protocol, { path: '/ip' })).status, 200)
  })

for (const protocol of PROTOCOLS)
  test(`tasks/security/authentication/claim-to-header (${protocol})`, async (t) => {
    const { ask } = await startTokenWorld(t, [
      requestAuthentication('jwt-claim-to-header', [
        {
          issuer: ISSUER,
          jwks: jwksOf(KEY),
          forwardOriginalToken: true,
          outputPayloadToHeader: 'X-Jwt-Payload',
          outputClaimToHeaders: [
            { header: 'X-Jwt-Claim-Foo', claim: 'foo' },
            { header: 'x-jwt-claim-nested', claim: 'a.b' },
          ],
        },
      ]),
    ])
    const claims = { iss: ISSUER, sub: ISSUER, foo: 'bär', a: { b: 7 }, exp: inSeconds(600), iat: inSeconds(0) }
    const token = tokenBy(KEY, claims)
    const { arrived } = await ask(protocol, bearer(token))
    assert.equal(arrived?.['Authorization'], `Bearer ${token}`)
    assert.equal(arrived?.['X-Jwt-Payload'], token.split('.')[1])
    assert.equal(arrived?.['X-Jwt-Claim-Foo'], Buffer.from('bär').toString('latin1'))
    assert.equal(arrived?.['X-Jwt-Claim-Nested'], '7')
    // What a caller writes there itself is never let through, with a token or without.
    const forged = { 'x-jwt-payload': base64url('{}'), 'x-jwt-claim-foo': 'admin', 'x-jwt-claim-nested': '0' }
    const mixed = await ask(protocol, { headers: { ...forged, authorization: `Bearer ${DEMO}` } })
    assert.deepEqual([mixed.arrived?.['X-Jwt-Claim-Foo'], mixed.arrived?.['X-Jwt-Claim-Nested']], ['bar', undefined])
    const without = await ask(protocol, { headers: forged })
    assert.equal(without.status, 200)
    for (const name of ['X-Jwt-Payload', 'X-Jwt-Claim-Foo', 'X-Jwt-Claim-Nested'])
      assert.equal(without.arrived?.[name], undefined, name)
  })

for (const protocol of PROTOCOLS)
  test(`reference/config/security/request_authentication: two issuers, each for its host (${protocol})`, async (t) => {
    const other = tokenKey('bar', 'ES256')
    const { ask } = await startTokenWorld(t, [
      requestAuthentication('issuers', [
        { issuer: 'issuer-foo', jwks: jwksOf(KEY) },
        { issuer: 'issuer-bar', jwks: jwksOf(other) },
      ]),
      authorizationPolicy('hosts', 'ALLOW', [
        { from: [{ source: { requestPrincipals: ['issuer-foo/*'] } }], to: [{ operation: { hosts: [HOST] } }] },
        { from: [{ source: { requestPrincipals: ['issuer-bar/*'] } }], to: [{ operation: { hosts: [OTHER_HOST] } }] },
      ]),
    ])
    const foo = tokenBy(KEY, { iss: 'issuer-foo', sub: 'a' })
    const bar = tokenBy(other, { iss: 'issuer-bar', sub: 'a' })
    const status = async (host: string, token: string) => (await ask(protocol, { host, ...bearer(token) })).status
    assert.deepEqual(
      [await status(HOST, foo), await status(HOST, bar), await status(OTHER_HOST, foo), await status(OTHER_HOST, bar)],
      [200, 403, 403, 200],
    )
    // The keys of one issuer say nothing for the other.
    assertRefused(
      await ask(protocol, bearer(tokenBy(other, { iss: 'issuer-foo', sub: 'a' }))),
      "Jwks doesn't have key to match kid or alg from Jwt",
    )
    assertRefused(
      await ask(protocol, bearer(tokenBy(KEY, { iss: 'issuer-baz', sub: 'a' }))),
      'Jwt issuer is not configured',
    )
  })

for (const protocol of PROTOCOLS)
  test(`reference/config/security/conditions: request.auth.* (${protocol})`, async (t) => {
    const rules = [{ issuer: ISSUER, jwks: jwksOf(KEY), audiences: ['https://api.example/', 'b'] }]
    const { ask, become } = await startTokenWorld(t, [])
    const token = tokenBy(KEY, {
      iss: ISSUER,
      sub: 'u',
      aud: ['api.example', 'z'],
      azp: 'app-1',
      scope: 'read write',
      nested: { role: 'admin', level: 3 },
    })
    const status = async (action: 'ALLOW' | 'DENY', key: string, values: readonly string[]) => {
      await become(requestAuthentication('r', rules), authorizationPolicy('p', action, [{ when: [{ key, values }] }]))
      return (await ask(protocol, bearer(token))).status
    }
    assert.equal(await status('ALLOW', 'request.auth.principal', [`${ISSUER}/u`]), 200)
    assert.equal(await status('ALLOW', 'request.auth.audiences', ['z']), 200)
    assert.equal(await status('ALLOW', 'request.auth.audiences', ['y']), 403)
    assert.equal(await status('ALLOW', 'request.auth.presenter', ['app-*']), 200)
    assert.equal(await status('ALLOW', 'request.auth.claims[scope]', ['write']), 200)
    assert.equal(await status('ALLOW', 'request.auth.claims[nested][role]', ['admin']), 200)
    assert.equal(await status('DENY', 'request.auth.claims[nested][role]', ['adm*']), 403)
    // A number is no string, so that it permits nothing; what refuses takes it at its word.
    assert.equal(await status('ALLOW', 'request.auth.claims[nested][level]', ['3']), 403)
    assert.equal(await status('DENY', 'request.auth.claims[nested][level]', ['3']), 403)
    assertRefused(
      await ask(protocol, bearer(tokenBy(KEY, { iss: ISSUER, aud: 'somebody-else' }))),
      'Audiences in Jwt are not allowed',
    )
  })

test('the examples of docs/request-authentication.md load, without a finding', async (t) => {
  const root = path.resolve(import.meta.dirname, '../..')
  const page = readFileSync(path.join(root, 'docs/request-authentication.md'), 'utf8')
  const examples = [...page.matchAll(/^```yaml\n([\s\S]*?)^```/gm)].map(([, yaml = '']) => yaml)
  assert.equal(examples.length, 3)
  const directory = mkdtempSync(path.join(tmpdir(), 'sallyport-tokens-'))
  t.after(() => rmSync(directory, { recursive: true }))
  for (const [i, yaml] of examples.entries()) writeFileSync(path.join(directory, `${i}.yaml`), yaml)
  let said = ''
  const output = { write: (text: string) => (said += text) }
  assert.equal(await validate([directory, '--strict'], { stdout: output, stderr: output }), 0, said)
})
