/** Names, contract §4: equal after canonicalisation ⇒ equal decision, whoever spelt it how, in the rule or in the request. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Attributes, NO_PEER } from '../../src/core/attributes.ts'
import { parseAuthority } from '../../src/core/authority.ts'
import type { PolicyModel } from '../../src/model/policy.ts'
import { compileAuthorizer } from '../../src/policy/authorizer.ts'

const SOURCE = { file: 'p.yaml', line: 1, col: 1 }
const name = fc.constantFrom('a.example', 'b.example', 'x.a.example', 'xn--bcher-kva.example', '10.1.2.3')

/** The same name as somebody else might spell it. */
const spelt = (canonical: string) =>
  fc
    .tuple(fc.array(fc.boolean(), { minLength: canonical.length, maxLength: canonical.length }), fc.boolean())
    .map(([upper, dot]) => {
      const text = canonical
        .split('')
        .map((char, index) => (upper[index] === true ? char.toUpperCase() : char))
        .join('')
      return dot && !/^[\d.]+$/.test(canonical) ? `${text}.` : text
    })

function policy(action: 'ALLOW' | 'DENY', host: string, negated: boolean): PolicyModel {
  const values = negated ? { values: [], notValues: [host] } : { values: [host], notValues: [] }
  const condition = { key: 'host', ...values, source: SOURCE }
  return {
    namespace: 'n',
    name: 'p',
    action,
    dryRun: false,
    source: SOURCE,
    rules: [{ source: SOURCE, from: null, to: [[condition]], when: [] }],
  }
}

function attributes(text: string): Attributes | null {
  const authority = parseAuthority(text)
  if (authority === null) return null
  const http = { method: 'GET', path: '/', query: null, scheme: 'https', authority, headers: [] } as const
  return {
    peer: NO_PEER,
    sourceIp: '10.0.0.1',
    remoteIp: '10.0.0.1',
    destinationIp: '10.0.0.2',
    destinationPort: 8443,
    gatewayPort: 443,
    sni: null,
    token: null,
    http,
  }
}

test('threat 20: equal after canonicalisation ⇒ equal decision', () => {
  const port = fc.constantFrom('', ':80', ':443', ':8080')
  const cases = name.chain((host) => fc.tuple(fc.constant(host), spelt(host), port))
  const rule = name.chain((host) => fc.tuple(fc.constant(host), spelt(host)))
  fc.assert(
    fc.property(
      cases,
      rule,
      fc.constantFrom('ALLOW' as const, 'DENY' as const),
      fc.boolean(),
      ([host, variant, suffix], [ruleHost, ruleVariant], action, negated) => {
        const plain = attributes(host + suffix)
        const other = attributes(variant + suffix)
        assert.ok(plain !== null && other !== null)
        assert.deepEqual(other.http?.authority, plain.http?.authority)
        const expected = compileAuthorizer([policy(action, ruleHost, negated)]).decide(plain).allow
        for (const spelling of [ruleHost, ruleVariant]) {
          const authorizer = compileAuthorizer([policy(action, spelling, negated)])
          assert.equal(authorizer.decide(plain).allow, expected, spelling)
          assert.equal(authorizer.decide(other).allow, expected, `${spelling} against ${variant}${suffix}`)
        }
      },
    ),
    { numRuns: 2000 },
  )
})
