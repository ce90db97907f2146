/** Every field of AuthorizationPolicy (behaviour §1): two callers, one policy, and who of them gets through. */
import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { after, before, test } from 'node:test'
import type { Harness } from '../../src/testing/harness.ts'
import { startHarness } from '../../src/testing/harness.ts'
import { meshConnect, type RequestOptions, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin } from '../../src/testing/origin.ts'
import { jwksOf, tokenBy, tokenKey } from '../../src/testing/tokens.ts'
import {
  documents,
  gateway,
  ISTIO_MUTUAL,
  requestAuthentication,
  serviceEntry,
  to,
  virtualService,
} from '../integration/manifests.ts'

const HOST = 'site.example'
const OTHER = 'other.example'
const SLEEP = 'cluster.local/ns/apps/sa/sleep'
const GATEWAY_API = 'gateway.networking.k8s.io'
const LABELS = {
  istio: 'egressgateway',
  app: 'istio-egressgateway',
  [`${GATEWAY_API}/gateway-name`]: 'egress',
  [`${GATEWAY_API}/gateway-class-name`]: 'istio',
}

let origin: EchoOrigin
let harness: Harness
let callers: Readonly<Record<'sleep' | 'cron', Socket>>

before(async () => {
  origin = await startEchoOrigin()
  const route = (host: string, name: string) => [
    serviceEntry(name, host, origin.port),
    virtualService(name, [host], [{ route: to(host) }]),
  ]
  harness = await startHarness({
    metadata: { labels: LABELS },
    resources: {
      'all.yaml': documents(
        gateway({ number: 80, tls: ISTIO_MUTUAL }),
        ...route(HOST, 'site'),
        ...route(OTHER, 'other'),
      ),
    },
  })
  const { pki } = harness
  const call = async (id: string) =>
    meshConnect({ port: harness.gateway.port(80), svid: await pki.svid(id), ca: pki.root })
  callers = { sleep: await call('apps/sleep'), cron: await call('jobs/cron') }
})

after(async () => {
  for (const socket of Object.values(callers)) socket.destroy()
  await harness.gateway.destroy()
  await harness.stop()
  await origin.close()
})

type Spec = Readonly<Record<string, unknown>>
type Asked = RequestOptions & { readonly caller?: 'sleep' | 'cron'; readonly host?: string }

async function load(spec: Spec): Promise<readonly string[]> {
  const policy = {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name: 'under-test', namespace: 'istio-system' },
    spec,
  }
  return (await harness.change({ 'policy.yaml': documents(policy) })).errors
}

async function status({ caller = 'sleep', host = HOST, ...options }: Asked): Promise<number> {
  return (await request(callers[caller], host, options)).status
}

/** The policy, and what becomes of which requests. */
type Row = readonly [
  title: string,
  ...cases: readonly (readonly [spec: Spec, ...asked: readonly (readonly [Asked, number])[]])[],
]

const deny = (rule: object): Spec => ({ action: 'DENY', rules: [rule] })
const from = (source: object): Spec => deny({ from: [{ source }] })
const operation = (block: object): Spec => deny({ to: [{ operation: block }] })
const when = (condition: object): Spec => deny({ when: [condition] })

const CRON: Asked = { caller: 'cron' }
const SOURCE = 'AuthorizationPolicy.rules[].from[].source'
const OPERATION = 'AuthorizationPolicy.rules[].to[].operation'
const WHEN = 'AuthorizationPolicy.rules[].when[]'
const sleepDenied = [
  [{}, 403],
  [CRON, 200],
] as const
const cronDenied = [
  [{}, 200],
  [CRON, 403],
] as const
const denied = [[{}, 403]] as const
const passed = [[{}, 200]] as const
const reads = [
  [{ path: '/read' }, 403],
  [{ path: '/other' }, 200],
] as const

const ROWS: readonly Row[] = [
  [`field ${SOURCE}.principals: the identity`, [from({ principals: [SLEEP] }), ...sleepDenied]],
  [`field ${SOURCE}.notPrincipals: any other identity`, [from({ notPrincipals: [SLEEP] }), ...cronDenied]],
  [`field ${SOURCE}.namespaces: the namespace`, [from({ namespaces: ['apps'] }), ...sleepDenied]],
  [`field ${SOURCE}.notNamespaces: any other`, [from({ notNamespaces: ['apps'] }), ...cronDenied]],
  [`field ${SOURCE}.serviceAccounts: the account`, [from({ serviceAccounts: ['apps/sleep'] }), ...sleepDenied]],
  [`field ${SOURCE}.notServiceAccounts: any other`, [from({ notServiceAccounts: ['apps/sleep'] }), ...cronDenied]],
  [
    `field ${SOURCE}.trustDomains, ${SOURCE}.notTrustDomains: whose identity it is`,
    [from({ trustDomains: ['cluster.local'] }), ...denied],
    [from({ trustDomains: ['other.domain'] }), ...passed],
    [from({ notTrustDomains: ['cluster.local'] }), ...passed],
    [from({ notTrustDomains: ['other.domain'] }), ...denied],
  ],
  [
    `field ${SOURCE}.ipBlocks, ${SOURCE}.notIpBlocks: the address of the connection`,
    [from({ ipBlocks: ['127.0.0.0/8'] }), ...denied],
    [from({ ipBlocks: ['192.0.2.0/24'] }), ...passed],
    [from({ notIpBlocks: ['127.0.0.1'] }), ...passed],
    [from({ notIpBlocks: ['127.0.0.2'] }), ...denied],
  ],
  [
    `field ${SOURCE}.remoteIpBlocks, ${SOURCE}.notRemoteIpBlocks: the address of the client, which no header changes`,
    [from({ remoteIpBlocks: ['127.0.0.1'] }), ...denied],
    [from({ remoteIpBlocks: ['192.0.2.1'] }), [{ headers: { 'x-forwarded-for': '192.0.2.1' } }, 200]],
    [from({ notRemoteIpBlocks: ['127.0.0.1'] }), ...passed],
    [from({ notRemoteIpBlocks: ['192.0.2.1'] }), ...denied],
  ],
  [
    `field ${OPERATION}.hosts, ${OPERATION}.notHosts: the requested host`,
    [operation({ hosts: [HOST] }), [{}, 403], [{ host: OTHER }, 200]],
    [operation({ notHosts: [HOST] }), [{}, 200], [{ host: OTHER }, 403]],
  ],
  [
    `field ${OPERATION}.methods, ${OPERATION}.notMethods: the method`,
    [operation({ methods: ['PUT'] }), [{ method: 'PUT' }, 403], [{}, 200]],
    [operation({ notMethods: ['PUT'] }), [{ method: 'PUT' }, 200], [{}, 403]],
  ],
  [
    `field ${OPERATION}.paths, ${OPERATION}.notPaths: the path`,
    [operation({ paths: ['/read'] }), ...reads],
    [operation({ notPaths: ['/other'] }), ...reads],
  ],
  [
    `field ${WHEN}.key, ${WHEN}.values, ${WHEN}.notValues: conditions`,
    [when({ key: 'request.headers[x-a]', values: ['1'] }), [{ headers: { 'x-a': '1' } }, 403], [{}, 200]],
    [when({ key: 'request.headers[x-b]', values: ['1'] }), [{ headers: { 'x-a': '1' } }, 200]],
    [when({ key: 'source.namespace', values: ['*'], notValues: ['jobs'] }), ...sleepDenied],
  ],
  [
    'field AuthorizationPolicy.action: ALLOW, DENY, AUDIT',
    [{ ...from({ namespaces: ['apps'] }), action: 'DENY' }, ...sleepDenied],
    [{ ...from({ namespaces: ['apps'] }), action: 'ALLOW' }, ...cronDenied],
    [{ rules: [{ from: [{ source: { namespaces: ['apps'] } }] }] }, ...cronDenied],
    [{ ...from({ namespaces: ['apps'] }), action: 'AUDIT' }, [{}, 200], [CRON, 200]],
  ],
  [
    'field AuthorizationPolicy.selector.matchLabels: gateways with all the labels',
    [{ ...deny({}), selector: { matchLabels: { istio: 'egressgateway' } } }, ...denied],
    [{ ...deny({}), selector: { matchLabels: { istio: 'ingressgateway' } } }, ...passed],
  ],
]

for (const [title, ...cases] of ROWS)
  test(title, async () => {
    for (const [spec, ...asked] of cases) {
      assert.deepEqual(await load(spec), [])
      for (const [options, expected] of asked)
        assert.equal(await status(options), expected, JSON.stringify([spec, options]))
    }
  })

test(`field ${OPERATION}.ports, ${OPERATION}.notPorts: the port that is really bound`, async () => {
  const bound = String(harness.gateway.port(80))
  for (const [block, expected] of [
    [{ ports: [bound] }, 403],
    [{ ports: ['80'] }, 200],
    [{ notPorts: [bound] }, 200],
    [{ notPorts: ['80'] }, 403],
  ] as const) {
    assert.deepEqual(await load(operation(block)), [])
    assert.equal(await status({}), expected, JSON.stringify(block))
  }
})

for (const [title, reference] of [
  [
    'field AuthorizationPolicy.targetRef.group, AuthorizationPolicy.targetRef.kind, AuthorizationPolicy.targetRef.name, AuthorizationPolicy.targetRef.namespace: gateways of the Gateway API by name, or by class',
    (ref: object) => ({ targetRef: ref }),
  ],
  [
    'field AuthorizationPolicy.targetRefs[].group, AuthorizationPolicy.targetRefs[].kind, AuthorizationPolicy.targetRefs[].name, AuthorizationPolicy.targetRefs[].namespace: the same, as a list',
    (ref: object) => ({ targetRefs: [ref] }),
  ],
] as const)
  test(title, async () => {
    const ours = { group: GATEWAY_API, kind: 'Gateway', name: 'egress' }
    for (const [ref, expected] of [
      [ours, 403],
      [{ ...ours, name: 'ingress' }, 200],
      [{ ...ours, kind: 'GatewayClass', name: 'istio' }, 403],
      [{ ...ours, kind: 'GatewayClass' }, 200],
      [{ group: 'networking.istio.io', kind: 'ServiceEntry', name: 'egress' }, 200],
      [{ ...ours, namespace: 'istio-system' }, 403],
    ] as const) {
      assert.deepEqual(await load({ ...deny({}), ...reference(ref) }), [])
      assert.equal(await status({}), expected, JSON.stringify(ref))
    }
    for (const ref of [
      { ...ours, group: 'apps' },
      { ...ours, namespace: 'apps' },
    ])
      assert.match((await load({ ...deny({}), ...reference(ref) })).join(), / SP5009 /)
  })

test(`field ${SOURCE}.requestPrincipals, ${SOURCE}.notRequestPrincipals: the principal of the token`, async () => {
  const key = tokenKey('k', 'ES256')
  const rules = requestAuthentication('tokens', [{ issuer: 'i', jwks: jwksOf(key) }])
  // Without what the test before has left, which does not load.
  assert.deepEqual((await harness.change({ 'policy.yaml': null, 'tokens.yaml': documents(rules) })).errors, [])
  const token: Asked = { headers: { authorization: `Bearer ${tokenBy(key, { iss: 'i', sub: 'u' })}` } }
  for (const [spec, withToken, without] of [
    [from({ requestPrincipals: ['i/u'] }), 403, 200],
    [from({ notRequestPrincipals: ['i/u'] }), 200, 403],
  ] as const) {
    assert.deepEqual(await load(spec), [])
    assert.deepEqual([await status(token), await status({})], [withToken, without])
  }
  assert.deepEqual((await harness.change({ 'tokens.yaml': null })).errors, [])
})
