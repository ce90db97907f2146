/** Global limits over a real redis-server: never more than there is, whoever asks, and the bounds that docs/rate-limits.md states. */
import assert from 'node:assert/strict'
import { after, before, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { LimitModel, LimitQuota, LimitUnit } from '../../model/limits.ts'
import { createLog } from '../../observe/log.ts'
import { eventually } from '../../testing/eventually.ts'
import { RedisServer, redisSettings, skipWithoutRedis } from '../../testing/redis.ts'
import type { Verdict } from '../limits/store.ts'
import { RedisLimitStore } from './limit-store.ts'
import { RedisLink } from './link.ts'
import { BUDGET } from './scripts.ts'

const skip = skipWithoutRedis
const HOUR = 3_600_000

let redis: RedisServer | null = null
before(async () => {
  if (skip === false) redis = await RedisServer.start()
})
after(() => redis?.close())

let made = 0

function limit(quota: LimitQuota, unit: LimitUnit = 'requests'): LimitModel {
  made += 1
  return {
    id: `ns/limits/l${made}`,
    name: `l${made}`,
    source: { file: 'a.yaml', line: 1, col: 1 },
    from: null,
    to: null,
    key: [],
    unit,
    direction: 'both',
    quota,
    scope: 'global',
    mode: 'enforce',
    onStoreFailure: 'closed',
  }
}

const rate = (count: number, periodMs: number, burst: number): LimitQuota => ({ kind: 'rate', count, periodMs, burst })

/** One store with its own connection is what a gateway process has. A generous deadline: it is not what these tests are about. */
async function stores(t: TestContext, count: number, more: object = {}): Promise<readonly RedisLimitStore[]> {
  const settings = redisSettings(redis?.port ?? 0, { timeout: '1s', ...more })
  const log = createLog({ write: () => true }, 'off')
  return Promise.all(
    Array.from({ length: count }, async () => {
      const link = new RedisLink(settings, log)
      const store = new RedisLimitStore(settings, link)
      t.after(async () => {
        await store.close()
        link.close()
      })
      await eventually('the store answers', () => link.up)
      return store
    }),
  )
}

const allowed = (verdicts: readonly (Verdict | null)[]) => verdicts.filter((each) => each?.allowed === true).length

test('without leases: exactly as many as there are, however many processes ask at once', { skip }, async (t) => {
  const all = await stores(t, 4, { leases: { max: 1 } })
  const hundred = limit(rate(100, HOUR, 100))
  const answers = await Promise.all(
    all.flatMap((store) => Array.from({ length: 60 }, async () => store.take(hundred, 'k', 1))),
  )
  assert.equal(allowed(answers), 100)
  const refused = answers.find((each) => each?.allowed === false)
  // A hundred an hour: one comes back every 36 seconds.
  assert.ok(
    refused !== undefined && refused !== null && refused.retryAfterMs > 30_000 && refused.retryAfterMs <= 36_000,
    JSON.stringify(refused),
  )
  assert.equal((await all[0]?.take(hundred, 'another', 1))?.allowed, true)
})

test('with leases: never more than there is; what a process does not use it gives back', { skip }, async (t) => {
  const all = await stores(t, 4, { leases: { max: 20, share: 5, ttl: '300ms' } })
  const thousand = limit(rate(1000, HOUR, 1000))
  const busy = async (store: RedisLimitStore): Promise<number> => {
    let passed = 0
    for (let i = 0; i < 30; i += 1) {
      passed += allowed(await Promise.all(Array.from({ length: 20 }, async () => store.take(thousand, 'k', 1))))
      await delay(1)
    }
    return passed
  }
  const passed = (await Promise.all(all.map(busy))).reduce((sum, each) => sum + each, 0)
  assert.ok(passed <= 1000, `${passed} passed`)
  // Four processes may hold a lease of 20 each that they have not used.
  assert.ok(passed >= 1000 - 4 * 20, `${passed} passed`)
  let late = 0
  await eventually('what was leased and not used is there again', async () => {
    const verdict = await all[0]?.take(thousand, 'k', 1)
    if (verdict?.allowed === true) late += 1
    return passed + late >= 1000
  })
  assert.ok(passed + late <= 1001, `${passed} + ${late}: one may have come back by time`)
})

test('a hot key costs one question per lease', { skip }, async (t) => {
  const [store] = (await stores(t, 1, { leases: { max: 50, share: 100 } })) as readonly [RedisLimitStore]
  const plenty = limit(rate(1_000_000, 1000, 1_000_000))
  const asked = async (): Promise<number> =>
    Number(/cmdstat_evalsha:calls=(\d+)/.exec((await redis?.command('INFO', 'commandstats')) ?? '')?.[1] ?? 0)
  const before = await asked()
  for (let i = 0; i < 2000; i += 1) assert.equal((await store.take(plenty, 'k', 1))?.allowed, true)
  const questions = (await asked()) - before
  t.diagnostic(`2000 decisions, ${questions} questions`)
  assert.ok(questions < 200, `${questions} questions`)
})

test('a refusal is not asked about again and again', { skip }, async (t) => {
  const [store] = (await stores(t, 1)) as readonly [RedisLimitStore]
  const one = limit(rate(1, HOUR, 1))
  assert.equal((await store.take(one, 'k', 1))?.allowed, true)
  assert.equal((await store.take(one, 'k', 1))?.allowed, false)
  const known = store.take(one, 'k', 1)
  assert.ok(!(known instanceof Promise) && known?.allowed === false && known.retryAfterMs > 3_500_000)
})

test('a bucket fills again at its rate, never beyond: burst + rate × t in any t', { skip }, async (t) => {
  const all = await stores(t, 2)
  const fast = limit(rate(100, 1000, 20))
  const since = performance.now()
  let passed = 0
  while (passed < 120) {
    passed += allowed(await Promise.all(all.map(async (store) => store.take(fast, 'k', 1))))
    await delay(1)
  }
  const took = performance.now() - since
  // A second, and what a busy machine loses: the bucket was full meanwhile.
  assert.ok(took < 15_000, `${took} ms: it does fill, at its rate`)
  const most = 20 + (100 * took) / 1000 + 1
  assert.ok(passed <= most, `${passed} > ${most}`)
})

test('bytes are charged as they have flowed: below nothing, then nobody until it is made up', { skip }, async (t) => {
  const [one, two] = (await stores(t, 2)) as readonly [RedisLimitStore, RedisLimitStore]
  // Half a second's worth is made up in thirty: what is waited for in between stays true for long.
  const slow = limit(rate(1000, 60_000, 1000), 'bytes')
  assert.equal((await one.take(slow, 'k', 0))?.allowed, true)
  await one.charge(slow, 'k', 500)
  await eventually('the other knows', async () => ((await two.take(slow, 'k', 0))?.remaining ?? 1000) <= 990)
  const bytes = limit(rate(1000, 1000, 1000), 'bytes')
  assert.equal((await one.take(bytes, 'k', 0))?.allowed, true)
  await one.charge(bytes, 'k', 3000)
  await eventually('the other refuses', async () => (await two.take(bytes, 'k', 0))?.allowed === false)
  await eventually('it is made up', async () => (await two.take(bytes, 'k', 0))?.allowed === true)
})

test('a budget is shared, survives a new process, and gives its leases back', { skip }, async (t) => {
  const [one, two] = (await stores(t, 2, { leases: { max: 10, share: 10 } })) as readonly [
    RedisLimitStore,
    RedisLimitStore,
  ]
  const monthly = limit({ kind: 'budget', count: 100, per: 'month', warnAt: 80 })
  const first = await Promise.all(Array.from({ length: 60 }, async () => one.take(monthly, 'k', 1)))
  assert.equal(allowed(first), 60)
  await one.close()
  const rest = await Promise.all(Array.from({ length: 60 }, async () => two.take(monthly, 'k', 1)))
  assert.equal(allowed(rest), 40)
  const [three] = (await stores(t, 1)) as readonly [RedisLimitStore]
  const over = await three.take(monthly, 'k', 1)
  assert.equal(over?.allowed, false)
  const month = 31 * 86_400_000
  assert.ok(over !== null && over !== undefined && over.retryAfterMs > 0 && over.retryAfterMs <= month)
  assert.equal(over.resetMs, over.retryAfterMs)
})

test('days and months are those of the calendar, by the clock of Redis', { skip }, async () => {
  assert.ok(redis !== null)
  // The script, with a clock that can be set.
  const lua = BUDGET.lua.replace("redis.call('TIME')", '{ARGV[7], 0}')
  assert.notEqual(lua, BUDGET.lua)
  const moments = [
    '2026-01-01T00:00:00Z',
    '2026-02-28T23:59:59Z',
    '2028-02-29T12:00:00Z',
    '2028-03-01T00:00:00Z',
    '2026-12-31T23:59:59Z',
    '2100-02-28T23:59:59Z',
    '2000-02-29T00:00:00Z',
    '2026-11-22T10:11:12Z',
  ]
  for (const [i, moment] of moments.entries()) {
    const at = Date.parse(moment)
    const date = new Date(at)
    const [year, month, day] = [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()]
    const expected = {
      day: [Math.floor(at / 86_400_000), Date.UTC(year, month, day + 1) - at],
      month: [year * 12 + month, Date.UTC(year, month + 1, 1) - at],
    }
    for (const [per, [period, ends]] of Object.entries(expected)) {
      const args = [per, '10', '1', '1', 'take', '0', String(at / 1000)]
      const reply: string = await redis.command('EVAL', lua, '1', `calendar:${i}:${per}`, ...args)
      assert.deepEqual(reply.split('\n').map(Number), [1, 1, 9, 0, ends, period], `${per} of ${moment}`)
    }
  }
})

test('places: no more open at a time than there are; given up, or forgotten by its process, one is free', {
  skip,
}, async (t) => {
  const [one, two] = (await stores(t, 2)) as readonly [RedisLimitStore, RedisLimitStore]
  const two_open = limit({ kind: 'concurrent', count: 2 }, 'tunnels')
  assert.equal((await one.hold(two_open, 'k', 'a'))?.allowed, true)
  assert.equal((await two.hold(two_open, 'k', 'b'))?.allowed, true)
  assert.equal((await one.hold(two_open, 'k', 'a'))?.allowed, true, 'it has it already')
  assert.equal((await two.hold(two_open, 'k', 'c'))?.allowed, false)
  one.release(two_open, 'k', 'a')
  await eventually('it is free', async () => (await two.hold(two_open, 'k', 'c'))?.allowed === true)
  const [key = ''] = ((await redis?.command('KEYS', `sallyport:limit:${two_open.id}:*`)) ?? '').split('\n')
  const left = Number(await redis?.command('PTTL', key))
  assert.ok(left > 0 && left <= 30_000, 'nothing is held for ever')
})

test('every key expires, has a hash tag, and holds nothing that callers sent', { skip }, async (t) => {
  const [store] = (await stores(t, 1)) as readonly [RedisLimitStore]
  const some = [limit(rate(10, HOUR, 10)), limit({ kind: 'budget', count: 10, per: 'day', warnAt: 80 })]
  for (const each of some) await store.take(each, 'evil\r\n{key}', 1)
  for (const each of some) {
    const keys = ((await redis?.command('KEYS', `sallyport:limit:${each.id}:*`)) ?? '').split('\n')
    assert.equal(keys.length, 1)
    assert.match(keys[0] ?? '', /^sallyport:limit:ns\/limits\/l\d+:\{[A-Za-z0-9_-]{22}\}$/)
    assert.ok(Number(await redis?.command('PTTL', keys[0] ?? '')) > 0)
  }
})

test('a store that cannot be asked: null within the deadline, from everything; what it owes is charged when it is back', {
  skip,
}, async (t) => {
  const own = await RedisServer.start()
  t.after(() => own.close())
  const settings = redisSettings(own.port, { timeout: '500ms' })
  const link = new RedisLink(settings, createLog({ write: () => true }, 'off'))
  const store = new RedisLimitStore(settings, link)
  t.after(async () => {
    await store.close()
    link.close()
  })
  await eventually('the store answers', () => link.up)
  const [requests, bytes] = [limit(rate(10, HOUR, 10)), limit(rate(1000, HOUR, 1000), 'bytes')]
  const places = limit({ kind: 'concurrent', count: 1 }, 'tunnels')
  own.pause()
  const all = async (): Promise<unknown[]> =>
    Promise.all([store.take(requests, 'k', 1), store.charge(bytes, 'k', 300), store.hold(places, 'k', 'a')])
  assert.deepEqual(await all(), [null, null, null])
  await eventually('the breaker is open', async () => {
    await store.take(requests, 'k', 1)
    return !link.up
  })
  assert.deepEqual(await all(), [null, null, null])
  own.resume()
  await eventually('it has healed', () => link.up)
  await eventually('600 of 1000 are charged', async () => ((await store.take(bytes, 'k', 0))?.remaining ?? 1000) <= 400)
  assert.equal((await store.take(requests, 'k', 1))?.allowed, true)
})
