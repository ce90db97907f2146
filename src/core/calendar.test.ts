import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { calendarWindow } from './calendar.ts'

test('days and months of UTC, leap days and the turn of the year', () => {
  const at = (text: string) => Date.parse(text)
  assert.deepEqual(calendarWindow('day', at('2026-11-22T23:59:59.999Z')), {
    id: '2026-11-22',
    endsAt: at('2026-11-23T00:00:00Z'),
  })
  assert.deepEqual(calendarWindow('day', at('2028-02-28T12:00:00Z')).endsAt, at('2028-02-29T00:00:00Z'))
  assert.deepEqual(calendarWindow('month', at('2028-02-29T00:00:00Z')), {
    id: '2028-02',
    endsAt: at('2028-03-01T00:00:00Z'),
  })
  assert.deepEqual(calendarWindow('month', at('2026-12-31T23:00:00Z')).endsAt, at('2027-01-01T00:00:00Z'))
})

test('a moment is in its window, and the end of a window is the start of another', () => {
  const moments = fc.integer({ min: 0, max: 4_000_000_000_000 })
  fc.assert(
    fc.property(fc.constantFrom('day' as const, 'month' as const), moments, (per, now) => {
      const { id, endsAt } = calendarWindow(per, now)
      assert.ok(now < endsAt)
      assert.equal(calendarWindow(per, endsAt - 1).id, id)
      assert.notEqual(calendarWindow(per, endsAt).id, id)
    }),
  )
})
