/** Lowering: scope (behaviour §1.7), aliases (§1.10), and the warnings. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ListenerModel, ServerModel, ServerTls } from '../model/listener.ts'
import { lower, type PolicySpec, policySettings } from '../testing/policy-fixtures.ts'
import { MESH_TLS } from './egress-servers.ts'

function codes(
  policy: PolicySpec,
  ...rest: [settings?: ReturnType<typeof policySettings>, listeners?: ListenerModel[]]
): string[] {
  return lower([policy], ...rest).diagnostics.map(({ code, severity }) => `${code} ${severity}`)
}
function applies(policy: PolicySpec, settings = policySettings()): boolean {
  return lower([{ ...policy, spec: { rules: [{}], ...(policy.spec as object) } }], settings).policies.length === 1
}

describe('scope (§1.7)', () => {
  const apps = policySettings({}, { namespace: 'apps' })
  const select = (matchLabels: object) => ({ spec: { selector: { matchLabels } } })
  test('own namespace and root namespace only', () => {
    assert.equal(applies({ namespace: 'apps' }, apps), true)
    assert.equal(applies({ namespace: 'istio-system' }, apps), true)
    assert.equal(applies({ namespace: 'mytest' }, apps), false)
    assert.equal(applies({ namespace: 'root' }, policySettings({ rootNamespace: 'root' })), true)
  })
  test('the selector must be contained in our labels', () => {
    assert.equal(applies(select({ istio: 'egressgateway' })), true)
    assert.equal(applies(select({ istio: 'egressgateway', app: 'istio-egressgateway' })), true)
    assert.equal(applies(select({ istio: 'egressgateway', version: 'v1' })), false)
    assert.equal(applies(select({ istio: 'ingressgateway' })), false)
    assert.equal(applies(select({ toString: 'x' })), false)
    assert.equal(applies(select({})), true)
    assert.equal(applies({ namespace: 'istio-system', ...select({ istio: 'other' }) }, apps), false)
  })
  const ref = (kind: string, name: string, group = 'gateway.networking.k8s.io') => ({
    spec: { targetRefs: [{ group, kind, name }] },
  })
  test('targetRefs are not for workloads without a Gateway API name', () => {
    assert.equal(applies(ref('Gateway', 'g')), false)
    assert.deepEqual(codes({ spec: { rules: [{}], targetRef: { kind: 'Service', name: 's' } } }), ['SP5024 info'])
  })
  test('targetRefs of a Gateway API gateway', () => {
    const labels = {
      'gateway.networking.k8s.io/gateway-name': 'g',
      'gateway.networking.k8s.io/gateway-class-name': 'istio',
    }
    const gateway = policySettings({}, { labels, namespace: 'apps' })
    assert.equal(applies({ namespace: 'apps', ...ref('Gateway', 'g') }, gateway), true)
    assert.equal(applies({ namespace: 'apps', ...ref('Gateway', 'h') }, gateway), false)
    assert.equal(applies({ namespace: 'istio-system', ...ref('Gateway', 'g') }, gateway), false)
    assert.equal(applies({ namespace: 'istio-system', ...ref('GatewayClass', 'istio') }, gateway), true)
    assert.equal(applies({ namespace: 'apps', ...ref('GatewayClass', 'istio') }, gateway), false)
    assert.equal(applies({ namespace: 'apps', ...ref('Service', 'g', '') }, gateway), false)
  })
})

test('sorted by name, then namespace', () => {
  const settings = policySettings({}, { namespace: 'apps' })
  const each = [
    ['istio-system', 'b'],
    ['apps', 'b'],
    ['istio-system', 'a'],
    ['apps', 'B'],
  ] as const
  const { policies } = lower(
    each.map(([namespace, name]) => ({ namespace, name, spec: { rules: [{}] } })),
    settings,
  )
  assert.deepEqual(
    policies.map(({ namespace, name }) => `${name} ${namespace}`),
    ['B apps', 'a istio-system', 'b apps', 'b istio-system'],
  )
})

test('a rule becomes conditions with their places', () => {
  const rules = [
    {
      from: [
        {
          source: { namespaces: ['a'], notNamespaces: ['b'], notIpBlocks: ['10.0.0.1'], serviceAccounts: ['x', 'n/y'] },
        },
      ],
      to: [{ operation: { hosts: ['h'], ports: ['8080'], methods: ['GET'], notPaths: ['/p'] } }],
      when: [{ key: 'request.headers[A]', values: ['1'] }],
    },
  ]
  const [policy] = lower([{ name: 'p', annotations: { 'istio.io/dry-run': 'true' }, spec: { rules } }]).policies
  assert.ok(policy)
  assert.deepEqual([policy.action, policy.dryRun, policy.name], ['ALLOW', true, 'p'])
  const shape = (
    list: readonly { key: string; values: readonly string[]; notValues: readonly string[] }[] | undefined,
  ) => list?.map(({ key, values, notValues }) => [key, values.join(), notValues.join()])
  assert.deepEqual(shape(policy.rules[0]?.from?.[0]), [
    ['source.namespace', 'a', 'b'],
    ['source.serviceAccount', 'istio-system/x,n/y', ''],
    ['source.ip', '', '10.0.0.1'],
  ])
  assert.deepEqual(shape(policy.rules[0]?.to?.[0]), [
    ['host', 'h', ''],
    ['destination.port', '8080', ''],
    ['method', 'GET', ''],
    ['path', '', '/p'],
  ])
  assert.equal(
    policy.rules[0]?.from?.[0]?.[2]?.source.file,
    'istio-system/p.yaml#spec.rules.0.from.0.source.notIpBlocks',
  )
  assert.deepEqual(shape(policy.rules[0]?.when), [['request.headers[A]', '1', '']])
})

describe('conditions on tokens', () => {
  const from = (source: object) => ({ spec: { rules: [{ from: [{ source }] }] } })
  const verified: PolicySpec = {
    kind: 'RequestAuthentication',
    spec: { jwtRules: [{ issuer: 'https://issuer.example' }] },
  }
  const cases: readonly (readonly [what: string, policy: PolicySpec])[] = [
    ['requestPrincipals', from({ requestPrincipals: ['*'] })],
    ['notRequestPrincipals', from({ notRequestPrincipals: ['*'] })],
    ['claims', { spec: { rules: [{ when: [{ key: 'request.auth.claims[iss]', values: ['x'] }] }] } }],
    [
      'audiences',
      { spec: { action: 'DENY', rules: [{ when: [{ key: 'request.auth.audiences', notValues: ['x'] }] }] } },
    ],
  ]
  for (const [what, policy] of cases)
    test(`${what}: a warning where nobody verifies tokens, nothing where somebody does`, () => {
      assert.deepEqual(codes(policy), ['SP8202 warning'])
      assert.deepEqual(codes({ ...policy, namespace: 'mytest' }), [])
      assert.deepEqual(lower([policy, verified]).diagnostics, [])
      // One for other workloads verifies nothing here.
      const { diagnostics } = lower([policy, { ...verified, namespace: 'mytest' }])
      assert.deepEqual(
        diagnostics.map(({ code }) => code),
        ['SP8202'],
      )
    })
})

test('a principal of an issuer that nobody is asked about', () => {
  const verified: PolicySpec = {
    kind: 'RequestAuthentication',
    spec: { jwtRules: [{ issuer: 'https://i.example/' }, { issuer: 'https://j.example' }] },
  }
  const found = (requestPrincipals: readonly string[], more = verified) =>
    lower([{ spec: { rules: [{ from: [{ source: { requestPrincipals } }] }] } }, more]).diagnostics.map(
      ({ code, fix }) => [code, fix],
    )
  assert.deepEqual(found(['*', '*/u', 'https://i.example//u', 'https://j.example/*', 'https*']), [])
  const issuers = 'the issuers are "https://i.example/", "https://j.example"; a principal is ISSUER/SUBJECT'
  assert.deepEqual(found(['https://i.example/u']), [['SP8206', issuers]])
  const anyIssuer: PolicySpec = { ...verified, spec: { jwtRules: [{ jwksUri: 'https://i.example/k' }] } }
  assert.deepEqual(found(['x/u'], anyIssuer), [['SP8204', null]])
})

describe('warnings', () => {
  const to = (operation: object, action = 'ALLOW') => ({ spec: { action, rules: [{ to: [{ operation }] }] } })
  test('experimental conditions', () => {
    const when = [{ key: 'experimental.envoy.filters.a[b]', values: ['c'] }]
    assert.deepEqual(codes({ spec: { rules: [{ when }] } }), ['SP5013 warning'])
  })
  test('spiffe:// in a principal', () => {
    const { diagnostics } = lower([
      { spec: { rules: [{ from: [{ source: { principals: ['spiffe://td/ns/a/sa/b'] } }] }] } },
    ])
    assert.deepEqual(
      diagnostics.map(({ code, fix }) => [code, fix]),
      [['SP5020', 'write "td/ns/a/sa/b"']],
    )
  })
  test('a mapped Gateway port, in ports and in destination.port', () => {
    const { diagnostics } = lower([
      to({ ports: ['443', '8080'] }),
      { spec: { rules: [{ when: [{ key: 'destination.port', notValues: ['80'] }] }] } },
    ])
    assert.deepEqual(
      diagnostics.map(({ code, fix }) => [code, fix]),
      [
        ['SP5021', 'write "8443"'],
        ['SP5021', 'write "8080"'],
      ],
    )
    const same = policySettings({}, { ports: [{ gatewayPort: 443, bindPort: 443 }] })
    assert.deepEqual(codes(to({ ports: ['443'] }), same), [])
    const picked = policySettings({}, { ports: [{ gatewayPort: 443, bindPort: 0 }] })
    assert.deepEqual(codes(to({ ports: ['443'] }), picked), ['SP5021 warning'])
    // 8080 is bound, though it is also somebody's Gateway port.
    const crossed = [
      { gatewayPort: 8080, bindPort: 9090 },
      { gatewayPort: 80, bindPort: 8080 },
    ]
    assert.deepEqual(codes(to({ ports: ['8080'] }), policySettings({}, { ports: crossed })), [])
  })
  test('ALLOW without rules', () => {
    assert.deepEqual(codes({ spec: {} }), ['SP5023 info'])
    assert.deepEqual(codes({ annotations: { 'istio.io/dry-run': 'true' }, spec: {} }), [])
  })
  test('values that never match: a warning where they permit, an error where they refuse', () => {
    for (const operation of [
      { hosts: ['https://a.com'] },
      { hosts: ['bücher.de'] },
      { paths: ['/a?b=c'] },
      { paths: ['a'] },
      { methods: ['post'] },
    ]) {
      assert.deepEqual(codes(to(operation)), ['SP5026 warning'], JSON.stringify(operation))
      assert.deepEqual(codes(to(operation, 'DENY')), ['SP5026 error'], JSON.stringify(operation))
    }
    assert.deepEqual(codes(to({ notHosts: ['a_b.com/x'] })), ['SP5026 error'])
    assert.deepEqual(codes(to({ notHosts: ['a_b.com/x'] }, 'DENY')), ['SP5026 warning'])
    assert.deepEqual(
      codes(to({ hosts: ['A.com', 'a.com:80', '*.x', '[::1]', 'a.com:*'], paths: ['/a*', '*b'] }, 'DENY')),
      [],
    )
  })
  test('callers without identity', () => {
    assert.deepEqual(codes({ spec: { rules: [{ from: [{ source: { notNamespaces: ['bad'] } }] }] } }), ['SP5027 info'])
    const asked = { notNamespaces: ['bad'], principals: ['*'] }
    assert.deepEqual(codes({ spec: { rules: [{ from: [{ source: asked }] }] } }), [])
  })
})

describe('rules on listeners that carry tunnels or know no callers', () => {
  const server = (tunnelTable: string | null, tls: ServerTls | null = MESH_TLS): ServerModel => ({
    name: 's',
    source: null,
    sniHosts: ['*'],
    application: tls?.mode === 'PASSTHROUGH' ? 'tunnel' : 'http',
    tls,
    routeTable: 't',
    tunnelTable,
  })
  const http: ListenerModel = { gatewayPort: 80, bindPort: 8080, servers: [server(null)] }
  const passthrough = server('t', { ...MESH_TLS, mode: 'PASSTHROUGH', certificates: [], clientCa: null })
  const listeners: ListenerModel[] = [http, { gatewayPort: 444, bindPort: 8444, servers: [server('t')] }]
  const lint = (rule: object, action: string, on: ListenerModel[]) =>
    lower([{ spec: { action, rules: [rule] } }], policySettings(), on).diagnostics
  const deny = (rule: object) => lint(rule, 'DENY', listeners)
  test('an HTTP-only DENY grows on tunnels: names the port and the fields', () => {
    const [finding, ...more] = deny({ to: [{ operation: { hosts: ['a.com'], methods: ['POST'] } }] })
    assert.equal(more.length, 0)
    assert.equal(finding?.code, 'SP5022')
    assert.match(finding?.message ?? '', /port 444.*host, method/)
  })
  test('not when its own ports leave the tunnel out', () => {
    assert.deepEqual(deny({ to: [{ operation: { methods: ['POST'], ports: ['8080'] } }] }), [])
    assert.deepEqual(deny({ to: [{ operation: { methods: ['POST'], notPorts: ['8444'] } }] }), [])
    assert.deepEqual(deny({ from: [{ source: { namespaces: ['a'] } }] }), [])
    assert.equal(deny({ to: [{ operation: { methods: ['POST'], ports: ['8444'] } }] }).length, 1)
  })
  test('an HTTP-only ALLOW never matches on tunnels', () => {
    const allow = (rule: object) => lint(rule, 'ALLOW', listeners).map(({ code, message }) => `${code} ${message}`)
    const [finding, ...more] = allow({ to: [{ operation: { paths: ['/x'] } }] })
    assert.deepEqual(more, [])
    assert.match(finding ?? '', /^SP5029 .*port 444.* path .*never matches/)
    assert.deepEqual(allow({ to: [{ operation: { paths: ['/x'], ports: ['8080'] } }] }), [])
    assert.deepEqual(allow({ when: [{ key: 'connection.sni', values: ['a.com'] }] }), [])
  })
  test('identities where callers have none: plaintext, SIMPLE, PASSTHROUGH', () => {
    const simple = server(null, { ...MESH_TLS, mode: 'SIMPLE', clientCa: null })
    const by = { from: [{ source: { namespaces: ['a'] } }] }
    for (const [open, name] of [
      [server(null, null), 'plaintext'],
      [simple, 'SIMPLE'],
      [passthrough, 'PASSTHROUGH'],
    ] as const) {
      const on: ListenerModel[] = [http, { gatewayPort: 443, bindPort: 8443, servers: [server(null), open] }]
      for (const action of ['ALLOW', 'DENY']) {
        const [finding, ...more] = lint(by, action, on)
        assert.equal(finding?.code, 'SP5030')
        assert.equal(more.length, 0)
        assert.match(finding?.message ?? '', new RegExp(`source.namespace .*443: s, ${name}`))
        assert.equal(finding?.message.includes('refuses nobody'), action === 'DENY')
      }
      assert.deepEqual(lint({ ...by, to: [{ operation: { ports: ['8080'] } }] }, 'DENY', on), [])
      assert.deepEqual(lint({ from: [{ source: { ipBlocks: ['10.0.0.0/8'] } }] }, 'DENY', on), [])
      const when = { when: [{ key: 'source.principal', values: ['*'] }] }
      assert.equal(lint(when, 'ALLOW', on)[0]?.code, 'SP5030')
    }
    assert.deepEqual(lint(by, 'DENY', listeners), [])
  })
})
