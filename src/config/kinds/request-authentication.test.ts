/** Istio's validation of RequestAuthentication, what a gateway could not do besides, and what becomes of the rules. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { collectDiagnostics } from '../../config/report.ts'
import { lower, policySettings } from '../../testing/policy-fixtures.ts'
import { jwksOf, tokenKey } from '../../testing/tokens.ts'
import type { Resource } from '../resource.ts'
import { lowerTokenRules } from '../token-rules.ts'
import { type RequestAuthenticationSpec, requestAuthentication } from './request-authentication.ts'

const JWKS = jwksOf(tokenKey('k', 'ES256'))
const AT = 'spec.jwtRules.0'

function findings(rule: object): string[] {
  return lower([{ kind: 'RequestAuthentication', namespace: 'elsewhere', spec: { jwtRules: [rule] } }]).diagnostics.map(
    ({ code, severity, file }) => `${code} ${severity} ${file.split('#')[1] ?? ''}`,
  )
}
const inline = (more: object) => findings({ issuer: 'i', jwks: JWKS, ...more })

test('a full rule passes', () => {
  assert.deepEqual(
    inline({
      audiences: ['a'],
      fromHeaders: [{ name: 'x-token', prefix: 'Bearer ' }],
      fromParams: ['p'],
      fromCookies: ['c'],
      forwardOriginalToken: true,
      outputPayloadToHeader: 'x-payload',
      outputClaimToHeaders: [{ header: 'x-sub', claim: 'sub' }],
      timeout: '3s',
      spaceDelimitedClaims: ['roles'],
    }),
    [],
  )
  assert.deepEqual(findings({ issuer: 'i', jwksUri: 'https://i.example/jwks' }), [])
  assert.deepEqual(findings({ issuer: 'https://i.example/' }), [])
})

describe('where keys come from', () => {
  const rows: readonly (readonly [rule: object, ...found: readonly string[]])[] = [
    [{}, `SP5000 error ${AT}`],
    [{ jwks: JWKS }, `SP5000 error ${AT}`],
    [{ jwksUri: 'https://i.example/' }, `SP8204 warning ${AT}`],
    [{ issuer: 'i' }, `SP8200 error ${AT}.issuer`],
    [{ issuer: 'i', jwksUri: 'i.example/jwks' }, `SP8200 error ${AT}.jwksUri`],
    [{ issuer: 'i', jwksUri: 'file:///etc/passwd' }, `SP8200 error ${AT}.jwksUri`],
    [{ issuer: 'i', jwksUri: 'https://user:secret@i.example/' }, `SP8200 error ${AT}.jwksUri`],
    [{ issuer: 'i', jwksUri: 'https://i.example/#x' }, `SP8200 error ${AT}.jwksUri`],
    [{ issuer: 'i', jwksUri: 'http://i.example/' }, `SP8203 warning ${AT}.jwksUri`],
    [{ issuer: 'http://i.example' }, `SP8203 warning ${AT}.issuer`],
    [{ issuer: 'i', jwks: JWKS, jwksUri: 'https://i.example/' }, `SP8205 warning ${AT}.jwksUri`],
    [{ issuer: 'i', jwks: JWKS.replace('"kid"', '"d":"AQ","kid"') }, `SP8201 error ${AT}.jwks`],
    [{ issuer: 'i', jwks: '{' }, `SP8201 error ${AT}.jwks`],
    [{ issuer: 'i', jwks: '[]' }, `SP8201 error ${AT}.jwks`],
    [{ issuer: 'i', jwks: '{"keys":{}}' }, `SP8201 error ${AT}.jwks`],
    [{ issuer: 'i', jwks: '{"keys":[]}' }, `SP8201 warning ${AT}.jwks`],
    [
      { issuer: 'i', jwks: '{"keys":[{"kty":"oct","k":"AA"}]}' },
      `SP8201 warning ${AT}.jwks`,
      `SP8201 warning ${AT}.jwks`,
    ],
    [{ issuer: 'i', jwks: JWKS.replace('"keys":[', '"keys":[1,') }, `SP8201 warning ${AT}.jwks`],
    [{ issuer: 'i', jwks: jwksOf(tokenKey('k', 'RS256', 1024), tokenKey('l')) }, `SP8201 warning ${AT}.jwks`],
    [{ issuer: 'i', jwks: JWKS.replace('"sig"', '"enc"') }, `SP8201 warning ${AT}.jwks`, `SP8201 warning ${AT}.jwks`],
  ]
  for (const [rule, ...found] of rows)
    test(JSON.stringify(rule).slice(0, 80), () => assert.deepEqual(findings(rule), found))
})

describe('where tokens are, and what is made of them', () => {
  const rows: readonly (readonly [rule: object, ...found: readonly string[]])[] = [
    [{ audiences: [''] }, `SP5000 error ${AT}.audiences.0`],
    [{ spaceDelimitedClaims: [''] }, `SP5000 error ${AT}.spaceDelimitedClaims.0`],
    [{ fromHeaders: [{}] }, `SP5000 error ${AT}.fromHeaders.0`],
    [{ fromHeaders: [{ name: 'x token' }] }, `SP8200 error ${AT}.fromHeaders.0.name`],
    [{ fromHeaders: [{ name: 'Cookie' }] }, `SP8200 error ${AT}.fromHeaders.0.name`],
    [{ fromHeaders: [{ name: 'proxy-authorization' }] }, `SP8200 error ${AT}.fromHeaders.0.name`],
    [{ fromParams: [''] }, `SP5000 error ${AT}.fromParams.0`],
    [{ fromCookies: [''] }, `SP5000 error ${AT}.fromCookies.0`],
    [{ fromCookies: ['a b'] }, `SP8200 error ${AT}.fromCookies.0`],
    [{ timeout: '0s' }, `SP8200 warning ${AT}.timeout`],
    [{ outputPayloadToHeader: 'x:y' }, `SP8200 error ${AT}.outputPayloadToHeader`],
    [{ outputPayloadToHeader: 'Host' }, `SP8200 error ${AT}.outputPayloadToHeader`],
    [{ outputPayloadToHeader: 'X-Forwarded-User' }, `SP8200 error ${AT}.outputPayloadToHeader`],
    [{ outputPayloadToHeader: 'Authorization' }, `SP8200 error ${AT}.outputPayloadToHeader`],
    [
      { fromHeaders: [{ name: 'x-a' }], outputClaimToHeaders: [{ header: 'X-A', claim: 'c' }] },
      `SP8200 error ${AT}.outputClaimToHeaders.0.header`,
    ],
    [
      { outputPayloadToHeader: 'x-a', outputClaimToHeaders: [{ header: 'X-A', claim: 'c' }] },
      `SP8200 error ${AT}.outputClaimToHeaders.0.header`,
    ],
    [{ outputClaimToHeaders: [{ header: 'x-a' }] }, `SP5000 error ${AT}.outputClaimToHeaders.0`],
    [{ outputClaimToHeaders: [{ claim: 'c' }] }, `SP5000 error ${AT}.outputClaimToHeaders.0`],
  ]
  for (const [rule, ...found] of rows) test(JSON.stringify(rule), () => assert.deepEqual(inline(rule), found))
})

test('rules as the gateway goes by them: ordered by issuer, with the defaults of istiod and Envoy', () => {
  const { report } = collectDiagnostics()
  const resource = (
    name: string,
    jwtRules: RequestAuthenticationSpec['jwtRules'],
  ): Resource<RequestAuthenticationSpec> => ({
    apiVersion: 'security.istio.io/v1',
    kind: 'RequestAuthentication',
    namespace: 'istio-system',
    name,
    labels: {},
    annotations: {},
    spec: requestAuthentication.schema.parse({ jwtRules }),
    at: () => ({ file: name, line: 1, col: 1 }),
  })
  const rules = lowerTokenRules(
    policySettings(),
    [
      resource('z', [{ issuer: 'https://b.example/' }, { issuer: 'a', jwks: JWKS, fromHeaders: [{ name: 'X-T' }] }]),
      resource('y', [{ issuer: 'a', jwksUri: 'https://a.example/k' }]),
    ],
    report,
  )
  assert.deepEqual(
    rules.map(({ name, issuer, keys }) => [name, issuer, keys.kind]),
    [
      ['istio-system/y', 'a', 'uri'],
      ['istio-system/z', 'a', 'inline'],
      ['istio-system/z', 'https://b.example/', 'discovery'],
    ],
  )
  const [, inlined, discovered] = rules
  assert.deepEqual(inlined?.locations, [{ in: 'header', name: 'x-t', prefix: '' }])
  assert.deepEqual(discovered?.keys, {
    kind: 'discovery',
    uri: 'https://b.example/.well-known/openid-configuration',
    issuer: 'https://b.example/',
  })
  assert.deepEqual(discovered?.locations, [
    { in: 'header', name: 'authorization', prefix: 'Bearer ' },
    { in: 'param', name: 'access_token' },
  ])
  assert.deepEqual(
    [discovered?.forward, discovered?.timeoutMs, discovered?.wordClaims],
    [false, 5000, ['permission', 'scope']],
  )
})
