import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ClusterModel } from '../model/cluster.ts'
import { findings, testResource, testSettings } from '../testing/resources.ts'
import { destinationRule } from './kinds/destination-rule.ts'
import { serviceEntry } from './kinds/service-entry.ts'
import { collectDiagnostics } from './report.ts'
import type { Resource } from './resource.ts'
import { buildServices, type Destination } from './services.ts'

const entry = (name: string, spec: object, namespace = 'default') =>
  testResource(serviceEntry, { name, namespace }, spec)
const rule = (name: string, host: string, trafficPolicy: object) =>
  testResource(destinationRule, { name }, { host, trafficPolicy })

const http = { number: 80, name: 'http', protocol: 'HTTP' }
const https = { number: 443, name: 'https', protocol: 'HTTPS' }
const at = { file: 'route', line: 1, col: 1 }

function load(resources: readonly Resource[]) {
  const collector = collectDiagnostics()
  const services = buildServices(testSettings(), resources, collector.report)
  const name = (host: string, more: Partial<Destination> = {}) =>
    services.clusterFor({ host, port: null, subset: null, namespace: 'shop', listenerPort: 80, at, ...more })
  const cluster = (host: string, port: number): ClusterModel => {
    const wanted = name(host, { port })
    const found = services.clusters().find((each) => each.name === wanted)
    assert.ok(found !== undefined, `${host}:${port}`)
    return found
  }
  return { services, name, cluster, codes: () => findings(collector) }
}

describe('registry and destinations', () => {
  test('hosts of visible entries are registered once, in lower case', () => {
    const { services, codes } = load([
      entry('a', { hosts: ['A.Example.com', '*.wild.com'], ports: [http], resolution: 'DNS' }),
      entry('b', { hosts: ['a.example.com.'], ports: [https], resolution: 'DNS' }),
      entry('c', { hosts: ['hidden.com'], ports: [http], exportTo: ['.'] }),
      entry('d', { hosts: ['own.com'], ports: [http], exportTo: ['.'] }, 'istio-system'),
    ])
    assert.deepEqual(services.registry.map(({ host }) => host).sort(), ['*.wild.com', 'a.example.com', 'own.com'])
    assert.deepEqual(codes(), [])
    assert.deepEqual(services.clusters(), [])
  })
  test('the port is the one given, the only one, or that of the listener', () => {
    const { name } = load([
      entry('one', { hosts: ['one.com'], ports: [{ ...http, number: 8080 }], resolution: 'DNS' }),
      entry('two', { hosts: ['two.com'], ports: [http, https], resolution: 'DNS' }),
    ])
    assert.equal(name('one.com'), 'outbound|8080||one.com')
    assert.equal(name('two.com'), 'outbound|80||two.com')
    assert.equal(name('TWO.com.', { port: 443 }), 'outbound|443||two.com')
  })
  test('unknown host, unknown port, hidden host and subset: a name without a cluster, and a warning that says why', () => {
    const resources = [
      entry('a', { hosts: ['a.com', '*.wild.com'], ports: [http], resolution: 'DNS' }),
      entry('h', { hosts: ['hidden.com'], ports: [http], exportTo: ['.'] }),
    ]
    const rows: [string, Partial<Destination>, string, string][] = [
      ['b.com', {}, 'outbound|80||b.com', 'SP7001 route'],
      ['a.com', { port: 81 }, 'outbound|81||a.com', 'SP7001 route'],
      ['hidden.com', {}, 'outbound|80||hidden.com', 'SP7001 route'],
      // As in Istio a destination is looked up by its own name, not through a wildcard.
      ['x.wild.com', {}, 'outbound|80||x.wild.com', 'SP7001 route'],
      ['reviews', { port: 80 }, 'outbound|80||reviews.shop.svc.cluster.local', 'SP7001 route'],
      ['a.com', { subset: 'v1' }, 'outbound|80|v1|a.com', 'SP7020 route'],
    ]
    for (const [host, more, expected, code] of rows) {
      const { services, name, codes } = load(resources)
      assert.equal(name(host, more), expected)
      assert.equal(name(host, more), expected)
      assert.deepEqual(codes(), [code], expected)
      assert.deepEqual(services.clusters(), [])
    }
  })
  test('two entries for one host: ports add up; for one port the first by namespace and name speaks', () => {
    const { cluster, codes } = load([
      entry('b', { hosts: ['a.com'], ports: [http, https], resolution: 'DNS', endpoints: [{ address: 'b.net' }] }),
      entry('a', { hosts: ['a.com'], ports: [http], resolution: 'DNS', endpoints: [{ address: 'a.net' }] }),
    ])
    assert.equal(cluster('a.com', 80).endpoints[0]?.address, 'a.net')
    assert.equal(cluster('a.com', 443).endpoints[0]?.address, 'b.net')
    assert.deepEqual(codes(), ['SP7006 ServiceEntry/default/b:spec.ports.0', 'SP7003 route'])
  })
})

describe('endpoints', () => {
  const shape = ({ discovery, endpoints, dynamicPort, external }: ClusterModel) => ({
    discovery,
    endpoints: endpoints.map(({ address, port, weight }) => `${address}:${port}*${weight}`),
    dynamicPort,
    external,
  })
  test('STATIC: listed addresses; endpoint port beats targetPort beats number; weights', () => {
    const { cluster } = load([
      entry('a', {
        hosts: ['a.com', 'b.com'],
        location: 'MESH_INTERNAL',
        resolution: 'STATIC',
        ports: [
          { ...http, targetPort: 8080 },
          { ...https, targetPort: 0 },
        ],
        endpoints: [
          { address: '192.0.2.1', ports: { http: 9090 }, weight: 5 },
          { address: '2001:DB8::1', weight: 0 },
        ],
      }),
    ])
    const external = false
    assert.deepEqual(shape(cluster('b.com', 80)), {
      discovery: 'static',
      endpoints: ['192.0.2.1:9090*5', '2001:db8::1:8080*1'],
      dynamicPort: 8080,
      external,
    })
    assert.deepEqual(shape(cluster('a.com', 443)).endpoints, ['192.0.2.1:443*5', '2001:db8::1:443*1'])
  })
  test('DNS without endpoints: each host resolves itself', () => {
    const { cluster } = load([
      entry('a', { hosts: ['a.com', 'b.com'], ports: [{ ...http, targetPort: 8080 }], resolution: 'DNS' }),
    ])
    for (const host of ['a.com', 'b.com']) {
      const expected = { discovery: 'dns', endpoints: [`${host}:8080*1`], dynamicPort: 8080, external: true }
      assert.deepEqual(shape(cluster(host, 80)), expected)
    }
  })
  test('DNS with endpoints resolves those, DNS_ROUND_ROBIN takes the first answer', () => {
    const endpoints = [{ address: 'LB.example.net' }]
    const { cluster } = load([
      entry('a', { hosts: ['a.com', '*.w.com'], ports: [http], resolution: 'DNS', endpoints }),
      entry('r', { hosts: ['r.com'], ports: [http], resolution: 'DNS_ROUND_ROBIN' }),
    ])
    assert.deepEqual(shape(cluster('a.com', 80)).endpoints, ['lb.example.net:80*1'])
    assert.deepEqual(shape(cluster('*.w.com', 80)).endpoints, ['lb.example.net:80*1'])
    assert.deepEqual(shape(cluster('r.com', 80)).discovery, 'dns-first')
    assert.deepEqual(shape(cluster('r.com', 80)).endpoints, ['r.com:80*1'])
  })
  test('wildcards resolve the requested name; NONE does so with a warning', () => {
    const hosts = ['*.w.com']
    for (const resolution of ['DNS', 'DYNAMIC_DNS', 'NONE'])
      for (const port of [http, https]) {
        const { cluster, codes } = load([entry('w', { hosts, ports: [{ ...port, targetPort: 8443 }], resolution })])
        assert.deepEqual(shape(cluster('*.w.com', port.number)), {
          discovery: 'dynamic',
          endpoints: [],
          dynamicPort: 8443,
          external: true,
        })
        const none = codes().filter((code) => code.startsWith('SP7004'))
        assert.equal(none.length, resolution === 'NONE' ? 1 : 0)
      }
    const { cluster, codes } = load([entry('n', { hosts: ['a.com'], ports: [http] })])
    assert.deepEqual(shape(cluster('a.com', 80)).endpoints, ['a.com:80*1'])
    assert.deepEqual(codes(), ['SP7004 ServiceEntry/default/n:spec.resolution'])
  })
  test('opaque TCP has no name to resolve: an error once a route uses it, and only then', () => {
    for (const spec of [{ hosts: ['a.com'] }, { hosts: ['*.a.com'], resolution: 'DNS' }]) {
      const { name, codes } = load([entry('t', { ...spec, ports: [{ number: 9000, name: 'tcp', protocol: 'TCP' }] })])
      assert.deepEqual(codes(), [])
      name(spec.hosts[0] ?? '')
      assert.ok(codes().includes('SP7005 ServiceEntry/default/t:spec.ports.0'))
    }
  })
  test('a service without endpoints, and endpoints that cannot be dialled', () => {
    const selecting = load([
      entry('s', { hosts: ['a.com'], ports: [http], resolution: 'DNS', workloadSelector: { labels: { app: 'x' } } }),
    ])
    assert.deepEqual(selecting.cluster('a.com', 80).endpoints, [])
    assert.deepEqual(selecting.codes(), ['SP7013 ServiceEntry/default/s:spec.workloadSelector'])
    const sockets = load([
      entry('u', { hosts: ['a.com'], ports: [http], resolution: 'STATIC', endpoints: [{ address: 'unix:///s' }] }),
    ])
    assert.deepEqual(sockets.cluster('a.com', 80).endpoints, [])
    assert.deepEqual(sockets.codes(), [
      'SP7013 ServiceEntry/default/u:spec.endpoints',
      'SP7012 ServiceEntry/default/u:spec.endpoints.0',
    ])
  })
})

describe('TLS', () => {
  const one = entry('a', { hosts: ['a.com'], ports: [http, https], resolution: 'DNS', subjectAltNames: ['se.com'] })
  const tlsOf = (tls: object, port = 443) => {
    const { cluster, codes } = load([one, rule('r', 'a.com', { tls })])
    return { tls: cluster('a.com', port).tls, codes: codes() }
  }
  test('SIMPLE verifies against the system, MUTUAL shows a certificate; names come from rule or entry', () => {
    assert.deepEqual(tlsOf({ mode: 'SIMPLE' }), {
      tls: {
        mode: 'SIMPLE',
        sni: null,
        subjectAltNames: ['se.com'],
        ca: 'system',
        clientCertificate: null,
        insecureSkipVerify: false,
        crl: null,
      },
      codes: [],
    })
    const mutual = {
      mode: 'MUTUAL',
      clientCertificate: '/c',
      privateKey: '/k',
      caCertificates: '/ca',
      sni: 'x.com',
      subjectAltNames: ['y.com'],
    }
    assert.deepEqual(tlsOf(mutual).tls, {
      mode: 'MUTUAL',
      sni: 'x.com',
      subjectAltNames: ['y.com'],
      ca: '/ca',
      clientCertificate: { certificateChain: '/c', privateKey: '/k' },
      insecureSkipVerify: false,
      crl: null,
    })
  })
  test('credentialName is a directory of secrets', () => {
    assert.equal(tlsOf({ mode: 'SIMPLE', credentialName: 'ca' }).tls?.ca, '/secrets/ca/ca.crt')
    assert.equal(tlsOf({ mode: 'SIMPLE', credentialName: 'ca' }).tls?.clientCertificate, null)
    assert.deepEqual(tlsOf({ mode: 'MUTUAL', credentialName: 'client' }).tls?.clientCertificate, {
      certificateChain: '/secrets/client/tls.crt',
      privateKey: '/secrets/client/tls.key',
    })
    for (const credentialName of ['../etc', 'a/b', '/abs', 'a..b', 'A'])
      assert.deepEqual(
        tlsOf({ mode: 'SIMPLE', credentialName }).codes,
        ['SP7015 DestinationRule/default/r:spec.trafficPolicy.tls.credentialName'],
        credentialName,
      )
  })
  test('relative paths are errors, switched-off verification is a warning', () => {
    const at = 'DestinationRule/default/r:spec.trafficPolicy.tls'
    assert.deepEqual(tlsOf({ mode: 'SIMPLE', caCertificates: 'ca.pem' }).codes, [`SP7015 ${at}.caCertificates`])
    const insecure = tlsOf({ mode: 'SIMPLE', insecureSkipVerify: true })
    assert.equal(insecure.tls?.insecureSkipVerify, true)
    assert.deepEqual(insecure.codes, [`SP7009 ${at}.insecureSkipVerify`])
  })
  test('plain text to a TLS port is reported, to an HTTP port not', () => {
    assert.deepEqual(tlsOf({ mode: 'DISABLE' }), { tls: null, codes: ['SP7003 route'] })
    assert.deepEqual(tlsOf({ mode: 'DISABLE' }, 80), { tls: null, codes: [] })
    const httpOn443 = entry('n', { hosts: ['n.com'], ports: [{ ...http, number: 443 }], resolution: 'DNS' })
    const { cluster, codes } = load([httpOn443])
    assert.equal(cluster('n.com', 443).tls, null)
    assert.deepEqual(codes(), [])
  })
  test('ISTIO_MUTUAL is refused outside and expects an identity inside', () => {
    const at = 'DestinationRule/default/r:spec.trafficPolicy.tls'
    const outside = tlsOf({ mode: 'ISTIO_MUTUAL' })
    assert.deepEqual(outside.codes, [`SP7008 ${at}.mode`])
    assert.notEqual(outside.tls, null)

    const inside = (spec: object) =>
      load([
        entry('i', { hosts: ['a.com'], location: 'MESH_INTERNAL', resolution: 'STATIC', ports: [http], ...spec }),
        rule('r', 'a.com', { tls: { mode: 'ISTIO_MUTUAL' } }),
      ])
    const named = inside({ endpoints: [{ address: '192.0.2.1', serviceAccount: 'api' }] })
    assert.deepEqual(named.cluster('a.com', 80).tls, {
      mode: 'ISTIO_MUTUAL',
      sni: 'outbound_.80_._.a.com',
      subjectAltNames: ['spiffe://cluster.local/ns/default/sa/api'],
      ca: 'mesh',
      clientCertificate: 'mesh',
      insecureSkipVerify: false,
      crl: null,
    })
    assert.deepEqual(named.codes(), [])
    const unnamed = inside({ endpoints: [{ address: '192.0.2.1' }] })
    assert.deepEqual(unnamed.cluster('a.com', 80).tls?.sni, null)
    assert.deepEqual(unnamed.codes(), [`SP7016 ${at}`])
  })
  test('tunnels get the same endpoints without TLS of ours, under another name only when they must', () => {
    const { services } = load([
      one,
      rule('r', 'a.com', { portLevelSettings: [{ port: { number: 443 }, tls: { mode: 'SIMPLE' } }] }),
    ])
    const to = (port: number): Destination => ({
      host: 'a.com',
      port,
      subset: null,
      namespace: 'x',
      listenerPort: 444,
      at,
    })
    assert.equal(services.tunnelClusterFor(to(80)), 'outbound|80||a.com')
    assert.equal(services.tunnelClusterFor(to(443)), 'tunnel|443||a.com')
    const [plain, originated, bare] = services.clusters()
    assert.deepEqual(
      [plain?.name, originated?.name, bare?.name],
      ['outbound|80||a.com', 'outbound|443||a.com', 'tunnel|443||a.com'].sort(),
    )
    const byName = (name: string) => services.clusters().find((each) => each.name === name)
    assert.equal(byName('tunnel|443||a.com')?.tls, null)
    assert.equal(byName('outbound|443||a.com')?.tls?.mode, 'SIMPLE')
    assert.deepEqual(byName('tunnel|443||a.com')?.endpoints, byName('outbound|443||a.com')?.endpoints)
  })
})

describe('load balancing and time-outs', () => {
  const one = entry('a', { hosts: ['a.com'], ports: [{ ...http, protocol: 'GRPC' }], resolution: 'DNS' })
  test('simple balancers, with LEAST_REQUEST for all others', () => {
    const rows: [string, string][] = [
      ['ROUND_ROBIN', 'ROUND_ROBIN'],
      ['RANDOM', 'RANDOM'],
      ['LEAST_REQUEST', 'LEAST_REQUEST'],
      ['LEAST_CONN', 'LEAST_REQUEST'],
      ['UNSPECIFIED', 'LEAST_REQUEST'],
      ['PASSTHROUGH', 'LEAST_REQUEST'],
    ]
    for (const [simple, expected] of rows) {
      const { cluster, codes } = load([one, rule('r', 'a.com', { loadBalancer: { simple } })])
      assert.deepEqual(cluster('a.com', 80).loadBalancer, { kind: expected, warmup: null })
      assert.equal(
        codes().some((code) => code.startsWith('SP7014')),
        simple === 'PASSTHROUGH',
        simple,
      )
    }
  })
  test('connectTimeout comes from the rule, else from the mesh; the port says which HTTP', () => {
    const { cluster, codes } = load([one])
    assert.equal(cluster('a.com', 80).connectTimeoutMs, 10_000)
    assert.deepEqual(cluster('a.com', 80).loadBalancer, { kind: 'LEAST_REQUEST', warmup: null })
    assert.equal(cluster('a.com', 80).protocol, 'http2')
    assert.deepEqual(codes(), [])
    const ruled = load([one, rule('r', 'a.com', { connectionPool: { tcp: { connectTimeout: '250ms' } } })])
    assert.equal(ruled.cluster('a.com', 80).connectTimeoutMs, 250)
  })
})
