import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { HeldBytes } from './held-bytes.ts'

const step = fc.oneof(
  fc.record({ append: fc.uint8Array({ maxLength: 3_000 }) }),
  fc.record({ permille: fc.integer({ min: 0, max: 1_000 }) }),
)

test('what goes in comes out, in order, and what has been shown stays as it was', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const held = new HeldBytes()
      let expected = Buffer.alloc(0)
      const shown: (readonly [view: Buffer, copy: Buffer])[] = []
      for (const each of steps) {
        if ('append' in each) {
          const chunk = Buffer.from(each.append)
          held.append(chunk)
          expected = Buffer.concat([expected, chunk])
        } else {
          const count = Math.floor((held.length * each.permille) / 1_000)
          held.consume(count)
          expected = expected.subarray(count)
        }
        const view = held.view()
        assert.deepEqual(view, expected)
        assert.equal(held.length, expected.length)
        shown.push([view, Buffer.from(view)])
      }
      for (const [view, copy] of shown) assert.deepEqual(view, copy)
      held.clear()
      assert.equal(held.view().length, 0)
    }),
  )
})
