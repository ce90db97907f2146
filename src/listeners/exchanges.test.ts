import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Exchange } from './exchange.ts'
import { Exchanges } from './exchanges.ts'

test('they are what a Set would hold, in the order they came, whoever goes first', () => {
  const step = fc.record({ add: fc.boolean(), at: fc.nat(5) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const all = Array.from({ length: 6 }, (_, id) => ({ id }) as unknown as Exchange)
      const held = new Exchanges()
      const expected = new Set<Exchange>()
      for (const { add, at } of steps) {
        const one = all[at] as Exchange
        // Each comes once, and goes once.
        if (add && !expected.has(one)) {
          held.add(one)
          expected.add(one)
        } else if (!add) {
          held.delete(one)
          expected.delete(one)
        }
        assert.deepEqual([...held], [...expected])
        assert.equal(held.size, expected.size)
        assert.equal(held.first, expected.values().next().value ?? null)
      }
    }),
  )
})
