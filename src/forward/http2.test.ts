/** One request on one stream: what goes out, what comes back, and every way for it to end. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { PassThrough, Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'
import { eventually } from '../testing/eventually.ts'
import {
  clusterModel,
  failureOf,
  responseOf,
  retryModel,
  type TestUpstream,
  testUpstream,
} from '../testing/forwarding.ts'
import { END_HEADERS, END_STREAM, type Fields, FRAME, type Frame, frame, headerBlock } from '../testing/h2-frames.ts'
import { startFrameOrigin, startH2Origin } from '../testing/h2-origin.ts'
import { UpstreamBroke } from './forwarder.ts'
import { createHttp2Forwarder } from './http2.ts'

const MAX_FRAME = 16_384
const [CANCEL, REFUSED, NO_ERROR, INTERNAL, PROTOCOL] = [8, 7, 0, 2, 1]

function h2Upstream(port: number, options: Parameters<typeof clusterModel>[1] = {}): TestUpstream {
  return testUpstream(clusterModel(port, { protocol: 'http2', ...options }), undefined, {
    forwarder: createHttp2Forwarder(),
  })
}

test('what was judged is what arrives: pseudo fields, every field in order, nothing of a connection', async () => {
  await using origin = await startH2Origin(({ stream }) => stream.respond({}, { endStream: true }))
  using upstream = h2Upstream(origin.port)
  const headers = [
    ['host', 'Site.example:8080'],
    ['x-b', '2'],
    ['x-a', 'caf\u00e9 \t!'],
    ['x-b', '1'],
    ['constructor', 'c'],
    ['content-type', 'a'],
    ['content-type', 'b'],
    ['te', 'trailers'],
    ['connection', 'close'],
    ['keep-alive', 'timeout=1'],
    ['upgrade', 'h2c'],
    ['transfer-encoding', 'chunked'],
    ['cookie', 'a=1; b=2'],
  ].flat()
  const target = '/a//b/%2e%2E/?q=%zz&x=a%20b'
  for (const method of ['GET', 'HEAD', 'DELETE', 'OPTIONS', 'PROPFIND'])
    responseOf(await upstream.request({ method, target, headers }))
  assert.deepEqual(
    origin.streams.map(({ raw }) => raw),
    ['GET', 'HEAD', 'DELETE', 'OPTIONS', 'PROPFIND'].map((method) => [
      ...[':method', method, ':scheme', 'http', ':authority', 'Site.example:8080', ':path', target],
      ...['x-b', '2', 'x-a', 'caf\u00e9 \t!', 'x-b', '1', 'constructor', 'c', 'content-type', 'a', 'content-type', 'b'],
      ...['te', 'trailers', 'cookie', 'a=1; b=2'],
    ]),
  )
})

test('bodies and trailers go both ways; a repeated trailer stays repeated', async () => {
  await using origin = await startH2Origin(({ stream }) => {
    const request = buffer(stream)
    let trailers: readonly string[] = []
    stream.on('trailers', (_fields, _flags, raw) => (trailers = raw as unknown as string[]))
    void request.then((body) => {
      stream.respond({ ':status': 201 }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': ['1', '2'], 'grpc-status': '0' }))
      stream.end(`${body.toString()} ${trailers.join()}`)
    })
  })
  using upstream = h2Upstream(origin.port)
  const sent = async (fields: readonly string[] | null) => {
    const trailers = { read: () => fields }
    const body = Readable.from([Buffer.from('he'), Buffer.from('y')])
    const outcome = responseOf(await upstream.request({ method: 'POST', trailers, body }))
    return [outcome.status, (await outcome.body()).toString(), outcome.response.trailers?.()]
  }
  const answered = ['x-sum', '1', 'x-sum', '2', 'grpc-status', '0']
  assert.deepEqual(await sent(['x-t', '1', 'x-t', '2']), [201, 'hey x-t,1,x-t,2', answered])
  assert.deepEqual(await sent(null), [201, 'hey ', answered])
  assert.deepEqual(origin.sessions.length, 1)
})

test('a head that is all there is: an empty body, and no trailers', async () => {
  await using origin = await startH2Origin(({ stream }) =>
    stream.respond({ 'content-type': 'application/grpc', 'grpc-status': '5' }, { endStream: true }),
  )
  using upstream = h2Upstream(origin.port)
  const outcome = responseOf(await upstream.request({ method: 'POST', body: Readable.from([Buffer.alloc(5)]) }))
  assert.equal((await outcome.body()).length, 0)
  assert.equal(outcome.headers[outcome.headers.indexOf('grpc-status') + 1], '5')
  assert.equal(outcome.response.trailers?.(), null)
})

test('an answer that comes before the request has ended is passed on, and both go on', async () => {
  await using origin = await startH2Origin(({ stream }) => {
    stream.respond({})
    stream.on('data', (chunk: Buffer) => stream.write(chunk))
    stream.once('end', () => stream.end('bye'))
  })
  using upstream = h2Upstream(origin.port)
  const body = new PassThrough()
  const { response } = responseOf(await upstream.request({ method: 'POST', body, clientProtocol: 'HTTP/2' }))
  for (const word of ['one', 'two', 'three']) {
    body.write(word)
    const [chunk] = (await once(response.body, 'data')) as [Buffer]
    assert.equal(chunk.toString(), word)
  }
  body.end()
  assert.equal((await buffer(response.body)).toString(), 'bye')
  await eventually('the stream is given back', () => upstream.cluster.stats.upstream_rq_active === 0)
})

test('a reset with NO_ERROR behind as much as was announced is an end, as Node’s servers say it', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port)
  for (const [index, length] of [4, 5].entries()) {
    const sent = upstream.send()
    const server = await origin.connection(0)
    const stream = await server.request(index)
    server.respond(stream, [['content-length', String(length)]])
    server.data(stream, 'four')
    server.reset(stream, NO_ERROR)
    const body = responseOf(await sent.outcome).body()
    if (length === 4) assert.equal((await body).toString(), 'four')
    else await assert.rejects(body)
  }
})

test('an end that comes while nobody reads is noticed when somebody does, the request still open', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port)
  const body = new PassThrough()
  const sent = upstream.send({ method: 'POST', body })
  const server = await origin.connection(0)
  const stream = await server.request(0)
  server.respond(stream)
  for (let i = 0; i < 12; i++) server.data(stream, 'x'.repeat(16_000))
  server.data(stream, '', { end: true })
  const outcome = responseOf(await sent.outcome)
  const ping = frame(FRAME.ping, 0, 0, Buffer.alloc(8))
  server.send(ping)
  // Everything before it has been read by then.
  await server.until((frames) => frames.some(({ type }) => type === FRAME.ping))
  assert.equal((await outcome.body()).length, 192_000)
  body.end('rest')
  await eventually('the stream is given back', () => upstream.cluster.stats.upstream_rq_active === 0)
  assert.equal(upstream.cluster.stats.upstream_rq_rx_reset, 0)
})

test('an upstream that answers in full and wants no more of the request ends it cleanly', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port)
  const body = new PassThrough()
  const sent = upstream.send({ method: 'POST', body })
  const server = await origin.connection(0)
  const stream = await server.request(0)
  server.respond(stream)
  server.data(stream, 'too large', { end: true })
  server.reset(stream, NO_ERROR)
  const outcome = responseOf(await sent.outcome)
  assert.equal((await outcome.body()).toString(), 'too large')
  await eventually('the stream is given back', () => upstream.cluster.stats.upstream_rq_active === 0)
  assert.equal(upstream.cluster.stats.upstream_rq_rx_reset, 0)
  assert.equal(body.readableFlowing, false, 'nobody reads the rest')
})

test('resets before the head: what they are called, and which of them may be tried again', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port)
  for (const [code, kind, refused] of [
    [REFUSED, 'upstream_reset', true],
    [INTERNAL, 'upstream_reset', undefined],
    [CANCEL, 'upstream_reset', undefined],
    [NO_ERROR, 'upstream_reset', undefined],
    [PROTOCOL, 'upstream_protocol', undefined],
  ] as const) {
    const seen = origin.connections[0]?.requests.length ?? 0
    const sent = upstream.send()
    const server = await origin.connection(0)
    server.reset(await server.request(seen), code)
    const failure = failureOf(await sent.outcome)
    assert.deepEqual([failure.kind, failure.refused], [kind, refused], String(code))
    assert.deepEqual(sent.surplus, [])
  }
  assert.equal(origin.connections.length, 1)
  assert.equal(upstream.cluster.stats.upstream_rq_rx_reset, 5)
})

test('refused streams are tried again by the default policy, POST and all', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port)
  const sent = upstream.send({ method: 'POST', body: Readable.from([Buffer.from('once')]) }, retryModel())
  const server = await origin.connection(0)
  server.reset(await server.request(0), REFUSED)
  const again = await server.request(1)
  await server.until((frames) => frames.some(({ type, stream }) => type === FRAME.data && stream === again))
  const data = server.frames.filter(({ type, stream }) => type === FRAME.data && stream === again)
  assert.equal(Buffer.concat(data.map(({ payload }) => payload)).toString(), 'once')
  server.respond(again, [], { end: true })
  assert.equal(responseOf(await sent.outcome).status, 200)
  assert.deepEqual(sent.notes, ['retry 2'])
})

test('a body that breaks off is an error that says how, whatever the reset says; other streams go on', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port)
  const first = upstream.send()
  const server = await origin.connection(0)
  const steady = await server.request(0)
  server.respond(steady)
  const other = responseOf(await first.outcome)
  for (const [index, code] of [INTERNAL, CANCEL, NO_ERROR].entries()) {
    const sent = upstream.send()
    const stream = await server.request(index + 1)
    server.respond(stream)
    server.data(stream, 'half')
    const outcome = responseOf(await sent.outcome)
    server.reset(stream, code)
    await assert.rejects(outcome.body(), (error) => error instanceof UpstreamBroke && error.kind === 'upstream_reset')
  }
  server.data(steady, 'whole', { end: true })
  assert.equal((await other.body()).toString(), 'whole')
  assert.equal(origin.connections.length, 1)
  await eventually('streams are given back', () => upstream.cluster.stats.upstream_rq_active === 0)
})

test('a connection that closes: silence before the head, a cut body after it; what had come in full is kept', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port)
  const [silent, half, whole] = [upstream.send({ method: 'POST' }), upstream.send(), upstream.send()]
  const server = await origin.connection(0)
  const [, second, third] = [await server.request(0), await server.request(1), await server.request(2)]
  server.respond(second)
  server.data(second, 'half')
  server.respond(third, [['x-a', 'b']])
  server.data(third, 'who')
  server.data(third, 'le', { end: true })
  const [cut, kept] = [responseOf(await half.outcome), responseOf(await whole.outcome)]
  // Nobody has read either of them yet.
  server.socket.destroy()
  assert.equal(failureOf(await silent.outcome).kind, 'upstream_closed')
  await assert.rejects(cut.body(), (error) => error instanceof UpstreamBroke && error.kind === 'upstream_closed')
  assert.equal((await kept.body()).toString(), 'whole')
  await eventually('the connection is forgotten', () => upstream.cluster.stats.upstream_cx_active === 0)
})

test('abort resets this stream and no other', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port)
  const [doomed, half, other] = [upstream.send(), upstream.send(), upstream.send()]
  const server = await origin.connection(0)
  const streams = [await server.request(0), await server.request(1), await server.request(2)] as const
  doomed.handle.abort()
  server.respond(streams[1])
  const cut = responseOf(await half.outcome)
  half.handle.abort()
  await assert.rejects(cut.body())
  for (const stream of streams.slice(0, 2)) {
    const isReset = (each: Frame) => each.type === FRAME.reset && each.stream === stream
    await server.until((frames) => frames.some(isReset))
    assert.equal(server.frames.find(isReset)?.payload.readUInt32BE(), CANCEL)
  }
  server.respond(streams[2], [], { end: true })
  assert.equal(responseOf(await other.outcome).status, 200)
  assert.deepEqual([doomed.surplus, doomed.connected.length], [[], 1])
  await eventually('streams are given back', () => upstream.cluster.stats.upstream_rq_active === 0)
  assert.equal(upstream.cluster.stats.upstream_cx_active, 1)
})

test('a caller who breaks off its upload takes the stream along; the upstream cannot take it for whole', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port)
  const body = new PassThrough()
  upstream.send({ method: 'POST', body })
  const server = await origin.connection(0)
  const stream = await server.request(0)
  body.write('half')
  await server.until((frames) => frames.some(({ type }) => type === FRAME.data))
  body.destroy()
  const end = await server.endOf(stream)
  // Neither before nor after it an END_STREAM.
  assert.deepEqual([end?.type, end?.payload.readUInt32BE()], [FRAME.reset, CANCEL])
})

test('what cannot be carried is not sent: fields, CONNECT, a body of another length', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port)
  const host = ['host', 'site.example']
  for (const request of [
    { headers: [...host, 'x-a', 'b\r\nx-c: d'] },
    { headers: [...host, 'x a', 'b'] },
    { headers: [...host, ':path', '/other'] },
    { method: 'CONNECT' },
    { headers: [...host, 'content-length', '5'] },
    { method: 'POST', headers: [...host, 'content-length', '5'], body: Readable.from([Buffer.from('four')]) },
    { method: 'POST', headers: [...host, 'content-length', '3'], body: Readable.from([Buffer.from('four')]) },
  ])
    assert.equal(failureOf(await upstream.request(request)).kind, 'bad_headers', JSON.stringify(request.headers))
  await eventually('streams are given back', () => upstream.cluster.stats.upstream_rq_active === 0)
  const server = await origin.connection(0)
  const whole = server.frames.filter(({ type, flags }) => type < 2 && (flags & END_STREAM) !== 0)
  assert.deepEqual(whole, [], 'no request that looks complete')
})

const OK = [':status', '200'] as const
const MALFORMED: readonly Fields[] = [
  [[':status', '2000']],
  [[':status', '101']],
  [['x-a', 'b']],
  [OK, ['connection', 'close']],
  [OK, ['transfer-encoding', 'chunked']],
  [OK, ['content-length', '5'], ['content-length', '6']],
  [OK, [':path', '/']],
  [['x-a', 'b'], OK],
]

test('a malformed answer is refused as one, and costs one stream', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port)
  const answer = async (fields: Fields) => {
    const seen = origin.connections[0]?.requests.length ?? 0
    const sent = upstream.send()
    const server = await origin.connection(0)
    const block = headerBlock(fields)
    const parts = Array.from({ length: Math.ceil(block.length / MAX_FRAME) }, (_, i) =>
      block.subarray(i * MAX_FRAME, (i + 1) * MAX_FRAME),
    )
    const stream = await server.request(seen)
    for (const [i, part] of parts.entries()) {
      const flags = (i === 0 ? END_STREAM : 0) | (i === parts.length - 1 ? END_HEADERS : 0)
      server.send(frame(i === 0 ? FRAME.headers : FRAME.continuation, flags, stream, part))
    }
    return sent.outcome
  }
  for (const fields of MALFORMED)
    assert.equal(failureOf(await answer(fields)).kind, 'upstream_protocol', JSON.stringify(fields))
  // What is no field ends it, or is left out by nghttp2: it goes nowhere.
  for (const field of [
    ['Upper', 'b'],
    ['x-a', 'b\nc'],
    ['x-a', 'b\0c'],
    ['x y', 'b'],
    ['x-a', ' b'],
  ] as const) {
    const outcome = await answer([OK, field, ['x-c', 'd']])
    if (outcome.kind === 'failure') assert.equal(outcome.failure.kind, 'upstream_protocol')
    else assert.deepEqual(outcome.headers, ['x-c', 'd'])
  }
  // More fields than are taken, and a list that is too large.
  const many = Array.from({ length: 105 }, (_, i) => [`x-${i}`, 'v'] as const)
  assert.equal(failureOf(await answer([OK, ...many])).kind, 'upstream_protocol')
  for (const fields of [
    Array.from({ length: 120 }, (_, i) => [`x-${i}`, 'v'] as const),
    Array.from({ length: 90 }, (_, i) => [`x-${'n'.repeat(100)}${i}`, 'v'.repeat(126)] as const).flatMap((each) =>
      Array.from({ length: 8 }, () => each),
    ),
  ])
    assert.notEqual((await answer([OK, ...fields])).kind, 'response')
  assert.equal(origin.connections.length, 1)
})

test('a body longer or shorter than its length is cut', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port)
  for (const [index, text] of ['four', 'sixsix'].entries()) {
    const sent = upstream.send()
    const server = await origin.connection(0)
    const stream = await server.request(index)
    server.respond(stream, [['content-length', '5']])
    const outcome = responseOf(await sent.outcome)
    server.data(stream, text, { end: true })
    await assert.rejects(outcome.body(), (error) => error instanceof UpstreamBroke)
  }
})

test('interim answers are not passed on; a flood of them is refused', async () => {
  await using origin = await startFrameOrigin()
  using upstream = h2Upstream(origin.port)
  const interim = (stream: number, status: string) =>
    frame(FRAME.headers, END_HEADERS, stream, headerBlock([[':status', status]]))
  const polite = upstream.send()
  const server = await origin.connection(0)
  const first = await server.request(0)
  server.send(interim(first, '100'), interim(first, '103'))
  server.respond(first, [], { end: true })
  assert.equal(responseOf(await polite.outcome).status, 200)
  const flooded = upstream.send()
  const second = await server.request(1)
  server.send(...Array.from({ length: 40 }, () => interim(second, '103')))
  const failure = failureOf(await flooded.outcome)
  assert.deepEqual([failure.kind, /too_many_interim/.test(failure.details ?? '')], ['upstream_protocol', true])
})
