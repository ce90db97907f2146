/**
 * The policy engine against an evaluator written from Istio's text (behaviour §1), and against itself: the index equals the
 * plain walk, a DENY never opens, another ALLOW never closes (architecture 3.12, nos. 1 and 2).
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Attributes, headerValues, type Peer } from '../../src/core/attributes.ts'
import { tokenFacts } from '../../src/gates/jwt/verify.ts'
import type { ConditionModel, PolicyModel, RuleModel } from '../../src/model/policy.ts'
import { compileAuthorizer } from '../../src/policy/authorizer.ts'
import { isHttpOnly } from '../../src/policy/rule.ts'
import { certificatePeer, request, spiffePeer, tunnel } from '../../src/testing/policy-fixtures.ts'

// ---- the reference: Istio's words, regular expressions and all ------------------------------------------------------

const quote = (text: string) => text.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&')
const full = (source: string) => new RegExp(`^(?:${source})$`, 's')

/** matcher/string.go: `*` → `.+`, `*x`, `x*`, exact. */
function pattern(value: string, prefix = ''): RegExp {
  if (value === '*') return full('.+')
  if (value.startsWith('*')) return full(`${prefix}.*${quote(value.slice(1))}`)
  if (value.endsWith('*')) return full(`${prefix}${quote(value.slice(0, -1))}.*`)
  return full(prefix + quote(value))
}

/** rbac/matchers.cc: URI SANs, else DNS SANs, else the subject. */
function names(peer: Peer): readonly string[] {
  if (peer.kind === 'none') return []
  const { uriSans, dnsSans, subject } = peer.certificate
  return uriSans.length > 0 ? uriSans : dnsSans.length > 0 ? dnsSans : [subject]
}

/** Contract §4, Names: an authority's port does not count where it is the scheme's default or the Gateway port. */
function hosts({ http, gatewayPort }: Attributes): readonly string[] {
  if (http === null) return []
  const { text, host, port } = http.authority
  return port === gatewayPort || port === (http.scheme === 'https' ? 443 : 80) ? [text, host] : [text]
}

/** generator.go, requestPrincipalGenerator: split at the last `/`, then iss and sub each by itself. */
function tokenPrincipalMatches(value: string, iss: string, sub: string): boolean {
  const [any, exact] = [full('.+'), (text: string) => full(quote(text))]
  const slash = value.lastIndexOf('/')
  const [issuer, subject] = slash < 0 ? [value, ''] : [value.slice(0, slash), value.slice(slash + 1)]
  const [ofIssuer, ofSubject] = ((): readonly [RegExp, RegExp] => {
    if (value === '*') return [any, any]
    if (value.startsWith('*')) return slash < 0 ? [any, pattern(value)] : [pattern(issuer), exact(subject)]
    if (value.endsWith('*')) return slash < 0 ? [pattern(value), any] : [exact(issuer), pattern(subject)]
    return [exact(issuer), exact(subject)]
  })()
  return ofIssuer.test(iss) && ofSubject.test(sub)
}

function valueMatches(key: string, value: string, a: Attributes): boolean {
  const header = /^request\.headers\[(.*)\]$/.exec(key)
  if (header !== null) {
    const seen = headerValues(a.http?.headers ?? [], header[1] as string)
    return seen.length > 0 && (value === '*' || pattern(value).test(seen.join(',')))
  }
  switch (key) {
    case 'source.principal':
      return names(a.peer).some((name) => pattern(value, value === '*' ? '' : 'spiffe:\\/\\/').test(name))
    case 'source.namespace':
      return names(a.peer).some((name) => full(`.*/ns/${quote(value).replaceAll('\\*', '.*')}/.*`).test(name))
    case 'host':
      return hosts(a).some((host) => pattern(value.toLowerCase()).test(host))
    case 'method':
      return pattern(value).test(a.http?.method ?? '')
    case 'path':
      return pattern(value).test(a.http?.path ?? '')
    case 'request.auth.principal': {
      const { iss, sub } = a.token?.claims ?? {}
      return typeof iss === 'string' && typeof sub === 'string' && tokenPrincipalMatches(value, iss, sub)
    }
    case 'request.auth.claims[x]': {
      const seen: readonly unknown[] = [a.token?.claims['x']].flat()
      return seen.some((each) => typeof each === 'string' && pattern(value).test(each))
    }
    case 'destination.port':
      return Number(value) === a.destinationPort
    default:
      throw new Error(`the reference knows no ${key}`)
  }
}

/** model.go: on TCP an ALLOW rule with an HTTP-only field is gone, any other action only loses the field. */
function ruleMatches(rule: RuleModel, action: string, a: Attributes): boolean {
  const all = [...(rule.from ?? []).flat(), ...(rule.to ?? []).flat(), ...rule.when]
  if (a.http === null && action === 'ALLOW' && all.some(isHttpOnly)) return false
  const any = (values: readonly string[], key: string) => values.some((value) => valueMatches(key, value, a))
  const condition = (c: ConditionModel) =>
    (a.http === null && isHttpOnly(c)) || ((c.values.length === 0 || any(c.values, c.key)) && !any(c.notValues, c.key))
  const alternatives = (list: RuleModel['from']) => list === null || list.some((each) => each.every(condition))
  return alternatives(rule.from) && alternatives(rule.to) && rule.when.every(condition)
}

/** authorization_policy.proto: DENY, then "no ALLOW policy applies" or "an ALLOW matches". */
function referenceAllows(policies: readonly PolicyModel[], a: Attributes): boolean {
  const enforced = policies.filter((policy) => !policy.dryRun)
  const matched = (action: string) =>
    enforced.some((policy) => policy.action === action && policy.rules.some((rule) => ruleMatches(rule, action, a)))
  if (matched('DENY')) return false
  return !enforced.some((policy) => policy.action === 'ALLOW') || matched('ALLOW')
}

// ---- generators: few values, so that rules and requests meet -------------------------------------------------------

const source = { file: 'generated.yaml', line: 1, col: 1 }
const VALUES: Readonly<Record<string, readonly string[]>> = {
  'source.principal': ['td/ns/a/sa/x', 'td/ns/b/sa/x', 'td/ns/a/*', '*/sa/x', '*', 'spiffe://td/ns/a/sa/x', 'td/*'],
  'source.namespace': ['a', 'b', 'a*', '*b', '*', 'a.b'],
  host: ['h.com', 'a.h.com', '*.h.com', 'a.*', '*', 'H.com', 'h.com:8080'],
  method: ['GET', 'POST', 'P*', '*'],
  path: ['/', '/x', '/x*', '*y', '*'],
  'destination.port': ['8080', '8443', '8444'],
  'request.headers[x-a]': ['1', '2', '1*', '*', '*2'],
  'request.auth.principal': ['i/u', 'i/*', '*/u', '*', 'j*', 'i/v*'],
  'request.auth.claims[x]': ['1', '2', '1*', '*', '*2'],
}
const keyed = (keys: readonly string[]) =>
  fc.constantFrom(...keys).chain((key) => {
    const list = (minLength: number) =>
      fc.uniqueArray(fc.constantFrom(...(VALUES[key] ?? [])), { minLength, maxLength: 2 })
    return fc
      .oneof(
        { weight: 3, arbitrary: fc.tuple(list(1), fc.constant<string[]>([])) },
        { weight: 1, arbitrary: fc.tuple(list(0), list(1)) },
      )
      .map(([values, notValues]): ConditionModel => ({ key, values, notValues, source }))
  })
const alternatives = (keys: readonly string[]) =>
  fc.option(
    fc.array(fc.uniqueArray(keyed(keys), { minLength: 1, maxLength: 2, selector: (c) => c.key }), {
      minLength: 1,
      maxLength: 2,
    }),
    { freq: 2 },
  )
const FROM = ['source.principal', 'source.namespace', 'request.auth.principal']
const TO = ['host', 'method', 'path', 'destination.port']
const complexRule = fc.record({
  source: fc.constant(source),
  from: alternatives(FROM),
  to: alternatives(TO),
  when: fc.array(keyed(['request.headers[x-a]', 'request.auth.claims[x]', 'source.namespace', 'destination.port']), {
    maxLength: 1,
  }),
})
/** One condition only: what a single matcher gets wrong then shows in the decision. */
const simpleRule = fc
  .tuple(
    fc.constantFrom('from', 'to', 'when'),
    keyed(FROM),
    keyed(TO),
    keyed(['request.headers[x-a]', 'request.auth.claims[x]']),
  )
  .map(
    ([part, from, to, when]): RuleModel => ({
      source,
      from: part === 'from' ? [[from]] : null,
      to: part === 'to' ? [[to]] : null,
      when: part === 'when' ? [when] : [],
    }),
  )
const rule: fc.Arbitrary<RuleModel> = fc.oneof(simpleRule, complexRule)
const policyOf = (action: fc.Arbitrary<PolicyModel['action']>) =>
  fc
    .record({
      action,
      dryRun: fc.boolean(),
      rules: fc.array(rule, { maxLength: 3 }),
      name: fc.constantFrom('p', 'q', 'r'),
    })
    .map((rest): PolicyModel => ({ ...rest, namespace: 'n', source, dryRun: rest.dryRun && rest.action !== 'AUDIT' }))
const policies = fc.array(policyOf(fc.constantFrom('ALLOW', 'DENY', 'ALLOW', 'DENY', 'AUDIT')), { maxLength: 6 })

const plainPeer: fc.Arbitrary<Peer> = fc.constantFrom<Peer>(
  { kind: 'none' },
  ...['td/ns/a/sa/x', 'td/ns/b/sa/x', 'other/ns/a/sa/y', 'td/ns/a.b/sa/x', 'td/ns/axb/sa/x'].map(spiffePeer),
)
const tokens = (...claims: readonly Readonly<Record<string, unknown>>[]) =>
  fc.constantFrom(null, ...claims.map((each) => tokenFacts(each, [])))
const plainToken = tokens(
  { iss: 'i', sub: 'u' },
  { iss: 'i', sub: 'v', x: '1' },
  { iss: 'jj', sub: 'u', x: ['1', '2'] },
)
/** Callers, hosts and headers for which Istio's reading and ours are the same, letter for letter. */
const plain = fc
  .record({
    peer: plainPeer,
    host: fc.constantFrom('h.com', 'a.h.com', 'bh.com', 'h.com.evil', 'h.com:80', 'a.com'),
    method: fc.constantFrom('GET', 'POST', 'PUT'),
    path: fc.constantFrom('/', '/x', '/x/y', '/y'),
    headers: fc.constantFrom<string[]>([], ['x-a', '1'], ['x-a', '12'], ['x-b', '1']),
    destinationPort: fc.constantFrom(8080, 8443, 8444),
    token: plainToken,
    http: fc.boolean(),
  })
  .map(({ http, ...rest }) =>
    http ? request(rest) : tunnel({ peer: rest.peer, destinationPort: rest.destinationPort }),
  )
/** And those where they differ: odd ports, repeated fields, odd IDs, certificates without identity. */
const hostile = fc
  .record({
    peer: fc.oneof(
      plainPeer,
      fc.constantFrom<Peer>(
        ...['ns/ns/a/sa/x', 'td/ns/ns/sa/b', 'td/ns/a/app/x', 'td/x/ns/a/sa/x', 'td/ns/q/sa/ab'].map(spiffePeer),
        certificatePeer({ uriSans: ['spiffe://td/ns/a/sa/x'] }),
        certificatePeer({ dnsSans: ['h.com', '/ns/a/'] }),
        certificatePeer({ subject: 'CN=/ns/b/' }),
      ),
    ),
    host: fc.constantFrom('h.com', 'h.com:80', 'h.com:81', 'h.com:8080', 'a.h.com:8080', 'a.h.com:443'),
    method: fc.constantFrom('GET', 'POST'),
    path: fc.constantFrom('/', '/x'),
    headers: fc.constantFrom<string[]>(
      ['x-a', '1', 'x-a', '2'],
      ['x-a', '1', 'x-a', '1'],
      ['x-a', '1,2'],
      ['x-a', '12', 'x-a', '13'],
      ['x-a', ''],
    ),
    destinationPort: fc.constantFrom(8080, 8443),
    token: tokens(
      { iss: 'i/u', sub: '' },
      { iss: 'i', sub: 'a/u' },
      { iss: 'i', x: 1 },
      { x: [1, '12', true] },
      { x: {} },
    ),
    gatewayPort: fc.constantFrom(80, 443),
    scheme: fc.constantFrom<'http' | 'https'>('http', 'https'),
  })
  .map((options) => request(options))

const runs = { numRuns: 2000 }

// ---- properties ----------------------------------------------------------------------------------------------------

/** Where Istio never matches a spiffe:// principal but a refusal here does, the two differ on purpose. */
const noScheme = (list: readonly PolicyModel[]) => !JSON.stringify(list).includes('"spiffe://')

test('decides as the reference does', () => {
  fc.assert(
    fc.property(policies.filter(noScheme), plain, (list, attributes) => {
      assert.equal(compileAuthorizer(list).decide(attributes).allow, referenceAllows(list, attributes))
    }),
    runs,
  )
})

test('permits nothing that Istio (and contract §4, Names) would refuse, whatever the caller sends', () => {
  fc.assert(
    fc.property(policies, fc.oneof(plain, hostile), (list, attributes) => {
      if (compileAuthorizer(list).decide(attributes).allow) assert.equal(referenceAllows(list, attributes), true)
    }),
    runs,
  )
})

test('the index answers as the plain walk, to the rule', () => {
  const many = fc.array(policyOf(fc.constantFrom('ALLOW', 'DENY')), { minLength: 6, maxLength: 20 })
  fc.assert(
    fc.property(many, fc.oneof(plain, hostile), (list, attributes) => {
      const naive = compileAuthorizer(list, { index: false }).decide(attributes)
      assert.deepEqual(compileAuthorizer(list).decide(attributes), naive)
    }),
    runs,
  )
})

test('another DENY never turns a refusal into a permit', () => {
  fc.assert(
    fc.property(policies, policyOf(fc.constant('DENY')), fc.oneof(plain, hostile), (list, extra, attributes) => {
      if (compileAuthorizer([...list, extra]).decide(attributes).allow)
        assert.equal(compileAuthorizer(list).decide(attributes).allow, true)
    }),
    runs,
  )
})

test('another ALLOW where one is enforced never turns a permit into a refusal', () => {
  fc.assert(
    fc.property(policies, policyOf(fc.constant('ALLOW')), fc.oneof(plain, hostile), (list, extra, attributes) => {
      fc.pre(list.some((policy) => policy.action === 'ALLOW' && !policy.dryRun))
      if (compileAuthorizer(list).decide(attributes).allow)
        assert.equal(compileAuthorizer([...list, extra]).decide(attributes).allow, true)
    }),
    runs,
  )
})

test('dry-run and AUDIT policies change no decision', () => {
  fc.assert(
    fc.property(policies, fc.oneof(plain, hostile), (list, attributes) => {
      const enforced = list.filter((policy) => !policy.dryRun && policy.action !== 'AUDIT')
      const { shadow, ...decision } = compileAuthorizer(list).decide(attributes)
      const { shadow: none, ...expected } = compileAuthorizer(enforced).decide(attributes)
      assert.deepEqual(decision, expected)
      assert.equal(none, null)
      if (list.every((policy) => !policy.dryRun)) assert.equal(shadow, null)
    }),
    runs,
  )
})

test('explain names the rule that decided, and no matching rule it did not', () => {
  fc.assert(
    fc.property(policies, fc.oneof(plain, hostile), (list, attributes) => {
      const authorizer = compileAuthorizer(list)
      const decision = authorizer.decide(attributes)
      const told = authorizer.explain(attributes).filter((policy) => !policy.dryRun)
      const matched = (action: string) =>
        told.some((policy) => policy.action === action && policy.rules.some((each) => each.matched))
      const allows = told.some((policy) => policy.action === 'ALLOW')
      assert.equal(decision.allow, !matched('DENY') && (!allows || matched('ALLOW')))
    }),
    runs,
  )
})
