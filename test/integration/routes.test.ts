/** VirtualService matching end to end (behaviour §4.3, §4.4, §4.5): which route, which host, which weight. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { type Harness, startHarness } from '../../src/testing/harness.ts'
import { type Answer, meshConnect, plainConnect, type RequestOptions, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin } from '../../src/testing/origin.ts'
import { documents, gateway, serviceEntry, to, virtualService } from './manifests.ts'
import { started, writeSecret } from './started.ts'

/** A direct response that says which rule it was. */
const says = (name: string, match?: object | readonly object[]) => ({
  name,
  directResponse: { status: 200, body: { string: name } },
  ...(match === undefined ? {} : { match: Array.isArray(match) ? match : [match] }),
})

async function call(harness: Harness, host: string, options: RequestOptions = {}, port = 80): Promise<Answer> {
  const socket = await plainConnect(harness.gateway.port(port))
  try {
    return await request(socket, host, options)
  } finally {
    socket.destroy()
  }
}

describe('match', () => {
  const HOST = 'match.example'
  const rules = [
    says('exact', { uri: { exact: '/exact' } }),
    says('prefix-and-method', { uri: { prefix: '/both' }, method: { exact: 'POST' } }),
    says('prefix', { uri: { prefix: '/both' } }),
    says('regex', { uri: { regex: '/r/[0-9]+' } }),
    says('any-case', { uri: { prefix: '/CaSe' }, ignoreUriCase: true }),
    says('header', { headers: { 'x-tier': { exact: 'gold' }, 'x-set': {} } }),
    says('without', { uri: { prefix: '/without' }, withoutHeaders: { 'x-no': {} } }),
    says('query', { uri: { prefix: '/q' }, queryParams: { v: { exact: '2' } } }),
    says('query-present', { uri: { prefix: '/q' }, queryParams: { flag: {} } }),
    says('or', [{ uri: { exact: '/one' } }, { uri: { exact: '/two' } }]),
    says('other-port', { uri: { prefix: '/port' }, port: 443 }),
    says('this-port', { uri: { prefix: '/port' }, port: 80 }),
    says('scheme', { uri: { prefix: '/scheme' }, scheme: { exact: 'http' } }),
    says('authority', { authority: { exact: `${HOST}:80` } }),
  ]
  let harness: Harness
  let sent = 0
  before(async () => {
    harness = await startHarness({
      resources: { 'all.yaml': documents(gateway(), virtualService('match', [HOST], rules)) },
    })
  })
  after(() => harness.stop(sent))

  /** What is asked → name of the rule; null: 404. TABLE. */
  const cases: readonly (readonly [string, RequestOptions & { readonly host?: string }, string | null])[] = [
    ['an exact path', { path: '/exact' }, 'exact'],
    ['an exact path with a query', { path: '/exact?a=1' }, 'exact'],
    ['not below an exact path', { path: '/exact/x' }, null],
    ['not an exact path in another case', { path: '/EXACT' }, null],
    ['path and method', { path: '/both/x', method: 'POST' }, 'prefix-and-method'],
    ['the next rule when the method differs', { path: '/both/x' }, 'prefix'],
    ['a prefix is of text, not of segments', { path: '/bothersome' }, 'prefix'],
    ['a regex matches the whole path', { path: '/r/12' }, 'regex'],
    ['and not a part of it', { path: '/r/12x' }, null],
    ['a prefix in any case', { path: '/cAsE/1' }, 'any-case'],
    ['headers, all of them', { headers: { 'X-Tier': 'gold', 'x-set': '' } }, 'header'],
    ['not one of two headers', { headers: { 'x-tier': 'gold' } }, null],
    ['a header exactly', { headers: { 'x-tier': 'golden', 'x-set': '1' } }, null],
    ['a header that is absent', { path: '/without' }, 'without'],
    ['not when it is there', { path: '/without', headers: { 'x-no': '' } }, null],
    ['a query parameter', { path: '/q?a=1&v=2' }, 'query'],
    ['not another value of it', { path: '/q?v=22' }, null],
    ['presence of one', { path: '/q?flag' }, 'query-present'],
    ['either entry', { path: '/two' }, 'or'],
    ['the Gateway port', { path: '/port' }, 'this-port'],
    ['the scheme', { path: '/scheme' }, 'scheme'],
    ['the authority with its port', { host: `${HOST}:80`, path: '/nothing-else' }, 'authority'],
    ['the normalised path, which is the one forwarded', { path: '/x/../exact' }, 'exact'],
    ['no rule', { path: '/' }, null],
  ]
  for (const [what, { host = HOST, ...options }, rule] of cases) {
    it(what, async () => {
      sent += 1
      const answer = await call(harness, host, options)
      if (rule === null)
        assert.deepEqual([answer.status, answer.body, answer.headers['x-sallyport-reason']], [404, '', 'no_route'])
      else assert.deepEqual([answer.status, answer.body], [200, rule])
      const line = (await harness.lines(sent))[sent - 1]
      assert.deepEqual(
        [line?.['response_code'], line?.['route_name'], line?.['response_flags'], line?.['response_code_details']],
        rule === null ? [404, null, 'NR', 'route_not_found'] : [200, rule, '-', 'direct_response'],
      )
    })
  }
})

describe('hosts', () => {
  it('the most specific host wins; several VirtualServices of one host are joined, catch-all last', async (t) => {
    const resources = documents(
      gateway(),
      virtualService('a-first', ['joined.example'], [says('a-catch-all')]),
      virtualService('b-second', ['joined.example'], [says('b-path', { uri: { prefix: '/b' } })]),
      virtualService('exact', ['x.wild.example'], [says('exact')]),
      virtualService('deep', ['*.deep.wild.example'], [says('deep')]),
      virtualService('wild', ['*.wild.example'], [says('wild')]),
    )
    const harness = await started(t, { resources: { 'all.yaml': resources } })
    const bodies = []
    for (const [host, path] of [
      ['joined.example', '/b/1'],
      ['joined.example', '/c'],
      ['x.wild.example', '/'],
      ['X.Wild.Example', '/'],
      ['y.wild.example', '/'],
      ['x.deep.wild.example', '/'],
      ['x.wild.example:80', '/'],
    ] as const) {
      bodies.push((await call(harness, host, { path })).body)
    }
    assert.deepEqual(bodies, ['b-path', 'a-catch-all', 'exact', 'exact', 'wild', 'deep', 'exact'])
    // The wildcard is not its own apex, and a suffix is no label.
    for (const host of ['wild.example', 'notwild.example', 'x.wild.example.evil.example']) {
      const { status, headers } = await call(harness, host)
      assert.deepEqual([status, headers['x-sallyport-reason']], [502, 'not_registered'], host)
    }
    await harness.stop(10)
  })

  it('of HTTPS servers each has its own table: SNI of one, Host of the other is 404', async (t) => {
    const server = (name: string, host: string) => ({
      number: 443,
      name,
      hosts: [host],
      tls: { mode: 'MUTUAL', credentialName: 'site' },
    })
    const resources = documents(
      gateway(server('a', 'a.example'), server('b', 'b.example')),
      virtualService('a', ['a.example'], [says('a')]),
      virtualService('b', ['b.example'], [says('b')]),
    )
    const harness = await started(t, { resources: {} })
    const certificate = await harness.pki.serverCert('a.example', { dns: ['a.example', 'b.example'] })
    writeSecret(harness, 'site', certificate)
    assert.deepEqual(await harness.change({ 'all.yaml': resources }), { ok: true, errors: [] })
    const svid = await harness.pki.svid('mytest/sleep')
    const socket = await meshConnect({
      port: harness.gateway.port(443),
      svid,
      ca: harness.pki.root,
      servername: 'a.example',
      alpn: ['http/1.1'],
    })
    assert.equal((await request(socket, 'a.example')).body, 'a')
    const crossed = await request(socket, 'b.example')
    assert.deepEqual([crossed.status, crossed.headers['x-sallyport-reason']], [404, 'no_route'])
    socket.destroy()
    await harness.stop(2)
  })

  it('httpsRedirect answers 301 to https, with and without a VirtualService', async (t) => {
    const resources = documents(
      gateway({ number: 80, hosts: ['a.example', 'b.example'], tls: { httpsRedirect: true }, protocol: 'HTTP' }),
      virtualService('a', ['a.example'], [says('a')]),
    )
    const harness = await started(t, { resources: { 'all.yaml': resources } })
    for (const host of ['a.example', 'b.example']) {
      const { status, headers, body } = await call(harness, host, { path: '/p?q=1', method: 'POST', body: 'x' })
      assert.deepEqual([status, headers.location, body], [301, `https://${host}/p?q=1`, ''])
    }
    await harness.stop(2)
  })
})

describe('weights', () => {
  let origins: readonly EchoOrigin[]
  before(async () => {
    origins = await Promise.all(['zero', 'one', 'three'].map((name) => startEchoOrigin({ name })))
  })
  after(() => Promise.all(origins.map((origin) => origin.close())))

  it('share 400 requests 0 : 1 : 3', async (t) => {
    const REQUESTS = 400
    const names = ['zero', 'one', 'three']
    const entries = names.map((name, i) => serviceEntry(name, `${name}.example`, origins[i]?.port ?? 0))
    const route = [0, 10, 30].map((weight, i) => ({ ...to(`${names[i]}.example`)[0], weight }))
    const harness = await started(t, {
      resources: { 'all.yaml': documents(gateway(), ...entries, virtualService('w', ['w.example'], [{ route }])) },
    })
    const socket = await plainConnect(harness.gateway.port(80))
    for (let i = 0; i < REQUESTS; i += 1) assert.equal((await request(socket, 'w.example')).status, 200)
    socket.destroy()
    const [zero, one, three] = origins.map(({ requests }) => requests.length) as [number, number, number]
    assert.equal(zero, 0)
    assert.equal(one + three, REQUESTS)
    // Expected 100, standard deviation 8.7: beyond six of them is no accident.
    assert.ok(one > 48 && one < 152, String(one))
    await harness.stop(REQUESTS)
  })
})
