/**
 * Trailers between HTTP/2 callers and HTTP/2 sites (behaviour §10.5): both ways, but nothing behind a body may say what only
 * a head may, and the versions that have none get none.
 */
import assert from 'node:assert/strict'
import type { ServerHttp2Stream } from 'node:http2'
import { type TestContext, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { type H2Answer, h2Answer, h2Over, h2Request } from '../../src/testing/h2-client.ts'
import { type H2Origin, startH2Origin } from '../../src/testing/h2-origin.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import {
  documents,
  gateway,
  type Manifest,
  requestAuthentication,
  serviceEntry,
  to,
  virtualService,
} from './manifests.ts'
import { started } from './started.ts'

const HOST = 'site.example'

type World = { readonly harness: Harness; readonly origin: H2Origin; readonly port: number }

async function world(
  t: TestContext,
  serve: (stream: ServerHttp2Stream, path: string) => void,
  rule = {},
  more: readonly Manifest[] = [],
): Promise<World> {
  const origin = await startH2Origin(({ stream, headers }) => serve(stream, headers[':path'] ?? ''))
  t.after(async () => origin[Symbol.asyncDispose]())
  const manifests = [
    gateway({ protocol: 'HTTP2' }),
    serviceEntry('site', HOST, origin.port, { protocol: 'HTTP2' }),
    virtualService('site', [HOST], [{ route: to(HOST), ...rule }]),
    ...more,
  ]
  const harness = await started(t, { resources: { 'all.yaml': documents(...manifests) } })
  return { harness, origin, port: harness.gateway.port(80) }
}

/** A POST with these trailers. */
async function post(port: number, trailers: Record<string, string | string[]>): Promise<H2Answer> {
  const session = h2Over(await plainConnect(port))
  const stream = session.request({ ':method': 'POST', ':path': '/', ':authority': HOST }, { waitForTrailers: true })
  stream.on('error', () => {})
  stream.once('wantTrailers', () => stream.sendTrailers(trailers))
  stream.end('body')
  const answer = await h2Answer(stream)
  session.close()
  return answer
}

test('request trailers: what belongs behind a body goes on, what does not stays here', async (t) => {
  const seen: (readonly string[])[] = []
  const { harness, origin, port } = await world(
    t,
    (stream) => {
      stream.on('trailers', (_fields, _flags, raw) => seen.push(raw as unknown as string[]))
      stream.resume()
      // Node says `end` of a stream that was reset, too.
      stream.once('end', () => {
        if (!stream.destroyed) stream.respond({}, { endStream: true })
      })
    },
    { headers: { request: { set: { 'x-edited': 'by the route' } } } },
    [requestAuthentication('r', [{ issuer: 'i', jwks: '{"keys":[]}', outputPayloadToHeader: 'X-Payload' }])],
  )
  const forbidden = {
    host: 'evil.example',
    // As long as the body is; any other length is refused below.
    'content-length': '4',
    'content-type': 'a/b',
    authorization: 'Bearer x',
    cookie: 'a=b',
    'x-envoy-retry-on': '5xx',
    'x-forwarded-for': '10.0.0.1',
    'x-request-id': 'mine',
    trailer: 'x',
    expect: '100-continue',
    traceparent: 'x',
    'x-edited': 'by the caller',
    'x-payload': 'of no token',
  }
  assert.equal((await post(port, { 'x-sum': ['1', '2'], ...forbidden })).status, 200)
  assert.equal((await post(port, forbidden)).status, 200)
  assert.deepEqual(seen, [['x-sum', '1', 'x-sum', '2']])
  assert.equal(origin.streams.length, 2)
  const refused = await post(port, { 'content-length': '5' })
  assert.deepEqual([refused.status, refused.rstCode], [0, 1])
  // If the site has seen anything of this request, then not its end.
  const begun = origin.streams.slice(2).map(({ stream }) => stream)
  await eventually('the site has been told', () => begun.every(({ closed }) => closed))
  for (const { rstCode } of begun) assert.notEqual(rstCode, 0)
  assert.equal(seen.length, 1)
  await harness.stop(3)
})

test('response trailers: to HTTP/2 callers, without what is ours alone to say; never to HTTP/1.1 callers', async (t) => {
  const { harness, port } = await world(t, (stream, path) => {
    stream.resume()
    stream.respond({ trailer: 'grpc-status' }, { waitForTrailers: true })
    stream.once('wantTrailers', () =>
      stream.sendTrailers({
        'grpc-status': '0',
        'x-sum': ['1', '2'],
        server: 'evil',
        'content-length': path === '/framed' ? '7' : '6',
        'x-envoy-overloaded': 'true',
        'x-sallyport-reason': 'rbac_denied',
        trailer: 'x',
      }),
    )
    stream.end('answer')
  })
  const { status, body, trailers, headers } = await post(port, { 'x-t': '1' })
  assert.deepEqual([status, body.toString(), headers['trailer']], [200, 'answer', undefined])
  assert.deepEqual(Object.entries(trailers ?? {}), [
    ['grpc-status', '0'],
    ['x-sum', '1, 2'],
  ])
  const answer = await request(await plainConnect(port), HOST)
  assert.deepEqual(
    [answer.status, answer.body, answer.complete, answer.headers['trailer']],
    [200, 'answer', true, undefined],
  )
  assert.equal(answer.headers['x-sum'], undefined)
  const framed = await request(await plainConnect(port), HOST, { path: '/framed' })
  assert.equal(framed.complete, false)
  await harness.stop(3)
})

test('answers without a body, by status or method, end cleanly in both versions', async (t) => {
  const { harness, port } = await world(t, (stream, path) => {
    stream.resume()
    const status = Number(path.slice(1))
    stream.respond({ ':status': status, ...(status === 200 ? { 'content-length': '4' } : {}) }, { endStream: true })
  })
  const session = h2Over(await plainConnect(port))
  const socket = await plainConnect(port)
  for (const [method, status] of [
    ['HEAD', 200],
    ['GET', 204],
    ['GET', 205],
    ['GET', 304],
    ['GET', 404],
    ['DELETE', 404],
  ] as const) {
    const h2 = await h2Request(session, HOST, { method, path: `/${status}` })
    const h1 = await request(socket, HOST, { method, path: `/${status}` })
    assert.deepEqual([h2.status, h2.rstCode, h2.body.length], [status, 0, 0])
    assert.deepEqual([h1.status, h1.complete, h1.body], [status, true, ''])
    assert.equal(h2.headers['content-length'], h1.headers['content-length'], `${method} ${status}`)
  }
  session.close()
  socket.destroy()
  await harness.stop(12)
})
