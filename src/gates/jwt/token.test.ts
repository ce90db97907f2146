/** What a token must look like before anybody looks at its signature (RFC 7515, 7519, 8725), and that a signature counts. */
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { base64url, inSeconds, jwksOf, signedBy, tokenBy, tokenKey } from '../../testing/tokens.ts'
import { parseKeySet } from './key-set.ts'
import { FAULTS } from './status.ts'
import { parseStrictObject } from './strict-json.ts'
import { parseToken } from './token.ts'
import { audienceAllowed, signatureFault, timeFault, tokenFacts } from './verify.ts'

const KEY = tokenKey('k1')
const HEADER = JSON.stringify({ alg: 'RS256', kid: 'k1' })
const GOOD = tokenBy(KEY, { iss: 'i', sub: 's' })

/** What becomes of a token whose signature is good. */
async function verdict(text: string, jwks = jwksOf(KEY)): Promise<string | null> {
  const token = parseToken(text)
  return typeof token === 'string' ? token : signatureFault(token, parseKeySet(jwks))
}

describe('refused before its signature is looked at', () => {
  const cases: readonly (readonly [what: string, token: string, fault: string])[] = [
    ['nothing', '', FAULTS.badFormat],
    ['two sections', 'a.b', FAULTS.badFormat],
    ['four sections', `${GOOD}.x`, FAULTS.badFormat],
    ['five sections (encrypted)', 'a.b.c.d.e', FAULTS.badFormat],
    ['an empty section', `${base64url(HEADER)}..c`, FAULTS.badFormat],
    ['no signature', `${GOOD.split('.').slice(0, 2).join('.')}.`, FAULTS.badFormat],
    ['something before it', ` ${GOOD}`, FAULTS.headerBase64],
    ['something behind it', `${GOOD} `, FAULTS.signatureBase64],
    ['padding', `${base64url('{"alg":"RS256"} ')}==.e30.AA`, FAULTS.headerBase64],
    ['bits left over', 'e31.e30.AA', FAULTS.headerBase64],
    ['plain base64', `+${GOOD}`, FAULTS.headerBase64],
    ['a huge one', signedBy(KEY, HEADER, JSON.stringify({ x: 'x'.repeat(20_000) })), FAULTS.badFormat],
    ['a header that is a list', signedBy(KEY, '[]', '{}'), FAULTS.headerJson],
    ['a header with a name twice', signedBy(KEY, '{"alg":"none","alg":"RS256"}', '{}'), FAULTS.headerJson],
    ['the same, spelt otherwise', signedBy(KEY, '{"alg":"none","\\u0061lg":"RS256"}', '{}'), FAULTS.headerJson],
    ['no algorithm', signedBy(KEY, '{}', '{}'), FAULTS.headerAlg],
    ['an algorithm that is a number', signedBy(KEY, '{"alg":1}', '{}'), FAULTS.headerAlg],
    ['alg none', signedBy(KEY, '{"alg":"none"}', '{}'), FAULTS.algNotSupported],
    ['alg None', signedBy(KEY, '{"alg":"None"}', '{}'), FAULTS.algNotSupported],
    ['alg HS256', signedBy(KEY, '{"alg":"HS256"}', '{}'), FAULTS.algNotSupported],
    ['alg of a prototype', signedBy(KEY, '{"alg":"toString"}', '{}'), FAULTS.algNotSupported],
    ['a kid that is a number', signedBy(KEY, '{"alg":"RS256","kid":1}', '{}'), FAULTS.headerKid],
    ['crit', signedBy(KEY, '{"alg":"RS256","crit":["exp"]}', '{}'), FAULTS.verificationFails],
    ['an unencoded payload', signedBy(KEY, '{"alg":"RS256","b64":false}', '{}'), FAULTS.verificationFails],
    ['a payload that is a text', signedBy(KEY, HEADER, '"x"'), FAULTS.payloadJson],
    ['a token in a token', signedBy(KEY, HEADER, GOOD), FAULTS.payloadJson],
    ['a payload with a name twice', signedBy(KEY, HEADER, '{"sub":"a","sub":"b"}'), FAULTS.payloadJson],
    ['a name twice deep inside', signedBy(KEY, HEADER, '{"a":[{"b":{"c":1,"c":2}}]}'), FAULTS.payloadJson],
    ['a payload too deep', signedBy(KEY, HEADER, `{"a":${'['.repeat(40)}${']'.repeat(40)}}`), FAULTS.payloadJson],
    ['iss as a list', signedBy(KEY, HEADER, '{"iss":["i"]}'), FAULTS.issNotString],
    ['sub as a number', signedBy(KEY, HEADER, '{"sub":1}'), FAULTS.subNotString],
    ['exp as a text', signedBy(KEY, HEADER, '{"exp":"9999999999"}'), FAULTS.expNotInteger],
    ['exp with a fraction', signedBy(KEY, HEADER, '{"exp":1.5}'), FAULTS.expNotInteger],
    ['exp beyond numbers', signedBy(KEY, HEADER, '{"exp":1e300}'), FAULTS.expRange],
    ['exp null', signedBy(KEY, HEADER, '{"exp":null}'), FAULTS.expNotInteger],
    ['nbf negative', signedBy(KEY, HEADER, '{"nbf":-1}'), FAULTS.nbfRange],
    ['iat as a text', signedBy(KEY, HEADER, '{"iat":"now"}'), FAULTS.iatNotInteger],
    ['jti as a number', signedBy(KEY, HEADER, '{"jti":1}'), FAULTS.jtiNotString],
    ['aud with a number', signedBy(KEY, HEADER, '{"aud":["a",1]}'), FAULTS.audNotString],
  ]
  for (const [what, token, fault] of cases) test(what, () => assert.equal(parseToken(token), fault))
})

test('every algorithm of the table verifies, and only with its own key', async () => {
  for (const alg of ['RS256', 'PS256', 'ES256', 'EdDSA'] as const) {
    const key = tokenKey('k', alg)
    const token = tokenBy(key, { iss: 'i' })
    assert.equal(await verdict(token, jwksOf(key)), null, alg)
    assert.equal(await verdict(token, jwksOf(tokenKey('k', alg))), FAULTS.verificationFails, alg)
    assert.equal(await verdict(token, jwksOf(tokenKey('other', alg))), FAULTS.noKeyFits, alg)
  }
})

describe('forged', () => {
  const publicPem = JSON.stringify(KEY.jwk)
  const hmac = (() => {
    const text = `${base64url('{"alg":"HS256","kid":"k1"}')}.${base64url('{"iss":"i"}')}`
    return `${text}.${createHmac('sha256', publicPem).update(text).digest('base64url')}`
  })()
  const [head = '', payload = '', signature = ''] = GOOD.split('.')
  const other = tokenKey('k1')
  const cases: readonly (readonly [what: string, token: string, fault: string])[] = [
    ['signed with the public key as a secret', hmac, FAULTS.algNotSupported],
    ['another payload', `${head}.${base64url('{"iss":"i","sub":"root"}')}.${signature}`, FAULTS.verificationFails],
    ['another header', `${base64url('{"alg":"RS256"}')}.${payload}.${signature}`, FAULTS.verificationFails],
    ['a key that it brings along', tokenBy(other, {}, { jwk: other.jwk }), FAULTS.verificationFails],
    [
      'a key that it says where to find',
      tokenBy(other, {}, { jku: 'https://evil.example/jwks' }),
      FAULTS.verificationFails,
    ],
    ['RS256 by a key for PS256', tokenBy({ ...KEY, alg: 'PS256' }, {}), FAULTS.noKeyFits],
    ['an algorithm of another type of key', tokenBy({ ...tokenKey('k1', 'ES256') }, {}), FAULTS.noKeyFits],
  ]
  for (const [what, token, fault] of cases) test(what, async () => assert.equal(await verdict(token), fault))

  test('no change of one character goes unnoticed', async () => {
    assert.equal(await verdict(GOOD), null)
    await fc.assert(
      fc.asyncProperty(fc.nat(GOOD.length - 1), fc.constantFrom('A', 'b', '0', '-', '_', '.'), async (at, char) => {
        const changed = GOOD.slice(0, at) + char + GOOD.slice(at + 1)
        if (changed !== GOOD) assert.notEqual(await verdict(changed), null, changed)
      }),
      { numRuns: 300 },
    )
  })
})

test('a token without kid is tried with every key of its type; a key without kid with every token', async () => {
  const [a, b] = [tokenKey('a'), tokenKey('b')]
  const nameless = tokenBy(b, { iss: 'i' }, { kid: undefined })
  assert.equal(await verdict(nameless, jwksOf(a, b)), null)
  assert.equal(await verdict(nameless, jwksOf(a)), FAULTS.verificationFails)
  const { kid: _, ...jwk } = b.jwk
  assert.equal(await verdict(tokenBy(b, { iss: 'i' }), JSON.stringify({ keys: [a.jwk, jwk] })), null)
})

test('keys that are for something else, or are broken, are left out; the others serve', async () => {
  const set = (key: object) => JSON.stringify({ keys: [key, tokenKey('spare', 'ES256').jwk] })
  const count = (key: object) => parseKeySet(set(key)).keys.length
  assert.equal(count(KEY.jwk), 2)
  for (const change of [
    { use: 'enc' },
    { key_ops: ['encrypt'] },
    { kid: 1 },
    { alg: 1 },
    { n: 'AQAB' },
    { kty: 'oct', k: 'AA' },
    { kty: 'RSA', n: undefined },
  ])
    assert.equal(count({ ...KEY.jwk, ...change }), 1, JSON.stringify(change))
  assert.throws(() => parseKeySet('{"keys":[]}'), /none of its keys/)
  assert.throws(() => parseKeySet('{}'), /no list/)
})

test('times: a minute of grace on both sides, as Envoy gives; no exp is for ever, exp 0 is long ago', () => {
  const now = inSeconds(0)
  const fault = (notBefore: number, expires: number | null) => timeFault({ notBefore, expires }, now)
  assert.equal(fault(0, null), null)
  assert.equal(fault(now + 60, now - 60), null)
  assert.equal(fault(now + 61, null), FAULTS.notYetValid)
  assert.equal(fault(0, now - 61), FAULTS.expired)
  assert.equal(fault(0, 0), FAULTS.expired)
})

test('audiences: any where none is expected; scheme and last slash do not count', () => {
  assert.equal(audienceAllowed([], []), true)
  assert.equal(audienceAllowed(['a'], []), false)
  assert.equal(audienceAllowed(['https://a.example/'], ['b', 'http://a.example']), true)
  assert.equal(audienceAllowed(['a.example'], ['a.example.evil']), false)
})

test('facts: words of scope and permission are lists of their own; what is no text is no audience or presenter', () => {
  const facts = tokenFacts({ iss: 'i', sub: 's', aud: 'a', azp: 1, scope: 'r w', other: 'x y' }, ['scope'])
  assert.deepEqual(facts, {
    principal: 'i/s',
    audiences: ['a'],
    presenter: null,
    claims: { iss: 'i', sub: 's', aud: 'a', azp: 1, scope: ['r', 'w'], other: 'x y' },
  })
  assert.equal(tokenFacts({ iss: 'i' }, []).principal, null)
})

test('strict JSON: everything that JSON.parse takes and that says each name once', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 6 }), (text) => {
      const value: unknown = JSON.parse(text)
      const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
      // What fast-check prints has been an object: names are unique, but `__proto__` may have been dropped.
      const parsed = parseStrictObject(Buffer.from(text))
      assert.deepEqual(parsed, isObject ? value : null)
    }),
  )
  assert.deepEqual(parseStrictObject(Buffer.from('{"a":"\\"{,:","b":{"a":1}}')), { a: '"{,:', b: { a: 1 } })
  assert.equal(parseStrictObject(Buffer.from('{"a" :1, "a"\n:1}')), null)
  assert.equal(parseStrictObject(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])), null)
  assert.equal(parseStrictObject(Buffer.from('\ufeff{}')), null)
})
