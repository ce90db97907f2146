import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { UNLIMITED_POOL } from '../model/cluster.ts'
import { DEFAULT_RETRY, type GrantModel } from '../model/route.ts'
import type { Settings } from '../model/settings.ts'
import { findings, testResource, testSettings } from '../testing/resources.ts'
import { lowerEgressPolicies } from './egress-policies.ts'
import { asmEgressTrafficPolicy } from './kinds/asm-egress-traffic-policy.ts'
import { destinationRule } from './kinds/destination-rule.ts'
import { serviceEntry } from './kinds/service-entry.ts'
import { templatedWorkloads } from './kinds/workload.ts'
import { collectDiagnostics } from './report.ts'
import type { Resource } from './resource.ts'
import { buildServices } from './services.ts'

const NAME = 'egress-by-egressgateway'
const POLICY = `ASMEgressTrafficPolicy/istio-egress/${NAME}:spec.egressRules`

type Rule = { from?: object[]; to: object[] }

function policy(rules: Rule[], more: { namespace?: string; name?: string; gateway?: object } = {}): Resource {
  const { namespace = 'istio-egress', name = NAME, gateway = { name: 'egressgateway' } } = more
  const egressRules = rules.map((rule) => ({ from: [{ namespace: 'mytest' }], ...rule }))
  return testResource(asmEgressTrafficPolicy, { namespace, name }, { byEgressGateway: gateway, egressRules })
}

const plain = {
  name: 'httpbin-http',
  hosts: ['httpbin.org'],
  port: { name: 'http', number: 80, protocol: 'HTTP' },
  byEgressGateway: { port: 80 },
}
const upgraded = { ...plain, name: 'httpbin-upgraded', httpsUpgrade: { enabled: true, port: 443 } }
const tunnelled = {
  name: 'httpbin-https',
  hosts: ['httpbin.org'],
  port: { name: 'https', number: 443, protocol: 'HTTPS' },
  byEgressGateway: { port: 444 },
}
const entry = (spec: object, namespace = 'default') =>
  testResource(serviceEntry, { name: 'se', namespace }, { resolution: 'DNS', ...spec })
const rule = (tls: object, namespace = 'istio-egress') =>
  testResource(destinationRule, { name: 'dr', namespace }, { host: 'httpbin.org', trafficPolicy: { tls } })

function lower(resources: readonly Resource[], settings: Settings = testSettings()) {
  const collector = collectDiagnostics()
  const services = buildServices(settings, resources, collector.report)
  const hosts = lowerEgressPolicies(settings, resources, services, collector.report)
  const clusterOf = (grant: GrantModel | undefined): string => {
    assert.ok(grant?.route.action.kind === 'forward')
    return grant.route.action.destinations[0]?.cluster ?? ''
  }
  const cluster = (name: string) => {
    const found = services.clusters().find((each) => each.name === name)
    assert.ok(found !== undefined, name)
    return found
  }
  return { hosts, services, cluster, clusterOf, codes: () => findings(collector) }
}

describe('which policies are ours', () => {
  test('by name, and by the labels istio and app', () => {
    for (const gateway of ['istio-egressgateway', 'egressgateway'])
      assert.equal(lower([policy([{ to: [plain] }], { gateway: { name: gateway } })]).hosts.length, 1, gateway)
    const labelled = testSettings({ name: 'x', labels: { app: 'egressgateway', other: 'y' } })
    assert.equal(lower([policy([{ to: [plain] }])], labelled).hosts.length, 1)
    const other = lower([policy([{ to: [plain] }], { gateway: { name: 'y' } })], labelled)
    assert.deepEqual(other.hosts, [])
    assert.deepEqual(other.services.clusters(), [])
    assert.deepEqual(other.codes(), [`SP6001 ASMEgressTrafficPolicy/istio-egress/${NAME}:spec.byEgressGateway.name`])
  })
  test('a destination that names another gateway is passed over', () => {
    const elsewhere = { ...plain, byEgressGateway: { name: 'other', port: 80 } }
    const { hosts, codes } = lower([policy([{ to: [elsewhere] }])])
    assert.deepEqual(hosts, [])
    assert.deepEqual(codes(), [`SP6001 ${POLICY}.0.to.0.byEgressGateway.name`])
  })
  test("ASM's fixed namespace and name are recommended, not required", () => {
    const { hosts, codes } = lower([policy([{ to: [plain] }], { namespace: 'istio-system', name: 'mine' })])
    assert.equal(hosts.length, 1)
    assert.deepEqual(codes(), [
      'SP6005 ASMEgressTrafficPolicy/istio-system/mine:metadata.name',
      'SP6004 ASMEgressTrafficPolicy/istio-system/mine:metadata.namespace',
    ])
  })
})

describe('pattern A: HTTP', () => {
  test('each host gets a grant that leads to its own cluster', () => {
    const { hosts, cluster, codes } = lower([
      policy([{ to: [{ ...plain, hosts: ['WWW.httpbin.org', 'httpbin.org'] }] }]),
    ])
    assert.deepEqual(codes(), [])
    assert.deepEqual(
      hosts.map(({ host, gatewayPort, application }) => [host, gatewayPort, application]),
      [
        ['www.httpbin.org', 80, 'http'],
        ['httpbin.org', 80, 'http'],
      ],
    )
    assert.deepEqual(hosts[0]?.grants, [
      {
        name: `istio-egress/${NAME}/httpbin-http`,
        source: { file: `${POLICY}.0.to.0`, line: 1, col: 1 },
        callers: [
          { namespace: 'mytest', serviceAccounts: null, source: { file: `${POLICY}.0.from.0`, line: 1, col: 1 } },
        ],
        route: {
          name: 'httpbin-http',
          source: { file: `${POLICY}.0.to.0`, line: 1, col: 1 },
          matches: [],
          action: {
            kind: 'forward',
            destinations: [{ cluster: 'outbound|80||www.httpbin.org', weight: 1, headers: null }],
            timeoutMs: null,
            rewrite: null,
            retry: DEFAULT_RETRY,
            mirrors: [],
          },
          headers: null,
          fault: null,
          cors: null,
        },
      },
    ])
    assert.deepEqual(cluster('outbound|80||www.httpbin.org'), {
      name: 'outbound|80||www.httpbin.org',
      statName: 'outbound|80||www.httpbin.org',
      host: 'www.httpbin.org',
      port: 80,
      discovery: 'dns',
      endpoints: [{ address: 'www.httpbin.org', port: 80, weight: 1, locality: '', priority: 0 }],
      dynamicPort: 80,
      external: true,
      tls: null,
      protocol: 'http1',
      loadBalancer: { kind: 'LEAST_REQUEST', warmup: null },
      pool: UNLIMITED_POOL,
      outlierDetection: null,
      proxyProtocol: null,
      tunnel: null,
      connectTimeoutMs: 10_000,
      source: { file: `${POLICY}.0.to.0.hosts.0`, line: 1, col: 1 },
    })
  })
  test('targetPort is dialled, the cluster keeps the port number; wildcards are dynamic', () => {
    const port = { number: 80, protocol: 'http', targetPort: 8080 }
    const { cluster, codes } = lower([policy([{ to: [{ ...plain, hosts: ['a.com', '*.b.com'], port }] }])])
    assert.deepEqual(codes(), [])
    assert.deepEqual(cluster('outbound|80||a.com').endpoints, [
      { address: 'a.com', port: 8080, weight: 1, locality: '', priority: 0 },
    ])
    const dynamic = cluster('outbound|80||*.b.com')
    assert.deepEqual([dynamic.discovery, dynamic.endpoints, dynamic.dynamicPort], ['dynamic', [], 8080])
  })
  test('the gateway port may stand at the top; nowhere is an error', () => {
    const { byEgressGateway: _, ...portless } = plain
    const top = lower([policy([{ to: [portless, plain] }], { gateway: { name: 'egressgateway', port: 8000 } })])
    assert.deepEqual(
      top.hosts.map(({ gatewayPort }) => gatewayPort),
      [8000, 80],
    )
    const none = lower([policy([{ to: [portless] }])])
    assert.deepEqual(none.hosts, [])
    assert.deepEqual(none.codes(), [`SP6002 ${POLICY}.0.to.0`])
  })
})

describe('pattern B: httpsUpgrade', () => {
  test('TLS is originated to the upgrade port: SIMPLE, system CAs, name of the host', () => {
    const { hosts, cluster, clusterOf, codes } = lower([policy([{ to: [upgraded] }])])
    assert.deepEqual(codes(), [])
    assert.equal(clusterOf(hosts[0]?.grants[0]), 'outbound|443||httpbin.org')
    assert.deepEqual(cluster('outbound|443||httpbin.org').endpoints, [
      { address: 'httpbin.org', port: 443, weight: 1, locality: '', priority: 0 },
    ])
    assert.deepEqual(cluster('outbound|443||httpbin.org').tls, {
      mode: 'SIMPLE',
      sni: 'httpbin.org',
      subjectAltNames: [],
      ca: 'system',
      clientCertificate: null,
      insecureSkipVerify: false,
      crl: null,
    })
  })
  test('a VirtualService that leaves the port out reaches the upgraded port, never plain text', () => {
    const { services, cluster, codes } = lower([policy([{ to: [upgraded] }])])
    const at = { file: 'vs', line: 1, col: 1 }
    const to = { host: 'httpbin.org', subset: null, namespace: 'x', listenerPort: 80, at }
    assert.equal(services.clusterFor({ ...to, port: null }), 'outbound|443||httpbin.org')
    assert.notEqual(cluster('outbound|443||httpbin.org').tls, null)
    services.clusterFor({ ...to, port: 80 })
    assert.deepEqual(codes(), ['SP7001 vs'])
  })
  test('a wildcard upgrade verifies the requested name', () => {
    const { cluster } = lower([policy([{ to: [{ ...upgraded, hosts: ['*.httpbin.org'] }] }])])
    const { discovery, tls } = cluster('outbound|443||*.httpbin.org')
    assert.deepEqual([discovery, tls?.mode, tls?.sni], ['dynamic', 'SIMPLE', null])
  })
  test('not enabled: plain text, with a warning unless it is spelt out', () => {
    for (const [enabled, expected] of [
      [undefined, [`SP6010 ${POLICY}.0.to.0.httpsUpgrade`]],
      [false, []],
    ] as const) {
      const httpsUpgrade = { port: 443, ...(enabled === undefined ? {} : { enabled }) }
      const { hosts, cluster, clusterOf, codes } = lower([policy([{ to: [{ ...plain, httpsUpgrade }] }])])
      assert.equal(clusterOf(hosts[0]?.grants[0]), 'outbound|80||httpbin.org')
      assert.equal(cluster('outbound|80||httpbin.org').tls, null)
      assert.deepEqual(codes(), expected)
    }
  })
  test('an upgrade without a port is refused and grants nothing', () => {
    const { hosts, services, codes } = lower([policy([{ to: [{ ...plain, httpsUpgrade: { enabled: true } }] }])])
    assert.deepEqual([hosts, services.clusters()], [[], []])
    assert.deepEqual(codes(), [`SP6000 ${POLICY}.0.to.0.httpsUpgrade`])
  })
  test('targetPort does not move an upgrade', () => {
    const { cluster, codes } = lower([policy([{ to: [{ ...upgraded, port: { ...plain.port, targetPort: 8080 } }] }])])
    assert.equal(cluster('outbound|443||httpbin.org').endpoints[0]?.port, 443)
    assert.deepEqual(codes(), [`SP6012 ${POLICY}.0.to.0.port.targetPort`])
  })
})

describe('refinement by ServiceEntry and DestinationRule', () => {
  const https = { number: 443, name: 'https', protocol: 'HTTPS' }
  test('the entry of the same host and port says where; the host stays external', () => {
    const endpoints = [{ address: '127.0.0.1', ports: { https: 9443 } }]
    const spec = { hosts: ['httpbin.org'], ports: [https], resolution: 'STATIC', location: 'MESH_INTERNAL', endpoints }
    const { cluster, codes } = lower([policy([{ to: [upgraded] }]), entry(spec)])
    const found = cluster('outbound|443||httpbin.org')
    assert.deepEqual(found.endpoints, [{ address: '127.0.0.1', port: 9443, weight: 1, locality: '', priority: 0 }])
    assert.deepEqual([found.discovery, found.external, found.tls?.mode], ['static', true, 'SIMPLE'])
    assert.deepEqual(codes(), [])
  })
  test('an entry of another port, another host or hidden from us changes nothing', () => {
    const endpoints = [{ address: '192.0.2.1' }]
    for (const spec of [
      { hosts: ['httpbin.org'], ports: [{ ...https, number: 8443 }], endpoints },
      { hosts: ['*.org'], ports: [https], endpoints },
      { hosts: ['httpbin.org'], ports: [https], endpoints, exportTo: ['.'] },
    ]) {
      const { cluster } = lower([policy([{ to: [upgraded] }]), entry(spec)])
      assert.equal(cluster('outbound|443||httpbin.org').endpoints[0]?.address, 'httpbin.org')
    }
  })
  test('the rule supplies CA, client certificate and names', () => {
    const tls = { mode: 'MUTUAL', clientCertificate: '/c', privateKey: '/k', caCertificates: '/ca' }
    const { cluster, codes } = lower([policy([{ to: [upgraded] }]), rule(tls)])
    assert.deepEqual(codes(), [])
    const found = cluster('outbound|443||httpbin.org').tls
    assert.deepEqual([found?.mode, found?.ca, found?.sni], ['MUTUAL', '/ca', null])
  })
  test("rules are looked up in the entry's namespace, else in the policy's", () => {
    const ca = (path: string, namespace: string) => rule({ mode: 'SIMPLE', caCertificates: path }, namespace)
    const rules = [ca('/policy', 'istio-egress'), ca('/entry', 'services')]
    const caOf = (resources: readonly Resource[]) => lower(resources).cluster('outbound|443||httpbin.org').tls?.ca
    assert.equal(caOf([policy([{ to: [upgraded] }]), ...rules]), '/policy')
    const spec = { hosts: ['httpbin.org'], ports: [https] }
    assert.equal(caOf([policy([{ to: [upgraded] }]), ...rules, entry(spec, 'services')]), '/entry')
  })
  test('no rule can turn the upgrade off', () => {
    for (const tls of [{ mode: 'DISABLE' }, { sni: 'httpbin.org' }]) {
      const { cluster, codes } = lower([policy([{ to: [upgraded] }]), rule(tls)])
      assert.equal(cluster('outbound|443||httpbin.org').tls?.mode, 'SIMPLE')
      assert.deepEqual(codes(), ['SP6008 DestinationRule/istio-egress/dr:spec.trafficPolicy.tls'])
    }
    const top = testResource(
      destinationRule,
      { name: 'dr', namespace: 'istio-egress' },
      { host: 'httpbin.org', trafficPolicy: { loadBalancer: { simple: 'RANDOM' } } },
    )
    const { cluster, codes } = lower([policy([{ to: [upgraded] }]), top])
    const found = cluster('outbound|443||httpbin.org')
    assert.deepEqual([found.tls?.mode, found.loadBalancer, codes()], ['SIMPLE', { kind: 'RANDOM', warmup: null }, []])
  })
})

describe('pattern C: the application’s own TLS', () => {
  test('is a tunnel on a cluster without TLS of ours', () => {
    const { hosts, cluster, clusterOf, codes } = lower([policy([{ to: [tunnelled, upgraded] }])])
    assert.deepEqual(
      hosts.map(({ gatewayPort, application }) => [gatewayPort, application]),
      [
        [444, 'tunnel'],
        [80, 'http'],
      ],
    )
    assert.equal(clusterOf(hosts[0]?.grants[0]), 'tunnel|443||httpbin.org')
    assert.equal(cluster('tunnel|443||httpbin.org').tls, null)
    assert.equal(cluster('outbound|443||httpbin.org').tls?.mode, 'SIMPLE')
    assert.deepEqual(codes(), [])
  })
  test('alone it has the ordinary name, and httpsUpgrade means nothing', () => {
    const { hosts, clusterOf, codes } = lower([
      policy([{ to: [{ ...tunnelled, httpsUpgrade: { enabled: true, port: 8443 } }] }]),
    ])
    assert.equal(clusterOf(hosts[0]?.grants[0]), 'outbound|443||httpbin.org')
    assert.deepEqual(codes(), [`SP6012 ${POLICY}.0.to.0.httpsUpgrade`])
  })
  test('protocols without a host name are refused', () => {
    const { hosts, codes } = lower([policy([{ to: [{ ...plain, port: { number: 3306, protocol: 'TCP' } }] }])])
    assert.deepEqual(hosts, [])
    assert.deepEqual(codes(), [`SP6011 ${POLICY}.0.to.0.port.protocol`])
  })
})

describe('several entries for one host', () => {
  test('are ordered by namespace, name and position, whatever the order of files', () => {
    const named = (name: string) => ({ ...plain, name })
    const first = policy([{ to: [named('1')] }, { to: [named('2'), named('3')] }], { namespace: 'a', name: 'z' })
    const second = policy([{ to: [named('4')] }], { namespace: 'b', name: 'a' })
    const third = policy([{ to: [named('5')] }], { namespace: 'b', name: 'b' })
    for (const order of [
      [first, second, third],
      [third, second, first],
    ]) {
      const { hosts } = lower(order)
      assert.equal(hosts.length, 1)
      assert.deepEqual(
        hosts[0]?.grants.map(({ route }) => route.name),
        ['1', '2', '3', '4', '5'],
      )
    }
  })
  test('grants for plain and upgraded ports stand side by side', () => {
    const { hosts, clusterOf, codes } = lower([policy([{ to: [plain] }, { to: [upgraded] }])])
    assert.deepEqual(hosts[0]?.grants.map(clusterOf), ['outbound|80||httpbin.org', 'outbound|443||httpbin.org'])
    assert.deepEqual(codes(), [])
  })
  test('entries that need one cluster to be two things are refused', () => {
    const plain443 = { ...plain, port: { number: 443, protocol: 'HTTP' } }
    const conflicting = lower([policy([{ to: [upgraded, plain443] }])])
    assert.deepEqual(conflicting.codes(), [`SP6009 ${POLICY}.0.to.1`])
    assert.notEqual(conflicting.cluster('outbound|443||httpbin.org').tls, null)
    const moved = { ...plain, port: { ...plain.port, targetPort: 8080 } }
    assert.deepEqual(lower([policy([{ to: [plain, moved] }])]).codes(), [`SP6009 ${POLICY}.0.to.1`])
    const ports = [{ number: 80, name: 'http', protocol: 'HTTP', targetPort: 9090 }]
    const settled = lower([policy([{ to: [plain, moved] }]), entry({ hosts: ['httpbin.org'], ports })])
    assert.deepEqual(settled.codes(), [])
    assert.equal(settled.cluster('outbound|80||httpbin.org').endpoints[0]?.port, 9090)
  })
})

describe('from', () => {
  const selecting = (workloadSelector: object) =>
    policy([{ from: [{ namespace: 'mytest', workloadSelector }, { namespace: 'open' }], to: [plain] }])
  const deployment = (name: string, labels: object, serviceAccountName: string): Resource => {
    const module = templatedWorkloads.find(({ kind }) => kind === 'Deployment')
    assert.ok(module !== undefined)
    const template = { metadata: { labels }, spec: { serviceAccountName } }
    return testResource(module, { name, namespace: 'mytest' }, { template })
  }
  const callers = (resources: readonly Resource[]) => {
    const { hosts, codes } = lower(resources)
    const list = hosts[0]?.grants[0]?.callers.map(({ namespace, serviceAccounts }) => [namespace, serviceAccounts])
    return { list, codes: codes() }
  }
  test('a selector becomes the service accounts that carry it', () => {
    const known = callers([selecting({ app: 'sleep-a' }), deployment('sleep-a', { app: 'sleep-a' }, 'sleep')])
    assert.deepEqual(known, {
      list: [
        ['mytest', ['sleep']],
        ['open', null],
      ],
      codes: [],
    })
  })
  test('unknown and shared accounts match nobody, with a warning', () => {
    const at = `${POLICY}.0.from.0.workloadSelector`
    const nobody = [
      ['mytest', []],
      ['open', null],
    ]
    assert.deepEqual(callers([selecting({ app: 'sleep-a' })]), { list: nobody, codes: [`SP6006 ${at}`] })
    const shared = [deployment('a', { app: 'sleep-a' }, 'sleep'), deployment('b', { app: 'b' }, 'sleep')]
    assert.deepEqual(callers([selecting({ app: 'sleep-a' }), ...shared]), { list: nobody, codes: [`SP6007 ${at}`] })
  })
  test('an empty selector is refused: it may mean everybody or nobody', () => {
    const { list, codes } = callers([selecting({}), deployment('a', { app: 'a' }, 'a')])
    assert.deepEqual(list?.[0], ['mytest', []])
    assert.deepEqual(codes, [`SP6000 ${POLICY}.0.from.0.workloadSelector`])
  })
})

describe('properties', () => {
  const other = { ...upgraded, name: 'other', hosts: ['other.org', '*.other.org'], byEgressGateway: { port: 8443 } }
  const pool: readonly Resource[] = [
    policy([{ to: [plain] }, { to: [upgraded, tunnelled] }], { name: 'a' }),
    policy([{ to: [other] }], { name: 'b' }),
    policy([{ to: [upgraded] }], { name: 'c', namespace: 'z' }),
    policy([{ to: [{ ...plain, port: { number: 443, protocol: 'HTTP' } }] }], { name: 'd' }),
    rule({ mode: 'DISABLE' }),
    rule({ mode: 'SIMPLE', caCertificates: '/ca' }, 'istio-system'),
    testResource(destinationRule, { name: 'all' }, { host: '*', trafficPolicy: { tls: { mode: 'DISABLE' } } }),
    entry({ hosts: ['httpbin.org', 'other.org'], ports: [{ number: 443, name: 'x' }] }),
    entry({ hosts: ['httpbin.org'], ports: [{ number: 80, name: 'x' }], location: 'MESH_INTERNAL' }, 'z'),
  ]
  test('whatever else is loaded, an upgrade is never plain text and always external', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray([...pool]), (resources) => {
        const { hosts, cluster, clusterOf } = lower(resources)
        for (const { application, grants } of hosts)
          for (const grant of grants) {
            const { tls, external } = cluster(clusterOf(grant))
            assert.equal(external, true)
            if (application === 'tunnel') assert.equal(tls, null)
            else if (grant.route.name !== plain.name) assert.notEqual(tls, null, clusterOf(grant))
          }
      }),
    )
  })
  test('the order of resources changes nothing', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray([...pool]), (resources) => {
        const inOrder = pool.filter((resource) => resources.includes(resource))
        const [mine, theirs] = [lower(resources), lower(inOrder)]
        assert.deepEqual(mine.hosts, theirs.hosts)
        assert.deepEqual(mine.services.clusters(), theirs.services.clusters())
        assert.deepEqual(mine.services.registry, theirs.services.registry)
        assert.deepEqual(mine.codes().sort(), theirs.codes().sort())
      }),
    )
  })
})
