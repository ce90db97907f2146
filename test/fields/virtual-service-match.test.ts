/** Every field of a match: a request that has it reaches the rule, one that has not the next (behaviour §4.2, 4.4). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { meshConnect } from '../../src/testing/mesh-client.ts'
import { gateway, ISTIO_MUTUAL, type Manifest, to, virtualService } from '../integration/manifests.ts'
import { A, type CallOptions, routeOf, routeSite, sharedSite, told } from './route-site.ts'

type Asked = CallOptions & { readonly path?: string }

type Row = {
  readonly title: string
  readonly match: object
  readonly holds: readonly Asked[]
  readonly fails: readonly Asked[]
}

const with_ = (headers: Record<string, string | string[]>): Asked => ({ headers })
const paths = (...list: string[]): readonly Asked[] => list.map((path) => ({ path }))
const methods = (...list: string[]): readonly Asked[] => list.map((method) => ({ method }))
const hosts = (...list: string[]): readonly Asked[] => list.map((host) => ({ host }))

/**
 * Each in a VirtualService of its own, in front of a rule for everything. Were the field ignored, every request would
 * have it. `HOST` in an authority stands for that of the row.
 */
const ROWS: readonly Row[] = [
  {
    title: 'field VirtualService.http[].match[].uri.exact: the path, without the query',
    match: { uri: { exact: '/a' } },
    holds: paths('/a', '/a?q'),
    fails: paths('/a/', '/A', '/b'),
  },
  {
    title: 'field VirtualService.http[].match[].uri.prefix: of text, not of segments',
    match: { uri: { prefix: '/a' } },
    holds: paths('/a', '/ab'),
    fails: paths('/', '/b/a'),
  },
  {
    title: 'field VirtualService.http[].match[].uri.regex: RE2 over the whole path',
    match: { uri: { regex: '/v[0-9]+(/x|/xy)?' } },
    holds: paths('/v1', '/v22/xy', '/v1?q'),
    fails: paths('/v1/z', '/av1', '/v'),
  },
  {
    title: 'field VirtualService.http[].match[].ignoreUriCase: exact and prefix in any case',
    match: { uri: { prefix: '/Ab' }, ignoreUriCase: true },
    holds: paths('/aB/c', '/Ab'),
    fails: paths('/b'),
  },
  {
    title: 'field VirtualService.http[].match[].method.exact: in its case',
    match: { method: { exact: 'PUT' } },
    holds: methods('PUT'),
    fails: methods('GET', 'POST'),
  },
  {
    title: 'field VirtualService.http[].match[].method.prefix: its beginning',
    match: { method: { prefix: 'P' } },
    holds: methods('PUT', 'POST'),
    fails: methods('GET'),
  },
  {
    title: 'field VirtualService.http[].match[].method.regex: the whole of it',
    match: { method: { regex: 'PUT|P' } },
    holds: methods('PUT'),
    fails: methods('GET', 'POST'),
  },
  {
    title: 'field VirtualService.http[].match[].authority.exact: with its port',
    match: { authority: { exact: 'authority-exact.example:81' } },
    holds: hosts('authority-exact.example:81'),
    fails: hosts('authority-exact.example', 'authority-exact.example:8'),
  },
  {
    title: 'field VirtualService.http[].match[].authority.prefix: its beginning',
    match: { authority: { prefix: 'authority-prefix.example:' } },
    holds: hosts('authority-prefix.example:81'),
    fails: hosts('authority-prefix.example'),
  },
  {
    title: 'field VirtualService.http[].match[].authority.regex: the whole of it',
    match: { authority: { regex: '.*:81' } },
    holds: hosts('authority-regex.example:81'),
    fails: hosts('authority-regex.example', 'authority-regex.example:810'),
  },
  {
    title: 'field VirtualService.http[].match[].headers, VirtualService.http[].match[].headers.*.exact: all of them',
    match: { headers: { 'X-A': { exact: '1' }, 'x-b': { exact: '2' } } },
    holds: [with_({ 'x-a': '1', 'x-b': '2' })],
    fails: [{}, with_({ 'x-a': '1' }), with_({ 'x-a': '1', 'x-b': '22' }), with_({ 'x-a': ['1', '1'], 'x-b': '2' })],
  },
  {
    title: 'field VirtualService.http[].match[].headers.*.prefix: its beginning',
    match: { headers: { 'x-a': { prefix: 'ab' } } },
    holds: [with_({ 'x-a': 'abc' })],
    fails: [{}, with_({ 'x-a': 'cab' })],
  },
  {
    title: 'field VirtualService.http[].match[].headers.*.regex: the whole of it',
    match: { headers: { 'x-a': { regex: 'a|ab' } } },
    holds: [with_({ 'x-a': 'ab' })],
    fails: [{}, with_({ 'x-a': 'abc' })],
  },
  {
    title: 'field VirtualService.http[].match[].headers.*: {} and the expression * are presence',
    match: { headers: { 'x-a': {}, 'x-b': { regex: '*' } } },
    holds: [with_({ 'x-a': 'any', 'x-b': 'thing' })],
    fails: [{}, with_({ 'x-a': 'any' }), with_({ 'x-b': 'any' })],
  },
  {
    title:
      'field VirtualService.http[].match[].withoutHeaders, VirtualService.http[].match[].withoutHeaders.*.exact: none',
    match: { withoutHeaders: { 'x-a': { exact: 'v' } } },
    holds: [{}, with_({ 'x-a': 'w' })],
    fails: [with_({ 'x-a': 'v' })],
  },
  {
    title: 'field VirtualService.http[].match[].withoutHeaders.*.prefix: not with this beginning',
    match: { withoutHeaders: { 'x-a': { prefix: 'v' } } },
    holds: [{}, with_({ 'x-a': 'w' })],
    fails: [with_({ 'x-a': 'v1' })],
  },
  {
    title: 'field VirtualService.http[].match[].withoutHeaders.*.regex: an absent header is the empty text',
    match: { withoutHeaders: { 'x-a': { regex: '[a-z]*' } } },
    holds: [with_({ 'x-a': '1' })],
    fails: [{}, with_({ 'x-a': 'v' })],
  },
  {
    title: 'field VirtualService.http[].match[].withoutHeaders.*: {} is absence',
    match: { withoutHeaders: { 'x-a': {} } },
    holds: [{}],
    fails: [with_({ 'x-a': 'v' })],
  },
  {
    title:
      'field VirtualService.http[].match[].queryParams, VirtualService.http[].match[].queryParams.*.exact: first value, raw',
    match: { queryParams: { q: { exact: '1' } } },
    holds: paths('/?q=1', '/?a&q=1&q=2'),
    fails: paths('/', '/?q=11', '/?q=2&q=1', '/?q=%31', '/?qq=1'),
  },
  {
    title: 'field VirtualService.http[].match[].queryParams.*.prefix: its beginning',
    match: { queryParams: { q: { prefix: 'x' } } },
    holds: paths('/?q=xy'),
    fails: paths('/', '/?q=yx'),
  },
  {
    title: 'field VirtualService.http[].match[].queryParams.*.regex: the whole of it',
    match: { queryParams: { q: { regex: '[0-9]+' } } },
    holds: paths('/?q=12'),
    fails: paths('/', '/?q=1a'),
  },
  {
    title: 'field VirtualService.http[].match[].queryParams.*: {} is presence',
    match: { queryParams: { q: {} } },
    holds: paths('/?q', '/?q=1'),
    fails: paths('/', '/?r'),
  },
  {
    title: 'field VirtualService.http[].match[].port: the port of the Gateway server',
    match: { port: 81 },
    holds: [{ port: 81 }],
    fails: [{ port: 80 }],
  },
  {
    title: 'field VirtualService.http[].match[].gateways: which of the Gateways that gateways names',
    match: { gateways: ['mesh', 'istio-system/second'] },
    holds: [{ port: 82 }],
    fails: [{ port: 80 }],
  },
  {
    title: 'field VirtualService.http[].match[].sourceLabels: of the gateway itself, one that holds',
    match: { sourceLabels: { istio: 'egressgateway' } },
    holds: [{}],
    fails: [],
  },
  {
    title: 'field VirtualService.http[].match[].sourceLabels: of the gateway itself, one that does not',
    match: { sourceLabels: { app: 'sleep' } },
    holds: [],
    fails: [{}],
  },
  {
    title: 'field VirtualService.http[].match[].sourceNamespace: of the gateway itself, one that holds',
    match: { sourceNamespace: 'istio-system' },
    holds: [{}],
    fails: [],
  },
  {
    title: 'field VirtualService.http[].match[].sourceNamespace: of the gateway itself, one that does not',
    match: { sourceNamespace: 'mytest' },
    holds: [],
    fails: [{}],
  },
  {
    title: 'field VirtualService.http[].match[].scheme.exact: https where TLS was terminated',
    match: { scheme: { exact: 'https' } },
    holds: [{ port: 443 }],
    fails: [{ port: 80 }],
  },
  {
    title: 'field VirtualService.http[].match[].scheme.prefix: its beginning',
    match: { scheme: { prefix: 'https' } },
    holds: [{ port: 443 }],
    fails: [{ port: 80 }],
  },
  {
    title: 'field VirtualService.http[].match[].scheme.regex: the whole of it',
    match: { scheme: { regex: 'http' } },
    holds: [{ port: 80 }],
    fails: [{ port: 443 }],
  },
  {
    title: 'field VirtualService.http[].match[].statPrefix: matches as without it',
    match: { uri: { prefix: '/a' }, statPrefix: 'x' },
    holds: paths('/a'),
    fails: paths('/b'),
  },
]

/** `authority-exact.example`, where the row needs to know; else by number. */
const hostOf = (row: Row, index: number) =>
  /authority-\w+\.example/.exec(JSON.stringify(row))?.[0] ?? `r${index}.example`

const second: Manifest = {
  ...gateway({ number: 82 }),
  metadata: { name: 'second', namespace: 'istio-system' },
}
const site = sharedSite([], {
  spec: { ports: { 80: 0, 81: 0, 82: 0, 443: 0 } },
  gateway: gateway({ number: 80 }, { number: 81 }, { number: 443, tls: ISTIO_MUTUAL }),
  manifests: [
    second,
    ...ROWS.map((row, index) =>
      virtualService(
        `r${index}`,
        [hostOf(row, index)],
        [
          { name: 'matched', match: [row.match], route: to(A) },
          { name: 'rest', route: to(A) },
        ],
        { gateways: ['egress', 'second'] },
      ),
    ),
  ],
})

async function ask(host: string, { path = '/', port, ...options }: Asked): Promise<unknown> {
  const { harness, call } = site()
  if (port !== 443) return routeOf(await call(path, { host, ...options, ...(port === undefined ? {} : { port }) }))
  const svid = await harness.pki.svid('default/sleep')
  const socket = await meshConnect({ port: harness.gateway.port(443), svid, ca: harness.pki.root })
  return routeOf(await call(path, { host, ...options, socket }))
}

for (const [index, row] of ROWS.entries()) {
  test(row.title, async () => {
    const host = hostOf(row, index)
    for (const asked of row.holds) assert.equal(await ask(host, asked), 'matched', JSON.stringify(asked))
    for (const asked of row.fails) assert.equal(await ask(host, asked), 'rest', JSON.stringify(asked))
  })
}

test('field VirtualService.http[].match[].statPrefix: no effect, and told so at load', async () => {
  assert.match((await told(site().harness, 'SP1034', 1)).join(), /statPrefix/)
})

test('sourceLabels and sourceNamespace do not tell callers apart, which is told at load', async () => {
  assert.equal((await told(site().harness, 'SP4028', 4)).length, 4)
})

test('field VirtualService.http[].match[].name, VirtualService.http[].name: what the log calls the route', async (t) => {
  const prefix = (value: string) => ({ uri: { prefix: value } })
  const named = await routeSite(t, [
    { name: 'r', match: [{ name: 'm', ...prefix('/1') }, prefix('/2')], route: to(A) },
    { match: [{ name: 'm', ...prefix('/3') }], route: to(A) },
    { route: to(A) },
  ])
  const names = ['r.m', 'r', 'm', null]
  for (const [index, name] of names.entries()) assert.equal(routeOf(await named.call(`/${index + 1}`)), name)
})

test('field VirtualService.http[].match: alternatives; the first rule that holds answers', async (t) => {
  const { call } = await routeSite(t, [
    { name: 'first', match: [{ uri: { exact: '/a' } }, { method: { exact: 'PUT' } }], route: to(A) },
    { name: 'second', match: [{ uri: { prefix: '/a' } }], route: to(A) },
  ])
  assert.equal(routeOf(await call('/a')), 'first')
  assert.equal(routeOf(await call('/ab', { method: 'PUT' })), 'first')
  assert.equal(routeOf(await call('/ab')), 'second')
  assert.equal((await call('/b')).answer.status, 404)
})
