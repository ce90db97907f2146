/** Injected faults (behaviour §4.5). What happens to callers who leave meanwhile: test/integration/faults.test.ts. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { to } from '../integration/manifests.ts'
import { A, type Called, routeSite, siteOf } from './route-site.ts'

const ALWAYS = { percentage: { value: 100 } }
const rule = (prefix: string, fault: object) => ({ match: [{ uri: { prefix } }], fault, route: to(A) })
const outcome = ({ line }: Called) =>
  ['response_code', 'response_flags', 'response_code_details'].map((key) => line[key])

test('field VirtualService.http[].fault.abort.httpStatus: that status, and nothing goes out', async (t) => {
  const { call, a } = await routeSite(t, [{ fault: { abort: { httpStatus: 418, ...ALWAYS } }, route: to(A) }])
  const called = await call('/')
  assert.deepEqual([called.answer.status, called.answer.body], [418, 'fault filter abort'])
  assert.deepEqual(outcome(called), [418, 'FI', 'fault_filter_abort'])
  assert.equal(a.accepted(), 0)
})

test('field VirtualService.http[].fault.abort.grpcStatus: for gRPC callers their status, else the HTTP one it maps to', async (t) => {
  const { call, a } = await routeSite(t, [{ fault: { abort: { grpcStatus: 'NOT_FOUND', ...ALWAYS } }, route: to(A) }])
  const { answer } = await call('/', { method: 'POST', headers: { 'content-type': 'application/grpc' } })
  assert.deepEqual([answer.status, answer.headers['grpc-status']], [200, '5'])
  const plain = await call('/')
  assert.notEqual(plain.answer.status, 200)
  assert.equal(plain.line['response_flags'], 'FI')
  assert.equal(a.accepted(), 0)
})

test('field VirtualService.http[].fault.abort.percentage.value: that share; none without it', async (t) => {
  const abort = (percentage?: object) => ({
    abort: { httpStatus: 503, ...(percentage === undefined ? {} : { percentage }) },
  })
  const { call } = await routeSite(t, [
    rule('/half', abort({ value: 50 })),
    rule('/never', abort({ value: 0 })),
    rule('/absent', abort()),
  ])
  let aborted = 0
  for (let i = 0; i < 80; i += 1) if ((await call('/half')).answer.status === 503) aborted += 1
  // 40 are expected; six standard deviations are 27.
  assert.ok(aborted > 13 && aborted < 67, String(aborted))
  for (let i = 0; i < 10; i += 1) {
    assert.equal(siteOf(await call('/never')), 'a')
    assert.equal(siteOf(await call('/absent')), 'a')
  }
})

test('field VirtualService.http[].fault.delay.fixedDelay: so long before the request goes out', async (t) => {
  const { call } = await routeSite(t, [rule('/slow', { delay: { fixedDelay: '300ms', ...ALWAYS } }), { route: to(A) }])
  const delayed = await call('/slow')
  assert.equal(siteOf(delayed), 'a')
  assert.deepEqual(outcome(delayed), [200, 'DI', 'via_upstream'])
  assert.ok(Number(delayed.line['duration']) >= 295, String(delayed.line['duration']))
  assert.equal((await call('/')).line['response_flags'], '-')
})

test('field VirtualService.http[].fault.delay.percentage.value, VirtualService.http[].fault.delay.percent: that share; none without it', async (t) => {
  const delay = (more: object) => ({ delay: { fixedDelay: '1ms', ...more } })
  const { call } = await routeSite(t, [
    rule('/half', delay({ percentage: { value: 50 } })),
    rule('/deprecated', delay({ percent: 100 })),
    rule('/both', delay({ percent: 100, percentage: { value: 0 } })),
    rule('/absent', delay({})),
  ])
  let delayed = 0
  for (let i = 0; i < 80; i += 1) if ((await call('/half')).line['response_flags'] === 'DI') delayed += 1
  assert.ok(delayed > 13 && delayed < 67, String(delayed))
  assert.equal((await call('/deprecated')).line['response_flags'], 'DI')
  for (let i = 0; i < 10; i += 1) {
    assert.equal((await call('/both')).line['response_flags'], '-')
    assert.equal((await call('/absent')).line['response_flags'], '-')
  }
})

test('field VirtualService.http[].fault: both together delay first, then abort', async (t) => {
  const fault = { delay: { fixedDelay: '200ms', ...ALWAYS }, abort: { httpStatus: 500, ...ALWAYS } }
  const { call } = await routeSite(t, [rule('/', fault)])
  const called = await call('/')
  assert.deepEqual(outcome(called), [500, 'DI,FI', 'fault_filter_abort'])
  assert.ok(Number(called.line['duration']) >= 195, String(called.line['duration']))
})

test('field VirtualService.http[].fault.delay.exponentialDelay, VirtualService.http[].fault.abort.http2Error: refused, as by Istio', async (t) => {
  for (const fault of [{ delay: { exponentialDelay: '1s', ...ALWAYS } }, { abort: { http2Error: 'X', ...ALWAYS } }])
    await assert.rejects(routeSite(t, [rule('/', fault)]), /error SP4000 .*not supported/)
})
