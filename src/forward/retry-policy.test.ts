/** What leads to another try, condition by condition, against Envoy's documentation (behaviour §4.6). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { HeaderList } from '../core/attributes.ts'
import { REFUSALS, type RefusalKind } from '../core/refusal.ts'
import { RETRY_CONDITIONS } from '../core/retry-conditions.ts'
import { newClusterStats } from '../core/stats.ts'
import { UNLIMITED_POOL } from '../model/cluster.ts'
import { retryModel } from '../testing/forwarding.ts'
import type { UpstreamFailure, UpstreamResponse } from './forwarder.ts'
import { giveRetryBack, retriesUnderWay, takeRetry } from './retry-budget.ts'
import { backoffMs, retriesFailure, retriesResponse, retryPolicyOf } from './retry-policy.ts'

const TOKENS = Object.keys(RETRY_CONDITIONS)
const failure = (kind: RefusalKind, refused?: true): UpstreamFailure => ({
  kind,
  details: null,
  body: null,
  transportFailure: null,
  ...(refused === undefined ? {} : { refused }),
})
const response = (status: number, headers: HeaderList = []) => ({ status, headers }) as unknown as UpstreamResponse
/** Tokens that alone lead to a retry. */
const tokens = (retries: (policy: ReturnType<typeof retryPolicyOf>) => boolean): string[] =>
  TOKENS.filter((token) =>
    retries(retryPolicyOf(retryModel({ on: [token], statusCodes: token === 'retriable-status-codes' ? [418] : [] }))),
  )

test('responses', () => {
  const grpc = (status: number | string): HeaderList => ['grpc-status', String(status)]
  for (const [status, headers, expected] of [
    [200, [], []],
    [400, [], []],
    [409, [], ['retriable-4xx']],
    [418, [], ['retriable-status-codes']],
    [499, [], []],
    [500, [], ['5xx']],
    [501, [], ['5xx']],
    [502, [], ['5xx', 'gateway-error']],
    [503, [], ['5xx', 'gateway-error']],
    [504, [], ['5xx', 'gateway-error']],
    [505, [], ['5xx']],
    [599, [], ['5xx']],
    [503, ['x-envoy-overloaded', 'true'], []],
    [503, ['x-envoy-ratelimited', 'true'], ['envoy-ratelimited']],
    [429, ['x-envoy-ratelimited', 'true'], ['envoy-ratelimited']],
    [429, ['x-envoy-ratelimited', 'true', 'x-envoy-overloaded', 'true'], []],
    [200, grpc(0), []],
    [200, grpc(1), ['cancelled']],
    [200, grpc(4), ['deadline-exceeded']],
    [200, grpc(7), []],
    [200, grpc(8), ['resource-exhausted']],
    [200, grpc(13), ['internal']],
    [200, grpc(14), ['unavailable']],
    [200, grpc('x'), []],
    [200, grpc(''), []],
  ] as const)
    assert.deepEqual(
      tokens((policy) => retriesResponse(policy, response(status, headers))),
      expected,
      `${status} ${headers.join(' ')}`,
    )
})

test('endings without a response', () => {
  const any = ['5xx', 'gateway-error', 'reset']
  const connect = [...any, 'reset-before-request', 'connect-failure']
  for (const [kind, connected, expected] of [
    ['connect_failure', false, connect],
    ['connect_timeout', false, connect],
    // A TLS alert after the handshake: the request may have been read.
    ['connect_failure', true, any],
    ['upstream_closed', true, any],
    ['upstream_reset', true, any],
    ['upstream_protocol', true, any],
    ['per_try_timeout', true, any],
  ] as const)
    assert.deepEqual(
      tokens((policy) => retriesFailure(policy, failure(kind), connected)),
      expected,
      `${kind} ${connected}`,
    )
  assert.deepEqual(
    tokens((policy) => retriesFailure(policy, failure('upstream_reset', true), true)),
    [...any, 'refused-stream'],
  )
})

test('nothing leads to a retry of what the gateway itself refuses', () => {
  const retriable = [
    'connect_failure',
    'connect_timeout',
    'upstream_closed',
    'upstream_reset',
    'upstream_protocol',
    'per_try_timeout',
  ]
  const all = retryPolicyOf(retryModel({ on: TOKENS, statusCodes: [403, 503, 504] }))
  for (const kind of Object.keys(REFUSALS) as RefusalKind[])
    assert.equal(retriesFailure(all, failure(kind), false), retriable.includes(kind), kind)
})

test('unknown tokens lead to nothing, listed codes need no token', () => {
  assert.equal(retriesResponse(retryPolicyOf(retryModel({ on: ['constructor', '6xx'] })), response(503)), false)
  assert.equal(retriesResponse(retryPolicyOf(retryModel({ on: [], statusCodes: [404] })), response(404)), true)
})

test('back-off: jittered over [0, (2^n − 1) base), at most ten times the base', () => {
  assert.deepEqual(
    [1, 2, 3, 4, 5, 60].map((retry) => backoffMs(25, retry, 1)),
    [25, 75, 175, 250, 250, 250],
  )
  assert.equal(backoffMs(25, 3, 0), 0)
  assert.equal(backoffMs(1e12, 3, 1), 2 ** 31 - 1, 'more than a timer takes')
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 60_000 }),
      fc.integer({ min: 1, max: 1_000 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (base, retry, random) => {
        const ms = backoffMs(base, retry, random)
        assert.ok(ms >= 0 && ms < 10 * base && ms <= (2 ** retry - 1) * base)
      },
    ),
  )
})

test('a budget is never exceeded when a place is taken, and places come back', () => {
  const step = fc.record({ take: fc.boolean(), active: fc.nat(100), pending: fc.nat(20) })
  const limits = fc.oneof(
    fc.record({ maxRetries: fc.nat(5), retryBudget: fc.constant(null) }),
    fc.record({
      maxRetries: fc.constantFrom(null, 1),
      retryBudget: fc.record({ percent: fc.double({ min: 0, max: 100, noNaN: true }), minConcurrency: fc.nat(5) }),
    }),
  )
  fc.assert(
    fc.property(limits, fc.array(step, { maxLength: 60 }), (limit, steps) => {
      const stats = newClusterStats('x')
      const pool = { ...UNLIMITED_POOL, ...limit }
      let held = 0
      for (const { take, active, pending } of steps) {
        stats.upstream_rq_active = active
        stats.upstream_rq_pending_active = pending
        const most =
          limit.retryBudget === null
            ? limit.maxRetries
            : Math.max(
                limit.retryBudget.minConcurrency,
                Math.floor((limit.retryBudget.percent * (active + pending)) / 100),
              )
        if (take) {
          const taken = takeRetry(stats, pool)
          assert.equal(taken, held < most)
          if (taken) held++
        } else if (held > 0) {
          held--
          giveRetryBack(stats)
        }
        assert.equal(retriesUnderWay(stats), held)
      }
    }),
  )
  const stats = newClusterStats('unlimited')
  for (let i = 0; i < 1_000; i++) assert.equal(takeRetry(stats, UNLIMITED_POOL), true)
})
