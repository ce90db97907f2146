/** Which faults a request gets. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FaultModel } from '../model/route.ts'
import { chooseFault } from './fault.ts'

const abort = (percent: number) => ({ httpStatus: 503, grpcStatus: null, percent })

/** Hands out the given numbers, and fails when asked for more. */
function sequence(...numbers: readonly number[]): () => number {
  const left = [...numbers]
  return () => {
    const next = left.shift()
    if (next === undefined) throw new Error('asked once too often')
    return next
  }
}

test('delay and abort are drawn apart', () => {
  const fault: FaultModel = { delay: { ms: 7, percent: 50 }, abort: abort(10) }
  assert.deepEqual(chooseFault(fault, sequence(0.49, 0.09)), { delayMs: 7, abort: abort(10) })
  assert.deepEqual(chooseFault(fault, sequence(0.49, 0.1)), { delayMs: 7, abort: null })
  assert.deepEqual(chooseFault(fault, sequence(0.5, 0.09)), { delayMs: null, abort: abort(10) })
  assert.equal(chooseFault(fault, sequence(0.5, 0.1)), null)
})

test('100 is always, fractions count, nothing is never', () => {
  assert.deepEqual(chooseFault({ delay: null, abort: abort(100) }, sequence(0.999_999_9))?.abort, abort(100))
  assert.deepEqual(chooseFault({ delay: null, abort: abort(0.1) }, sequence(0.0009))?.abort, abort(0.1))
  assert.equal(chooseFault({ delay: null, abort: abort(0.1) }, sequence(0.001)), null)
  assert.equal(chooseFault({ delay: null, abort: abort(0) }, sequence(0)), null)
  assert.equal(chooseFault(null, sequence()), null)
})
