import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { LimitModel, LimitQuota } from '../../model/limits.ts'
import { BudgetTable } from './budget-table.ts'
import { LocalStore } from './local-store.ts'
import { RateTable } from './rate-table.ts'

function limit(quota: LimitQuota, more: Partial<LimitModel> = {}): LimitModel {
  return {
    id: 'ns/limits/one',
    name: 'one',
    source: { file: 'x', line: 1, col: 1 },
    from: null,
    to: null,
    key: ['principal'],
    unit: quota.kind === 'concurrent' ? 'tunnels' : 'requests',
    direction: 'both',
    quota,
    scope: 'local',
    mode: 'enforce',
    onStoreFailure: 'closed',
    ...more,
  }
}

/** Clocks that stand still until they are told otherwise. */
function stopped(time = Date.parse('2026-11-22T12:00:00Z')) {
  const clock = { now: 0, time }
  return { clock, store: new LocalStore({ now: () => clock.now, time: () => clock.time }) }
}

const RATE: LimitQuota = { kind: 'rate', count: 60, periodMs: 60_000, burst: 2 }
const BUDGET: LimitQuota = { kind: 'budget', count: 3, per: 'day', warnAt: 80 }

test('a rate: by key, with what is left and when to come back', () => {
  const { clock, store } = stopped()
  const model = limit(RATE)
  assert.deepEqual(store.take(model, 'a', 1), { allowed: true, remaining: 1, retryAfterMs: 0, resetMs: 1000 })
  assert.equal(store.take(model, 'a', 1).allowed, true)
  assert.deepEqual(store.take(model, 'a', 1), { allowed: false, remaining: 0, retryAfterMs: 1000, resetMs: 2000 })
  assert.equal(store.take(model, 'b', 1).allowed, true)
  clock.now = 1000
  assert.equal(store.peek(model, 'a', 1).allowed, true)
  assert.equal(store.take(model, 'a', 1).allowed, true)
  assert.equal(store.peek(model, 'a', 1).allowed, false)
})

test('bytes: charged after the fact, refused until the debt is paid', () => {
  const { clock, store } = stopped()
  const model = limit({ kind: 'rate', count: 1000, periodMs: 1000, burst: 1000 }, { unit: 'bytes' })
  assert.equal(store.take(model, 'a', 0).allowed, true)
  assert.deepEqual(store.charge(model, 'a', 5000), { allowed: false, remaining: 0, retryAfterMs: 4000, resetMs: 5000 })
  clock.now = 4000
  assert.equal(store.take(model, 'a', 0).allowed, false)
  clock.now = 4001
  assert.equal(store.take(model, 'a', 0).allowed, true)
})

test('a reload keeps counts, but for quotas that have changed', () => {
  const { store } = stopped()
  const take = (model: LimitModel) => store.take(model, 'a', 1).remaining
  assert.equal(take(limit(RATE)), 1)
  assert.equal(take(limit(RATE)), 0)
  assert.equal(take(limit({ ...RATE, burst: 10 })), 9)
  store.keepOnly([])
  assert.equal(take(limit({ ...RATE, burst: 10 })), 9)
})

test('places: as many as there are, given back once, kept under another number', () => {
  const { store } = stopped()
  const two = limit({ kind: 'concurrent', count: 2 })
  assert.equal(store.hold(two, 'a', '1').allowed, true)
  assert.deepEqual(store.hold(two, 'a', '2'), { allowed: true, remaining: 0, retryAfterMs: 0, resetMs: 0 })
  assert.equal(store.hold(two, 'a', '3').allowed, false)
  assert.equal(store.hold(two, 'b', '4').allowed, true)
  store.release(two, 'a', '3')
  store.release(two, 'a', '2')
  store.release(two, 'a', '2')
  assert.equal(store.peek(two, 'a', 1).remaining, 1)
  const one = limit({ kind: 'concurrent', count: 1 })
  assert.equal(store.hold(one, 'a', '5').allowed, false)
  store.release(one, 'a', '1')
  assert.equal(store.hold(one, 'a', '5').allowed, true)
})

test('a budget: used up until its day is over, whatever the clock does meanwhile', () => {
  const { clock, store } = stopped()
  const model = limit(BUDGET)
  for (const left of [2, 1, 0]) assert.equal(store.take(model, 'a', 1).remaining, left)
  const refused = store.take(model, 'a', 1)
  assert.deepEqual(refused, { allowed: false, remaining: 0, retryAfterMs: 43_200_000, resetMs: 43_200_000 })
  // The clock is set back to yesterday: what has been used stays used.
  clock.time -= 86_400_000
  assert.equal(store.take(model, 'a', 1).allowed, false)
  clock.time += 86_400_000 + 43_200_000
  assert.equal(store.take(model, 'a', 1).remaining, 2)
})

test('budgets go on: after a restart, another amount, a limit that was gone for a while', () => {
  const before = stopped()
  before.store.take(limit(BUDGET), 'a', 1)
  assert.equal(before.store.dirty, true)
  const after = stopped()
  after.store.restore(before.store.budgets())
  assert.equal(after.store.take(limit({ ...BUDGET, count: 10 }), 'a', 1).remaining, 8)
  after.store.keepOnly([])
  assert.equal(after.store.take(limit(BUDGET), 'a', 1).remaining, 0)
  // Counted by something else, it is another budget.
  assert.equal(after.store.take(limit(BUDGET, { key: ['host'] }), 'a', 1).remaining, 2)
  // Of another day nothing is left over.
  const tomorrow = stopped(before.clock.time + 86_400_000)
  tomorrow.store.restore(before.store.budgets())
  assert.equal(tomorrow.store.take(limit(BUDGET), 'a', 1).remaining, 2)
})

test('only local budgets are for the file', () => {
  const { store } = stopped()
  store.take(limit(RATE, { id: 'rate' }), 'a', 1)
  store.take(limit(BUDGET, { id: 'shared', scope: 'global' }), 'a', 1)
  assert.equal(store.dirty, false)
  assert.deepEqual([...store.budgets()], [])
})

test('idle keys are forgotten, others never: at the cap new ones share one bucket', () => {
  let now = 0
  const table = new RateTable({ burst: 1, perMs: 1 / 1000 }, () => now, 10)
  for (let i = 0; i < 10; i += 1) assert.equal(table.take(`k${i}`, 1).allowed, true)
  assert.equal(table.take('new', 1).allowed, true)
  assert.equal(table.take('other', 1).allowed, false)
  for (let i = 0; i < 10; i += 1) assert.equal(table.take(`k${i}`, 1).allowed, false)
  assert.equal(table.size, 10)
  now = 1000
  for (let i = 0; i < 100; i += 1) table.peek(`later${i}`, 1)
  assert.ok(table.size <= 2, String(table.size))
})

test('whoever is counted when, nobody gets more than without the cap', () => {
  const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 12 }), fc.integer({ min: 0, max: 700 })), {
    maxLength: 300,
  })
  fc.assert(
    fc.property(steps, (asked) => {
      let now = 0
      const shape = { burst: 2, perMs: 1 / 1000 }
      const capped = new RateTable(shape, () => now, 4)
      const free = new RateTable(shape, () => now, 1000)
      const through = new Map<number, { capped: number; free: number }>()
      for (const [key, pause] of asked) {
        now += pause
        const sum = through.get(key) ?? { capped: 0, free: 0 }
        through.set(key, sum)
        if (capped.take(String(key), 1).allowed) sum.capped += 1
        if (free.take(String(key), 1).allowed) sum.free += 1
        assert.ok(capped.size <= 4)
        assert.ok(sum.capped <= sum.free)
      }
    }),
  )
  const budget = new BudgetTable({ of: '', count: 1, per: 'day' }, () => 0, null, 2)
  assert.deepEqual(
    ['a', 'b', 'c', 'd', 'a'].map((key) => budget.take(key, 1).allowed),
    [true, true, true, false, false],
  )
})
