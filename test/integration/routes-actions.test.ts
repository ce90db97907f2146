/** What VirtualService routes do to a request, end to end (behaviour §4.5, §10.3): as the outside sees it, and as it is logged. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { type Harness, type LogLine, startHarness } from '../../src/testing/harness.ts'
import { type Answer, plainConnect, type RequestOptions, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, type RawOrigin, startEchoOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import { authorizationPolicy, documents, gateway, serviceEntry, to, virtualService } from './manifests.ts'

const HOST = 'site.example'
const AUTHORITY = 'inner.example:8443'

const RULES = [
  { name: 'slow', match: [{ uri: { prefix: '/delay' } }], timeout: '1s', route: to(HOST) },
  { name: 'trickle', match: [{ uri: { prefix: '/trickle' } }], timeout: '1s', route: to('trickle.example') },
  {
    name: 'headers',
    match: [{ uri: { prefix: '/headers' } }],
    headers: {
      request: { set: { 'x-set': 'rule', 'x-both': 'rule' }, add: { 'x-add': 'second' }, remove: ['x-gone'] },
      response: { set: { 'x-answer': 'set' }, remove: ['content-type'] },
    },
    route: [
      {
        ...to(HOST)[0],
        headers: {
          request: { set: { 'x-both': 'destination', 'x-dest': '100%%' } },
          response: { add: { 'x-more': 'yes' } },
        },
      },
    ],
  },
  { name: 'prefix', match: [{ uri: { prefix: '/old/' } }], rewrite: { uri: '/anything/new/' }, route: to(HOST) },
  { name: 'bare-prefix', match: [{ uri: { prefix: '/bare' } }], rewrite: { uri: '/anything' }, route: to(HOST) },
  { name: 'whole', match: [{ uri: { exact: '/exact' } }], rewrite: { uri: '/anything/whole' }, route: to(HOST) },
  { name: 'regex', match: [{ uri: { regex: '/re/.*' } }], rewrite: { uri: '/anything/re' }, route: to(HOST) },
  {
    name: 'authority',
    match: [{ uri: { prefix: '/anything/authority' } }],
    rewrite: { authority: AUTHORITY },
    route: to(HOST),
  },
  {
    name: 'set-host',
    match: [{ uri: { prefix: '/anything/set-host' } }],
    headers: { request: { set: { Host: 'Set.Example' } } },
    route: to(HOST),
  },
  {
    name: 'redirect',
    match: [{ uri: { prefix: '/away' } }],
    redirect: { uri: '/there', authority: 'else.example', redirectCode: 307 },
  },
  { name: 'to-https', match: [{ uri: { prefix: '/secure' } }], redirect: { scheme: 'https' } },
  {
    name: 'teapot',
    match: [{ uri: { prefix: '/teapot' } }],
    directResponse: { status: 418, body: { bytes: Buffer.from('short and stout').toString('base64') } },
    headers: { response: { set: { 'x-pot': 'tea' } } },
  },
  { name: 'gone', match: [{ uri: { prefix: '/gone' } }], route: to('nowhere.example') },
  {
    name: 'subset',
    match: [{ uri: { prefix: '/subset' } }],
    route: [{ destination: { host: HOST, subset: 'v2', port: { number: 80 } } }],
  },
  { name: 'rest', route: to(HOST) },
]

let origin: EchoOrigin
/** Starts an answer and never ends it. */
let trickle: RawOrigin
let harness: Harness
let sent = 0

before(async () => {
  origin = await startEchoOrigin()
  trickle = await startRawOrigin({
    onRequest: (connection) => void connection.socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc'),
  })
  const resources = documents(
    gateway(),
    serviceEntry('site', HOST, origin.port),
    serviceEntry('trickle', 'trickle.example', trickle.port),
    virtualService('site', [HOST], RULES),
    authorizationPolicy('no-secret', 'DENY', [
      { to: [{ operation: { paths: ['/anything/secret*', '/anything/new/secret*'] } }] },
    ]),
  )
  harness = await startHarness({ resources: { 'all.yaml': resources } })
})
after(async () => {
  await harness.stop(sent)
  await origin.close()
  await trickle.close()
})

/** One request, and its line. */
async function call(
  path: string,
  options: RequestOptions & { readonly host?: string } = {},
): Promise<{ readonly answer: Answer; readonly line: LogLine }> {
  const socket = await plainConnect(harness.gateway.port(80))
  sent += 1
  const answer = await request(socket, options.host ?? HOST, { path, ...options })
  socket.destroy()
  const lines = await harness.lines(sent)
  return { answer, line: lines[sent - 1] ?? {} }
}

type Echo = {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly args: Readonly<Record<string, string>>
}
const echo = (answer: Answer) => JSON.parse(answer.body) as Echo
const pick = (line: LogLine, ...keys: string[]) => keys.map((key) => line[key])

describe('timeout', () => {
  it('before the answer: 504 UT, and the upstream connection goes', async () => {
    const open = origin.open()
    const { answer, line } = await call('/delay/60')
    assert.deepEqual(
      [answer.status, answer.body, answer.headers['x-sallyport-reason']],
      [504, 'upstream request timeout', undefined],
    )
    assert.deepEqual(pick(line, 'response_code', 'response_flags', 'response_code_details', 'reason'), [
      504,
      'UT',
      'response_timeout',
      null,
    ])
    assert.ok(Number(line['duration']) >= 995, String(line['duration']))
    await eventually('the connection outside is closed', () => origin.open() <= open)
  })

  it('in the middle of the answer: the caller sees a cut, never a whole answer', async () => {
    const { answer, line } = await call('/trickle')
    assert.deepEqual([answer.status, answer.body, answer.complete], [200, 'abc', false])
    assert.deepEqual(pick(line, 'response_code', 'response_flags', 'bytes_sent'), [200, 'UT', 3])
  })

  it('runs from the end of the request, so a slow upload is not cut', async () => {
    const socket = await plainConnect(harness.gateway.port(80))
    sent += 1
    socket.write(`POST /delay/0 HTTP/1.1\r\nhost: ${HOST}\r\ncontent-length: 4\r\nconnection: close\r\n\r\nab`)
    const seen = origin.requests.length
    await eventually('the head is outside', () => origin.requests.length > seen)
    // Longer than the timeout of the route: the clock must not run yet.
    const from = performance.now()
    await eventually('a second and a half', () => performance.now() - from > 1500)
    socket.write('cd')
    let text = ''
    for await (const chunk of socket) text += String(chunk)
    assert.match(text, /^HTTP\/1\.1 200 /)
  })
})

describe('headers', () => {
  it('are set, added and removed on the way out and on the way back', async () => {
    const { answer } = await call('/headers', {
      headers: { 'x-set': 'caller', 'x-add': 'first', 'x-gone': 'here', 'x-stays': '1' },
    })
    const { headers } = echo(answer)
    assert.deepEqual(
      ['X-Set', 'X-Both', 'X-Add', 'X-Gone', 'X-Stays', 'X-Dest', 'Host'].map((name) => headers[name]),
      ['rule', 'rule', 'first,second', undefined, '1', '100%', HOST],
    )
    assert.deepEqual(
      [answer.headers['x-answer'], answer.headers['x-more'], answer.headers['content-type']],
      ['set', 'yes', undefined],
    )
  })
})

describe('rewrite', () => {
  it('replaces a prefix; the query stays; the log shows what was asked, as Istio’s format does', async () => {
    const { answer, line } = await call('/old/a/b?x=1&y=%2e')
    assert.equal(origin.requests.at(-1), 'GET /anything/new/a/b?x=1&y=%2e')
    assert.deepEqual(echo(answer).args, { x: '1', y: '.' })
    // path is %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% (behaviour §8.1).
    assert.equal(line['path'], '/old/a/b?x=1&y=%2e')
  })

  it('replaces the whole path of an exact or regex match', async () => {
    await call('/exact?q')
    assert.equal(origin.requests.at(-1), 'GET /anything/whole?q')
    await call('/re/a/b')
    assert.equal(origin.requests.at(-1), 'GET /anything/re')
  })

  it('never makes a dot segment that policy did not see', async () => {
    const seen = origin.requests.length
    const { answer, line } = await call('/bare/%2e./secret')
    // Normalised before it is matched: this is /secret, and no rewrite applies to it.
    assert.equal(answer.status, 200)
    assert.deepEqual(origin.requests.slice(seen), ['GET /secret'])
    assert.equal(line['route_name'], 'rest')
    const other = await call('/bare../secret')
    assert.equal(origin.requests.at(-1), 'GET /anything../secret')
    assert.equal(other.answer.status, 200)
  })

  it('replaces the authority, and only the authority: the upstream is the route’s', async () => {
    const { answer, line } = await call('/anything/authority')
    assert.deepEqual(
      [echo(answer).headers['Host'], line['upstream_host'], line['authority']],
      [AUTHORITY, `127.0.0.1:${origin.port}`, AUTHORITY],
    )
    assert.equal(echo((await call('/anything/set-host')).answer).headers['Host'], 'set.example')
  })

  it('is judged by what the caller asked, as in Istio', async () => {
    const { answer } = await call('/anything/secret')
    assert.equal(answer.status, 403)
    // The rewritten path would be denied, the requested one is not.
    assert.equal((await call('/old/secret')).answer.status, 200)
  })
})

describe('redirect and directResponse', () => {
  it('redirect: code, location and no upstream', async () => {
    const seen = origin.requests.length
    const { answer, line } = await call('/away?q=1')
    assert.deepEqual([answer.status, answer.headers.location, answer.body], [307, 'http://else.example/there?q=1', ''])
    assert.deepEqual(
      pick(line, 'response_code', 'response_code_details', 'upstream_host', 'upstream_cluster', 'route_name'),
      [307, 'direct_response', null, null, 'redirect'],
    )
    assert.equal((await call('/secure/x', { host: `${HOST}:80` })).answer.headers.location, `https://${HOST}/secure/x`)
    assert.equal(
      (await call('/secure/x', { host: `${HOST}:8080` })).answer.headers.location,
      `https://${HOST}:8080/secure/x`,
    )
    assert.equal(origin.requests.length, seen)
  })

  it('directResponse: status, bytes, edited headers', async () => {
    const { answer, line } = await call('/teapot')
    assert.deepEqual(
      [answer.status, answer.body, answer.headers['content-type'], answer.headers['x-pot'], answer.headers['server']],
      [418, 'short and stout', 'text/plain', 'tea', 'sallyport'],
    )
    assert.deepEqual(pick(line, 'response_code', 'bytes_sent', 'response_code_details', 'reason'), [
      418,
      15,
      'direct_response',
      null,
    ])
    const head = await call('/teapot', { method: 'HEAD' })
    assert.deepEqual([head.answer.status, head.answer.body, head.answer.headers['content-length']], [418, '', '15'])
    assert.equal(head.line['bytes_sent'], 0)
  })
})

describe('a route to nowhere', () => {
  it('503 NC, and only this route', async () => {
    for (const path of ['/gone', '/subset']) {
      const { answer, line } = await call(path)
      assert.deepEqual([answer.status, answer.body], [503, ''], path)
      assert.deepEqual(pick(line, 'response_code', 'response_flags', 'response_code_details', 'upstream_host'), [
        503,
        'NC',
        'cluster_not_found',
        null,
      ])
    }
    assert.equal((await call('/')).answer.status, 200)
  })

  it('and its resource earns a warning with its place', async () => {
    const warnings = await eventually('the warnings', () => {
      const lines = harness
        .log()
        .filter(({ level, message }) => level === 'warning' && /SP70(?:01|20)/.test(String(message)))
      return lines.length >= 2 ? lines : null
    })
    for (const { message } of warnings) assert.match(String(message), /all\.yaml:\d+:\d+ warning SP70(?:01|20) /)
  })
})
