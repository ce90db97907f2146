/** Every field of EgressRateLimit, over real sockets: whom a limit is for, what it counts, and what happens beyond it. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import {
  ANYONE,
  BATCH,
  CRON,
  hourly,
  type LimitWorld,
  limitWorld,
  OTHER_SITE,
  rateLimit,
  SITE,
  SLEEP,
} from '../integration/limit-world.ts'
import { sample } from '../integration/operator.ts'

const LIMIT = 'EgressRateLimit.limits[]'

const one = (limit: object) => rateLimit([{ name: 'one', key: [], ...hourly(1), ...limit }])

type Case = { readonly limit: object; readonly counted: object; readonly free: object }

/** The second request of the one kind is refused; those of the other never are. */
async function separates(world: LimitWorld, { limit, counted, free }: Case): Promise<void> {
  // A limit that is new counts anew.
  await world.become()
  assert.equal((await world.call(free)).status, 200)
  await world.become(rateLimit([{ name: 'one', key: [], ...hourly(1), ...limit }], { name: `l${Math.random()}` }))
  assert.deepEqual(await world.statuses(2, counted), [200, 429])
  assert.deepEqual(await world.statuses(2, free), [200, 200])
}

const SOURCES = {
  'field EgressRateLimit.limits[].from[].principals: exact, prefix, suffix and any': [
    { limit: { from: [{ principals: ['cluster.local/ns/apps/sa/sleep'] }] }, counted: {}, free: { from: CRON } },
    { limit: { from: [{ principals: ['cluster.local/ns/apps/*'] }] }, counted: { from: CRON }, free: { from: BATCH } },
    { limit: { from: [{ principals: ['*'] }] }, counted: { from: BATCH }, free: { from: null } },
  ],
  'field EgressRateLimit.limits[].from[].notPrincipals: all others, those without identity too': [
    { limit: { from: [{ notPrincipals: ['*/sa/sleep'] }] }, counted: { from: null }, free: { from: SLEEP } },
  ],
  'field EgressRateLimit.limits[].from[].namespaces: of the caller': [
    { limit: { from: [{ namespaces: ['jobs'] }] }, counted: { from: BATCH }, free: { from: SLEEP } },
  ],
  'field EgressRateLimit.limits[].from[].notNamespaces: all others': [
    { limit: { from: [{ notNamespaces: ['jobs'] }] }, counted: { from: SLEEP }, free: { from: BATCH } },
  ],
  'field EgressRateLimit.limits[].from[].serviceAccounts: NAMESPACE/NAME, of the own namespace without one': [
    { limit: { from: [{ serviceAccounts: ['apps/cron'] }] }, counted: { from: CRON }, free: { from: SLEEP } },
    {
      limit: { from: [{ serviceAccounts: ['sleep'] }, { serviceAccounts: ['jobs/batch'] }] },
      counted: { from: BATCH },
      free: { from: SLEEP },
    },
  ],
  'field EgressRateLimit.limits[].from[].notServiceAccounts: all others': [
    { limit: { from: [{ notServiceAccounts: ['apps/cron'] }] }, counted: { from: SLEEP }, free: { from: CRON } },
  ],
  'field EgressRateLimit.limits[].to[].hosts: as in policies, whatever port is written': [
    { limit: { to: [{ hosts: [SITE] }] }, counted: { host: `${SITE}:80` }, free: { host: OTHER_SITE } },
    { limit: { ...ANYONE, to: [{ hosts: ['*.example'] }] }, counted: {}, free: { from: null } },
  ],
  'field EgressRateLimit.limits[].to[].notHosts: all others': [
    { limit: { to: [{ notHosts: [SITE] }] }, counted: { host: OTHER_SITE }, free: { host: SITE } },
  ],
  'field EgressRateLimit.limits[].to[].methods: of the request': [
    { limit: { to: [{ methods: ['POST'] }] }, counted: { method: 'POST' }, free: { method: 'GET' } },
  ],
  'field EgressRateLimit.limits[].to[].notMethods: all others': [
    { limit: { to: [{ notMethods: ['GET'] }] }, counted: { method: 'PUT' }, free: { method: 'GET' } },
  ],
  'field EgressRateLimit.limits[].to[].paths: normalised, prefixes and templates': [
    { limit: { to: [{ paths: ['/v1/*'] }] }, counted: { path: '/x/../v1/a?b' }, free: { path: '/v2' } },
    { limit: { to: [{ paths: ['/a/{*}/b'] }] }, counted: { path: '/a/x/b' }, free: { path: '/a/x/y/b' } },
  ],
  'field EgressRateLimit.limits[].to[].notPaths: all others': [
    { limit: { to: [{ notPaths: ['/free'] }] }, counted: { path: '/' }, free: { path: '/free' } },
  ],
} as const satisfies Readonly<Record<string, readonly Case[]>>

for (const [title, cases] of Object.entries(SOURCES))
  test(title, async (t) => {
    const world = await limitWorld(t)
    for (const each of cases as readonly Case[]) await separates(world, each)
  })

test('field EgressRateLimit.selector.matchLabels: this gateway or another', async (t) => {
  const limits = [{ name: 'one', key: [], ...hourly(1) }]
  const of = (matchLabels: object) => rateLimit(limits, {}, { selector: { matchLabels } })
  const world = await limitWorld(t, [of({ istio: 'other' })])
  assert.deepEqual(await world.statuses(2), [200, 200])
  await world.become(of({ istio: 'egressgateway' }))
  assert.deepEqual(await world.statuses(2), [200, 429])
  // Of a namespace that is neither the gateway's nor the root, it is for the workloads there.
  await world.become(rateLimit(limits, { namespace: 'apps' }))
  assert.deepEqual(await world.statuses(2), [200, 200])
})

test(`field ${LIMIT}.name: in the fields, the metrics and the log; two of one name are refused`, async (t) => {
  const world = await limitWorld(t, [one({ name: 'per.minute_1' })])
  const answer = await world.call()
  assert.equal(answer.headers['ratelimit-policy'], '"per.minute_1";q=1;w=3600')
  assert.equal((await world.call()).status, 429)
  const [, line] = await world.harness.lines(2)
  assert.equal(line?.['response_code_details'], 'local_rate_limited{istio-system/limits/per.minute_1}')
  const series = (decision: string) =>
    `sallyport_rate_limit_decisions_total{limit="istio-system/limits/per.minute_1",decision="${decision}"}`
  assert.equal(await sample(world.harness, series('allow')), 1)
  assert.equal(await sample(world.harness, series('deny')), 1)
  const twice = rateLimit([
    { name: 'a', key: [], ...hourly(1) },
    { name: 'a', key: [], ...hourly(1) },
  ])
  assert.match((await world.refusal(twice)).join('\n'), /limits\.yaml:\d+:\d+ error SP8000 two limits are called a$/m)
  assert.match((await world.refusal(one({ name: 'a b' }))).join('\n'), /limits\.yaml:\d+:\d+ error SP1000 .*name/)
})

test(`field ${LIMIT}.key: one count for each of what it names, together, or one for all`, async (t) => {
  const world = await limitWorld(t)
  const matrix = async (key: readonly string[], calls: readonly object[]): Promise<number[]> => {
    await world.become(
      rateLimit([{ name: 'one', key, ...ANYONE, ...hourly(1) }], { name: `l${key.join('-').toLowerCase()}` }),
    )
    const statuses: number[] = []
    for (const each of calls) statuses.push((await world.call(each)).status)
    return statuses
  }
  const calls = [{}, {}, { from: CRON }, { from: BATCH }, { from: BATCH, host: OTHER_SITE }, { host: OTHER_SITE }]
  assert.deepEqual(await matrix([], calls), [200, 429, 429, 429, 429, 429])
  assert.deepEqual(await matrix(['principal'], calls), [200, 429, 200, 200, 429, 429])
  assert.deepEqual(await matrix(['namespace'], calls), [200, 429, 429, 200, 429, 429])
  assert.deepEqual(await matrix(['serviceAccount'], calls), [200, 429, 200, 200, 429, 429])
  assert.deepEqual(await matrix(['host'], calls), [200, 429, 429, 429, 200, 429])
  assert.deepEqual(await matrix(['principal', 'host'], calls), [200, 429, 200, 200, 200, 200])
})

test(`field ${LIMIT}.requests.count, ${LIMIT}.requests.per, ${LIMIT}.requests.burst: so many at once, then at that rate`, async (t) => {
  const world = await limitWorld(t, [one({ requests: { count: '2k', per: 'day', burst: 3 } })])
  const answers = [await world.call(), await world.call(), await world.call(), await world.call()]
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 200, 429],
  )
  assert.equal(answers[0]?.headers['ratelimit-policy'], '"one";q=2000;w=86400')
  assert.match(String(answers[0]?.headers['ratelimit']), /^"one";r=2;t=4[34]$/)
  // 2000 a day are one every 43.2 seconds.
  const wait = Number(answers[3]?.headers['retry-after'])
  assert.ok(wait > 30 && wait <= 44, String(wait))
  await world.become(one({ requests: { count: 50, per: 'second', burst: 1 } }))
  assert.equal((await world.call()).status, 200)
  await eventually('one comes back', async () => (await world.call()).status === 200)
})

test(`field ${LIMIT}.bytes.count, ${LIMIT}.bytes.per, ${LIMIT}.bytes.burst, ${LIMIT}.bytes.direction: charged as they have flowed`, async (t) => {
  const world = await limitWorld(t)
  const bytes = (more: object) => one({ requests: undefined, bytes: { count: '10Ki', per: 'hour', ...more } })
  const big = { method: 'POST', body: Buffer.alloc(11 * 1024) }
  // An echo comes back, so `ingress` is told from `egress` by a request without a body.
  await world.become(bytes({ direction: 'egress' }))
  assert.deepEqual(await world.statuses(2), [200, 200])
  const answer = await world.call(big)
  assert.equal(answer.headers['ratelimit-policy'], '"one";q=10240;w=3600;qu="content-bytes"')
  await eventually('the bytes to the outside are charged', async () => (await world.call()).status === 429)
  await world.become(bytes({ direction: 'ingress', burst: 100 }))
  await eventually('the bytes of the page are charged', async () => (await world.call()).status === 429)
  await world.become(bytes({ direction: 'both', burst: '11Ki' }))
  assert.equal((await world.call(big)).status, 200)
  await eventually('both are charged', async () => (await world.call()).status === 429)
})

test(`field ${LIMIT}.budget.requests, ${LIMIT}.budget.bytes, ${LIMIT}.budget.direction, ${LIMIT}.budget.per, ${LIMIT}.budget.warnAt: a quota of the calendar`, async (t) => {
  const world = await budgetWorld(t)
  const budget = (of: object) => one({ requests: undefined, key: ['principal'], ...ANYONE, budget: of })
  await world.become(budget({ requests: 4, per: 'month', warnAt: 50 }))
  const answers = [await world.call(), await world.call(), await world.call(), await world.call(), await world.call()]
  assert.deepEqual(
    answers.map(({ status, headers }) => [status, headers['x-sallyport-budget-warning'] ?? null]),
    [
      [200, null],
      [200, 'one; remaining=2'],
      [200, 'one; remaining=1'],
      [200, 'one; remaining=0'],
      [429, 'one; remaining=0'],
    ],
  )
  const now = new Date()
  const left = (Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1) - now.getTime()) / 1000
  assert.ok(Math.abs(Number(answers[4]?.headers['retry-after']) - left) < 120)
  await world.become(budget({ bytes: 5000, per: 'day', direction: 'egress' }))
  assert.equal(
    (await world.call({ method: 'POST', body: Buffer.alloc(4000) })).headers['ratelimit'] !== undefined,
    true,
  )
  const gauge = `sallyport_budget_remaining{limit="istio-system/limits/one",principal="spiffe://cluster.local/ns/apps/sa/sleep",host=""}`
  await eventually('the gauge', async () => (await sample(world.harness, gauge)) === 1000)
  const warned = await world.call()
  assert.equal(warned.headers['x-sallyport-budget-warning'], 'one; remaining=1000')
  const said = (spec: object) => world.refusal(budget(spec)).then((errors) => errors.join('\n'))
  assert.match(await said({ per: 'day' }), /SP8001 the budget of limit one needs either requests or bytes/)
  assert.match(await said({ requests: 1, direction: 'egress', per: 'day' }), /SP8001 direction is for bytes/)
})

/** With a directory to keep budgets in. */
async function budgetWorld(t: TestContext): Promise<LimitWorld> {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sallyport-state-'))
  t.after(() => rmSync(stateDirectory, { recursive: true, force: true }))
  return limitWorld(t, [], { spec: { stateDirectory } })
}

test(`field ${LIMIT}.mode: shadow counts and tells the operator, and nobody else`, async (t) => {
  const world = await limitWorld(t, [one({ mode: 'shadow' })])
  const answers = [await world.call(), await world.call(), await world.call()]
  for (const { status, headers } of answers)
    assert.deepEqual([status, headers['ratelimit'], headers['ratelimit-policy']], [200, undefined, undefined])
  const series = (decision: string) =>
    `sallyport_rate_limit_decisions_total{limit="istio-system/limits/one",decision="${decision}"}`
  assert.equal(await sample(world.harness, series('shadow_deny')), 2)
  assert.equal(await sample(world.harness, series('deny')), 0)
  const told = await eventually('a line', () =>
    world.harness.log().find(({ message }) => message === 'a shadow limit would have refused'),
  )
  assert.equal(told['limit'], 'istio-system/limits/one')
  await world.become(one({ mode: 'enforce' }))
  // What it has counted as a shadow counts.
  assert.equal((await world.call()).status, 429)
})

test(`field ${LIMIT}.scope, ${LIMIT}.onStoreFailure: what holds when Redis cannot be asked`, async (t) => {
  const bare = await limitWorld(t)
  const global = (onStoreFailure: string) => one({ scope: 'global', onStoreFailure })
  assert.match(
    (await bare.refusal(global('open'))).join('\n'),
    /error SP8005 limit one is global, and this gateway has no Redis/,
  )
  assert.match(
    (await bare.refusal(one({ scope: 'global' }))).join('\n'),
    /error SP8002 a global limit needs onStoreFailure/,
  )
  assert.match(
    (await bare.refusal(one({ onStoreFailure: 'open' }))).join('\n'),
    /error SP8002 onStoreFailure is for scope: global/,
  )
  // Nobody listens there.
  const world = await limitWorld(t, [global('open')], { spec: { redis: { url: 'redis://127.0.0.1:1' } } })
  assert.deepEqual(await world.statuses(3), [200, 200, 200])
  await world.become(global('closed'))
  const refused = await world.call()
  assert.deepEqual([refused.status, refused.headers['retry-after']], [429, '1'])
  const line = (await world.harness.lines(4))[3]
  assert.equal(line?.['response_code_details'], 'rate_limiter_error{istio-system/limits/one}')
  await world.become(global('local'))
  assert.deepEqual(await world.statuses(2), [200, 429])
  const errors = `sallyport_rate_limit_decisions_total{limit="istio-system/limits/one",decision="error"}`
  assert.equal(await sample(world.harness, errors), 6)
})
