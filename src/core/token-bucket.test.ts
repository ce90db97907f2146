import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type BucketShape, covers, newBucket, refill, waitFor } from './token-bucket.ts'

const shapes = fc.record({
  burst: fc.integer({ min: 1, max: 50 }),
  perMs: fc.constantFrom(1 / 1000, 3 / 1000, 7 / 60_000, 1, 0.3, 1000 / 60_000),
})
/** Pauses of fractions of milliseconds, and what is asked for after each. */
const asking = fc.array(fc.tuple(fc.double({ min: 0, max: 400, noNaN: true }), fc.integer({ min: 1, max: 3 })), {
  minLength: 1,
  maxLength: 200,
})

function passed(shape: BucketShape, steps: readonly (readonly [number, number])[]): { at: number; cost: number }[] {
  const bucket = newBucket(shape, 0)
  const through: { at: number; cost: number }[] = []
  let now = 0
  for (const [pause, cost] of steps) {
    now += pause
    refill(bucket, shape, now)
    if (!covers(bucket.left, cost)) continue
    bucket.left -= cost
    through.push({ at: now, cost })
  }
  return through
}

test('never more than burst + rate × t in any time t', () => {
  fc.assert(
    fc.property(shapes, asking, (shape, steps) => {
      const through = passed(shape, steps)
      for (let from = 0; from < through.length; from += 1) {
        let total = 0
        for (let to = from; to < through.length; to += 1) {
          total += through[to]?.cost ?? 0
          const t = (through[to]?.at ?? 0) - (through[from]?.at ?? 0)
          assert.ok(total <= shape.burst + shape.perMs * t + 1e-6, `${total} within ${t} ms`)
        }
      }
    }),
  )
})

test('what it says to wait is enough, and nothing less would have been', () => {
  fc.assert(
    fc.property(shapes, fc.integer({ min: -100, max: 50 }), fc.integer({ min: 0, max: 50 }), (shape, left, asked) => {
      const cost = Math.min(asked, shape.burst)
      const start = Math.min(left, shape.burst)
      const wait = waitFor(start, cost, shape)
      assert.equal(wait === 0, covers(start, cost))
      if (wait === 0) return
      const after = (ms: number) => {
        const bucket = { left: start, at: 0 }
        refill(bucket, shape, ms)
        return bucket.left
      }
      assert.ok(covers(after(wait) + 1e-9, cost))
      assert.ok(wait === 1 || !covers(after(wait - 1) - 1e-9, cost))
    }),
  )
})

test('a whole burst at once, one more after its time, and a clock that goes back gives nothing', () => {
  const shape = { burst: 3, perMs: 3 / 1000 }
  const bucket = newBucket(shape, 1000)
  const take = (now: number) => {
    refill(bucket, shape, now)
    const allowed = covers(bucket.left, 1)
    if (allowed) bucket.left -= 1
    return allowed
  }
  assert.deepEqual([take(1000), take(1000), take(1000), take(1000)], [true, true, true, false])
  assert.equal(take(500), false)
  assert.equal(take(1334), true)
  assert.equal(take(1334), false)
  // Never more than full, however long nobody came.
  refill(bucket, shape, 1e9)
  assert.equal(bucket.left, 3)
})

test('a debt is paid off before anything passes', () => {
  const shape = { burst: 10, perMs: 1 }
  const bucket = { left: -100, at: 0 }
  assert.equal(covers(bucket.left, 0), false)
  assert.equal(waitFor(bucket.left, 0, shape), 100)
  refill(bucket, shape, 100)
  assert.equal(covers(bucket.left, 0), false)
  refill(bucket, shape, 101)
  assert.equal(covers(bucket.left, 0), true)
})
