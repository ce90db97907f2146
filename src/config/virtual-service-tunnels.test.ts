/** `tls` and `tcp` rules of VirtualServices on every kind of Gateway server (behaviour §3.4, 4.7; contract §4). */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { testResource } from '../testing/resources.ts'
import { assembleTunnels, toHosts, tunnelEntry, tunnelGateway, tunnelService } from '../testing/tunnel-resources.ts'
import { destinationRule } from './kinds/destination-rule.ts'
import { serviceEntry } from './kinds/service-entry.ts'

const NS = 'istio-system'
const PASSTHROUGH = { mode: 'PASSTHROUGH' }
const TABLE = `tunnel.443.p.g.${NS}`
const VS = (name: string) => `VirtualService/${NS}/${name}:spec`

const entry = tunnelEntry(['a.com', 'b.com'])
const tls = (sniHosts: readonly string[], to: readonly string[], match: object = {}) => ({
  match: [{ sniHosts, ...match }],
  route: toHosts(...to),
})
const tcp = (to: readonly string[], ...match: readonly object[]) => ({
  ...(match.length === 0 ? {} : { match }),
  route: toHosts(...to),
})

describe('servers that terminate TLS', () => {
  test('seed 002: the tcp rule of the gateway, the tls rule is for sidecars', () => {
    const { model, table, servers, codes } = assembleTunnels([
      entry,
      tunnelGateway('g', 443, ['a.com']),
      tunnelService('v', {
        hosts: ['a.com'],
        gateways: ['mesh', 'g'],
        tls: [tls(['a.com'], ['gw.istio-system.svc.cluster.local:443'], { gateways: ['mesh'], port: 443 })],
        tcp: [tcp(['a.com:443'], { gateways: ['g'], port: 443 })],
      }),
    ])
    assert.deepEqual(codes, [])
    assert.deepEqual(servers(443), [`${NS}/g/p tunnel ISTIO_MUTUAL [a.com] ${TABLE}`])
    assert.deepEqual(table(TABLE), {
      hosts: { 'a.com': [null, null] },
      tcp: ['outbound|443||a.com', ['a.com']],
    })
    assert.deepEqual(
      model?.clusters.map(({ name, tls: origination }) => [name, origination]),
      [['outbound|443||a.com', null]],
    )
    assert.deepEqual(model?.routeTables, [{ name: TABLE, virtualHosts: [] }])
  })

  test('tls rules route by the inner SNI, before tcp; Istio would not, which is said', () => {
    const { table, codes } = assembleTunnels([
      entry,
      tunnelGateway('g', 443, ['*']),
      tunnelService('v', {
        hosts: ['a.com', 'b.com'],
        tls: [tls(['a.com'], ['a.com:443']), tls(['b.com'], ['b.com'], { port: 443 })],
        tcp: [tcp(['a.com:443'])],
      }),
    ])
    assert.deepEqual(codes, [`SP4034 ${VS('v')}.tls.0.match.0.sniHosts`, `SP4034 ${VS('v')}.tls.1.match.0.sniHosts`])
    assert.deepEqual(table(TABLE), {
      hosts: { 'a.com': [null, 'outbound|443||a.com'], 'b.com': [null, 'outbound|443||b.com'] },
      tcp: ['outbound|443||a.com', ['a.com', 'b.com']],
    })
  })

  test('weights; the first VirtualService with a tcp rule that concerns the server wins', () => {
    const { table, codes } = assembleTunnels([
      entry,
      tunnelGateway('g', 443, ['*.com']),
      tunnelService('a', { hosts: ['a.com'], tcp: [tcp(['b.com:443'], { port: 444 }, { gateways: ['other'] })] }),
      tunnelService('b', {
        hosts: ['*.com', 'a.org'],
        tcp: [
          tcp(['a.com:443@1', 'b.com:443@3', 'a.com:80@0'], { port: 1 }, { gateways: [`${NS}/g`], port: 443 }),
          tcp(['b.com:443']),
        ],
      }),
      tunnelService('c', { hosts: ['*'], tcp: [tcp(['b.com:443'])] }),
      tunnelService('d', { hosts: ['d.org'], tcp: [tcp(['b.com:443'])] }),
    ])
    assert.deepEqual(table(TABLE)?.tcp, ['outbound|443||a.com outbound|443||b.com@3', ['*.com']])
    assert.deepEqual(codes, [`SP4021 ${VS('d')}.gateways.0`])
  })

  test('a bound host without a rule is registered: NR, not UH; a wider rule still counts', () => {
    const { table } = assembleTunnels([
      entry,
      tunnelGateway('g', 443, ['*']),
      tunnelService('idle', { hosts: ['x.org', 'a.com'], tcp: [tcp(['a.com:443'], { port: 1 })] }),
      tunnelService('wide', { hosts: ['*.com'], tls: [tls(['*.com'], ['a.com:443'])] }),
    ])
    assert.deepEqual(table(TABLE), {
      hosts: { 'x.org': [null, null], '*.com': [null, 'outbound|443||a.com'] },
      tcp: null,
    })
  })
})

describe('servers that pass TLS through', () => {
  test('seed 002: tls rules only, by sniHosts; HTTPS and TLS are the same', () => {
    for (const protocol of ['TLS', 'HTTPS']) {
      const { table, servers, codes } = assembleTunnels([
        entry,
        tunnelGateway('g', 443, ['a.com'], PASSTHROUGH, protocol),
        tunnelService('v', {
          hosts: ['a.com'],
          tls: [tls(['a.com'], ['a.com:443'], { gateways: ['g'], port: 443 })],
        }),
      ])
      assert.deepEqual(codes, [])
      assert.deepEqual(servers(443), [`${NS}/g/p tunnel PASSTHROUGH [a.com] ${TABLE}`])
      assert.deepEqual(table(TABLE), { hosts: { 'a.com': [null, 'outbound|443||a.com'] }, tcp: null })
    }
  })

  test('a tcp rule does nothing there, and the SNI has no route', () => {
    const { table, codes } = assembleTunnels([
      entry,
      tunnelGateway('g', 443, ['a.com'], PASSTHROUGH),
      tunnelService('v', { hosts: ['a.com'], tcp: [tcp(['a.com:443'])] }),
    ])
    assert.deepEqual(codes, [`SP4037 ${VS('v')}.tcp.0`])
    assert.deepEqual(table(TABLE), { hosts: { 'a.com': [null, null] }, tcp: null })
  })

  test('an SNI beyond the hosts of the server is not carried', () => {
    const { table, codes } = assembleTunnels([
      entry,
      tunnelGateway('g', 443, ['a.com', '*.b.com'], PASSTHROUGH),
      tunnelService('v', { hosts: ['*.com'], tls: [tls(['*.com'], ['a.com:443']), tls(['c.com'], ['a.com:443'])] }),
    ])
    assert.deepEqual(table(TABLE)?.hosts, {
      'a.com': [null, 'outbound|443||a.com'],
      '*.b.com': [null, 'outbound|443||a.com'],
    })
    assert.deepEqual(codes, [
      `SP4035 ${VS('v')}.tls.0.match.0.sniHosts.0`,
      `SP4035 ${VS('v')}.tls.1.match.0.sniHosts.0`,
    ])
  })

  test('hosts that admit another namespace admit nothing of ours', () => {
    const { table, codes } = assembleTunnels([
      entry,
      tunnelGateway('g', 443, ['team/a.com'], PASSTHROUGH),
      tunnelService('v', { hosts: ['a.com'], tls: [tls(['a.com'], ['a.com:443'])] }),
    ])
    assert.deepEqual(table(TABLE), { hosts: {}, tcp: null })
    assert.deepEqual(codes, [`SP4021 ${VS('v')}.gateways.0`])
  })

  test('an SNI routed twice: the later match is left out with all its names', () => {
    const { table, codes } = assembleTunnels([
      entry,
      tunnelGateway('g', 443, ['*'], PASSTHROUGH),
      tunnelService('a', { hosts: ['a.com'], tls: [tls(['a.com', 'A.com.'], ['a.com:443'])] }),
      tunnelService('b', { hosts: ['a.com', 'b.com'], tls: [tls(['b.com', 'a.com'], ['b.com:443'])] }),
    ])
    assert.deepEqual(table(TABLE)?.hosts, { 'a.com': [null, 'outbound|443||a.com'], 'b.com': [null, null] })
    assert.deepEqual(codes, [`SP4036 ${VS('b')}.tls.0.match.0.sniHosts`])
  })

  test('a wildcard entry is resolved by the requested name, and only for names that it covers', () => {
    const wild = tunnelEntry(['*.wikipedia.org'], { resolution: 'DYNAMIC_DNS' })
    const { model, table, codes } = assembleTunnels([
      wild,
      tunnelGateway('g', 443, ['*'], PASSTHROUGH),
      tunnelService('v', {
        hosts: ['*.wikipedia.org', 'b.com'],
        tls: [
          {
            match: [{ sniHosts: ['*.wikipedia.org'] }, { sniHosts: ['b.com'] }],
            route: toHosts('*.wikipedia.org:443'),
          },
        ],
      }),
    ])
    assert.equal(table(TABLE)?.hosts['*.wikipedia.org']?.[1], 'outbound|443||*.wikipedia.org')
    const [cluster] = model?.clusters ?? []
    assert.deepEqual([cluster?.discovery, cluster?.endpoints, cluster?.dynamicPort], ['dynamic', [], 443])
    assert.deepEqual(codes, [`SP4038 ${VS('v')}.tls.0.route.0.destination.host`])
  })
})

describe('plaintext TCP', () => {
  const mysql = (resolution: string, hosts = ['db.com']) =>
    testResource(
      serviceEntry,
      { name: 'db', namespace: NS },
      { hosts, ports: [{ number: 3306, name: 'tcp', protocol: 'TCP' }], resolution },
    )
  const server = tunnelGateway('g', 3306, ['*'], null)
  const service = tunnelService('v', { hosts: ['db.com'], tcp: [tcp(['db.com'])] })

  test('the tcp route, nothing by name; MONGO alike', () => {
    for (const protocol of ['TCP', 'MONGO']) {
      const { table, servers, codes } = assembleTunnels([
        mysql('DNS'),
        tunnelGateway('g', 3306, ['*'], null, protocol),
        service,
      ])
      assert.deepEqual(codes, [])
      assert.deepEqual(servers(3306), [`${NS}/g/p tunnel plain [*] tunnel.3306.p.g.${NS}`])
      assert.deepEqual(table(`tunnel.3306.p.g.${NS}`), { hosts: {}, tcp: ['outbound|3306||db.com', ['db.com']] })
    }
  })

  test('resolution NONE on a TCP port that a route uses is an error; unused it is none', () => {
    const used = assembleTunnels([mysql('NONE'), server, service])
    assert.equal(used.model, null)
    assert.deepEqual(
      used.codes.filter((code) => !code.startsWith('SP7004')),
      [`SP7005 ServiceEntry/${NS}/db:spec.ports.0`],
    )
    assert.deepEqual(assembleTunnels([mysql('NONE'), server]).codes, [])
  })

  test('bytes without a name cannot lead to a wildcard', () => {
    const wild = tunnelEntry(['*.com'], { resolution: 'DYNAMIC_DNS' })
    const { model, codes } = assembleTunnels([
      wild,
      tunnelGateway('g', 443, ['*']),
      tunnelService('v', { hosts: ['a.com'], tcp: [tcp(['*.com:443'])] }),
    ])
    assert.equal(model, null)
    assert.deepEqual(codes, [`SP7005 ${VS('v')}.tcp.0.route.0.destination`])
  })

  test('HTTP and TCP, or two TCP servers, do not share a port', () => {
    for (const other of [
      tunnelGateway('h', 3306, ['b.com'], null, 'HTTP'),
      tunnelGateway('h', 3306, ['b.com'], null, 'TCP'),
    ]) {
      const { servers, codes } = assembleTunnels([mysql('DNS'), server, service, other])
      assert.equal(servers(3306)?.length, 1)
      assert.deepEqual(codes, [`SP4006 Gateway/${NS}/h:spec.servers.0.port`])
    }
  })
})

describe('what else is told', () => {
  test('match fields that no gateway looks at', () => {
    const match = { sourceNamespace: 'x', sourceLabels: { app: 'y' }, destinationSubnets: ['10.0.0.0/8'], port: 443 }
    const { table, codes } = assembleTunnels([
      entry,
      tunnelGateway('g', 443, ['*'], PASSTHROUGH),
      tunnelService('v', { hosts: ['a.com'], tls: [tls(['a.com'], ['a.com:443'], match)] }),
    ])
    assert.deepEqual(table(TABLE)?.hosts, { 'a.com': [null, 'outbound|443||a.com'] })
    const at = `${VS('v')}.tls.0.match.0`
    assert.deepEqual(codes, [
      `SP4011 ${at}.destinationSubnets`,
      `SP4011 ${at}.sourceLabels`,
      `SP4011 ${at}.sourceNamespace`,
    ])
  })

  test('rules that no server of theirs uses, once each; not where another server of the Gateway does', () => {
    const rules = { hosts: ['a.com'], tls: [tls(['a.com'], ['a.com:443'])], http: [{ route: toHosts('a.com:80') }] }
    const https = { mode: 'ISTIO_MUTUAL' }
    const alone = assembleTunnels([entry, tunnelGateway('g', 443, ['*'], https, 'HTTPS'), tunnelService('v', rules)])
    assert.deepEqual(alone.codes, [`SP4037 ${VS('v')}.tls.0`])
    assert.deepEqual(alone.servers(443), [`${NS}/g/p http ISTIO_MUTUAL [*] null`])
    const both = assembleTunnels([
      entry,
      tunnelGateway('g', 80, ['*'], https, 'HTTPS'),
      tunnelGateway('h', 443, ['*'], PASSTHROUGH),
      tunnelService('v', { ...rules, gateways: ['g', 'h'] }),
    ])
    assert.deepEqual(both.codes, [])
  })

  test('unknown destinations load and answer NC; subsets too', () => {
    const { model, table, codes } = assembleTunnels([
      entry,
      tunnelGateway('g', 443, ['*'], PASSTHROUGH),
      tunnelService('v', { hosts: ['a.com'], tls: [tls(['a.com'], ['nowhere.com:443'])] }),
    ])
    assert.equal(table(TABLE)?.hosts['a.com']?.[1], 'outbound|443||nowhere.com')
    assert.deepEqual(model?.clusters, [])
    assert.deepEqual(codes, [`SP7001 ${VS('v')}.tls.0.route.0.destination`])
  })

  test('TLS of a DestinationRule goes around the application’s, as in Istio, with a warning; around bytes without one', () => {
    const rule = testResource(
      destinationRule,
      { name: 'dr', namespace: NS },
      { host: 'a.com', trafficPolicy: { tls: { mode: 'SIMPLE' } } },
    )
    const run = (spec: object) =>
      assembleTunnels([entry, rule, tunnelGateway('g', 443, ['*']), tunnelService('v', { hosts: ['a.com'], ...spec })])
    const around = run({ tls: [tls(['a.com'], ['a.com:443'])] })
    assert.deepEqual(
      around.codes,
      [`SP7019 ${VS('v')}.tls.0.route.0.destination`, `SP4034 ${VS('v')}.tls.0.match.0.sniHosts`].sort(),
    )
    assert.equal(around.model?.clusters[0]?.tls?.mode, 'SIMPLE')
    const bytes = run({ tcp: [tcp(['a.com:443'])] })
    assert.deepEqual(bytes.codes, [])
    assert.equal(bytes.model?.clusters[0]?.tls?.mode, 'SIMPLE')
  })
})
