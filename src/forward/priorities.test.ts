import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { shareLoad } from './priorities.ts'

const level = (healthy: number, total: number) => ({ healthy, total })
const loads = (levels: Parameters<typeof shareLoad>[0], panic = 0) =>
  shareLoad(levels, panic).map(({ load, panic: alarmed }) => `${Math.round(load)}${alarmed ? '!' : ''}`)

test('load spills over when less than 1/1.4 of a level is healthy (Envoy, priority levels)', () => {
  // Envoy's documented tables, for two levels of a hundred endpoints each.
  assert.deepEqual(loads([level(100, 100), level(100, 100)]), ['100', '0'])
  assert.deepEqual(loads([level(72, 100), level(72, 100)]), ['100', '0'])
  assert.deepEqual(loads([level(71, 100), level(71, 100)]), ['99', '1'])
  assert.deepEqual(loads([level(50, 100), level(60, 100)]), ['70', '30'])
  assert.deepEqual(loads([level(25, 100), level(100, 100)]), ['35', '65'])
  assert.deepEqual(loads([level(25, 100), level(25, 100)]), ['50', '50'])
  assert.deepEqual(loads([level(0, 100), level(100, 100)]), ['0', '100'])
  assert.deepEqual(loads([level(0, 4), level(0, 0), level(1, 4)]), ['0', '0', '100'])
  assert.deepEqual(loads([level(0, 4)]), ['0'])
  assert.deepEqual(loads([]), [])
})

test('below minHealthPercent ejections are disregarded, unless some level makes up for it', () => {
  assert.deepEqual(loads([level(1, 4)], 50), ['100!'])
  assert.deepEqual(loads([level(2, 4)], 50), ['100'])
  assert.deepEqual(loads([level(0, 4)], 1), ['100!'])
  assert.deepEqual(loads([level(1, 4), level(4, 4)], 50), ['35', '65'])
  // All in panic: by their numbers.
  assert.deepEqual(loads([level(0, 3), level(0, 1)], 50), ['75!', '25!'])
})

test('property: loads add up to 100, go to nobody unhealthy without panic, and to later ones only what is left', () => {
  const levels = fc.array(
    fc
      .integer({ min: 0, max: 9 })
      .chain((total) => fc.integer({ min: 0, max: total }).map((healthy) => level(healthy, total))),
    { minLength: 1, maxLength: 4 },
  )
  fc.assert(
    fc.property(levels, fc.constantFrom(0, 30, 100), (all, panic) => {
      const shared = shareLoad(all, panic)
      const sum = shared.reduce((total, { load }) => total + load, 0)
      const usable = all.some(({ healthy }) => healthy > 0) || (panic > 0 && all.some(({ total }) => total > 0))
      assert.ok(Math.abs(sum - (usable ? 100 : 0)) < 1e-9, String(sum))
      for (const [index, { load, panic: alarmed }] of shared.entries()) {
        const { healthy, total } = all[index] ?? level(0, 0)
        if (load > 1e-9) assert.ok(alarmed ? total > 0 : healthy > 0)
        if (total > 0 && healthy / total >= 1 / 1.4 && panic === 0) {
          const before = shared.slice(0, index).reduce((sum, { load: each }) => sum + each, 0)
          assert.ok(Math.abs(before + load - 100) < 1e-9)
        }
      }
    }),
  )
})
