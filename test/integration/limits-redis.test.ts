/** Limits of `scope: global`: several gateways, one count; and what holds while Redis cannot be asked (contract §4, limits). */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
import { RedisServer, skipWithoutRedis } from '../../src/testing/redis.ts'
import { run, workspace } from './child.ts'
import { ANYONE, hourly, type LimitWorld, limitWorld, rateLimit, SITE, SLEEP } from './limit-world.ts'
import { documents, gateway, serviceEntry, to, virtualService } from './manifests.ts'
import { sample } from './operator.ts'

const skip = skipWithoutRedis
const GLOBAL = { scope: 'global', onStoreFailure: 'closed' }

async function startRedis(t: TestContext): Promise<RedisServer> {
  const redis = await RedisServer.start()
  t.after(() => redis.close())
  return redis
}

/** A generous deadline: machines are slow at times, and what is tested here is not how fast they are. */
async function worldOf(t: TestContext, redis: RedisServer, ...limits: readonly object[]): Promise<LimitWorld> {
  return limitWorld(t, [rateLimit(limits)], { spec: { redis: { url: redis.url, timeout: '1s' } } })
}

test('two gateways, one count: exactly as many as there are', { skip }, async (t) => {
  const redis = await startRedis(t)
  const limit = { name: 'one', key: ['principal'], ...ANYONE, ...GLOBAL, ...hourly(20) }
  const worlds = await Promise.all([worldOf(t, redis, limit), worldOf(t, redis, limit)])
  const asked = await Promise.all(worlds.map((world) => world.statuses(15)))
  assert.deepEqual(
    asked.flat().sort((a, b) => a - b),
    [...Array.from({ length: 20 }, () => 200), ...Array.from({ length: 10 }, () => 429)],
  )
  const refused = await worlds[0]?.call()
  assert.deepEqual(
    [refused?.status, refused?.body, refused?.headers['x-envoy-ratelimited'], refused?.headers['x-sallyport-reason']],
    [429, '', 'true', 'rate_limited'],
  )
  assert.ok(Number(refused?.headers['retry-after']) > 100)
  const anonymous = await worlds[1]?.call({ from: null })
  assert.equal(anonymous?.status, 200, 'the limit is not for callers without identity')
})

test('a request that no global limit covers never waits for Redis', { skip }, async (t) => {
  const redis = await startRedis(t)
  const world = await worldOf(t, redis, { name: 'one', key: ['principal'], ...ANYONE, ...GLOBAL, ...hourly(20) })
  const asked = async () => sample(world.harness, 'sallyport_rate_limit_store_questions_total')
  const before = await asked()
  for (let i = 0; i < 5; i += 1) assert.equal((await world.call({ from: null })).status, 200)
  assert.equal(await asked(), before)
  await world.call()
  assert.equal(await asked(), (before ?? 0) + 1)
})

test('Redis gone: open lets through, closed refuses, local counts here; one line, a gauge, and it heals', {
  skip,
}, async (t) => {
  const redis = await startRedis(t)
  const limit = (name: string, onStoreFailure: string) => ({
    name,
    key: [],
    to: [{ paths: [`/anything/${name}`] }],
    ...GLOBAL,
    onStoreFailure,
    ...hourly(3),
  })
  const world = await worldOf(t, redis, limit('open', 'open'), limit('closed', 'closed'), limit('local', 'local'))
  const { harness } = world
  const ask = async (name: string, count: number) => world.statuses(count, { path: `/anything/${name}` })
  const up = async () => sample(harness, 'sallyport_rate_limit_store_up')
  assert.equal(await up(), 1)
  assert.deepEqual(await ask('open', 1), [200])
  await redis.kill()
  await eventually('the loss is noticed', async () => (await up()) === 0)
  assert.deepEqual(await ask('open', 5), [200, 200, 200, 200, 200])
  assert.deepEqual(await ask('closed', 2), [429, 429])
  assert.deepEqual(await ask('local', 5), [200, 200, 200, 429, 429])
  const [line] = (await harness.lines(8)).filter((each) => each['path'] === '/anything/closed')
  assert.match(String(line?.['response_code_details']), /^rate_limiter_error\{/)
  const told = () =>
    harness.log().filter((each) => String(each['message']).startsWith('the shared store does not answer'))
  await eventually('it is said', () => told().length > 0)
  assert.equal(told().length, 1, 'once')
  await redis.restart()
  await eventually('it has healed', async () => (await up()) === 1)
  assert.deepEqual(await ask('closed', 4), [200, 200, 200, 429])
  assert.equal(told().length, 1)
  assert.equal(await sample(harness, 'sallyport_rate_limit_store_outages_total'), 1)
})

test('two processes under load hold a global limit within the bound that is stated', { skip }, async (t) => {
  const redis = await startRedis(t)
  const site = await startEchoOrigin()
  t.after(() => site.close())
  const resources = documents(
    gateway(),
    serviceEntry('site', SITE, site.port),
    virtualService('site', [SITE], [{ route: to(SITE) }]),
    rateLimit([{ name: 'all', key: [], ...GLOBAL, ...hourly(300) }]),
  )
  const spec = { redis: { url: redis.url, timeout: '1s' }, meshConfig: { accessLogFile: '' } }
  const { bootstrap } = await workspace(t, { 'all.yaml': resources }, spec)
  const gateways = await Promise.all([run(t, bootstrap), run(t, bootstrap)])
  const load = async (port: number): Promise<number> => {
    const socket = await plainConnect(port)
    let passed = 0
    for (let i = 0; i < 100; i += 1) {
      const { status } = await request(socket, SITE)
      assert.ok(status === 200 || status === 429, String(status))
      if (status === 200) passed += 1
    }
    socket.destroy()
    return passed
  }
  // 600 ask, by three connections to each.
  const all = await Promise.all(gateways.flatMap(({ port }) => [load(port), load(port), load(port)]))
  const passed = all.reduce((sum, each) => sum + each, 0)
  t.diagnostic(`${passed} of 600 passed a limit of 300`)
  // Never more; less by what two leases (2 % of 300, 6 units each) may hold unused at the end.
  assert.ok(passed <= 300 && passed >= 300 - 2 * 6, `${passed}`)
})

test('a global budget warns, is shared and outlives its gateways', { skip }, async (t) => {
  const redis = await startRedis(t)
  const limit = {
    name: 'daily',
    key: ['principal'],
    ...ANYONE,
    ...GLOBAL,
    budget: { requests: 10, per: 'day', warnAt: 80 },
  }
  const first = await worldOf(t, redis, limit)
  assert.deepEqual(
    await first.statuses(7),
    Array.from({ length: 7 }, () => 200),
  )
  await first.harness.stop()
  const second = await worldOf(t, redis, limit)
  const warned = await second.call()
  assert.equal(warned.headers['x-sallyport-budget-warning'], 'daily; remaining=2')
  assert.deepEqual(await second.statuses(3), [200, 200, 429])
  const series = `sallyport_budget_remaining{limit="istio-system/limits/daily",principal="spiffe://cluster.local/ns/${SLEEP.replace('/', '/sa/')}",host=""}`
  assert.equal(await sample(second.harness, series), 0)
})
