/** Which rules reach which host of which server, in what order (behaviour §4.1–4.5). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { testResource } from '../testing/resources.ts'
import { gw, NS, rule, run, server, vs } from '../testing/virtual-services.ts'
import { gateway } from './kinds/gateway.ts'
import type { Resource } from './resource.ts'
import { gatewayName } from './virtual-service-match.ts'

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
