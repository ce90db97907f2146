import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { TimerWheel, WheelTimer } from './timer-wheel.ts'

const TICK = 100
const SLOTS = 16

function wheelAt(now: number) {
  const expired: string[] = []
  const wheel = new TimerWheel<string>(TICK, SLOTS, now, (owner) => void expired.push(owner))
  const timers = new Map<string, WheelTimer<string>>()
  const timer = (owner: string) => {
    const made = timers.get(owner) ?? new WheelTimer(owner)
    timers.set(owner, made)
    return made
  }
  return { wheel, expired, timer }
}

test('it expires once, not early and at most two ticks late, near and beyond what the wheel sees', () => {
  for (const ms of [0, 1, 99, 100, 101, 1_499, 1_500, 1_600, 10_000, 3_600_000]) {
    const { wheel, expired, timer } = wheelAt(12_345)
    wheel.arm(timer('a'), ms)
    let now = 12_345
    while (expired.length === 0 && now < 12_345 + ms + 1_000) wheel.advance((now += 10))
    assert.deepEqual(expired, ['a'])
    assert.ok(now >= 12_345 + ms && now <= 12_345 + ms + 2 * TICK, `${ms}: after ${now - 12_345}`)
    for (let i = 0; i < 100; i++) wheel.advance((now += TICK))
    assert.deepEqual(expired, ['a'])
    assert.equal(wheel.size, 0)
  }
})

test('armed again it expires by the later word, sooner or later than the first', () => {
  const { wheel, expired, timer } = wheelAt(0)
  wheel.arm(timer('sooner'), 1_000_000)
  wheel.arm(timer('sooner'), 300)
  wheel.arm(timer('later'), 300)
  wheel.arm(timer('later'), 5_000)
  assert.equal(wheel.size, 2)
  wheel.advance(500)
  assert.deepEqual(expired, ['sooner'])
  wheel.advance(4_900)
  assert.deepEqual(expired, ['sooner'])
  wheel.advance(5_200)
  assert.deepEqual(expired, ['sooner', 'later'])
})

test('disarmed it does not expire and leaves its slot in time; removed it leaves at once', () => {
  const { wheel, expired, timer } = wheelAt(0)
  wheel.arm(timer('a'), 300)
  wheel.arm(timer('b'), 300)
  wheel.arm(timer('c'), 300)
  wheel.disarm(timer('a'))
  wheel.remove(timer('b'))
  wheel.remove(timer('b'))
  assert.equal(wheel.size, 2)
  wheel.advance(600)
  assert.deepEqual(expired, ['c'])
  assert.equal(wheel.size, 0)
})

test('after a pause everything due expires; a clock that stands still or goes back moves nothing', () => {
  const { wheel, expired, timer } = wheelAt(0)
  wheel.arm(timer('a'), 100)
  wheel.arm(timer('b'), 2_000_000)
  wheel.advance(0)
  wheel.advance(-5_000)
  assert.deepEqual(expired, [])
  wheel.advance(1_000_000)
  assert.deepEqual(expired, ['a'])
  wheel.advance(3_000_000)
  assert.deepEqual(expired, ['a', 'b'])
})

test('an owner may arm itself, and others be removed, while timers expire', () => {
  const timers = ['a', 'b', 'c'].map((owner) => new WheelTimer(owner))
  const expired: string[] = []
  const wheel = new TimerWheel<string>(TICK, SLOTS, 0, (owner) => {
    expired.push(owner)
    if (expired.length === 1) {
      wheel.arm(timers[['a', 'b', 'c'].indexOf(owner)] as WheelTimer<string>, 0)
      for (const each of timers) if (each.owner !== owner) wheel.remove(each)
    }
  })
  for (const each of timers) wheel.arm(each, 50)
  wheel.advance(10_000)
  wheel.advance(20_000)
  assert.equal(expired.length, 2)
  assert.equal(expired[0], expired[1])
})

type Step = { readonly kind: 'arm' | 'disarm' | 'remove' | 'advance'; readonly owner: number; readonly ms: number }
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    kind: fc.constantFrom('arm', 'arm', 'disarm', 'remove', 'advance', 'advance', 'advance'),
    owner: fc.nat(5),
    ms: fc.oneof(fc.nat(300), fc.nat(5_000)),
  }),
  { maxLength: 60 },
)

test('whatever is done to it: each expiry is due, none is missed', () => {
  fc.assert(
    fc.property(steps, (list) => {
      let now = 1_000
      const due = new Map<number, number>()
      const timers = Array.from({ length: 6 }, (_, owner) => new WheelTimer(owner))
      const wheel = new TimerWheel<number>(TICK, SLOTS, now, (owner) => {
        assert.ok((due.get(owner) ?? Number.POSITIVE_INFINITY) <= now, 'not early, and only what is armed')
        due.delete(owner)
      })
      for (const { kind, owner, ms } of list) {
        const timer = timers[owner] as WheelTimer<number>
        if (kind === 'arm') {
          wheel.arm(timer, ms)
          due.set(owner, now + ms)
        } else if (kind === 'advance') wheel.advance((now += ms))
        else {
          wheel[kind](timer)
          due.delete(owner)
        }
        for (const at of due.values()) assert.ok(at + 2 * TICK >= now || kind !== 'advance', 'not late')
      }
      wheel.advance((now += 10_000))
      assert.equal(due.size, 0)
    }),
    { numRuns: 500 },
  )
})
