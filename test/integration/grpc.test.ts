/** gRPC through the gateway, end to end over HTTP/2: every kind of call, its trailers, its status, its end. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { ClientHttp2Session } from 'node:http2'
import { type TestContext, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { grpcCall, grpcMessages, startGrpcOrigin } from '../../src/testing/grpc.ts'
import { h2Over, meshH2 } from '../../src/testing/h2-client.ts'
import type { H2Origin } from '../../src/testing/h2-origin.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { plainConnect } from '../../src/testing/mesh-client.ts'
import { documents, gateway, ISTIO_MUTUAL, type Manifest, serviceEntry, to, virtualService } from './manifests.ts'
import { askControl, sampleOf, stat } from './operator.ts'
import { started } from './started.ts'

const HOST = 'grpc.example'
const CLUSTER = `cluster.outbound|80||${HOST}`
const MB = 2 ** 20
const BODY_MB = Number(process.env['SALLYPORT_TEST_BODY_MB'] ?? 48)

type World = { readonly harness: Harness; readonly origin: H2Origin; readonly session: ClientHttp2Session }

/** `carrier`: what the caller speaks below HTTP/2. */
async function world(
  t: TestContext,
  carrier: 'mesh' | 'plain',
  rule: object = {},
  more: readonly Manifest[] = [],
): Promise<World> {
  const origin = await startGrpcOrigin()
  t.after(async () => origin[Symbol.asyncDispose]())
  const server = carrier === 'mesh' ? gateway({ tls: ISTIO_MUTUAL }) : gateway({ protocol: 'HTTP2' })
  const manifests = [
    server,
    serviceEntry('grpc', HOST, origin.port, { protocol: 'GRPC' }),
    virtualService('grpc', [HOST], [{ route: to(HOST), ...rule }]),
    ...more,
  ]
  const harness = await started(t, { resources: { 'all.yaml': documents(...manifests) } })
  const port = harness.gateway.port(80)
  const session =
    carrier === 'plain'
      ? h2Over(await plainConnect(port))
      : await meshH2({ port, svid: await harness.pki.svid('apps/sleep'), ca: harness.pki.root })
  return { harness, origin, session }
}

for (const carrier of ['mesh', 'plain'] as const) {
  test(`${carrier}: a unary call, its metadata, its trailers and its status`, async (t) => {
    const { harness, origin, session } = await world(t, carrier)
    const call = grpcCall(session, HOST, 'Unary', {
      'x-meta-bin': 'AAEC',
      'grpc-timeout': '5S',
      'grpc-encoding': 'identity',
    })
    call.send('hello')
    call.stream.end()
    const messages = []
    for await (const message of grpcMessages(call.stream)) messages.push(message.toString())
    assert.deepEqual([messages, await call.status], [['hello'], 0])
    assert.deepEqual(Object.entries(call.trailers() ?? {}), [
      ['grpc-status', '0'],
      ['x-checksum', '5'],
    ])
    const seen = origin.streams[0]?.headers
    assert.deepEqual(
      [':path', ':authority', 'te', 'x-meta-bin', 'grpc-timeout', 'content-type'].map((name) => seen?.[name]),
      ['/test.Echo/Unary', HOST, 'trailers', 'AAEC', '5S', 'application/grpc'],
    )
    const [line] = await harness.lines(1)
    assert.deepEqual(
      [line?.['response_code'], line?.['response_flags'], line?.['protocol'], line?.['bytes_sent']],
      [200, '-', 'HTTP/2', 10],
    )
    const { body } = await askControl(harness, 'metrics', '/stats/prometheus')
    assert.match(body, /istio_requests_total\{[^}]*grpc_response_status="0"/)
    assert.equal(sampleOf(body, `envoy_cluster_upstream_cx_http2_total{cluster_name="outbound|80||${HOST}"}`), 1)
    session.close()
    await harness.stop(1)
  })
}

test('server streaming: each message as it comes, the status behind the last one', async (t) => {
  const { harness, session } = await world(t, 'plain')
  const call = grpcCall(session, HOST, 'Count')
  call.send('1000')
  call.stream.end()
  let next = 1
  for await (const message of grpcMessages(call.stream)) assert.equal(message.toString(), String(next++))
  assert.deepEqual([next, await call.status], [1001, 0])
  session.close()
  await harness.stop(1)
})

test('bidirectional streaming: an answer to each message before the next is sent; many calls share a connection', async (t) => {
  const { harness, origin, session } = await world(t, 'mesh')
  const talk = async (name: string): Promise<void> => {
    const call = grpcCall(session, HOST, 'Chat')
    const answers = grpcMessages(call.stream)
    for (let i = 0; i < 20; i++) {
      call.send(`${name} ${i}`)
      const answer = await answers.next()
      assert.equal(String(answer.value), `${name} ${i}`)
    }
    call.stream.end()
    assert.equal((await answers.next()).done, true)
    assert.equal(await call.status, 0)
  }
  await Promise.all(Array.from({ length: 20 }, async (_, i) => talk(`caller ${i}`)))
  assert.equal(origin.sessions.length, 1)
  session.close()
  await harness.stop(20)
})

test('messages of any size arrive as they are, both ways at once', async (t) => {
  const { harness, session } = await world(t, 'plain')
  const call = grpcCall(session, HOST, 'Chat')
  const big = randomBytes(4 * MB)
  const digest = createHash('sha256').update(big).digest('hex')
  const count = Math.ceil(BODY_MB / 4)
  const send = async (): Promise<void> => {
    for (let i = 0; i < count; i++) if (!call.send(big)) await once(call.stream, 'drain')
    call.stream.end()
  }
  const [, received] = await Promise.all([
    send(),
    (async () => {
      let messages = 0
      for await (const message of grpcMessages(call.stream)) {
        assert.equal(createHash('sha256').update(message).digest('hex'), digest)
        messages++
      }
      return messages
    })(),
  ])
  assert.deepEqual([received, await call.status], [count, 0])
  assert.equal(call.trailers()?.['x-checksum'], String(count * big.length))
  session.close()
  await harness.stop(1)
})

test('the status of a head that is all there is goes through, and into the metrics', async (t) => {
  const { harness, session } = await world(t, 'plain', { retries: { attempts: 0 } })
  for (const status of ['3', '14', '16']) {
    const call = grpcCall(session, HOST, 'Status')
    call.send(status)
    call.stream.end()
    call.stream.resume()
    const head = await call.head
    assert.deepEqual([head[':status'], head['grpc-message'], await call.status], [200, 'as asked', Number(status)])
    assert.equal(call.trailers(), null)
  }
  const { body } = await askControl(harness, 'metrics', '/stats/prometheus')
  for (const status of [3, 14, 16]) assert.match(body, new RegExp(`grpc_response_status="${status}"`))
  session.close()
  await harness.stop(3)
})

test('UNAVAILABLE in the head is tried again by default', async (t) => {
  const { harness, origin, session } = await world(t, 'plain')
  const call = grpcCall(session, HOST, 'Status')
  call.send('14')
  call.stream.end()
  call.stream.resume()
  assert.equal(await call.status, 14)
  assert.equal(origin.streams.length, 3)
  const [line] = await harness.lines(1)
  assert.equal(line?.['response_flags'], 'URX')
  session.close()
  await harness.stop(1)
})

test('a caller who cancels resets its call at the service; other calls on both connections go on', async (t) => {
  const { harness, origin, session } = await world(t, 'mesh')
  const steady = grpcCall(session, HOST, 'Chat')
  const answers = grpcMessages(steady.stream)
  steady.send('one')
  await answers.next()
  const doomed = grpcCall(session, HOST, 'Never')
  doomed.send('x')
  await eventually('the call has come', () => origin.streams.length === 2)
  doomed.stream.close(8)
  const service = origin.streams[1]?.stream
  if (service?.closed !== true) await once(service ?? doomed.stream, 'close')
  assert.equal(service?.rstCode, 8)
  steady.send('two')
  assert.equal(String((await answers.next()).value), 'two')
  steady.stream.end()
  assert.equal((await answers.next()).done, true)
  assert.equal(origin.sessions.length, 1)
  const lines = await harness.lines(2)
  assert.deepEqual(
    lines.map((line) => line['response_flags']),
    ['DC', '-'],
  )
  session.close()
  await harness.stop(2)
})

test('a service that is gone: UNAVAILABLE, with the reason; one that resets in the middle: no status at all', async (t) => {
  const { harness, origin, session } = await world(t, 'plain', { retries: { attempts: 0 } })
  const call = grpcCall(session, HOST, 'Chat')
  const answers = grpcMessages(call.stream)
  call.send('one')
  await answers.next()
  origin.streams[0]?.stream.close(2)
  await assert.rejects(answers.next())
  assert.deepEqual([await call.status, call.trailers()], [null, null])
  assert.notEqual(call.stream.rstCode, 0)
  const [line] = await harness.lines(1)
  assert.deepEqual(
    [line?.['response_code'], line?.['response_flags'], line?.['response_code_details']],
    [200, 'UR', 'upstream_reset_after_response_started{remote_reset}'],
  )
  await origin[Symbol.asyncDispose]()
  const late = grpcCall(session, HOST, 'Unary')
  late.send('x')
  late.stream.end()
  late.stream.resume()
  const head = await late.head
  assert.deepEqual([head[':status'], await late.status], [200, 14])
  assert.match(String(head['grpc-message']), /^upstream connect error/)
  session.close()
  await harness.stop(2)
})

test('the route’s timeout ends a call that is not answered: DEADLINE or UNAVAILABLE as Envoy, nothing is left', async (t) => {
  const { harness, origin, session } = await world(t, 'plain', { timeout: '1s', retries: { attempts: 0 } })
  const call = grpcCall(session, HOST, 'Never')
  call.send('x')
  call.stream.end()
  call.stream.resume()
  assert.equal(await call.status, 14)
  await eventually('the service has been told', () => origin.streams[0]?.stream.closed === true)
  const [line] = await harness.lines(1)
  assert.deepEqual([line?.['response_flags'], line?.['response_code_details']], ['UT', 'response_timeout'])
  await eventually('nothing is under way', async () => (await stat(harness, `${CLUSTER}.upstream_rq_active`)) === 0)
  session.close()
  await harness.stop(1)
})

test('drain: a call under way ends as it would have, and the caller hears of it', async (t) => {
  const { harness, session } = await world(t, 'plain')
  const call = grpcCall(session, HOST, 'Chat')
  const answers = grpcMessages(call.stream)
  call.send('one')
  await answers.next()
  const told = once(session, 'goaway')
  const stopped = harness.stop(1)
  await told
  call.send('two')
  assert.equal(String((await answers.next()).value), 'two')
  call.stream.end()
  assert.equal((await answers.next()).done, true)
  assert.equal(await call.status, 0)
  await stopped
})
