/** Istio's validation of AuthorizationPolicy (behaviour §1.1, 1.5), with the place each finding stands at. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { findCondition } from '../../policy/conditions.ts'
import { lower, type PolicySpec } from '../../testing/policy-fixtures.ts'
import { authorizationPolicy, WHEN_KEYS } from './authorization-policy.ts'
import { IDENTITY_FIELDS } from './authorization-policy-tables.ts'

/** `CODE severity path` of every finding; in a namespace that no gateway looks at, so that only the kind's own checks speak. */
function findings(policy: PolicySpec): string[] {
  return lower([{ namespace: 'elsewhere', ...policy }]).diagnostics.map(
    ({ code, severity, file }) => `${code} ${severity} ${file.split('#')[1] ?? ''}`,
  )
}
const source = (spec: object) => findings({ spec: { rules: [{ from: [{ source: spec }] }] } })
const operation = (spec: object) => findings({ spec: { rules: [{ to: [{ operation: spec }] }] } })
const when = (...conditions: object[]) => findings({ spec: { rules: [{ when: conditions }] } })
const S = 'spec.rules.0.from.0.source'
const O = 'spec.rules.0.to.0.operation'

test('a full policy passes', () => {
  const rules = [
    {
      from: [
        {
          source: {
            principals: ['td/ns/a/sa/b'],
            notNamespaces: ['x'],
            ipBlocks: ['10.0.0.0/8', '::1'],
            trustDomains: ['td'],
          },
        },
        { source: { serviceAccounts: ['a/b', 'c'], notServiceAccounts: ['d'], remoteIpBlocks: ['1.2.3.4'] } },
      ],
      to: [
        { operation: { hosts: ['h'], ports: ['8080'], methods: ['GET'], paths: ['/{*}/x', '/y*'], notPaths: ['/z'] } },
      ],
      when: [
        { key: 'request.headers[User-Agent]', values: ['x'] },
        { key: 'source.ip', notValues: ['10.0.0.1'] },
      ],
    },
  ]
  assert.deepEqual(findings({ spec: { selector: { matchLabels: { istio: 'another' } }, rules } }), [])
})

describe('empty things', () => {
  test('from and to', () => {
    assert.deepEqual(findings({ spec: { rules: [{ from: [], to: [] }] } }), [
      'SP5001 error spec.rules.0.from',
      'SP5001 error spec.rules.0.to',
    ])
  })
  test('source and operation, absent, empty, or with empty lists only', () => {
    assert.deepEqual(findings({ spec: { rules: [{ from: [{}], to: [{}] }] } }), [
      `SP5001 error ${S}`,
      `SP5001 error ${O}`,
    ])
    assert.deepEqual(source({}), [`SP5001 error ${S}`])
    assert.deepEqual(source({ principals: [] }), [`SP5001 error ${S}`])
    assert.deepEqual(operation({ hosts: [], notHosts: [] }), [`SP5001 error ${O}`])
  })
  test('an empty list beside others restricts nothing, and says so', () => {
    assert.deepEqual(source({ principals: [], namespaces: ['a'] }), [`SP5025 error ${S}.principals`])
    const denied = { action: 'DENY', rules: [{ from: [{ source: { principals: [], namespaces: ['a'] } }] }] }
    assert.deepEqual(findings({ spec: denied }), [`SP5025 warning ${S}.principals`])
  })
  test('empty strings', () => {
    assert.deepEqual(source({ namespaces: ['a', ''] }), [`SP5000 error ${S}.namespaces.1`])
    assert.deepEqual(operation({ notHosts: [''] }), [`SP5000 error ${O}.notHosts.0`])
    assert.deepEqual(when({ key: 'source.namespace', notValues: [''] }), [
      'SP5000 error spec.rules.0.when.0.notValues.0',
    ])
  })
  test('conditions without values', () => {
    assert.deepEqual(when({ key: 'source.ip', values: [] }), ['SP5001 error spec.rules.0.when.0'])
  })
  test('DENY and CUSTOM without rules; ALLOW without rules is legal', () => {
    assert.deepEqual(findings({ spec: { action: 'DENY' } }), ['SP5002 error spec.rules'])
    assert.ok(
      findings({ spec: { action: 'CUSTOM', provider: { name: 'x' }, rules: [] } }).includes('SP5002 error spec.rules'),
    )
    assert.deepEqual(findings({ spec: {} }), [])
  })
})

describe('CUSTOM', () => {
  const custom = (rule: object) =>
    findings({ spec: { action: 'CUSTOM', provider: { name: 'x' }, rules: [rule] } }).filter((each) =>
      each.startsWith('SP8306'),
    )
  test('rules may ask what is wanted and from where', () => {
    assert.deepEqual(
      custom({
        from: [{ source: { ipBlocks: ['10.0.0.1'], notRemoteIpBlocks: ['10.0.0.2'] } }],
        to: [{ operation: { hosts: ['a.example'], methods: ['GET'], paths: ['/a'], ports: ['80'] } }],
        when: [
          { key: 'request.headers[x]', values: ['1'] },
          { key: 'connection.sni', values: ['a'] },
        ],
      }),
      [],
    )
  })
  test('not who the caller is', () => {
    for (const field of IDENTITY_FIELDS)
      assert.deepEqual(custom({ from: [{ source: { [field]: ['a'] } }] }), [
        `SP8306 error spec.rules.0.from.0.source.${field}`,
      ])
    for (const key of ['source.principal', 'source.namespace', 'request.auth.claims[a]'])
      assert.deepEqual(custom({ when: [{ key, values: ['a'] }] }), ['SP8306 error spec.rules.0.when.0.key'])
  })
})

describe('limits', () => {
  test('512 rules', () => {
    assert.deepEqual(findings({ spec: { rules: Array.from({ length: 512 }, () => ({})) } }), [])
    assert.deepEqual(findings({ spec: { rules: Array.from({ length: 513 }, () => ({})) } }), [
      'SP5000 error spec.rules',
    ])
  })
  test('16 service accounts of 320 characters', () => {
    const many = (length: number) => Array.from({ length }, (_, i) => `a/s${i}`)
    assert.deepEqual(source({ serviceAccounts: many(16) }), [])
    assert.deepEqual(source({ serviceAccounts: many(17) }), [`SP5007 error ${S}.serviceAccounts`])
    assert.deepEqual(source({ serviceAccounts: [`a/${'x'.repeat(318)}`] }), [])
    assert.deepEqual(source({ serviceAccounts: [`a/${'x'.repeat(319)}`] }), [`SP5007 error ${S}.serviceAccounts.0`])
  })
})

describe('values', () => {
  for (const value of ['*', 'a/*', 'a/b/c', '/b', 'a/'])
    test(`service account ${value}`, () => {
      assert.deepEqual(source({ notServiceAccounts: [value] }), [`SP5007 error ${S}.notServiceAccounts.0`])
      assert.deepEqual(when({ key: 'source.serviceAccount', values: [value] }), [
        'SP5007 error spec.rules.0.when.0.values.0',
      ])
    })
  for (const field of ['principals', 'notPrincipals', 'namespaces', 'notNamespaces'])
    test(`serviceAccounts with ${field}`, () => {
      assert.ok(source({ serviceAccounts: ['a/b'], [field]: ['x'] }).includes(`SP5007 error ${S}`))
    })
  for (const value of ['10.0.0', '10.0.0.1:80', '10.0.0.0/33', 'x'])
    test(`ip ${value}`, () => {
      assert.deepEqual(source({ ipBlocks: [value] }), [`SP5005 error ${S}.ipBlocks.0`])
      assert.deepEqual(source({ notRemoteIpBlocks: [value] }), [`SP5005 error ${S}.notRemoteIpBlocks.0`])
      for (const key of ['source.ip', 'remote.ip', 'destination.ip'])
        assert.deepEqual(when({ key, values: [value] }), ['SP5005 error spec.rules.0.when.0.values.0'])
    })
  for (const value of ['http', '65536', '-1', '80-90', '8*'])
    test(`port ${value}`, () => {
      assert.deepEqual(operation({ notPorts: [value] }), [`SP5006 error ${O}.notPorts.0`])
      assert.deepEqual(when({ key: 'destination.port', values: [value] }), [
        'SP5006 error spec.rules.0.when.0.values.0',
      ])
    })
  for (const value of ['/foo/{**}x', '/{a}', '/{*}.txt', '/{*}/a/*', '/{**}/{*}', '/{**}/{**}', '/{*}/?a'])
    test(`path ${value}`, () => {
      assert.ok(operation({ paths: ['/ok', value] }).includes(`SP5004 error ${O}.paths.1`))
      assert.ok(operation({ notPaths: [value] }).includes(`SP5004 error ${O}.notPaths.0`))
    })
})

describe('condition keys', () => {
  for (const key of [
    '',
    'source.label',
    'destination.namespace',
    'destination.labels[version]',
    'destination.name',
    'destination.user',
    'request.headers',
    'request.headers[]',
    'request.headers[a',
    'request.headers[a b]',
    'source.ip[x]',
    'request.auth.claims',
    'experimental.envoy.filters.a',
    'request.experimental.inline.headers[x]',
    'toString',
  ])
    test(`${JSON.stringify(key)} is refused`, () => {
      assert.ok(when({ key, values: ['1.2.3.4'] }).includes('SP5003 error spec.rules.0.when.0.key'))
    })
  test('each one that is known and needs no token has a row in the policy engine', () => {
    for (const { key, bracket } of WHEN_KEYS)
      if (!key.startsWith('request.auth.')) assert.notEqual(findCondition(bracket ? `${key}[x]` : key), null, key)
  })
})

describe('action, provider, annotations, target', () => {
  test('actions by name and by number', () => {
    const parsed = (action: unknown) => authorizationPolicy.schema.safeParse({ action }).data?.action
    assert.deepEqual([0, 1, 2, 3].map(parsed), ['ALLOW', 'DENY', 'AUDIT', 'CUSTOM'])
    assert.equal(parsed('deny'), undefined)
  })
  test('provider', () => {
    assert.deepEqual(findings({ spec: { rules: [{}], provider: { name: 'x' } } }), ['SP5008 error spec.provider'])
    assert.ok(findings({ spec: { action: 'CUSTOM', rules: [{}] } }).includes('SP5008 error spec.provider'))
  })
  test('dry-run', () => {
    const at = 'metadata.annotations.istio.io/dry-run'
    const dry = (value: string, action: string) =>
      findings({ annotations: { 'istio.io/dry-run': value }, spec: { action, rules: [{}] } })
    assert.deepEqual(dry('true', 'DENY'), [])
    assert.deepEqual(dry('false', 'ALLOW'), [])
    assert.deepEqual(dry('yes', 'ALLOW'), [`SP5010 error ${at}`])
    assert.deepEqual(dry('true', 'AUDIT'), [`SP5010 error ${at}`])
  })
  test('selector', () => {
    assert.deepEqual(findings({ spec: { selector: { matchLabels: { 'a*': 'b' } }, rules: [{}] } }), [
      'SP5009 error spec.selector.matchLabels.a*',
    ])
    assert.deepEqual(findings({ spec: { selector: { matchLabels: { '': 'b' } }, rules: [{}] } }), [
      'SP5009 error spec.selector.matchLabels.',
    ])
  })
  test('targetRefs', () => {
    const ref = { group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'g' }
    const targets = (...targetRefs: object[]) => findings({ spec: { targetRefs, rules: [{}] } })
    assert.deepEqual(targets(ref), [])
    assert.ok(targets({ ...ref, kind: 'Pod' }).includes('SP5009 error spec.targetRefs.0'))
    assert.ok(targets(ref, { ...ref, name: '' }).includes('SP5009 error spec.targetRefs.1'))
    assert.ok(targets({ ...ref, namespace: 'other' }).includes('SP5009 error spec.targetRefs.0'))
    assert.ok(targets(...Array.from({ length: 17 }, () => ref)).includes('SP5009 error spec.targetRefs'))
    assert.ok(findings({ spec: { targetRef: ref, selector: {}, rules: [{}] } }).includes('SP5009 error spec.selector'))
  })
})
