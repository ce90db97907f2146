/**
 * Header fields across the gateway (threats 11, 14; behaviour §7.4, §10.4; contract §4): nothing hop-by-hop and nothing of the
 * mesh leaves, nothing a site says can pass for our word, and everything else is carried as it came.
 */
import assert from 'node:assert/strict'
import { rawExchange } from '../../src/testing/mesh-client.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import { test } from './engines.ts'
import { HOST, type Site, startSite } from './site.ts'

const H = `Host: ${HOST}\r\n`
const OK = 'HTTP/1.1 204 No Content\r\n\r\n'

async function send(site: Site, bytes: string): Promise<string> {
  const socket = await site.mesh()
  const answer = await rawExchange(socket, Buffer.from(bytes, 'latin1'), (text) => text.includes('\r\n\r\n'))
  socket.destroy()
  return answer
}

/** Fields as the origin gets them, in order; without the two that are always there. */
async function carried(site: Site, sent: () => string, fields: string): Promise<string[]> {
  const before = sent().length
  const answer = await send(site, `GET / HTTP/1.1\r\n${H}X-Request-Id: r\r\n${fields}\r\n`)
  assert.match(answer, /^HTTP\/1\.1 204 /)
  return sent()
    .slice(before)
    .split('\r\n')
    .slice(1, -2)
    .filter((line) => line !== `host: ${HOST}` && line !== 'x-request-id: r')
}

test('what leaves and what does not', async (t) => {
  const origin = await startRawOrigin({ onRequest: (connection) => connection.socket.write(OK) })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const sent = () => origin.connections.map(({ text }) => text).join('')
  const rows: Readonly<Record<string, readonly [fields: string, carried: readonly string[]]>> = {
    'threat 11: hop-by-hop fields stay here': [
      'Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers, deflate\r\nTrailer: x\r\nProxy-Authorization: Basic eA==\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nX-Kept: 1\r\n',
      ['x-kept: 1'],
    ],
    'threat 11: and what Connection names': [
      'Connection: close, x-authz, X-Other\r\nX-Authz: a\r\nx-other: b\r\nx-authz: c\r\nX-Kept: 1\r\n',
      ['x-kept: 1'],
    ],
    'threat 11: in several Connection fields': [
      'Connection: x-one\r\nConnection: ,x-two,,\r\nX-One: a\r\nX-Two: b\r\nX-Kept: 1\r\n',
      ['x-kept: 1'],
    ],
    'threat 14: fields of the mesh and of proxies stay here': [
      'X-Envoy-Peer-Metadata: e30=\r\nX-Envoy-Peer-Metadata-Id: sidecar~1\r\nX-Forwarded-Client-Cert: By=x;URI=spiffe://a\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: other\r\nForwarded: for=1.2.3.4\r\nX-Envoy-Attempt-Count: 1\r\nX-Envoy-Original-Path: /x\r\nX-Envoy-Upstream-Rq-Timeout-Ms: 1\r\nX-Envoy-Retry-On: 5xx\r\nX-Envoy-Max-Retries: 9\r\nX-Sallyport-Reason: x\r\nX-Kept: 1\r\n',
      ['x-kept: 1'],
    ],
    'trace context goes on': [
      'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nX-B3-TraceId: 0af7\r\nB3: 0\r\n',
      ['traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', 'x-b3-traceid: 0af7', 'b3: 0'],
    ],
    'repeated fields are kept apart and in order': [
      'Accept: a\r\nX-R: 1\r\nAccept: b\r\nX-R: 2\r\nX-R: \r\nContent-Disposition: \xe9\r\n',
      ['accept: a', 'x-r: 1', 'accept: b', 'x-r: 2', 'x-r: ', 'content-disposition: \xe9'],
    ],
    'cookies become the one field that HTTP/1.1 wants': [
      'Cookie: a=1\r\nX-K: v\r\nCookie: b=2; c=3\r\n',
      ['cookie: a=1; b=2; c=3', 'x-k: v'],
    ],
    'authorization is carried, an underscore is no trouble': [
      'Authorization: Bearer x\r\nX_Y: z\r\n',
      ['authorization: Bearer x', 'x_y: z'],
    ],
  }
  for (const [name, [fields, expected]] of Object.entries(rows)) {
    await t.test(name, async () => assert.deepEqual(await carried(site, sent, fields), expected))
  }
  await site.harness.stop(Object.keys(rows).length)
})

test('tracing.propagate: false ends trace context at the border', async (t) => {
  const origin = await startRawOrigin({ onRequest: (connection) => connection.socket.write(OK) })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port, { spec: { tracing: { propagate: false } } })
  const fields =
    'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nbaggage: a=b\r\nX-B3-TraceId: 0af7\r\nX-K: v\r\n'
  assert.deepEqual(await carried(site, () => origin.connections.map(({ text }) => text).join(''), fields), ['x-k: v'])
  const [line] = await site.harness.lines(1)
  assert.equal(line?.['trace_id'], '0af7651916cd43dd8448eb211c80319c')
  await site.harness.stop(1)
})

test('threat 11: Connection may not take away what the request means', async (t) => {
  const origin = await startRawOrigin({ onRequest: (connection) => connection.socket.write(OK) })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const rows = [
    'Connection: content-length\r\nContent-Length: 5\r\n',
    'Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n',
    'Connection: host\r\n',
    'Connection: authorization\r\nAuthorization: Bearer x\r\n',
    'Connection: cookie\r\nCookie: a=b\r\n',
    'Connection: x-forwarded-for\r\nX-Forwarded-For: 1.2.3.4\r\n',
    'Connection: :path\r\n',
    'Connection: a, b, c, d, e, f, g, h, i, j\r\n',
    'Connection: "x"\r\n',
  ]
  for (const fields of rows) {
    const answer = await send(site, `POST / HTTP/1.1\r\n${H}${fields}\r\n0\r\n\r\n`)
    assert.match(answer, /^HTTP\/1\.1 400 /, fields)
  }
  assert.equal(origin.connections.length, 0)
  for (const line of await site.harness.lines(rows.length))
    assert.equal(line['response_code_details'], 'connection_header_rejected')
  await site.harness.stop(rows.length)
})

test('threat 14: callers cannot steer timeouts and retries', async (t) => {
  let requests = 0
  const origin = await startRawOrigin({
    onRequest: (connection) => {
      requests += 1
      connection.socket.write(`HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n`)
    },
  })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const steering =
    'X-Envoy-Retry-On: 5xx,gateway-error\r\nX-Envoy-Max-Retries: 5\r\nX-Envoy-Upstream-Rq-Timeout-Ms: 1\r\nX-Envoy-Expected-Rq-Timeout-Ms: 1\r\n'
  assert.match(await send(site, `GET / HTTP/1.1\r\n${H}${steering}\r\n`), /^HTTP\/1\.1 503 /)
  assert.equal(requests, 1)
  await site.harness.stop(1)
})

test('threat 14: what comes back', async (t) => {
  const response = [
    'HTTP/1.1 200 Very Well',
    'Server: nginx/1.0',
    'X-Sallyport-Reason: rbac_denied',
    'X-Envoy-Upstream-Service-Time: 99999',
    'X-Envoy-Overloaded: true',
    'Set-Cookie: a=1; Path=/',
    'X-Hop: secret',
    'Set-Cookie: b=2',
    'Connection: keep-alive, x-hop',
    'Keep-Alive: timeout=9',
    'Proxy-Authenticate: Basic',
    'Upgrade: h2c',
    'Via: 1.1 somewhere',
    'Vary: a',
    'Vary: b',
    'Content-Length: 2',
    '',
    'ok',
  ].join('\r\n')
  const origin = await startRawOrigin({ onRequest: (connection) => connection.socket.write(response) })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const socket = await site.mesh()
  const answer = await rawExchange(socket, `GET / HTTP/1.1\r\n${H}\r\n`, (text) => text.endsWith('ok'))
  socket.destroy()
  const [head = ''] = answer.split('\r\n\r\n')
  const [statusLine, ...fields] = head.split('\r\n')
  assert.match(statusLine ?? '', /^HTTP\/1\.1 200 /)
  const lower = fields.map((field) => field.toLowerCase())
  assert.deepEqual(
    lower.filter((field) => !field.startsWith('date: ') && !field.startsWith('x-envoy-upstream-service-time: ')),
    [
      'set-cookie: a=1; path=/',
      'set-cookie: b=2',
      'via: 1.1 somewhere',
      'vary: a',
      'vary: b',
      'content-length: 2',
      'server: sallyport',
    ],
  )
  const times = lower.filter((field) => field.startsWith('x-envoy-upstream-service-time: '))
  assert.equal(times.length, 1)
  assert.doesNotMatch(times[0] ?? '', /99999/)
  assert.equal(lower.filter((field) => field.startsWith('date: ')).length, 1)
  await site.harness.stop(1)
})

test('a request id is made when there is none, and it is the one in the log', async (t) => {
  const origin = await startRawOrigin({ onRequest: (connection) => connection.socket.write(OK) })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  await send(site, `GET / HTTP/1.1\r\n${H}\r\n`)
  const [line] = await site.harness.lines(1)
  const id = String(line?.['request_id'])
  assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  assert.equal(origin.connections[0]?.text, `GET / HTTP/1.1\r\nhost: ${HOST}\r\nx-request-id: ${id}\r\n\r\n`)
  await site.harness.stop(1)
})
