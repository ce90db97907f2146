import assert from 'node:assert/strict'
import { test } from 'node:test'
import { warmupFactor } from './slow-start.ts'

test('the factor grows from the minimum to 1, by time to the power of 1/aggression', () => {
  const linear = { durationMs: 1_000, minimumPercent: 10, aggression: 1 }
  assert.deepEqual(
    [0, 50, 100, 500, 999, 1_000, 5_000].map((age) => warmupFactor(linear, age)),
    [0.1, 0.1, 0.1, 0.5, 0.999, 1, 1],
  )
  const quick = { durationMs: 1_000, minimumPercent: 0, aggression: 2 }
  assert.equal(warmupFactor(quick, 250), 0.5)
  assert.ok(Math.abs(warmupFactor({ ...quick, aggression: 0.5 }, 500) - 0.25) < 1e-12)
  // Envoy counts at least a millisecond: nobody starts with nothing.
  assert.equal(warmupFactor({ ...linear, minimumPercent: 0 }, 0), 0.001)
  assert.equal(warmupFactor({ ...linear, minimumPercent: 100 }, 0), 1)
})
