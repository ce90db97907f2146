/**
 * HTTP/2 requests that are ambiguous or malformed (threats 18): answered 400, or reset by the HTTP/2 layer itself before
 * they are a request. Either way the outside sees nothing of them and the session serves the next request.
 */
import assert from 'node:assert/strict'
import { constants } from 'node:http2'
import type { TestContext } from 'node:test'
import { gatewayYaml, siteYaml } from '../../src/testing/egress-resources.ts'
import { h2Over, h2Request } from '../../src/testing/h2-client.ts'
import { END_HEADERS, type Fields, FRAME, FrameClient, frame, headerBlock } from '../../src/testing/h2-frames.ts'
import { type Harness, startHarness } from '../../src/testing/harness.ts'
import { type MeshConnectOptions, meshConnect } from '../../src/testing/mesh-client.ts'
import { type RawOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import { test } from './engines.ts'

const HOST = 'site.example'
const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'

type World = { readonly harness: Harness; readonly origin: RawOrigin; readonly mesh: MeshConnectOptions }

async function start(t: TestContext): Promise<World> {
  const origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(OK) })
  const harness = await startHarness({
    resources: { 'all.yaml': `${gatewayYaml()}---\n${siteYaml(HOST, origin.port)}` },
  })
  t.after(async () => {
    await harness.gateway.destroy()
    await origin.close()
  })
  const svid = await harness.pki.svid('apps/sleep')
  return { harness, origin, mesh: { port: harness.gateway.port(80), svid, ca: harness.pki.root, alpn: ['h2'] } }
}

/** A GET with some pseudo fields replaced (null: left out), then further fields. */
function get(pseudo: Readonly<Record<string, string | null>> = {}, more: Fields = []): Fields {
  const all = { ':method': 'GET', ':scheme': 'http', ':authority': HOST, ':path': '/', ...pseudo }
  return [...Object.entries(all).flatMap(([name, value]) => (value === null ? [] : [[name, value] as const])), ...more]
}

const many = (count: number): Fields => Array.from({ length: count }, (_, i) => [`x-${i}`, '1'] as const)

test('threat 18: ambiguous requests are answered by the gateway, one line each, and nothing goes out', async (t) => {
  const { harness, origin, mesh } = await start(t)
  const cases: readonly (readonly [what: string, fields: Fields, status: number, details: string])[] = [
    ['host is another name', get({}, [['host', 'other.example']]), 400, 'conflicting_authorities'],
    ['host is another port', get({}, [['host', `${HOST}:80`]]), 400, 'conflicting_authorities'],
    ['port with a leading zero', get({ ':authority': `${HOST}:080` }), 400, 'invalid_authority'],
    ['numeric host', get({ ':authority': '2130706433' }), 400, 'invalid_authority'],
    ['absolute path', get({ ':scheme': 'ftp', ':path': `http://${HOST}/` }), 400, 'path_normalization_failed'],
    ['path without slash', get({ ':scheme': 'ftp', ':path': 'x' }), 400, 'path_normalization_failed'],
    ['raw byte above ASCII in the path', get({ ':path': '/\xe9' }), 400, 'path_normalization_failed'],
    ['encoded NUL', get({ ':path': '/a%00' }), 400, 'path_normalization_failed'],
    ['method in lower case', get({ ':method': 'get' }), 400, 'invalid_method'],
    ['unknown expectation', get({}, [['expect', 'miracles']]), 417, 'expectation_failed'],
    ['CONNECT', get({ ':method': 'CONNECT', ':scheme': null, ':path': null }), 404, 'route_not_found'],
    ['TRACE', get({ ':method': 'TRACE' }), 405, 'method_not_allowed'],
    ['101 fields', get({}, many(101)), 431, 'request_headers_too_large'],
  ]
  const client = new FrameClient(await meshConnect(mesh))
  for (const [i, [what, fields]] of cases.entries()) {
    const stream = 2 * i + 1
    client.request(stream, fields)
    const end = await client.endOf(stream)
    assert.ok(end !== null && end.type !== FRAME.reset, what)
  }
  const lines = await harness.lines(cases.length)
  for (const [i, [what, , status, details]] of cases.entries()) {
    const line = lines[i]
    assert.deepEqual(
      [line?.['response_code'], line?.['response_code_details'], line?.['protocol']],
      [status, details, 'HTTP/2'],
      what,
    )
    assert.equal(line?.['reason'], status === 404 ? 'no_route' : 'bad_request', what)
    assert.equal(line?.['upstream_host'], null, what)
  }
  assert.equal(origin.connections.length, 0)
  client.socket.destroy()
  await harness.stop(cases.length)
})

test('threat 18: what the HTTP/2 layer refuses is reset with PROTOCOL_ERROR, and the session goes on', async (t) => {
  const { harness, origin, mesh } = await start(t)
  const cases: readonly (readonly [what: string, fields: Fields])[] = [
    ['no authority and no host', get({ ':authority': null })],
    ['no path', get({ ':path': null })],
    ['empty path', get({ ':path': '' })],
    ['asterisk path', get({ ':path': '*' })],
    ['absolute path', get({ ':path': `http://${HOST}/` })],
    ['no method', get({ ':method': null })],
    ['two authorities', get({}, []).flatMap((field) => (field[0] === ':authority' ? [field, field] : [field]))],
    [
      'two hosts',
      get({ ':authority': null }, [
        ['host', HOST],
        ['host', HOST],
      ]),
    ],
    ['pseudo field after a field', [...get({ ':path': null }), ['x-a', '1'], [':path', '/']]],
    ['unknown pseudo field', get({ ':x': '1' })],
    ['protocol without CONNECT', get({ ':protocol': 'websocket' })],
    ['protocol without a path', get({ ':method': 'CONNECT', ':protocol': 'websocket', ':path': null })],
    ['upper-case name', get({}, [['X-Upper', '1']])],
    ['connection', get({}, [['connection', 'close']])],
    ['keep-alive', get({}, [['keep-alive', '1']])],
    ['transfer-encoding', get({}, [['transfer-encoding', 'chunked']])],
    ['upgrade', get({}, [['upgrade', 'websocket']])],
    ['proxy-connection', get({}, [['proxy-connection', 'close']])],
    ['te other than trailers', get({}, [['te', 'gzip']])],
    [
      'two lengths',
      get({}, [
        ['content-length', '0'],
        ['content-length', '0'],
      ]),
    ],
    ['length that is none', get({}, [['content-length', '+1']])],
    ['userinfo', get({ ':authority': `user@${HOST}` })],
    ['authority with a space', get({ ':authority': 'site example' })],
    ['line feed in the path', get({ ':path': '/a\nb' })],
    ['space in the method', get({ ':method': 'GET /x' })],
  ]
  const client = new FrameClient(await meshConnect(mesh))
  for (const [i, [what, fields]] of cases.entries()) {
    const stream = 2 * i + 1
    client.request(stream, fields)
    const end = await client.endOf(stream)
    assert.equal(end?.type, FRAME.reset, what)
    assert.equal(end?.payload.readUInt32BE(), constants.NGHTTP2_PROTOCOL_ERROR, what)
  }
  assert.equal(origin.connections.length, 0)
  const last = 2 * cases.length + 1
  client.request(last, get())
  assert.equal((await client.endOf(last))?.type, FRAME.data)
  assert.equal(origin.connections.length, 1)
  client.socket.destroy()
  // Such a stream never becomes a request: the one line is of the good one.
  await harness.stop(1)
})

test('threat 18: control characters never cross from HTTP/2 into the HTTP/1.1 request', async (t) => {
  const { harness, origin, mesh } = await start(t)
  const client = new FrameClient(await meshConnect(mesh))
  const values = [
    'a\nx-injected: 1',
    'a\r\nx-injected: 1',
    'a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n',
    'a\0b',
    'a\x7fb',
  ]
  for (const [i, value] of values.entries()) {
    client.request(2 * i + 1, get({}, [['x-value', value]]))
    assert.notEqual(await client.endOf(2 * i + 1), null)
  }
  client.request(2 * values.length + 1, get({ ':path': '/last' }, [['x-byte', '\xe9\xff']]))
  assert.equal((await client.endOf(2 * values.length + 1))?.type, FRAME.data)
  const text = origin.connections.map((connection) => connection.text).join('')
  assert.ok(text.includes('GET /last HTTP/1.1\r\n'))
  assert.ok(text.includes('x-byte: \xe9\xff\r\n'), 'bytes above ASCII go out as they came')
  for (const part of ['injected', 'smuggled', '\0', '\x7f']) assert.ok(!text.includes(part), JSON.stringify(part))
  client.socket.destroy()
  // How many of them became requests is Node's affair; each that did has its line.
  const requests = harness.gateway.boundPorts.reduce((sum, { stats }) => sum + stats.downstream_rq_total, 0)
  assert.ok(requests >= 1 && requests <= values.length + 1)
  await harness.stop(requests)
})

test('threat 18: a body that is longer or shorter than its content-length never becomes another request', async (t) => {
  const { harness, origin, mesh } = await start(t)
  const smuggled = Buffer.from('helloGET /smuggled HTTP/1.1\r\nhost: site.example\r\n\r\n')
  for (const [body, sent] of [
    [smuggled, 5],
    [Buffer.from('hel'), 5],
  ] as const) {
    const client = new FrameClient(await meshConnect(mesh))
    const head = headerBlock(get({ ':method': 'POST' }, [['content-length', String(sent)]]))
    client.send(frame(FRAME.headers, END_HEADERS, 1, head), frame(FRAME.data, 1, 1, body))
    const end = await client.endOf(1)
    assert.ok(end === null || end.type === FRAME.reset, 'no clean answer')
    client.socket.destroy()
  }
  const [first, second] = await harness.lines(2)
  assert.deepEqual([first?.['response_flags'], second?.['response_flags']], ['DC', 'DC'])
  for (const connection of origin.connections) {
    await connection.closed
    assert.ok(!connection.text.includes('smuggled'), connection.text)
  }
  await harness.stop(2)
})

test('threat 18: host equal to :authority is fine, and so is host alone; only one host goes out', async (t) => {
  const { harness, origin, mesh } = await start(t)
  const client = new FrameClient(await meshConnect(mesh))
  client.request(1, get({}, [['host', HOST]]))
  await client.endOf(1)
  client.request(3, get({ ':authority': null }, [['host', 'SITE.example']]))
  assert.equal((await client.endOf(3))?.type, FRAME.data)
  const text = origin.connections.map((connection) => connection.text).join('')
  assert.deepEqual(text.match(/^host: .*$/gm), [`host: ${HOST}`, `host: ${HOST}`])
  client.socket.destroy()
  await harness.stop(2)
})

test('answers with repeated fields, bytes above ASCII or a broken end reach an HTTP/2 caller as they are', async (t) => {
  const { harness, mesh } = await start(t)
  const answers = [
    'HTTP/1.1 200 OK\r\nlocation: /a\r\nlocation: /b\r\netag: "1"\r\netag: "2"\r\nage: 1\r\nage: 2\r\ncontent-type: a/b\r\ncontent-type: c/d\r\ncontent-length: 0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nx-latin: caf\xe9\r\nset-cookie: a\r\nset-cookie: b\r\nConnection: close, x-hop\r\nx-hop: 1\r\nkeep-alive: 5\r\ncontent-length: 0\r\n\r\n',
    'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n',
  ]
  const origin = await startRawOrigin({
    onRequest: ({ socket }, head) =>
      socket.end(Buffer.from(answers[Number(head.split(' ')[1]?.slice(1))] ?? '', 'latin1')),
  })
  t.after(() => origin.close())
  assert.ok((await harness.change({ 'all.yaml': `${gatewayYaml()}---\n${siteYaml(HOST, origin.port)}` })).ok)
  const session = h2Over(await meshConnect(mesh))
  const repeated = await h2Request(session, HOST, { path: '/0' })
  assert.deepEqual([repeated.status, repeated.rstCode], [200, 0])
  const latin = await h2Request(session, HOST, { path: '/1' })
  assert.deepEqual(
    [
      latin.status,
      latin.headers['x-latin'],
      latin.headers['set-cookie'],
      latin.headers['x-hop'],
      latin.headers['connection'],
      latin.headers['keep-alive'],
    ],
    [200, 'caf\xe9', ['a', 'b'], undefined, undefined, undefined],
  )
  for (const path of ['/2', '/3']) {
    const cut = await h2Request(session, HOST, { path })
    assert.deepEqual([cut.status, cut.body.toString()], [200, 'hello'], path)
    assert.notEqual(cut.rstCode, 0, 'a cut answer is not a clean end')
  }
  session.close()
  const lines = await harness.lines(4)
  assert.deepEqual(
    lines.map((line) => line['response_flags']),
    ['-', '-', 'UC', 'UC'],
  )
  await harness.stop(4)
})
