/** Egress policies' HTTPS and TLS `to`s: who may, beside which servers, and never anybody else (contract §3, §4). */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { hostCovers } from '../core/host-pattern.ts'
import { testResource } from '../testing/resources.ts'
import {
  assembleTunnels,
  toHosts,
  tunnelEntry,
  tunnelGateway,
  tunnelPolicy,
  tunnelService,
} from '../testing/tunnel-resources.ts'
import { asmEgressTrafficPolicy } from './kinds/asm-egress-traffic-policy.ts'

const NS = 'istio-system'
const ISTIO = { mode: 'ISTIO_MUTUAL' }
const PASSTHROUGH = { mode: 'PASSTHROUGH' }
const SIMPLE = { mode: 'SIMPLE', serverCertificate: '/c', privateKey: '/k' }
const ALLOW = { unauthenticatedPassthrough: 'allow' } as const
const to = (name: string) => `ASMEgressTrafficPolicy/istio-egress/${name}:spec.egressRules.0.to.0`
const tls = (hosts: readonly string[], target: string) => ({
  hosts,
  tls: [{ match: [{ sniHosts: hosts }], route: toHosts(target) }],
})

describe('a policy alone', () => {
  test('seed 000: one mTLS server for requests and tunnels; only the callers of `from`; HTTP in it is for nobody', () => {
    const { model, servers, table, codes } = assembleTunnels([tunnelPolicy('p', 'mytest', ['httpbin.org'], 444)])
    assert.deepEqual(codes, [])
    assert.deepEqual(servers(444), ['asm:444 http ISTIO_MUTUAL [*] asm.444'])
    assert.deepEqual(table('asm.444'), { hosts: { 'httpbin.org': [['mytest'], null] }, tcp: null })
    assert.deepEqual(
      model?.routeTables[0]?.virtualHosts.map(({ host, grants }) => [host, grants]),
      [['httpbin.org', []]],
    )
    const [grant] = model.tunnelTables[0]?.hosts[0]?.grants ?? []
    assert.equal(grant?.name, 'istio-egress/p/p')
    assert.deepEqual(grant.route.destinations, [{ cluster: 'outbound|443||httpbin.org', weight: 1 }])
  })

  test('several for one host: in order of namespace, name, position', () => {
    const { table } = assembleTunnels([
      tunnelPolicy('b', 'two', ['a.com'], 444, 'TLS'),
      tunnelPolicy('a', 'one', ['a.com', '*.b.com'], 444),
    ])
    assert.deepEqual(table('asm.444')?.hosts, { 'a.com': [['one', 'two'], null], '*.b.com': [['one'], null] })
  })

  test('without a tunnel among its `to`s there is no table', () => {
    const { servers, model } = assembleTunnels([tunnelPolicy('p', 'one', ['a.com'], 80, 'HTTP')])
    assert.deepEqual(servers(80), ['asm:80 http ISTIO_MUTUAL [*] null'])
    assert.deepEqual(model?.tunnelTables, [])
  })

  test('a declared port nobody speaks for has an empty one: as for an unregistered host', () => {
    const { servers, table } = assembleTunnels([], { ports: [{ gatewayPort: 444, bindPort: 8444 }] })
    assert.deepEqual(servers(444), ['unclaimed:444 http ISTIO_MUTUAL [*] unclaimed.444'])
    assert.deepEqual(table('unclaimed.444'), { hosts: {}, tcp: null })
  })
})

describe('beside Gateway servers', () => {
  const policy = tunnelPolicy('p', 'mytest', ['a.com', '*.b.com'], 443)
  const entry = tunnelEntry(['a.com', 'z.com'])

  test('HTTPS with client certificates: its table holds the policy’s hosts and nothing else', () => {
    const { servers, table, codes } = assembleTunnels([
      policy,
      entry,
      tunnelGateway('g', 443, ['*'], ISTIO, 'HTTPS'),
      tunnelService('v', tls(['x.b.com', 'z.com'], 'z.com:443')),
    ])
    const name = `https.443.p.g.${NS}`
    assert.deepEqual(servers(443), [`${NS}/g/p http ISTIO_MUTUAL [*] ${name}`])
    assert.deepEqual(table(name), {
      hosts: {
        'a.com': [['mytest'], null],
        'x.b.com': [['mytest'], 'outbound|443||z.com'],
        '*.b.com': [['mytest'], null],
      },
      tcp: null,
    })
    assert.deepEqual(codes, [])
  })

  test('an HTTPS server of other hosts carries none', () => {
    const { servers } = assembleTunnels([policy, entry, tunnelGateway('g', 443, ['z.com'], ISTIO, 'HTTPS')])
    assert.deepEqual(servers(443), [
      `${NS}/g/p http ISTIO_MUTUAL [z.com] null`,
      'asm:443 http ISTIO_MUTUAL [*] asm.443',
    ])
  })

  test('TLS that is terminated: routes replace the grant’s route, never its `from`', () => {
    const { table, codes } = assembleTunnels([
      policy,
      entry,
      tunnelGateway('g', 443, ['*']),
      tunnelService('v', tls(['a.com', '*.com'], 'z.com:443')),
    ])
    assert.deepEqual(table(`tunnel.443.p.g.${NS}`)?.hosts, {
      'a.com': [['mytest'], 'outbound|443||z.com'],
      '*.b.com': [['mytest'], null],
      '*.com': [null, 'outbound|443||z.com'],
    })
    assert.deepEqual(
      codes.filter((code) => !code.startsWith('SP4034') && !code.startsWith('SP4029')),
      [],
    )
  })

  test('a tcp route beside a grant carries TLS with an SNI only, each host with the grants that cover it', () => {
    const run = (hosts: readonly string[]) =>
      assembleTunnels([
        policy,
        entry,
        tunnelGateway('g', 443, ['*']),
        tunnelService('v', { hosts, tcp: [{ route: toHosts('a.com:443') }] }),
      ])
    const name = `tunnel.443.p.g.${NS}`
    const mixed = run(['a.com', 'x.b.com', 'z.com'])
    assert.deepEqual(mixed.table(name), {
      hosts: {
        'a.com': [['mytest'], 'outbound|443||a.com'],
        'x.b.com': [['mytest'], 'outbound|443||a.com'],
        'z.com': [null, 'outbound|443||a.com'],
        '*.b.com': [['mytest'], null],
      },
      tcp: null,
    })
    assert.ok(mixed.codes.includes(`SP4043 VirtualService/${NS}/v:spec.tcp.0`))
    assert.deepEqual(run(['*.com']).table(name), {
      hosts: {
        'a.com': [['mytest'], null],
        '*.b.com': [['mytest'], null],
        '*.com': [null, 'outbound|443||a.com'],
      },
      tcp: null,
    })
    assert.deepEqual(run(['z.com']).table(name)?.tcp, ['outbound|443||a.com', ['z.com']])
  })

  test('a tunnel where a policy foresees HTTP is for nobody, and routed ones keep its `from`', () => {
    const http = tunnelPolicy('h', 'web', ['a.com', 'z.com'], 443, 'HTTP')
    const { table } = assembleTunnels([
      http,
      entry,
      tunnelGateway('g', 443, ['*.com', 'a.com']),
      tunnelService('v', tls(['z.com'], 'z.com:443')),
    ])
    assert.deepEqual(table(`tunnel.443.p.g.${NS}`), {
      hosts: { 'a.com': [[], null], 'z.com': [['web'], 'outbound|443||z.com'] },
      tcp: null,
    })
    assert.equal(table('asm.443'), null)
  })

  test('where callers cannot be told apart the policy is refused', () => {
    const refused = (...gateways: Parameters<typeof tunnelGateway>[]) => {
      const { codes, model } = assembleTunnels([policy, entry, ...gateways.map((each) => tunnelGateway(...each))])
      assert.equal(model === null, codes.length > 0)
      return codes
    }
    const both = [`SP4040 ${to('p')}.hosts.0`, `SP4040 ${to('p')}.hosts.1`]
    assert.deepEqual(refused(['g', 443, ['*'], null]), both)
    assert.deepEqual(refused(['g', 443, ['*'], null, 'HTTP']), both)
    assert.deepEqual(refused(['g', 443, ['*'], SIMPLE]), both)
    assert.deepEqual(refused(['g', 443, ['*'], SIMPLE, 'HTTPS']), both)
    assert.deepEqual(refused(['g', 443, ['*'], PASSTHROUGH]), both)
    assert.deepEqual(refused(['g', 443, ['a.com'], PASSTHROUGH]), both.slice(0, 1))
    assert.deepEqual(refused(['g', 443, ['z.com'], PASSTHROUGH]), [])
    assert.deepEqual(refused(['g', 443, ['*'], { ...SIMPLE, mode: 'MUTUAL', caCertificates: '/ca' }]), [])
  })
})

test('a route that leads around the `from` of a tunnel is told, by SNI and without; the policy’s own never is', () => {
  const policy = tunnelPolicy('p', 'mytest', ['a.com'], 444)
  const around = (spec: object, overrides = {}) =>
    assembleTunnels(
      [
        policy,
        tunnelEntry(['z.com']),
        tunnelGateway('g', 445, ['*']),
        tunnelService('v', spec as Record<string, unknown>),
      ],
      overrides,
    ).codes.filter((code) => code.startsWith('SP6013'))
  const at = `VirtualService/${NS}/v:spec`
  assert.deepEqual(around(tls(['z.com'], 'a.com:443')), [`SP6013 ${at}.tls.0`])
  assert.deepEqual(around({ hosts: ['z.com'], tcp: [{ route: toHosts('a.com:443') }] }), [`SP6013 ${at}.tcp.0`])
  assert.deepEqual(around(tls(['z.com'], 'z.com:443'), ALLOW), [])
})

test('the way of a tunnel never takes on the TLS of an upgrade for the same host and port', () => {
  const upgrade = testResource(
    asmEgressTrafficPolicy,
    { name: 'up', namespace: 'istio-egress' },
    {
      byEgressGateway: { name: 'egressgateway' },
      egressRules: [
        {
          from: [{ namespace: 'mytest' }],
          to: [
            {
              name: 'up',
              hosts: ['a.com'],
              port: { name: 'p', number: 80, protocol: 'HTTP' },
              byEgressGateway: { port: 80 },
              httpsUpgrade: { enabled: true, port: 443 },
            },
          ],
        },
      ],
    },
  )
  const { model, table } = assembleTunnels([
    upgrade,
    tunnelPolicy('p', 'mytest', ['a.com'], 444),
    tunnelGateway('g', 445, ['*']),
    tunnelService('v', tls(['a.com'], 'a.com:443')),
  ])
  const [grant] = model?.tunnelTables.find(({ name }) => name === 'asm.444')?.hosts[0]?.grants ?? []
  assert.equal(grant?.route.destinations[0]?.cluster, 'tunnel|443||a.com')
  assert.equal(table(`tunnel.445.p.g.${NS}`)?.hosts['a.com']?.[1], 'tunnel|443||a.com')
  assert.deepEqual(
    model?.clusters.map(({ name, tls: origination }) => [name, origination?.mode ?? null]),
    [
      ['outbound|443||a.com', 'SIMPLE'],
      ['tunnel|443||a.com', null],
    ],
  )
})

describe('unauthenticatedPassthrough: allow', () => {
  const policy = tunnelPolicy('p', 'mytest', ['a.com', '*.b.com'], 444)
  const entry = tunnelEntry(['a.com', 'z.com'])

  test('a server of its own passes the policy’s tunnels through; mTLS still knows its callers', () => {
    const { servers, table, codes } = assembleTunnels([policy, tunnelPolicy('h', 'web', ['h.com'], 444, 'HTTP')], ALLOW)
    assert.deepEqual(codes, [])
    assert.deepEqual(servers(444), [
      'asm:444 http ISTIO_MUTUAL [*] asm.444',
      'asm-passthrough:444 tunnel PASSTHROUGH [a.com *.b.com] asm-passthrough.444',
    ])
    assert.deepEqual(table('asm-passthrough.444'), {
      hosts: { 'a.com': [null, 'outbound|443||a.com'], '*.b.com': [null, 'outbound|443||*.b.com'] },
      tcp: null,
    })
    assert.deepEqual(table('asm.444')?.hosts, { 'a.com': [['mytest'], null], '*.b.com': [['mytest'], null] })
  })

  test('what a VirtualService routes instead holds there too', () => {
    const { table } = assembleTunnels(
      [policy, entry, tunnelGateway('g', 444, ['*']), tunnelService('v', tls(['a.com', 'x.b.com'], 'z.com:443'))],
      ALLOW,
    )
    assert.deepEqual(table('asm-passthrough.444')?.hosts, {
      'a.com': [null, 'outbound|443||z.com'],
      'x.b.com': [null, 'outbound|443||z.com'],
      '*.b.com': [null, 'outbound|443||*.b.com'],
    })
  })

  test('a PASSTHROUGH server of a Gateway takes its hosts over', () => {
    const { servers, table, codes } = assembleTunnels(
      [policy, entry, tunnelGateway('g', 444, ['a.com'], PASSTHROUGH)],
      ALLOW,
    )
    assert.deepEqual(codes, [])
    assert.deepEqual(servers(444), [
      `${NS}/g/p tunnel PASSTHROUGH [a.com] tunnel.444.p.g.${NS}`,
      'asm:444 http ISTIO_MUTUAL [*] asm.444',
      'asm-passthrough:444 tunnel PASSTHROUGH [*.b.com] asm-passthrough.444',
    ])
    assert.deepEqual(table(`tunnel.444.p.g.${NS}`)?.hosts, { 'a.com': [null, 'outbound|443||a.com'] })
  })

  test('a server that terminates the very same name is a tie; so are destinations that depend on the caller', () => {
    const tie = assembleTunnels([policy, entry, tunnelGateway('g', 444, ['a.com'])], ALLOW)
    assert.deepEqual(tie.codes, [`SP4007 ${to('p')}.hosts.0`])
    const elsewhere = tunnelPolicy('q', 'other', ['a.com'], 444, 'HTTPS', 8443)
    const guess = assembleTunnels([policy, elsewhere], ALLOW)
    assert.deepEqual(guess.codes, [`SP4042 ${to('p')}.hosts.0`])
    assert.deepEqual(assembleTunnels([policy, elsewhere]).codes, [])
  })

  test('hosts of HTTP `to`s stay closed to callers without identity', () => {
    const { table } = assembleTunnels(
      [
        tunnelPolicy('h', 'web', ['a.com'], 444, 'HTTP'),
        tunnelPolicy('t', 'web', ['z.com'], 444),
        entry,
        tunnelGateway('g', 444, ['*.com'], PASSTHROUGH),
        tunnelService('v', tls(['a.com'], 'a.com:443')),
      ],
      ALLOW,
    )
    assert.deepEqual(table(`tunnel.444.p.g.${NS}`)?.hosts, {
      'a.com': [['web'], 'outbound|443||a.com'],
      'z.com': [null, 'outbound|443||z.com'],
    })
  })
})

test('property: whatever VirtualServices say, no table opens a granted host to other callers', () => {
  const name = fc.constantFrom('a.com', 'b.a.com', '*.a.com', '*.com', 'z.org')
  const names = fc.uniqueArray(name, { minLength: 1, maxLength: 3 })
  const server = fc.record({
    hosts: fc.uniqueArray(fc.oneof(name, fc.constant('*')), { minLength: 1, maxLength: 2 }),
    https: fc.boolean(),
  })
  const service = fc.record({ hosts: names, tcp: fc.boolean() })
  fc.assert(
    fc.property(
      names,
      fc.array(server, { maxLength: 3 }),
      fc.array(service, { maxLength: 3 }),
      (granted, gateways, services) => {
        const { model } = assembleTunnels([
          tunnelPolicy('p', 'mytest', granted, 443),
          tunnelEntry(['a.com']),
          ...gateways.map(({ hosts, https }, i) => tunnelGateway(`g${i}`, 443, hosts, ISTIO, https ? 'HTTPS' : 'TLS')),
          ...services.map(({ hosts, tcp }, i) =>
            tunnelService(`v${i}`, {
              ...(tcp ? { hosts, tcp: [{ route: toHosts('a.com:443') }] } : tls(hosts, 'a.com:443')),
              gateways: gateways.map((_, j) => `g${j}`).concat('mesh'),
            }),
          ),
        ])
        assert.ok(model !== null)
        for (const { hosts, tcp } of model.tunnelTables) {
          for (const { host, grants } of hosts) {
            const covered = granted.some((each) => hostCovers(each, host))
            assert.equal(grants !== null, covered, host)
            if (covered)
              assert.ok(grants?.every(({ callers }) => callers.every(({ namespace }) => namespace === 'mytest')))
          }
          // A wider pattern that is open to all never answers for a granted name.
          for (const each of granted)
            if (hosts.some(({ host, grants }) => grants === null && hostCovers(host, each)))
              assert.ok(
                hosts.some(({ host }) => host === each),
                each,
              )
          // Bytes without a name reach nothing that the policy speaks for.
          for (const host of tcp?.hosts ?? [])
            assert.ok(!granted.some((each) => hostCovers(each, host) || hostCovers(host, each)), host)
        }
      },
    ),
    { numRuns: 150 },
  )
})
