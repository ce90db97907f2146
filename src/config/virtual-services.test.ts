/** Which rules reach which host of which server, in what order (behaviour §4.1–4.5). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RouteModel } from '../model/route.ts'
import { findings, testResource, testSettings } from '../testing/resources.ts'
import { bindGateways } from './gateways.ts'
import { gateway } from './kinds/gateway.ts'
import { serviceEntry } from './kinds/service-entry.ts'
import { virtualService } from './kinds/virtual-service.ts'
import { collectDiagnostics } from './report.ts'
import type { Resource } from './resource.ts'
import { buildServices } from './services.ts'
import { gatewayName } from './virtual-service-match.ts'
import { bindVirtualServices } from './virtual-services.ts'

const NS = 'istio-system'

function server(hosts: string[], tls?: Record<string, unknown>, number = 80, name = 'http'): Record<string, unknown> {
  const protocol = tls === undefined || 'httpsRedirect' in tls ? 'HTTP' : 'HTTPS'
  return { hosts, port: { number, name, protocol }, ...(tls === undefined ? {} : { tls }) }
}

function gw(servers: Record<string, unknown>[], name = 'gw'): Resource {
  return testResource(gateway, { name, namespace: NS }, { servers }) as Resource
}

function vs(name: string, spec: Record<string, unknown>, namespace = NS): Resource {
  return testResource(virtualService, { name, namespace }, { gateways: [`${NS}/gw`], ...spec }) as Resource
}

const entry = testResource(
  serviceEntry,
  { name: 'se', namespace: NS },
  {
    hosts: ['a.com', 'b.com'],
    ports: [{ number: 80, name: 'http', protocol: 'HTTP' }],
    location: 'MESH_EXTERNAL',
    resolution: 'DNS',
  },
) as Resource

/** A rule named `name` that forwards to a.com. */
const rule = (name: string, ...match: Record<string, unknown>[]): Record<string, unknown> => ({
  name,
  ...(match.length === 0 ? {} : { match }),
  route: [{ destination: { host: 'a.com', port: { number: 80 } } }],
})

function run(...resources: Resource[]) {
  const collector = collectDiagnostics()
  const settings = testSettings()
  const all = [...resources, entry]
  const services = buildServices(settings, all, collector.report)
  const tables = bindVirtualServices(
    settings,
    all,
    bindGateways(settings, all, collector.report),
    services,
    collector.report,
  )
  const hosts = (table = 'http.80') =>
    Object.fromEntries(
      [...(tables.get(table) ?? new Map())].map(([host, { routes }]) => [
        host,
        routes?.map((route: RouteModel) => route.name) ?? null,
      ]),
    )
  const routes = (host: string, table = 'http.80'): readonly RouteModel[] => tables.get(table)?.get(host)?.routes ?? []
  return { tables, hosts, routes, findings: findings(collector) }
}

test('names of gateways as Istio resolves them', () => {
  const rows: readonly (readonly [string, string])[] = [
    ['mesh', 'mesh'],
    ['gw', 'vs-ns/gw'],
    ['./gw', 'vs-ns/gw'],
    ['other/gw', 'other/gw'],
    ['gw.other', 'other/gw'],
    ['gw.other.svc.cluster.local', 'other/gw'],
  ]
  for (const [entryText, name] of rows) assert.equal(gatewayName(entryText, 'vs-ns'), name)
})

test('the narrower of VirtualService host and server host becomes the virtual host', () => {
  const { hosts, findings: found } = run(
    gw([server(['*.com', 'x.org'])]),
    vs('v', { hosts: ['a.com', '*.b.com', '*.org', 'c.net'], http: [rule('r')] }),
  )
  assert.deepEqual(hosts(), { 'a.com': ['r'], '*.b.com': ['r'], 'x.org': ['r'] })
  assert.deepEqual(found, [])
})

test('only the top-level list binds; mesh rules and rules for other gateways and ports stay out', () => {
  const { hosts, findings: found } = run(
    gw([server(['*'])]),
    vs('seed-001', {
      hosts: ['a.com'],
      gateways: ['mesh', `${NS}/gw`],
      http: [rule('to-gateway', { gateways: ['mesh'], port: 80 }), rule('out', { gateways: [`${NS}/gw`], port: 80 })],
    }),
    vs('other-port', { hosts: ['p.com'], http: [rule('r', { port: 81 })] }),
    vs('narrowed-away', { hosts: ['n.com'], gateways: ['mesh'], http: [rule('r', { gateways: [`${NS}/gw`] })] }),
  )
  assert.deepEqual(hosts(), { 'a.com': ['out'], 'p.com': [] })
  assert.deepEqual(found, [])
})

test('a host without rules gives way to a wildcard that has some, as in Istio', () => {
  const { hosts } = run(
    gw([server(['*'])]),
    vs('narrow', { hosts: ['a.com'], http: [rule('r', { port: 81 })] }),
    vs('wide', { hosts: ['*.com'], http: [rule('w')] }),
  )
  assert.deepEqual(hosts(), { '*.com': ['w'] })
})

test('a server admits only the namespaces its hosts name', () => {
  const { hosts, findings: found } = run(
    gw([server(['team/*.com', './b.com'])]),
    vs('mine', { hosts: ['a.com'], http: [rule('r')] }, 'team'),
    vs('foreign', { hosts: ['a.com'], http: [rule('r')] }, 'elsewhere'),
    vs('own', { hosts: ['b.com'], http: [rule('o')] }),
  )
  assert.deepEqual(hosts(), { 'a.com': ['r'], 'b.com': ['o'] })
  assert.deepEqual(found, ['SP4021 VirtualService/elsewhere/foreign:spec.gateways.0'])
})

test('exportTo decides visibility and order: private, exported by name, public; catch-alls last', () => {
  const one = (name: string) => [rule(`${name}-all`)]
  const two = (name: string) => [rule(name, { uri: { prefix: `/${name}` } }), ...one(name)]
  const { hosts, findings: found } = run(
    gw([server(['*'])]),
    vs('a-public', { hosts: ['a.com'], http: two('a') }),
    vs('b-named', { hosts: ['a.com'], exportTo: [NS], http: two('b') }, 'team'),
    vs('c-private', { hosts: ['a.com'], exportTo: ['.'], http: two('c') }),
    vs('d-hidden', { hosts: ['a.com'], exportTo: ['.'], http: two('d') }, 'team'),
    vs('e-nowhere', { hosts: ['a.com'], exportTo: ['~'], http: two('e') }),
  )
  assert.deepEqual(hosts(), { 'a.com': ['c', 'b', 'a', 'c-all', 'b-all', 'a-all'] })
  assert.deepEqual(found, [
    'SP4031 VirtualService/istio-system/e-nowhere:spec.exportTo',
    'SP4031 VirtualService/team/d-hidden:spec.exportTo',
  ])
})

test('a rule with a special and a catch-all match is split, and nothing follows the catch-all', () => {
  const { routes } = run(
    gw([server(['*'])]),
    vs('a', {
      hosts: ['a.com'],
      http: [
        rule('mixed', { uri: { exact: '/x' } }, { uri: { prefix: '/' } }, { uri: { exact: '/y' } }),
        rule('never'),
      ],
    }),
    vs('b', { hosts: ['a.com'], http: [rule('b', { method: { exact: 'GET' } })] }),
  )
  assert.deepEqual(
    routes('a.com').map(({ name, matches }) => [name, matches.map(({ uri }) => uri)]),
    [
      ['mixed', [{ kind: 'exact', value: '/x' }]],
      ['b', [null]],
      ['mixed', [{ kind: 'prefix', value: '/' }]],
    ],
  )
})

test('sourceLabels and sourceNamespace are compared with the gateway itself, with a warning', () => {
  const { hosts, findings: found } = run(
    gw([server(['*'])]),
    vs('v', {
      hosts: ['a.com'],
      http: [
        rule('ours', { sourceLabels: { istio: 'egressgateway' }, uri: { exact: '/1' } }),
        rule('caller', { sourceLabels: { app: 'sleep' }, uri: { exact: '/2' } }),
        rule('namespace', { sourceNamespace: 'mytest', uri: { exact: '/3' } }),
        rule('with-gateways', { sourceNamespace: 'mytest', gateways: [`${NS}/gw`], uri: { exact: '/4' } }),
        rule('mesh', { sourceNamespace: 'mytest', gateways: ['mesh'], uri: { exact: '/5' } }),
      ],
    }),
  )
  assert.deepEqual(hosts(), { 'a.com': ['ours', 'with-gateways'] })
  assert.deepEqual(
    found,
    [0, 1]
      .map((i) => `SP4028 VirtualService/istio-system/v:spec.http.${i}.match.0.sourceLabels`)
      .concat([2, 3].map((i) => `SP4028 VirtualService/istio-system/v:spec.http.${i}.match.0.sourceNamespace`)),
  )
})

test('HTTPS servers have tables of their own; a redirect needs no VirtualService', () => {
  const { hosts, tables } = run(
    gw([
      server(['a.com', 'r.com'], { httpsRedirect: true }),
      server(['a.com'], { mode: 'ISTIO_MUTUAL' }, 443, 'one'),
      server(['b.com'], { mode: 'ISTIO_MUTUAL' }, 443, 'two'),
    ]),
    vs('v', { hosts: ['*'], http: [rule('r')] }),
  )
  assert.deepEqual(hosts(), { 'a.com': ['r'], 'r.com': ['r'] })
  assert.deepEqual(
    [...(tables.get('http.80') ?? [])].map(([, { httpsRedirect }]) => httpsRedirect),
    [true, true],
  )
  assert.deepEqual(hosts(`https.443.one.gw.${NS}`), { 'a.com': ['r'] })
  assert.deepEqual(hosts(`https.443.two.gw.${NS}`), { 'b.com': ['r'] })
  const alone = run(gw([server(['r.com'], { httpsRedirect: true })]))
  assert.deepEqual(alone.hosts(), { 'r.com': null })
})

test('unknown gateways are told, other workloads’ gateways are not', () => {
  const other = testResource(
    gateway,
    { name: 'ingress', namespace: NS },
    { selector: { istio: 'x' }, servers: [server(['*'])] },
  ) as Resource
  const { findings: found } = run(
    other,
    vs('v', { hosts: ['a.com'], gateways: [`${NS}/ingress`, 'typo'], http: [rule('r')] }),
  )
  assert.deepEqual(
    found.filter((each) => each.includes('Virtual')),
    ['SP4020 VirtualService/istio-system/v:spec.gateways.1'],
  )
})

const first = (http: Record<string, unknown>) => {
  const result = run(gw([server(['*'])]), vs('v', { hosts: ['a.com'], http: [http] }, 'team'))
  return {
    route: result.routes('a.com')[0],
    findings: result.findings.map((each) => each.replace('VirtualService/team/v:spec.http.0.', '')),
  }
}

test('forwarding: clusters, weights, timeout, rewrite, headers', () => {
  const { route, findings: found } = first({
    name: 'r',
    match: [
      {
        name: 'm',
        uri: { prefix: '/x' },
        headers: { 'X-A': { exact: '1' }, method: {}, 'x-p': null, 'x-r': { regex: '*' } },
        ignoreUriCase: true,
      },
    ],
    route: [
      { destination: { host: 'a.com' }, weight: 9 },
      { destination: { host: 'b.com', port: { number: 80 } }, weight: 1, headers: { response: { remove: ['X-B'] } } },
      { destination: { host: 'gone.com', port: { number: 80 } }, weight: 0 },
    ],
    timeout: '3s',
    rewrite: { uri: '/y', authority: 'B.com' },
    headers: { request: { add: { 'X-C': 'd' } } },
  })
  assert.deepEqual(found, [])
  assert.deepEqual(route?.action, {
    kind: 'forward',
    destinations: [
      { cluster: 'outbound|80||a.com', weight: 9, headers: null },
      {
        cluster: 'outbound|80||b.com',
        weight: 1,
        headers: { request: { set: [], add: [], remove: [] }, response: { set: [], add: [], remove: ['x-b'] } },
      },
    ],
    timeoutMs: 3000,
    rewrite: { uri: '/y', authority: 'b.com' },
  })
  assert.deepEqual(route.headers?.request.add, [['x-c', 'd']])
  const [match] = route.matches
  assert.equal(match?.name, 'm')
  assert.equal(match.ignoreUriCase, true)
  assert.deepEqual(match.headers, [
    { name: 'x-a', match: { kind: 'exact', value: '1' } },
    { name: 'x-p', match: { kind: 'present' } },
    { name: 'x-r', match: { kind: 'present' } },
  ])
})

test('the weight of an only destination means nothing; timeout 0 is none', () => {
  const { route } = first({ route: [{ destination: { host: 'a.com' }, weight: 0 }], timeout: '0s' })
  assert.deepEqual(route?.action, {
    kind: 'forward',
    destinations: [{ cluster: 'outbound|80||a.com', weight: 1, headers: null }],
    timeoutMs: null,
    rewrite: null,
  })
})

test('an unknown destination names a cluster that does not exist, with a warning', () => {
  const { route, findings: found } = first({ route: [{ destination: { host: 'gone.com', port: { number: 80 } } }] })
  assert.deepEqual(found, ['SP7001 route.0.destination'])
  assert.equal(route?.action.kind === 'forward' && route.action.destinations[0]?.cluster, 'outbound|80||gone.com')
})

test('redirects and direct responses', () => {
  assert.deepEqual(first({ redirect: { uri: '/x', derivePort: 1, scheme: 'https' } }).route?.action, {
    kind: 'redirect',
    code: 301,
    uri: '/x',
    authority: null,
    scheme: 'https',
    port: 'FROM_REQUEST_PORT',
  })
  assert.deepEqual(first({ directResponse: { status: 418, body: { string: 'é' } } }).route?.action, {
    kind: 'direct',
    status: 418,
    body: 'w6k=',
  })
})

test('what is not built yet narrows: delegation answers 404, a full abort aborts, regex rewrites do not load', () => {
  const delegated = first({ delegate: { name: 'x' } })
  assert.deepEqual(delegated.route?.action, { kind: 'direct', status: 404, body: '' })
  assert.deepEqual(delegated.findings, ['SP4026 delegate'])

  const route = [{ destination: { host: 'a.com' } }]
  const blocked = first({ route, fault: { abort: { httpStatus: 403, percentage: { value: 100 } } } })
  assert.deepEqual(blocked.route?.action, {
    kind: 'direct',
    status: 403,
    body: Buffer.from('fault filter abort').toString('base64'),
  })
  assert.deepEqual(blocked.findings, [])
  const partial = first({ route, fault: { abort: { httpStatus: 403, percentage: { value: 99 } } } })
  assert.equal(partial.route?.action.kind, 'forward')
  assert.deepEqual(partial.findings, ['SP4032 fault.abort'])

  assert.deepEqual(first({ route, rewrite: { uriRegexRewrite: { match: 'a', rewrite: 'b' } } }).findings, [
    'SP4033 rewrite.uriRegexRewrite',
  ])
})
