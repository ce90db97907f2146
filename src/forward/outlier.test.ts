import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { newClusterStats } from '../core/stats.ts'
import type { OutlierDetectionModel } from '../model/cluster.ts'
import { type EndpointHealth, HealthGroup, HealthGroups } from './endpoint-health.ts'
import { OutlierDetector } from './outlier.ts'

const MODEL: OutlierDetectionModel = {
  consecutive5xx: 3,
  consecutiveGatewayErrors: 0,
  splitLocalOriginErrors: false,
  consecutiveLocalOriginFailures: 2,
  intervalMs: 10_000,
  baseEjectionMs: 30_000,
  maxEjectionPercent: 100,
  minHealthPercent: 0,
}

/** A detector over `count` endpoints by a clock that stands still until told otherwise. */
function world(count: number, options: Partial<OutlierDetectionModel> = {}, start = 1_234) {
  const clock = { now: start }
  const group = new HealthGroup(clock.now)
  const hosts = Array.from({ length: count }, (_, i) => group.at(`10.0.0.${i}:80`, clock.now))
  const stats = newClusterStats('c')
  const detector = new OutlierDetector(
    { ...MODEL, ...options },
    group,
    stats,
    () => clock.now,
    () => hosts,
  )
  const host = (index: number): EndpointHealth => hosts[index] as EndpointHealth
  const out = () => hosts.flatMap(({ ejectedAt }, index) => (ejectedAt === null ? [] : [index]))
  const later = (ms: number) => {
    clock.now += ms
    detector.sweep()
    return out()
  }
  const answers = (index: number, ...statuses: number[]) => {
    for (const status of statuses) detector.answered(host(index), status)
    return out()
  }
  return { clock, group, stats, detector, host, out, later, answers }
}

test('consecutive 5xx eject at once; any other answer starts the count again', () => {
  const { answers, stats } = world(3)
  assert.deepEqual(answers(0, 500, 501, 404, 500, 599, 302, 503, 503), [])
  assert.deepEqual(answers(0, 500), [0])
  assert.deepEqual(answers(1, 500, 502, 504), [0, 1])
  assert.equal(stats.outlier_ejections_enforced_total, 2)
  assert.equal(stats.outlier_ejections_enforced_consecutive_5xx, 2)
  assert.equal(stats.outlier_ejections_enforced_consecutive_gateway_failure, 0)
})

test('gateway errors are 502, 503 and 504; another 5xx starts their count again; 0 is off', () => {
  const { answers, stats } = world(3, { consecutive5xx: 0, consecutiveGatewayErrors: 2 })
  assert.deepEqual(answers(0, 500, 500, 500, 500, 501), [])
  assert.deepEqual(answers(0, 502, 500, 503, 505, 504), [])
  assert.deepEqual(answers(0, 503), [0])
  assert.equal(stats.outlier_ejections_enforced_consecutive_gateway_failure, 1)
  const off = world(1, { consecutive5xx: 0 })
  assert.deepEqual(off.answers(0, ...Array.from({ length: 100 }, () => 503)), [])
})

test('local failures are 503s unless they are counted apart', () => {
  const one = world(2)
  for (let i = 0; i < 3; i++) one.detector.failed(one.host(0))
  assert.deepEqual(one.out(), [0])
  assert.equal(one.stats.outlier_ejections_enforced_consecutive_5xx, 1)
  // An HTTP connection says nothing about what is to come on it; a tunnel's is all there is.
  const mixed = world(2)
  for (const final of [false, true]) {
    mixed.detector.failed(mixed.host(0))
    mixed.detector.failed(mixed.host(0))
    mixed.detector.connected(mixed.host(0), final)
    assert.equal(mixed.host(0).consecutive5xx, final ? 0 : 2)
  }

  const split = world(2, { splitLocalOriginErrors: true })
  split.answers(0, 500, 500)
  split.detector.failed(split.host(0))
  assert.deepEqual(split.out(), [])
  split.detector.connected(split.host(0), false)
  split.detector.failed(split.host(0))
  assert.deepEqual(split.out(), [])
  assert.equal(split.host(0).consecutive5xx, 2)
  split.detector.failed(split.host(0))
  assert.deepEqual(split.out(), [0])
  assert.equal(split.stats.outlier_ejections_enforced_consecutive_local_origin_failure, 1)
})

test('an ejection lasts base times the number of ejections, to the next sweep, and no longer than 300 s', () => {
  const { answers, later, host, clock } = world(1, { baseEjectionMs: 25_000 })
  const begun = clock.now
  assert.deepEqual(answers(0, 500, 500, 500), [0])
  assert.deepEqual(later(29_999), [0])
  assert.deepEqual(later(1), [])
  assert.equal(host(0).since, begun + 30_000)
  assert.deepEqual(answers(0, 500, 500), [])
  assert.deepEqual(answers(0, 500), [0])
  assert.deepEqual(later(49_999), [0])
  assert.deepEqual(later(1), [])
  // Counters start afresh.
  assert.deepEqual(answers(0, 500, 500), [])
  // Each sweep in good health takes one off again: after two the next ejection is the first one again.
  later(20_000)
  assert.deepEqual(answers(0, 500), [0])
  assert.deepEqual(later(29_999), [0])
  assert.deepEqual(later(1), [])
  let longest = 0
  for (let i = 0; i < 20; i++) {
    answers(0, 500, 500, 500)
    const from = clock.now
    while (later(5_000).length > 0);
    longest = Math.max(longest, clock.now - from)
  }
  assert.equal(longest, 300_000)
})

test('one may always be ejected; more only within maxEjectionPercent', () => {
  const { answers, stats, later } = world(10, { maxEjectionPercent: 25 })
  for (let i = 0; i < 4; i++) answers(i, 500, 500, 500)
  assert.deepEqual(answers(9), [0, 1])
  assert.equal(stats.outlier_ejections_overflow, 2)
  assert.equal(stats.outlier_ejections_enforced_total, 2)
  // Room again: it takes as many failures as the first time.
  later(40_000)
  assert.deepEqual(answers(2, 500, 500), [])
  assert.deepEqual(answers(2, 500), [2])
  const single = world(1, { maxEjectionPercent: 10 })
  assert.deepEqual(single.answers(0, 500, 500, 500), [0])
  const none = world(4, { maxEjectionPercent: 0 })
  assert.deepEqual(none.answers(0, 500, 500, 500), [])
})

test('an endpoint that leaves keeps its ejection and nothing else; a gone cluster is forgotten', () => {
  const { answers, group, host } = world(2)
  answers(0, 500, 500, 500)
  answers(1, 500, 500)
  group.left('10.0.0.0:80')
  group.left('10.0.0.1:80')
  assert.equal(group.at('10.0.0.0:80', 99), host(0))
  assert.deepEqual({ ...group.at('10.0.0.1:80', 99) }, { ...host(1), consecutive5xx: 0, since: 99 })

  const groups = new HealthGroups()
  const first = groups.of('a', null, 1)
  assert.notEqual(groups.of('a', 'www.example', 2), first)
  assert.equal(groups.of('a', null, 3), first)
  groups.keep((name) => name === 'b')
  assert.notEqual(groups.of('a', null, 4), first)
})

type Event = {
  readonly host: number
  readonly what: 'ok' | '500' | '503' | 'failed' | 'connected'
  readonly wait: number
}

test('property: ejections never exceed maxEjectionPercent (but for one), none begins early, all end in time', () => {
  const events = fc.array(
    fc.record({
      host: fc.nat({ max: 11 }),
      what: fc.constantFrom<Event['what']>('ok', '500', '500', '503', '503', 'failed', 'failed', 'connected'),
      wait: fc.constantFrom(0, 0, 0, 1_000, 15_000),
    }),
    { maxLength: 300 },
  )
  const options = fc.record({
    consecutive5xx: fc.integer({ min: 0, max: 4 }),
    consecutiveGatewayErrors: fc.integer({ min: 0, max: 4 }),
    splitLocalOriginErrors: fc.boolean(),
    consecutiveLocalOriginFailures: fc.integer({ min: 0, max: 3 }),
    maxEjectionPercent: fc.integer({ min: 0, max: 100 }),
    intervalMs: fc.constantFrom(1_000, 10_000),
  })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), options, events, (count, model, sequence) => {
      const { detector, clock, out, host, stats } = world(count, model)
      /** Failures in a row: by answers, and of our own side where those are counted apart. */
      const bad = Array.from({ length: count }, () => ({ answers: 0, local: 0 }))
      for (const { host: nth, what, wait } of sequence) {
        const index = nth % count
        const before = out()
        if (what === 'failed') detector.failed(host(index))
        else if (what === 'connected') detector.connected(host(index), false)
        else detector.answered(host(index), what === 'ok' ? 200 : Number(what))
        const row = bad[index] as (typeof bad)[number]
        const local = model.splitLocalOriginErrors && (what === 'failed' || what === 'connected')
        if (local) row.local = what === 'failed' ? row.local + 1 : 0
        else if (what === 'ok') row.answers = 0
        else if (what !== 'connected') row.answers++
        const now = out()
        const allowed = (model.maxEjectionPercent * count) / 100
        assert.ok(now.length <= allowed || (now.length === 1 && model.maxEjectionPercent > 0), now.join())
        for (const each of now) {
          if (before.includes(each)) continue
          assert.equal(each, index)
          const { consecutive5xx, consecutiveGatewayErrors, consecutiveLocalOriginFailures } = model
          const limits = local ? [consecutiveLocalOriginFailures] : [consecutive5xx, consecutiveGatewayErrors]
          const least = Math.min(...limits.filter((limit) => limit > 0))
          assert.ok((local ? row.local : row.answers) >= least, `${JSON.stringify(row)}, limit ${least}`)
        }
        clock.now += wait
        detector.sweep()
        for (const each of out()) {
          assert.ok(clock.now - (host(each).ejectedAt ?? 0) < 300_000 + model.intervalMs)
        }
      }
      assert.ok(stats.outlier_ejections_enforced_total >= out().length)
      clock.now += 310_000
      detector.sweep()
      assert.deepEqual(out(), [])
    }),
    { numRuns: 300 },
  )
})
