/**
 * Mistakes that used to load and would have widened access (review of issue 2): each is an error with its place, and
 * the same text without the mistake loads.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { type LoadResult, loadConfiguration } from '../../src/config/load.ts'

function load(yaml: string): LoadResult {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-mistake-'))
  try {
    writeFileSync(join(dir, 'resources.yaml'), yaml)
    const spec = {
      resources: ['./resources.yaml'],
      identity: { certificateChain: '/c', privateKey: '/k', trustBundle: '/t' },
    }
    const metadata = { name: 'gw', namespace: 'istio-system', labels: { istio: 'egressgateway' } }
    const bootstrap = { apiVersion: 'sallyport.dev/v1', kind: 'EgressGateway', metadata, spec }
    writeFileSync(join(dir, 'gateway.yaml'), JSON.stringify(bootstrap))
    return loadConfiguration(join(dir, 'gateway.yaml'))
  } finally {
    rmSync(dir, { recursive: true })
  }
}

const errors = (yaml: string) =>
  load(yaml)
    .diagnostics.filter(({ severity }) => severity === 'error')
    .map(({ code, line }) => `${code} ${line}`)

const resource = (apiVersion: string, kind: string, name: string, spec: string) =>
  `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: { name: ${name}, namespace: istio-system }\nspec:\n${spec
    .trim()
    .split('\n')
    .map((line) => `  ${line}`)
    .join('\n')}\n`
const policy = (spec: string) => resource('security.istio.io/v1', 'AuthorizationPolicy', 'p', spec)
const rule = (spec: string, name = 'dr') => resource('networking.istio.io/v1', 'DestinationRule', name, spec)
const gateway = (name: string, tls: string, protocol = 'HTTPS') =>
  resource(
    'networking.istio.io/v1',
    'Gateway',
    name,
    `selector: { istio: egressgateway }\nservers:\n- hosts: ["*"]\n  port: { number: 80, name: p, protocol: ${protocol} }\n${tls}`,
  )
const deny = (values: string) => policy(`action: DENY\nrules: [${values}]`)
const list = (items: string) => `apiVersion: v1\nkind: List\n${items}\n`
const service = resource(
  'networking.istio.io/v1',
  'ServiceEntry',
  'se',
  'hosts: [a.test]\nports: [{ number: 443, name: p, protocol: HTTPS }]\nresolution: DNS',
)
const routed = (match: string) =>
  [
    service,
    gateway('gw', '  tls: { mode: ISTIO_MUTUAL }'),
    resource(
      'networking.istio.io/v1',
      'VirtualService',
      'vs',
      `hosts: [a.test]\ngateways: [gw]\nhttp:\n- match:${match}\n  route: [{ destination: { host: a.test, port: { number: 443 } } }]`,
    ),
  ].join('---\n')
/** A TLS rule and another for the same host; the one called `a` counts. */
const twoRules = (a: string, b: string) =>
  [
    routed(' [{ uri: { prefix: / } }]'),
    rule(`host: a.test\ntrafficPolicy: ${a}`, 'a'),
    rule(`host: a.test\ntrafficPolicy: ${b}`, 'b'),
  ].join('---\n')

const MISTAKES: readonly [what: string, wrong: string, finding: string, right: string][] = [
  ['a List without items', list('item: []'), 'SP1020 1', list('items: []')],
  ['a List whose items are gone', list('items:'), 'SP1020 3', list('items: []')],
  [
    'a policy in the core API group',
    policy('rules: []').replace('security.istio.io/v1', 'v1'),
    'SP1023 1',
    policy('rules: []'),
  ],
  [
    'a policy in another group of the mesh',
    policy('rules: []').replace('security.', 'networking.'),
    'SP1023 1',
    policy('rules: []').replace('security.istio.io', 'policy.linkerd.io'),
  ],
  [
    'a line that is a comment here and a key in Kubernetes',
    policy('rules: [{}] # comment\r  action: DENY'),
    'SP1010 5',
    policy('rules: [{}] # comment\r\naction: DENY'),
  ],
  [
    'no value for tls',
    rule('host: a.test\ntrafficPolicy:\n  loadBalancer: { simple: RANDOM }\n  tls:'),
    'SP1032 8',
    rule('host: a.test\ntrafficPolicy:\n  loadBalancer: { simple: RANDOM }'),
  ],
  [
    'tls below a misspelt key',
    rule(
      'host: a.test\ntrafficPolicy:\n  loadBalancer: { simple: RANDOM }\n  portLevelSetting: [{ port: { number: 443 }, tls: { mode: SIMPLE } }]',
    ),
    'SP1030 8',
    rule('host: a.test\ntrafficPolicy:\n  portLevelSettings: [{ port: { number: 443 }, tls: { mode: SIMPLE } }]'),
  ],
  ['tls in the wrong place', rule('host: a.test\ntls: { mode: SIMPLE }'), 'SP1030 6', rule('host: a.test')],
  [
    'tls outside the spec',
    `${rule('host: a.test')}trafficPolicy: { tls: { mode: SIMPLE } }\n`,
    'SP1030 6',
    rule('host: a.test\ntrafficPolicy: { tls: { mode: SIMPLE } }'),
  ],
  [
    'another rule wins by name and has no tls',
    twoRules('{ loadBalancer: { simple: RANDOM } }', '{ tls: { mode: SIMPLE } }'),
    'SP7007 41',
    twoRules('{ tls: { mode: SIMPLE } }', '{ loadBalancer: { simple: RANDOM } }'),
  ],
  ['no value for match', routed(''), 'SP1032 26', routed(' []')],
  ['no value in a match', routed(' [{ uri: }]'), 'SP1032 26', routed(' [{ uri: { prefix: /a } }]')],
  [
    'no value for selector',
    gateway('gw', '  tls: { mode: ISTIO_MUTUAL }').replace('{ istio: egressgateway }', ''),
    'SP1032 5',
    gateway('gw', '  tls: { mode: ISTIO_MUTUAL }'),
  ],
  [
    'names of client certificates where none is asked for',
    gateway('gw', '  tls: { mode: SIMPLE, credentialName: c, subjectAltNames: [a.test] }'),
    'SP4002 9',
    gateway('gw', '  tls: { mode: MUTUAL, credentialName: c, subjectAltNames: [a.test] }'),
  ],
  [
    'an emptied list of pins',
    gateway('gw', '  tls: { mode: ISTIO_MUTUAL, verifyCertificateHash: [] }'),
    'SP4002 9',
    gateway('gw', `  tls: { mode: ISTIO_MUTUAL, verifyCertificateHash: [${'0a'.repeat(32)}] }`),
  ],
  [
    'plaintext wins a port by name',
    `${gateway('a', '', 'HTTP')}---\n${gateway('b', '  tls: { mode: ISTIO_MUTUAL }')}`,
    'SP4006 17',
    `${gateway('b', '', 'HTTP')}---\n${gateway('a', '  tls: { mode: ISTIO_MUTUAL }')}`,
  ],
  [
    'SIMPLE wins a name from ISTIO_MUTUAL',
    `${gateway('a', '  tls: { mode: SIMPLE, credentialName: c }')}---\n${gateway('b', '  tls: { mode: ISTIO_MUTUAL }')}`,
    'SP4005 18',
    `${gateway('b', '  tls: { mode: SIMPLE, credentialName: c }')}---\n${gateway('a', '  tls: { mode: ISTIO_MUTUAL }')}`,
  ],
  [
    'an emptied list in an ALLOW',
    policy('rules: [{ from: [{ source: { namespaces: [], ipBlocks: [10.0.0.0/8] } }] }]'),
    'SP5025 5',
    policy('rules: [{ from: [{ source: { namespaces: [a], ipBlocks: [10.0.0.0/8] } }] }]'),
  ],
  ...(
    [
      ['a space after a method', '{ to: [{ operation: { methods: ["POST "] } }] }'],
      ['a method prefix in small letters', '{ to: [{ operation: { methods: ["po*"] } }] }'],
      ['a second star in a host', '{ to: [{ operation: { hosts: ["*.evil.test*"] } }] }'],
      ['a scheme in a host prefix', '{ to: [{ operation: { hosts: ["http://*"] } }] }'],
      ['a path that is not ASCII', '{ to: [{ operation: { paths: ["/geheim/ü"] } }] }'],
      ['a path that normalisation changes', '{ to: [{ operation: { paths: ["/%61dmin"] } }] }'],
      ['a path with dot segments', '{ to: [{ operation: { paths: ["/a/../b"] } }] }'],
      ['a star within a principal', '{ from: [{ source: { principals: ["cluster.local/ns/*/sa/admin"] } }] }'],
      ['a space after a namespace', '{ from: [{ source: { namespaces: ["mytest "] } }] }'],
      ['a zero-width space in a namespace', '{ from: [{ source: { namespaces: ["my\\u200btest"] } }] }'],
      ['white space around a header value', '{ when: [{ key: "request.headers[x]", values: [" yes"] }] }'],
      ['a star within an SNI', '{ when: [{ key: connection.sni, values: ["a.*.test"] }] }'],
    ] as const
  ).map(([what, values]): [string, string, string, string] => [
    `DENY: ${what}`,
    deny(values),
    'SP5026 6',
    deny('{ from: [{ source: { principals: ["*/sa/admin"], namespaces: ["my*t"] } }] }'),
  ]),
]

for (const [what, wrong, finding, right] of MISTAKES)
  test(what, () => {
    assert.deepEqual(errors(wrong), [finding])
    assert.equal(load(wrong).model, null)
    assert.deepEqual(errors(right), [])
    assert.notEqual(load(right).model, null)
  })

test('a policy that does not apply here is named, with the label or namespace that keeps it away', () => {
  const found = (yaml: string) =>
    load(yaml).diagnostics.flatMap(({ code, severity, line }) => (code === 'SP5028' ? [`${severity} ${line}`] : []))
  const mistyped = deny('{}').replace('rules', 'selector: { matchLabels: { istio: egressgatway } }\n  rules')
  assert.deepEqual(found(mistyped), ['info 6'])
  const ours = mistyped.replace('egressgatway', 'egressgateway')
  assert.deepEqual(found(ours), [])
  assert.deepEqual(found(ours.replace('namespace: istio-system', 'namespace: mytest')), ['info 3'])
  assert.deepEqual(found(mistyped.replace('namespace: istio-system', 'namespace: mytest')), [])
})

test('a route around the from of an egress policy is a warning at the route', () => {
  const egress = (host: string) =>
    resource(
      'istio.alibabacloud.com/v1',
      'ASMEgressTrafficPolicy',
      'egress-by-gw',
      `byEgressGateway: { name: gw, port: 80 }\negressRules:\n- from: [{ namespace: a }]\n  to: [{ hosts: [${host}], port: { number: 80, protocol: HTTP }, httpsUpgrade: { enabled: true, port: 443 } }]`,
    )
  const around = (host: string) => {
    const virtualService = routed(' [{ uri: { prefix: / } }]').replace(
      'hosts: [a.test]\n  gateways',
      `hosts: [${host}]\n  gateways`,
    )
    const { diagnostics, model } = load(`${virtualService}---\n${egress('a.test')}`)
    assert.notEqual(model, null)
    return diagnostics.flatMap(({ code, severity, line }) => (code === 'SP6013' ? [`${severity} ${line}`] : []))
  }
  assert.deepEqual(around('b.test'), ['warning 26'])
  assert.deepEqual(around('"*.test"'), ['warning 26'])
  // Here the policy speaks for the host: the route is replaced, the from holds.
  assert.deepEqual(around('a.test'), [])
})
