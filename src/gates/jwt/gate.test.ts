/** The gate as requests meet it: what it costs, what it remembers, what it leaves of a request (the rest is over sockets: test/fields). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Connection, NO_PEER } from '../../core/attributes.ts'
import type { Refusal } from '../../core/refusal.ts'
import type { TokenRuleModel } from '../../model/token.ts'
import { newRecord } from '../../observe/record.ts'
import { Passage } from '../../runtime/gate.ts'
import { type RequestOptions, request, tunnel } from '../../testing/policy-fixtures.ts'
import { inSeconds, jwksOf, tokenBy, tokenKey } from '../../testing/tokens.ts'
import { JwtGate } from './gate.ts'
import { parseKeySet } from './key-set.ts'
import type { KeySource } from './remote-keys.ts'

const KEY = tokenKey('k')
const CONNECTION: Connection = {
  id: 1,
  openedAt: 0,
  remoteAddress: '10.1.0.5',
  remotePort: 1,
  localAddress: '10.1.0.9',
  localPort: 8080,
  gatewayPort: 80,
  peer: NO_PEER,
  tls: null,
}

const RULE: TokenRuleModel = {
  name: 'istio-system/r',
  issuer: 'i',
  audiences: [],
  keys: { kind: 'inline', jwks: jwksOf(KEY) },
  locations: [{ in: 'header', name: 'authorization', prefix: 'Bearer ' }],
  forward: false,
  payloadHeader: null,
  claimHeaders: [],
  wordClaims: [],
  timeoutMs: 1000,
  source: { file: 'r.yaml', line: 1, col: 1 },
}

/** Keys that the test can change, as a fetch would. */
function changeable(text: string): KeySource & { become(text: string): void } {
  let keys = parseKeySet(text)
  return {
    peek: () => keys,
    current: () => keys,
    newer: () => Promise.resolve(null),
    become: (next) => {
      keys = parseKeySet(next)
    },
  }
}

function passage(options: RequestOptions): Passage {
  return new Passage(CONNECTION, newRecord('http', CONNECTION, 0), request(options), null, null)
}

const withToken = (token: string) => passage({ headers: ['authorization', `Bearer ${token}`, 'accept', '*/*'] })
const bodyOf = async (admission: ReturnType<JwtGate['admit']>) => ((await admission) as Refusal | null)?.body ?? null

test('no token, no HTTP: let through at once, and as it came', () => {
  const gate = new JwtGate([RULE], [changeable(jwksOf(KEY))])
  for (const attributes of [request({ headers: ['authorization', 'Basic x'] }), request(), tunnel()]) {
    const passing = new Passage(CONNECTION, newRecord('http', CONNECTION, 0), attributes, null, null)
    assert.equal(gate.admit(passing), null)
    assert.equal(passing.attributes, attributes)
  }
})

test('a token that has been found good is let through at once, while its keys and its times hold', async (t) => {
  const keys = changeable(jwksOf(KEY))
  const gate = new JwtGate([RULE], [keys])
  const token = tokenBy(KEY, { iss: 'i', sub: 's' })
  const first = gate.admit(withToken(token))
  assert.ok(first instanceof Promise)
  assert.equal(await first, null)
  const again = withToken(token)
  assert.equal(gate.admit(again), null)
  assert.equal(again.attributes.token?.principal, 'i/s')
  assert.deepEqual(again.attributes.http?.headers, ['accept', '*/*'])

  // What one has been found good for says nothing for another that is nearly the same.
  assert.equal(await bodyOf(gate.admit(withToken(`${token.slice(0, -4)}AAAA`))), 'Jwt verification fails')
  keys.become(jwksOf(tokenKey('k')))
  assert.equal(await bodyOf(gate.admit(withToken(token))), 'Jwt verification fails')
  keys.become(jwksOf(KEY))
  assert.equal(await bodyOf(gate.admit(withToken(token))), null)

  t.mock.timers.enable({ apis: ['Date'], now: inSeconds(3600 + 61) * 1000 })
  assert.equal(await bodyOf(gate.admit(withToken(token))), 'Jwt is expired')
})

test('two rules for one issuer: one of them has to find it good, and has its way with it', async () => {
  const other = tokenKey('other')
  const gate = new JwtGate(
    [
      { ...RULE, audiences: ['a'] },
      { ...RULE, forward: true, claimHeaders: [{ header: 'x-sub', claim: 'sub' }] },
    ],
    [changeable(jwksOf(KEY)), changeable(jwksOf(other))],
  )
  const second = withToken(tokenBy(other, { iss: 'i', sub: 's', aud: 'a' }))
  assert.equal(await bodyOf(gate.admit(second)), null)
  assert.deepEqual(second.attributes.http?.headers.slice(2), ['accept', '*/*', 'x-sub', 's'])
  const first = withToken(tokenBy(KEY, { iss: 'i', sub: 's', aud: 'a' }))
  assert.equal(await bodyOf(gate.admit(first)), null)
  assert.deepEqual(first.attributes.http?.headers, ['accept', '*/*'])
  assert.equal(
    await bodyOf(gate.admit(withToken(tokenBy(KEY, { iss: 'i', aud: 'b' })))),
    "Jwks doesn't have key to match kid or alg from Jwt",
  )
})

test('a rule judges what stands where it looks, and nothing else', async () => {
  const header = { ...RULE, issuer: 'a', locations: [{ in: 'header', name: 'x-a', prefix: '' }] } as const
  const param = { ...RULE, issuer: 'b', locations: [{ in: 'param', name: 'b' }] } as const
  const keys = changeable(jwksOf(KEY))
  const gate = new JwtGate([header, param], [keys, keys])
  const ofB = tokenBy(KEY, { iss: 'b' })
  assert.equal(await bodyOf(gate.admit(passage({ query: `b=${ofB}` }))), null)
  // In Envoy, good for one rule is good enough; here a token in a place is for those who look there.
  assert.equal(await bodyOf(gate.admit(passage({ headers: ['x-a', ofB] }))), 'Jwt issuer is not configured')
  const both = passage({ headers: ['x-a', tokenBy(KEY, { iss: 'a' })], query: `b=${ofB}` })
  assert.equal(await bodyOf(gate.admit(both)), 'Found multiple Jwt tokens')
})

test('what it costs', async (t) => {
  const gate = new JwtGate([RULE], [changeable(jwksOf(KEY))])
  const tokens = Array.from({ length: 200 }, (_, i) => tokenBy(KEY, { iss: 'i', sub: `user-${i}`, groups: ['a', 'b'] }))
  const cpuOf = async (times: number, work: (i: number) => unknown): Promise<string> => {
    const before = process.cpuUsage()
    for (let i = 0; i < times; i += 1) await work(i)
    const { user, system } = process.cpuUsage(before)
    return ((user + system) / times).toFixed(1)
  }
  const without = passage({ headers: ['accept', '*/*'] })
  const warm = new JwtGate([RULE], [changeable(jwksOf(KEY))])
  await cpuOf(200, (i) => warm.admit(withToken(tokens[i] as string)))
  const verified = await cpuOf(200, (i) => gate.admit(withToken(tokens[i] as string)))
  const passages = tokens.map(withToken)
  const attributes = passages.map((each) => each.attributes)
  const known = await cpuOf(10_000, (i) => {
    const passing = passages[i % 200] as Passage
    passing.attributes = attributes[i % 200] as Passage['attributes']
    return gate.admit(passing)
  })
  const none = await cpuOf(10_000, () => gate.admit(without))
  t.diagnostic(`CPU µs per request: no token ${none}, known token ${known}, new token (RS256) ${verified}`)
  assert.equal(gate.admit(withToken(tokens[0] as string)), null)
})
