/** The engine against the tables of behaviour §1.2, 1.6, 1.8 (ids), 1.9, 1.10 and the golden outcomes of §12. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Attributes } from '../core/attributes.ts'
import { type PolicySpec, policies, policySettings, request, spiffePeer, tunnel } from '../testing/policy-fixtures.ts'
import { compileAuthorizer } from './authorizer.ts'

const a = spiffePeer('cluster.local/ns/a/sa/one')
const mytest = spiffePeer('cluster.local/ns/mytest/sa/sleep')

function decide(specs: readonly PolicySpec[], attributes: Attributes, settings = policySettings()) {
  return compileAuthorizer(policies(specs, settings)).decide(attributes)
}

function outcome(rules: unknown, attributes: Attributes, action = 'ALLOW'): string {
  return decide([{ spec: { action, ...(rules === undefined ? {} : { rules }) } }], attributes).outcome
}

describe('no policy', () => {
  test('nothing applies: none', () => {
    const decision = compileAuthorizer([]).decide(request())
    assert.deepEqual(decision, { allow: true, outcome: 'none', policy: null, source: null, shadow: null })
  })
  test('only an AUDIT: still none, and it is explained', () => {
    const models = policies([{ spec: { action: 'AUDIT', rules: [{}] } }])
    assert.equal(compileAuthorizer(models).decide(request()).outcome, 'none')
    assert.equal(compileAuthorizer(models).explain(request())[0]?.rules[0]?.matched, true)
  })
  test('only a DENY that does not match: allowed by no rule', () => {
    const decision = decide(
      [{ spec: { action: 'DENY', rules: [{ to: [{ operation: { methods: ['POST'] } }] }] } }],
      request(),
    )
    assert.deepEqual([decision.allow, decision.outcome, decision.policy], [true, 'allow', null])
  })
})

describe('shapes of rules (§1.2)', () => {
  for (const rules of [undefined, []])
    test(`ALLOW with rules ${JSON.stringify(rules)} refuses everything, in no rule's name`, () => {
      const decision = decide([{ spec: rules === undefined ? {} : { rules } }], request({ peer: a }))
      assert.deepEqual(decision, { allow: false, outcome: 'deny', policy: null, source: null, shadow: null })
    })
  test('ALLOW with spec {} is the same', () => assert.equal(decide([{ spec: {} }], request()).outcome, 'deny'))
  test('ALLOW [{}] permits everything', () => assert.equal(outcome([{}], request()), 'allow'))
  test('DENY [{}] refuses everything', () => {
    const decision = decide([{ name: 'all', spec: { action: 'DENY', rules: [{}] } }], request())
    assert.equal(decision.policy, 'ns[istio-system]-policy[all]-rule[0]')
    assert.equal(decision.source?.file, 'istio-system/all.yaml#spec.rules.0')
  })
  test('a rule with only `to` holds for any source', () => {
    const rules = [{ to: [{ operation: { methods: ['GET'] } }] }]
    assert.equal(outcome(rules, request()), 'allow')
    assert.equal(outcome(rules, request({ method: 'POST' })), 'deny')
  })
})

describe('boolean structure (§1.2)', () => {
  const rules = [
    {
      from: [
        { source: { namespaces: ['a', 'b'], notPrincipals: ['*/sa/bad'] } },
        { source: { ipBlocks: ['10.9.0.0/16'] } },
      ],
      to: [{ operation: { methods: ['GET', 'HEAD'], paths: ['/x*'], notPaths: ['/x/secret'] } }],
      when: [
        { key: 'request.headers[x-one]', values: ['1', '2'], notValues: ['2'] },
        { key: 'destination.port', values: ['8080'] },
      ],
    },
  ]
  const good = { peer: a, path: '/x/y', headers: ['x-one', '1'] }
  const cases: readonly (readonly [what: string, attributes: Attributes, expected: string])[] = [
    ['all hold', request(good), 'allow'],
    ['other value of the list', request({ ...good, method: 'HEAD' }), 'allow'],
    [
      'first alternative of from fails on its not list',
      request({ ...good, peer: spiffePeer('td/ns/a/sa/bad') }),
      'deny',
    ],
    ['second alternative of from', request({ ...good, peer: { kind: 'none' }, sourceIp: '10.9.1.1' }), 'allow'],
    ['method outside', request({ ...good, method: 'PUT' }), 'deny'],
    ['excluded path', request({ ...good, path: '/x/secret' }), 'deny'],
    ['value and notValue of one condition', request({ ...good, headers: ['x-one', '2'] }), 'deny'],
    ['second condition fails', request({ ...good, destinationPort: 8443 }), 'deny'],
  ]
  for (const [what, attributes, expected] of cases) test(what, () => assert.equal(outcome(rules, attributes), expected))
})

describe('order (§1.6)', () => {
  const allowAll = { name: 'allow', spec: { rules: [{}] } }
  const denyPost = { name: 'deny', spec: { action: 'DENY', rules: [{ to: [{ operation: { methods: ['POST'] } }] }] } }
  test('DENY wins over ALLOW', () => {
    assert.equal(
      decide([allowAll, denyPost], request({ method: 'POST' })).policy,
      'ns[istio-system]-policy[deny]-rule[0]',
    )
    assert.equal(decide([allowAll, denyPost], request()).policy, 'ns[istio-system]-policy[allow]-rule[0]')
  })
  test('the first matching rule by name, then namespace, names the decision', () => {
    const everything = { spec: { rules: [{ to: [{ operation: { methods: ['PUT'] } }] }, {}] } }
    const decision = decide(
      [
        { ...everything, name: 'b', namespace: 'apps' },
        { ...everything, name: 'b' },
        { ...everything, name: 'c' },
      ],
      request(),
      policySettings({}, { namespace: 'apps' }),
    )
    assert.equal(decision.policy, 'ns[apps]-policy[b]-rule[1]')
  })
  test('whitespace in an id becomes _ (§1.8)', () => {
    assert.equal(
      decide([{ name: 'a b', spec: { rules: [{}] } }], request()).policy,
      'ns[istio-system]-policy[a_b]-rule[0]',
    )
  })
})

describe('seed 000 (§12 no. 3, 4, 5, 8)', () => {
  const deny = {
    name: 'deny',
    spec: {
      action: 'DENY',
      rules: [
        {
          from: [{ source: { namespaces: ['mytest'] } }],
          to: [{ operation: { hosts: ['httpbin.org'], methods: ['POST'] } }],
        },
      ],
    },
  }
  test('POST from mytest is refused, GET is not', () => {
    assert.equal(
      decide([deny], request({ peer: mytest, method: 'POST' })).policy,
      'ns[istio-system]-policy[deny]-rule[0]',
    )
    assert.equal(decide([deny], request({ peer: mytest })).allow, true)
    assert.equal(decide([deny], request({ peer: a, method: 'POST' })).allow, true)
  })
  for (const host of ['httpbin.org:80', 'HTTPBIN.ORG', 'httpbin.org.', 'httpbin.org:8080', 'httpbin.org.:443'])
    test(`Host ${host} is the same host`, () => {
      assert.equal(decide([deny], request({ peer: mytest, method: 'POST', host })).allow, false)
    })
  test('on a tunnel only the namespace is left of it', () => {
    assert.equal(decide([deny], tunnel({ peer: mytest })).policy, 'ns[istio-system]-policy[deny]-rule[0]')
    assert.equal(decide([deny], tunnel({ peer: a })).allow, true)
    assert.equal(decide([deny], tunnel()).allow, true)
  })
})

describe('tunnels (§1.6)', () => {
  test('an ALLOW rule with an HTTP-only field is dropped', () => {
    const rules = [
      { from: [{ source: { namespaces: ['a'] } }], to: [{ operation: { hosts: ['httpbin.org'] } }] },
      { from: [{ source: { namespaces: ['mytest'] } }] },
    ]
    assert.equal(outcome(rules, tunnel({ peer: a })), 'deny')
    assert.equal(outcome(rules, tunnel({ peer: mytest })), 'allow')
  })
  test('if all are dropped, everything is refused', () => {
    assert.equal(outcome([{ to: [{ operation: { methods: ['GET'] } }] }], tunnel({ peer: a })), 'deny')
  })
  test('a DENY of HTTP fields alone refuses every tunnel', () => {
    const rules = [{ to: [{ operation: { methods: ['GET'] } }] }]
    assert.equal(outcome(rules, tunnel(), 'DENY'), 'deny')
  })
  test('deny-both-http-tcp: the other fields stay', () => {
    const rules = [
      { from: [{ source: { namespaces: ['ns-1'] } }], to: [{ operation: { methods: ['GET'] } }] },
      { to: [{ operation: { ports: ['8444'], hosts: ['x'] } }] },
    ]
    assert.equal(outcome([rules[0]], tunnel({ peer: spiffePeer('td/ns/ns-1/sa/x') }), 'DENY'), 'deny')
    assert.equal(outcome([rules[0]], tunnel({ peer: a }), 'DENY'), 'allow')
    assert.equal(outcome([rules[1]], tunnel(), 'DENY'), 'deny')
    assert.equal(outcome([rules[1]], tunnel({ destinationPort: 8445 }), 'DENY'), 'allow')
  })
  test('a DENY loses its HTTP not list too', () => {
    const rules = [{ to: [{ operation: { notMethods: ['GET'], ports: ['8444'] } }] }]
    assert.equal(outcome(rules, tunnel(), 'DENY'), 'deny')
  })
  test('connection.sni and ports work on tunnels', () => {
    const rules = [{ when: [{ key: 'connection.sni', values: ['*.cnn.com'] }] }]
    assert.equal(outcome(rules, tunnel({ sni: 'edition.cnn.com' })), 'allow')
    assert.equal(outcome(rules, tunnel({ sni: 'cnn.com' })), 'deny')
    assert.equal(outcome(rules, tunnel()), 'deny')
  })
})

describe('dry run (§1.9)', () => {
  const dry = { annotations: { 'istio.io/dry-run': 'true' } }
  const methods = (method: string) => [{ to: [{ operation: { methods: [method] } }] }]
  test('a dry-run ALLOW alone does not switch on the allow list', () => {
    const decision = decide([{ ...dry, spec: { rules: methods('POST') } }], request())
    assert.deepEqual([decision.allow, decision.outcome, decision.shadow], [true, 'none', 'deny none'])
  })
  test('what it would have permitted', () => {
    const decision = decide([{ ...dry, spec: { rules: methods('GET') } }], request())
    assert.equal(decision.shadow, 'allow ns[istio-system]-policy[p0]-rule[0]')
  })
  test('a dry-run DENY is told, not enforced', () => {
    const specs = [{ ...dry, spec: { action: 'DENY', rules: methods('GET') } }, { spec: { rules: [{}] } }]
    const decision = decide(specs, request())
    assert.deepEqual(
      [decision.allow, decision.policy, decision.shadow],
      [true, 'ns[istio-system]-policy[p1]-rule[0]', 'deny ns[istio-system]-policy[p0]-rule[0]'],
    )
    assert.equal(decide(specs, request({ method: 'PUT' })).shadow, null)
  })
  test('the shadow is kept on refusals', () => {
    const specs = [{ ...dry, spec: { action: 'DENY', rules: [{}] } }, { spec: { action: 'DENY', rules: [{}] } }]
    assert.equal(decide(specs, request()).shadow, 'deny ns[istio-system]-policy[p0]-rule[0]')
    const none = [{ ...dry, spec: { action: 'DENY', rules: [{}] } }, { spec: {} }]
    const decision = decide(none, request())
    assert.deepEqual([decision.allow, decision.shadow], [false, 'deny ns[istio-system]-policy[p0]-rule[0]'])
  })
  test('"false" enforces', () => {
    const annotations = { 'istio.io/dry-run': 'false' }
    assert.equal(decide([{ annotations, spec: { action: 'DENY', rules: [{}] } }], request()).allow, false)
  })
})

describe('experimental conditions (contract §3)', () => {
  const key = 'experimental.envoy.filters.network.mysql_proxy[db.table]'
  for (const part of ['values', 'notValues'] as const) {
    test(`an ALLOW rule with ${part} never matches`, () => {
      assert.equal(outcome([{ when: [{ key, [part]: ['x'] }] }], request()), 'deny')
    })
    test(`in a DENY rule ${part} hold`, () => {
      assert.equal(outcome([{ when: [{ key, [part]: ['x'] }] }], request(), 'DENY'), 'deny')
      assert.equal(outcome([{ when: [{ key, [part]: ['x'] }] }], tunnel(), 'DENY'), 'deny')
    })
  }
})

test('a model that config would refuse does not compile', () => {
  const [policy] = policies([{ spec: { rules: [{ when: [{ key: 'source.ip', values: ['10.0.0.1'] }] }] } }])
  assert.ok(policy)
  const rule = policy.rules[0]
  assert.ok(rule)
  const broken = (when: object) =>
    compileAuthorizer([
      { ...policy, rules: [{ ...rule, when: rule.when.map((condition) => ({ ...condition, ...when })) }] },
    ])
  assert.throws(() => broken({ key: 'source.nowhere' }), RangeError)
  assert.throws(() => broken({ key: 'constructor' }), RangeError)
  assert.throws(() => broken({ key: 'request.headers[]x' }), RangeError)
  assert.throws(() => broken({ values: ['10.0.0.300'] }), RangeError)
})
