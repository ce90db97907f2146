/** Deadline, breaker and recovery over a real redis-server, with everything that can happen to it (threats 48). */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { createLog } from '../../observe/log.ts'
import { eventually } from '../../testing/eventually.ts'
import { type Detour, detourTo, RedisServer, redisSettings, skipWithoutRedis } from '../../testing/redis.ts'
import { RedisLink, Unanswered } from './link.ts'
import { PROBE } from './scripts.ts'

const skip = skipWithoutRedis

/** Far beyond what an answer takes on a busy machine. */
const DEADLINE_MS = 500

type World = {
  readonly redis: RedisServer
  readonly detour: Detour
  readonly link: RedisLink
  readonly lines: string[]
}

async function world(t: TestContext, more: object = {}): Promise<World> {
  const redis = await RedisServer.start()
  const detour = await detourTo(redis.port)
  const lines: string[] = []
  const log = createLog({ write: (line) => (lines.push(line), true) }, 'debug')
  const link = new RedisLink(redisSettings(detour.port, { timeout: `${DEADLINE_MS}ms`, ...more }), log)
  t.after(async () => {
    link.close()
    await detour.close()
    await redis.close()
  })
  await eventually('the store answers', () => link.up)
  return { redis, detour, link, lines }
}

/** How one question ends, and after how many milliseconds. */
async function ask(link: RedisLink): Promise<readonly [string, number]> {
  const since = performance.now()
  try {
    return [String(await link.ask(PROBE, 'a:{b}', [])), performance.now() - since]
  } catch (error) {
    assert.ok(error instanceof Unanswered, String(error))
    return [error.failure, performance.now() - since]
  }
}

const outages = (lines: readonly string[]) => lines.filter((line) => line.includes('does not answer')).length
const healed = (lines: readonly string[]) => lines.filter((line) => line.includes('answers again')).length

/** TABLE: what happens to the store → how it begins, how it ends. */
const FAULTS: Readonly<
  Record<string, { readonly begin: (world: World) => unknown; readonly end: (world: World) => unknown }>
> = {
  'killed, and started again empty': { begin: ({ redis }) => redis.kill(), end: ({ redis }) => redis.restart() },
  'paused (SIGSTOP)': { begin: ({ redis }) => redis.pause(), end: ({ redis }) => redis.resume() },
  'slow (four times the deadline)': {
    begin: ({ detour }) => (detour.delayMs = 4 * DEADLINE_MS),
    end: ({ detour }) => (detour.delayMs = 0),
  },
  'a replica (READONLY)': {
    begin: ({ redis }) => redis.command('REPLICAOF', '127.0.0.1', '1'),
    end: ({ redis }) => redis.command('REPLICAOF', 'NO', 'ONE'),
  },
  'out of memory (OOM)': {
    begin: ({ redis }) => redis.command('CONFIG', 'SET', 'maxmemory', '1'),
    end: ({ redis }) => redis.command('CONFIG', 'SET', 'maxmemory', '0'),
  },
  'answering garbage': {
    begin: ({ detour }) => (detour.garbage = true),
    end: ({ detour }) => (detour.garbage = false),
  },
}

for (const [what, { begin, end }] of Object.entries(FAULTS)) {
  test(`a store that is ${what}: questions fail fast, are not queued, one line says so, and it heals by itself`, {
    skip,
  }, async (t) => {
    const all = await world(t)
    const { link, lines } = all
    assert.deepEqual((await ask(link))[0], 'sallyport')
    await begin(all)
    await eventually('the breaker is open', async () => {
      await ask(link)
      return !link.up
    })
    const closed = await Promise.all(Array.from({ length: 500 }, async () => ask(link)))
    assert.deepEqual(new Set(closed.map(([failure]) => failure)), new Set(['closed']), 'nobody waits any more')
    assert.equal(outages(lines), 1, lines.join(''))
    assert.equal(link.state.outages, 1)
    await end(all)
    await eventually('it has healed', () => link.up, 20_000)
    assert.deepEqual((await ask(link))[0], 'sallyport')
    assert.deepEqual([outages(lines), healed(lines)], [1, 1])
  })
}

test('a stall leaves no question waiting: at most the deadline, whatever is asked', { skip }, async (t) => {
  const { link, redis } = await world(t)
  redis.pause()
  const answers = await Promise.all(Array.from({ length: 5000 }, async () => ask(link)))
  const counts = Map.groupBy(answers, ([failure]) => failure)
  assert.equal(counts.get('deadline')?.length, 1024, 'what is under way is bounded')
  assert.equal(counts.get('busy')?.length, 5000 - 1024)
  assert.equal(link.up, false)
  // A margin for machines that are busy with other things; an unbounded wait would be one for ever.
  assert.ok(Math.max(...answers.map(([, ms]) => ms)) < 20_000)
  redis.resume()
  await eventually('it has healed', () => link.up, 20_000)
})

test('what could not be answered in time is told late, once', { skip }, async (t) => {
  const { detour, link } = await world(t, { breaker: { failures: 100 } })
  detour.held = true
  const late: unknown[] = []
  await assert.rejects(
    link.ask(PROBE, 'a:{b}', [], (reply) => late.push(reply)),
    Unanswered,
  )
  assert.deepEqual(late, [])
  detour.held = false
  await eventually('the late answer', () => late.length > 0)
  assert.deepEqual(late, ['sallyport'])
})

test('a store that is not there when the gateway starts: said once, taken when it comes', { skip }, async (t) => {
  const redis = await RedisServer.start()
  await redis.kill()
  const lines: string[] = []
  const log = createLog({ write: (line) => (lines.push(line), true) }, 'debug')
  const link = new RedisLink(redisSettings(redis.port), log)
  t.after(async () => {
    link.close()
    await redis.close()
  })
  assert.deepEqual((await ask(link))[0], 'closed')
  await eventually('it is said', () => outages(lines) === 1)
  await redis.restart()
  await eventually('it is taken', () => link.up, 20_000)
  assert.equal(outages(lines), 1)
})
