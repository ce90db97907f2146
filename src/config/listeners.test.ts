/** Ports, servers and tables, and how egress policies join what Gateways and VirtualServices say (contract §3, §4). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { VirtualHostModel } from '../model/route.ts'
import type { Settings } from '../model/settings.ts'
import { findings, testResource, testSettings } from '../testing/resources.ts'
import { grantModel } from '../testing/routes.ts'
import type { EgressHost } from './egress-policies.ts'
import { bindGateways } from './gateways.ts'
import { gateway } from './kinds/gateway.ts'
import { serviceEntry } from './kinds/service-entry.ts'
import { virtualService } from './kinds/virtual-service.ts'
import { buildListeners } from './listeners.ts'
import { collectDiagnostics } from './report.ts'
import type { Resource } from './resource.ts'
import { buildServices } from './services.ts'
import { bindTunnels } from './virtual-service-tunnels.ts'
import { bindVirtualServices } from './virtual-services.ts'

const NS = 'istio-system'
const MUTUAL = { mode: 'ISTIO_MUTUAL' }
const SIMPLE = { mode: 'SIMPLE', serverCertificate: '/c', privateKey: '/k' }

function gw(
  name: string,
  number: number,
  hosts: string[],
  tls?: Record<string, unknown>,
  protocol = tls === undefined ? 'HTTP' : 'HTTPS',
): Resource {
  const server = { hosts, port: { number, name: 'p', protocol }, ...(tls === undefined ? {} : { tls }) }
  return testResource(gateway, { name, namespace: NS }, { servers: [server] }) as Resource
}

function vs(hosts: string[], gateways: string[], name = 'v'): Resource {
  const http = [{ name, route: [{ destination: { host: 'a.com', port: { number: 80 } } }] }]
  return testResource(virtualService, { name, namespace: NS }, { hosts, gateways, http }) as Resource
}

function egress(
  host: string,
  namespace: string,
  gatewayPort = 80,
  application: EgressHost['application'] = 'http',
): EgressHost {
  const source = { file: `policy:${host}`, line: 1, col: 1 }
  return {
    host,
    gatewayPort,
    application,
    grants: [grantModel(`${application} for ${namespace}`, { [namespace]: null })],
    source,
  }
}

type Input = { readonly resources?: Resource[]; readonly egress?: EgressHost[]; readonly ports?: Settings['ports'] }

function build(input: Input) {
  const collector = collectDiagnostics()
  const settings = testSettings({ ports: input.ports ?? [] })
  const resources = input.resources ?? []
  const entry = testResource(
    serviceEntry,
    { name: 'se', namespace: NS },
    {
      hosts: ['a.com'],
      ports: [{ number: 80, name: 'http', protocol: 'HTTP' }],
      resolution: 'DNS',
    },
  ) as Resource
  const services = buildServices(settings, [...resources, entry], collector.report)
  const gateways = bindGateways(settings, resources, collector.report)
  const granted = input.egress ?? []
  const requests = bindVirtualServices(settings, resources, gateways, services, collector.report)
  const tunnels = bindTunnels(settings, resources, gateways, granted, services, collector.report)
  const built = buildListeners(settings, gateways, { requests, tunnels }, granted, collector.report)
  /** host → [names of grants or null, names of routes or null] */
  const table = (name: string) =>
    Object.fromEntries(
      (built.routeTables.find((each) => each.name === name)?.virtualHosts ?? []).map((each: VirtualHostModel) => [
        each.host,
        [each.grants?.map((grant) => grant.name) ?? null, each.routes?.map((route) => route.name) ?? null],
      ]),
    )
  const servers = built.listeners.map(({ gatewayPort, bindPort, servers: list }) => [
    gatewayPort,
    bindPort,
    list.map(({ name }) => name),
  ])
  return { ...built, table, servers, findings: findings(collector) }
}

test('every declared port has a listener; one that nobody speaks for takes mTLS and knows no host', () => {
  const { servers, listeners, table } = build({
    ports: [
      { gatewayPort: 443, bindPort: 8443 },
      { gatewayPort: 80, bindPort: 0 },
    ],
  })
  assert.deepEqual(servers, [
    [80, 0, ['unclaimed:80']],
    [443, 8443, ['unclaimed:443']],
  ])
  const [server] = listeners[0]?.servers ?? []
  assert.equal(server?.tls?.mode, 'ISTIO_MUTUAL')
  assert.deepEqual([server.sniHosts, server.application, server.source], [['*'], 'http', null])
  assert.deepEqual(table('unclaimed.80'), {})
})

test('Gateway ports are translated; a port that is not mapped stays itself; collisions are errors', () => {
  const resources = [gw('a', 80, ['*']), gw('b', 8080, ['*'])]
  const fine = build({ resources, ports: [{ gatewayPort: 80, bindPort: 18080 }] })
  assert.deepEqual(fine.servers, [
    [80, 18080, [`${NS}/a/p`]],
    [8080, 8080, [`${NS}/b/p`]],
  ])
  assert.deepEqual(fine.findings, [])
  const clash = build({ resources, ports: [{ gatewayPort: 80, bindPort: 8080 }] })
  assert.deepEqual(clash.findings, [`SP4008 Gateway/${NS}/b:spec.servers.0.port`])
})

test('plaintext servers of one port are one server with one table', () => {
  const { listeners } = build({ resources: [gw('a', 80, ['a.com']), gw('b', 80, ['b.com'])] })
  assert.deepEqual(
    listeners[0]?.servers.map(({ name, sniHosts, routeTable }) => [name, sniHosts, routeTable]),
    [[`${NS}/a/p`, ['a.com', 'b.com'], 'http.80']],
  )
})

test('an egress policy alone brings its own mTLS server', () => {
  const { servers, table, findings: found } = build({ egress: [egress('a.com', 'team'), egress('*.b.com', 'team')] })
  assert.deepEqual(servers, [[80, 80, ['asm:80']]])
  assert.deepEqual(table('asm.80'), { 'a.com': [['http for team'], null], '*.b.com': [['http for team'], null] })
  assert.deepEqual(found, [])
})

test('on a port with an mTLS Gateway server the grants go into its table, and bind its VirtualServices', () => {
  const { servers, table } = build({
    resources: [gw('g', 80, ['*'], MUTUAL), vs(['a.com', 'x.b.com', 'free.org', '*.com'], ['g'])],
    egress: [egress('a.com', 'one'), egress('*.b.com', 'two'), egress('only.com', 'three')],
  })
  assert.deepEqual(servers, [[80, 80, [`${NS}/g/p`]]])
  assert.deepEqual(table(`https.80.p.g.${NS}`), {
    'a.com': [['http for one'], ['v']],
    'x.b.com': [['http for two'], ['v']],
    'only.com': [['http for three'], null],
    'free.org': [null, ['v']],
    '*.com': [null, ['v']],
    // The policy's own wildcard, narrower than the VirtualService's.
    '*.b.com': [['http for two'], null],
  })
})

test('the most specific egress host decides for a host', () => {
  const { table } = build({
    resources: [gw('g', 80, ['*'], MUTUAL), vs(['y.x.b.com'], ['g'])],
    egress: [egress('*.b.com', 'wide'), egress('*.x.b.com', 'narrow')],
  })
  assert.deepEqual(table(`https.80.p.g.${NS}`)['y.x.b.com'], [['http for narrow'], ['v']])
})

test('a server for some names only: sidecars without SNI of their own still need one for every name', () => {
  const { servers, table } = build({
    resources: [gw('g', 80, ['a.com'], MUTUAL), vs(['a.com'], ['g'])],
    egress: [egress('a.com', 'one'), egress('z.com', 'two')],
  })
  assert.deepEqual(servers, [[80, 80, [`${NS}/g/p`, 'asm:80']]])
  assert.deepEqual(table(`https.80.p.g.${NS}`), { 'a.com': [['http for one'], ['v']] })
  assert.deepEqual(table('asm.80'), { 'a.com': [['http for one'], null], 'z.com': [['http for two'], null] })
})

test('no table of the port opens a granted host to callers without a grant', () => {
  const { routeTables } = build({
    resources: [gw('g', 80, ['a.com'], MUTUAL), gw('h', 80, ['*.com'], MUTUAL), vs(['*'], ['g', 'h'])],
    egress: [egress('a.com', 'one')],
  })
  const entries = routeTables.flatMap((table) => table.virtualHosts.filter(({ host }) => host === 'a.com'))
  assert.equal(entries.length, 3)
  for (const entry of entries)
    assert.deepEqual(
      entry.grants?.map(({ name }) => name),
      ['http for one'],
    )
})

test('where callers cannot be told apart, the policy is refused', () => {
  const code = (resource: Resource, host = 'a.com') =>
    build({ resources: [resource], egress: [egress(host, 'one')] }).findings
  assert.deepEqual(code(gw('g', 80, ['*'])), ['SP4040 policy:a.com'])
  assert.deepEqual(code(gw('g', 80, ['z.com'])), ['SP4040 policy:a.com'])
  assert.deepEqual(code(gw('g', 80, ['*'], SIMPLE)), ['SP4040 policy:a.com'])
  assert.deepEqual(code(gw('g', 80, ['*.com'], SIMPLE)), ['SP4040 policy:a.com'])
  assert.deepEqual(code(gw('g', 80, ['z.com'], SIMPLE)), [])
  assert.deepEqual(code(gw('g', 80, ['*'], { ...SIMPLE, mode: 'MUTUAL', caCertificates: '/ca' })), [])
  assert.deepEqual(code(gw('g', 80, ['*'], MUTUAL, 'TLS')), ['SP4040 policy:a.com'])
  assert.deepEqual(code(gw('g', 80, ['*'], { mode: 'PASSTHROUGH' }, 'TLS')), ['SP4040 policy:a.com'])
  assert.deepEqual(code(gw('g', 81, ['*'])), [])
})

test('HTTP and tunnels on one port share the server; over HTTP a tunnel’s host is there for nobody', () => {
  const {
    listeners,
    table,
    findings: found,
  } = build({
    egress: [
      egress('a.com', 'one'),
      egress('t.com', 'two', 80, 'tunnel'),
      egress('a.com', 'two', 80, 'tunnel'),
      egress('only.com', 'one', 444, 'tunnel'),
    ],
  })
  assert.deepEqual(
    listeners.map(({ gatewayPort, servers }) => [
      gatewayPort,
      servers.map(({ application, tunnelTable }) => [application, tunnelTable]),
    ]),
    [
      [80, [['http', 'asm.80']]],
      [444, [['http', 'asm.444']]],
    ],
  )
  assert.deepEqual(table('asm.80'), { 'a.com': [['http for one'], null], 't.com': [[], null] })
  assert.deepEqual(table('asm.444'), { 'only.com': [[], null] })
  assert.deepEqual(found, [])
})

test('a VirtualService does not open over HTTP what a policy reserves for tunnels', () => {
  const { table } = build({
    resources: [gw('g', 80, ['*'], MUTUAL), vs(['t.com'], ['g'])],
    egress: [egress('t.com', 'two', 80, 'tunnel')],
  })
  assert.deepEqual(table(`https.80.p.g.${NS}`), { 't.com': [['tunnel for two'], ['v']] })
})
