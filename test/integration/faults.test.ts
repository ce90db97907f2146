/** Injected faults end to end: who leaves meanwhile, what changes meanwhile, and answers that no upstream gave (behaviour §4.5, §10.2). */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { h2Over, h2Request, h2Stream } from '../../src/testing/h2-client.ts'
import type { Harness, LogLine } from '../../src/testing/harness.ts'
import { plainConnect, rawExchange, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin } from '../../src/testing/origin.ts'
import { test } from './engines.ts'
import { authorizationPolicy, documents, gateway, serviceEntry, to, virtualService } from './manifests.ts'
import { stat } from './operator.ts'
import { started } from './started.ts'

const HOST = 'site.example'
const ALWAYS = { percentage: { value: 100 } }
const H = `Host: ${HOST}\r\n`

type World = { readonly harness: Harness; readonly origin: EchoOrigin; readonly port: number }

async function world(t: TestContext, rules: readonly object[]): Promise<World> {
  const origin = await startEchoOrigin()
  t.after(() => origin.close())
  const resources = documents(gateway(), serviceEntry('site', HOST, origin.port), virtualService('site', [HOST], rules))
  const harness = await started(t, { resources: { 'all.yaml': resources } })
  return { harness, origin, port: harness.gateway.port(80) }
}

const delayed = (fixedDelay: string, more: object = {}) => ({
  fault: { delay: { fixedDelay, ...ALWAYS }, ...more },
  route: to(HOST),
})
const aborted = (abort: object) => ({ abort: { ...abort, ...ALWAYS } })
const pick = (line: LogLine | undefined) =>
  ['response_code', 'response_flags', 'response_code_details'].map((key) => line?.[key])
const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
const active = (harness: Harness) =>
  eventually('the request has begun', async () => {
    const port = harness.gateway.port(80)
    return (await stat(harness, `http.outbound_127.0.0.1_${port}.downstream_rq_active`)) === 1
  })

test('a caller who leaves during a delay leaves nothing behind: no timer, no upstream connection, one line', async (t) => {
  const { harness, origin, port } = await world(t, [delayed('1h')])
  const before = timers()
  const socket = await plainConnect(port)
  socket.write(`GET / HTTP/1.1\r\n${H}\r\n`)
  await active(harness)
  assert.ok(timers() > before, 'the delay is a timer')
  socket.destroy()
  const session = h2Over(await plainConnect(port))
  await harness.lines(1)
  const stream = h2Stream(session, HOST)
  await active(harness)
  stream.close(8)
  const lines = await harness.lines(2)
  session.destroy()
  for (const line of lines) assert.deepEqual(pick(line), [0, 'DI,DC', 'downstream_remote_disconnect'])
  await eventually('the timers are gone', () => timers() <= before)
  assert.equal(origin.accepted(), 0)
  await harness.stop(2)
})

test('what policy forbids when the delay is over does not go out, although it was allowed when it came', async (t) => {
  const { harness, origin, port } = await world(t, [delayed('6s')])
  const socket = await plainConnect(port)
  const answer = request(socket, HOST)
  await active(harness)
  const deny = authorizationPolicy('stop', 'DENY', [{ to: [{ operation: { hosts: [HOST] } }] }])
  assert.deepEqual(await harness.change({ 'deny.yaml': documents(deny) }), { ok: true, errors: [] })
  const { status, body } = await answer
  assert.deepEqual([status, body], [403, 'RBAC: access denied'])
  socket.destroy()
  const [line] = await harness.lines(1)
  const details = 'rbac_access_denied_matched_policy[ns[istio-system]-policy[stop]-rule[0]]'
  assert.deepEqual(pick(line), [403, 'DI', details])
  assert.equal(origin.accepted(), 0)
  await harness.stop(1)
})

test('a reload that changes nothing for a delayed request lets it go on, delayed once', async (t) => {
  const { harness, origin, port } = await world(t, [delayed('6s')])
  const socket = await plainConnect(port)
  const began = performance.now()
  const answer = request(socket, HOST)
  await active(harness)
  const other = documents(serviceEntry('other', 'other.example', 1))
  assert.deepEqual(await harness.change({ 'other.yaml': other }), { ok: true, errors: [] })
  assert.equal((await answer).status, 200)
  const took = performance.now() - began
  assert.ok(took >= 5990 && took < 11_900, `${took} ms`)
  socket.destroy()
  assert.deepEqual(pick((await harness.lines(1))[0]), [200, 'DI', 'via_upstream'])
  assert.equal(origin.requests.length, 1)
  await harness.stop(1)
})

test('delay and abort: first the one, then the other', async (t) => {
  const { harness, origin, port } = await world(t, [delayed('100ms', aborted({ httpStatus: 418 }))])
  const socket = await plainConnect(port)
  const began = performance.now()
  const { status, body, headers } = await request(socket, HOST)
  assert.deepEqual([status, body, headers['content-type']], [418, 'fault filter abort', 'text/plain'])
  assert.ok(performance.now() - began >= 95)
  socket.destroy()
  assert.deepEqual(pick((await harness.lines(1))[0]), [418, 'DI,FI', 'fault_filter_abort'])
  assert.equal(origin.accepted(), 0)
  await harness.stop(1)
})

test('requests behind a delayed one on the same connection wait for it', async (t) => {
  const { harness, origin, port } = await world(t, [
    { match: [{ uri: { prefix: '/anything/slow' } }], ...delayed('200ms') },
    { route: to(HOST) },
  ])
  const socket = await plainConnect(port)
  const requests = `GET /anything/slow HTTP/1.1\r\n${H}\r\nGET /anything/fast HTTP/1.1\r\n${H}Connection: close\r\n\r\n`
  const text = await rawExchange(socket, requests)
  assert.equal(text.match(/HTTP\/1\.1 200/g)?.length, 2)
  assert.deepEqual(origin.requests, ['GET /anything/slow', 'GET /anything/fast'])
  await harness.stop(2)
})

test('statuses without a body are answered without one, and the connection stays in step', async (t) => {
  const statuses = [204, 205, 304]
  const { harness, port } = await world(t, [
    ...statuses.map((httpStatus) => ({
      match: [{ uri: { exact: `/fault/${httpStatus}` } }],
      fault: aborted({ httpStatus }),
      route: to(HOST),
    })),
    ...statuses.map((status) => ({
      match: [{ uri: { exact: `/direct/${status}` } }],
      directResponse: { status, body: { string: 'not to be sent' } },
    })),
    { route: to(HOST) },
  ])
  const socket = await plainConnect(port)
  for (const kind of ['fault', 'direct']) {
    for (const status of statuses) {
      const answer = await request(socket, HOST, { path: `/${kind}/${status}` })
      assert.deepEqual([answer.status, answer.body, answer.complete], [status, '', true])
      assert.equal(answer.headers['content-type'], undefined)
      // 205 says that nothing follows (RFC 9110 §15.3.6); of the others nothing can.
      assert.equal(answer.headers['content-length'], status === 205 ? '0' : undefined)
      assert.equal(answer.headers['transfer-encoding'], undefined)
    }
  }
  assert.equal((await request(socket, HOST)).status, 200)
  socket.destroy()
  const lines = await harness.lines(7)
  assert.deepEqual(lines.map((line) => line['bytes_sent']).slice(0, 6), [0, 0, 0, 0, 0, 0])
  await harness.stop(7)
})

test("gRPC callers get gRPC statuses: the fault's own, or what its HTTP status means; others never see success", async (t) => {
  const { harness, origin, port } = await world(t, [
    { match: [{ uri: { prefix: '/grpc' } }], fault: aborted({ grpcStatus: 'RESOURCE_EXHAUSTED' }), route: to(HOST) },
    { match: [{ uri: { prefix: '/http' } }], fault: aborted({ httpStatus: 404 }), route: to(HOST) },
    { match: [{ uri: { prefix: '/self' } }], directResponse: { status: 429, body: { string: 'slow down' } } },
    { route: to(HOST) },
  ])
  const session = h2Over(await plainConnect(port))
  const call = async (path: string) => {
    const headers = { 'content-type': 'application/grpc', te: 'trailers' }
    const answer = await h2Request(session, HOST, { method: 'POST', path, headers, body: Buffer.alloc(5) })
    return [answer.status, answer.headers['grpc-status'], answer.headers['grpc-message'], answer.body.length]
  }
  assert.deepEqual(await call('/grpc'), [200, '8', 'fault filter abort', 0])
  assert.deepEqual(await call('/http'), [200, '12', 'fault filter abort', 0])
  assert.deepEqual(await call('/self'), [200, '14', 'slow down', 0])
  const plain = await h2Request(session, HOST, { path: '/grpc' })
  assert.deepEqual([plain.status, plain.body.toString()], [429, 'fault filter abort'])
  session.close()
  assert.equal(origin.accepted(), 0)
  await harness.stop(4)
})
