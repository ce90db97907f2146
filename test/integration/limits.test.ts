/** EgressRateLimits as callers and operators see them: answers, fields, counts, and what a mistake in them says. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test as plainTest } from 'node:test'
import { validate } from '../../src/cli/validate.ts'
import { eventually } from '../../src/testing/eventually.ts'
import { grpcCall, startGrpcOrigin } from '../../src/testing/grpc.ts'
import { h2Over, h2Request, meshH2 } from '../../src/testing/h2-client.ts'
import { startHarness } from '../../src/testing/harness.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { test } from './engines.ts'
import { ANYONE, BATCH, hourly, limitWorld, OTHER_SITE, rateLimit, SITE, SLEEP, worldPki } from './limit-world.ts'
import { documents, gateway, serviceEntry, to, virtualService } from './manifests.ts'
import { askControl, sample } from './operator.ts'

test('a refused request: 429, the body, every field, one line, the connection goes on', async (t) => {
  const world = await limitWorld(t, [rateLimit([{ name: 'one', key: [], ...hourly(1) }])])
  const socket = await world.connect(SLEEP)
  const first = await request(socket, SITE, { path: '/anything' })
  assert.equal(first.status, 200)
  assert.equal(first.headers['ratelimit'], '"one";r=0;t=3600')
  assert.equal(first.headers['ratelimit-policy'], '"one";q=1;w=3600')
  const second = await request(socket, SITE, { method: 'POST', body: 'x'.repeat(100) })
  assert.equal(second.status, 429)
  assert.equal(second.body, 'local_rate_limited')
  const { headers } = second
  assert.equal(headers['x-envoy-ratelimited'], 'true')
  assert.equal(headers['x-sallyport-reason'], 'rate_limited')
  assert.equal(headers['content-type'], 'text/plain')
  assert.match(String(headers['ratelimit']), /^"one";r=0;t=3[56]\d\d$/)
  const wait = Number(headers['retry-after'])
  assert.ok(wait > 3500 && wait <= 3600, String(wait))
  assert.equal((await request(socket, SITE)).status, 429)
  socket.destroy()
  const [, line] = await world.harness.lines(3)
  assert.equal(line?.['response_flags'], 'RL')
  assert.equal(line?.['reason'], 'rate_limited')
  assert.equal(line?.['authz_decision'], 'none')
  assert.equal(line?.['upstream_host'], null)
  assert.equal(await sample(world.harness, 'sallyport_refused_requests_total{reason="rate_limited"}'), 2)
  await world.harness.stop(3)
})

test('exactly as many as there are, however many ask at once', async (t) => {
  const world = await limitWorld(t, [rateLimit([{ name: 'one', key: ['principal'], ...ANYONE, ...hourly(25) }])])
  const ask = async (from: string) => {
    const socket = await world.connect(from)
    const statuses: number[] = []
    for (let i = 0; i < 10; i += 1) statuses.push((await request(socket, SITE)).status)
    socket.destroy()
    return statuses
  }
  const asked = await Promise.all([SLEEP, SLEEP, SLEEP, SLEEP, SLEEP, BATCH, BATCH, BATCH].map(ask))
  const allowed = (lists: readonly (readonly number[])[]) => lists.flat().filter((status) => status === 200).length
  assert.equal(allowed(asked.slice(0, 5)), 25)
  assert.equal(allowed(asked.slice(5)), 25)
})

plainTest('over HTTP/2, many streams of one connection', async (t) => {
  const world = await limitWorld(t, [rateLimit([{ name: 'one', key: [], ...hourly(5) }])])
  const pki = await worldPki()
  const session = await meshH2({ port: world.harness.gateway.port(443), svid: await pki.svid(SLEEP), ca: pki.root })
  const answers = await Promise.all(Array.from({ length: 12 }, () => h2Request(session, SITE)))
  session.close()
  const refused = answers.filter(({ status }) => status === 429)
  assert.equal(refused.length, 7)
  for (const { headers, body } of refused) {
    assert.equal(body.toString(), 'local_rate_limited')
    assert.equal(headers['x-envoy-ratelimited'], 'true')
    assert.ok(Number(headers['retry-after']) >= 1)
  }
})

plainTest("gRPC: Envoy's status for a limit, with the same fields", async (t) => {
  const origin = await startGrpcOrigin()
  t.after(async () => origin[Symbol.asyncDispose]())
  const harness = await startHarness({
    resources: {
      'all.yaml': documents(
        gateway(),
        serviceEntry('grpc', SITE, origin.port, { protocol: 'GRPC' }),
        virtualService('grpc', [SITE], [{ route: to(SITE) }]),
        rateLimit([{ name: 'calls', key: [], ...hourly(1), to: [{ paths: ['/test.Echo/*'] }] }]),
      ),
    },
  })
  t.after(() => harness.gateway.destroy())
  const socket = await plainConnect(harness.gateway.port(80))
  t.after(() => socket.destroy())
  const session = h2Over(socket)
  t.after(() => session.destroy())
  const first = grpcCall(session, SITE, 'Unary')
  first.send('hello')
  first.stream.end()
  assert.equal((await first.head)['ratelimit'], '"calls";r=0;t=3600')
  first.stream.resume()
  assert.equal(await first.status, 0)
  const second = grpcCall(session, SITE, 'Unary')
  const head = await second.head
  assert.deepEqual(
    [head[':status'], head['grpc-status'], head['grpc-message'], head['x-envoy-ratelimited']],
    [200, '14', 'local_rate_limited', 'true'],
  )
  assert.ok(Number(head['retry-after']) >= 1)
  second.stream.destroy()
})

plainTest('several limits: all that apply count, the tightest decides, who is refused uses nothing up', async (t) => {
  const world = await limitWorld(t, [
    rateLimit([
      { name: 'all', key: [], ...hourly(4) },
      { name: 'each', key: ['host'], to: [{ hosts: [SITE] }], ...hourly(2) },
    ]),
  ])
  const first = await world.call()
  assert.equal(first.headers['ratelimit'], '"all";r=3;t=900, "each";r=1;t=1800')
  assert.equal(first.headers['ratelimit-policy'], '"all";q=4;w=3600, "each";q=2;w=3600')
  assert.deepEqual(await world.statuses(4), [200, 429, 429, 429])
  // The three that were refused have not used up what all have in common.
  const other = await world.call({ host: OTHER_SITE })
  assert.deepEqual([other.status, other.headers['ratelimit-policy']], [200, '"all";q=4;w=3600'])
  assert.deepEqual(await world.statuses(2, { host: OTHER_SITE }), [200, 429])
})

plainTest('policies and routes come first: what they refuse is not counted', async (t) => {
  const world = await limitWorld(t, [rateLimit([{ name: 'one', key: [], ...hourly(1) }])])
  assert.deepEqual(await world.statuses(3, { host: 'nowhere.example' }), [502, 502, 502])
  assert.deepEqual(await world.statuses(2), [200, 429])
})

plainTest('a reload keeps what has been counted, and a limit that is gone limits nobody', async (t) => {
  const limit = (count: number) => rateLimit([{ name: 'one', key: [], ...hourly(count) }])
  const world = await limitWorld(t, [limit(2)])
  assert.deepEqual(await world.statuses(3), [200, 200, 429])
  await world.become(limit(2), rateLimit([{ name: 'other', key: [], ...hourly(100) }], { name: 'more' }))
  assert.equal((await world.call()).status, 429)
  await world.become()
  const free = await world.call()
  assert.deepEqual([free.status, free.headers['ratelimit']], [200, undefined])
})

plainTest('a limit whose key may be missing does not load, and says what to write', async (t) => {
  const world = await limitWorld(t, [])
  const why = async (limit: object) =>
    (await world.refusal(rateLimit([{ name: 'one', ...hourly(1), ...limit }]))).join('\n')
  for (const key of ['principal', 'namespace', 'serviceAccount'])
    assert.match(
      await why({ key: ['host', key] }),
      new RegExp(
        `limits\\.yaml:\\d+:\\d+ error SP8004 limit one counts by ${key}, and also applies to callers that have none → add from`,
      ),
    )
  assert.match(await why({ key: ['namespace'], from: [{ principals: ['*'] }] }), /SP8004/)
  assert.match(await why({ key: ['principal'], from: [{ principals: ['*'] }, { notNamespaces: ['a'] }] }), /SP8004/)
  for (const limit of [
    { key: ['principal'], from: [{ principals: ['*'] }] },
    { key: ['namespace', 'principal'], from: [{ namespaces: ['a'] }, { serviceAccounts: ['b/c'] }] },
    { key: ['host'] },
    { key: [] },
  ])
    assert.equal(await why(limit), '')
})

plainTest('a caller without the key is never let through uncounted, should one come all the same', async (t) => {
  // An ID that is not of the form /ns/NS/sa/SA, which Istio's own expression for `namespaces` takes for one.
  const world = await limitWorld(t, [
    rateLimit([{ name: 'one', key: ['namespace'], from: [{ namespaces: ['apps'] }], ...hourly(1) }]),
  ])
  assert.deepEqual(await world.statuses(2, { from: 'apps/sa/sleep/ns/apps' }), [200, 429])
})

plainTest('what else is wrong with a limit, each with its place', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-limits-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const TABLE: readonly (readonly [limit: string, finding: string])[] = [
    ['{ name: a, key: [] }', '0.yaml:6:15 error SP8001 limit a counts nothing'],
    [
      '{ name: a, key: [], tunnels: { count: 1 }, requests: { count: 1, per: hour } }',
      'SP8001 limit a counts requests and tunnels',
    ],
    [
      '{ name: a, key: [], requests: { count: 0, per: hour } }',
      'error SP1000 spec.limits[0].requests.count: must be a whole number',
    ],
    [
      '{ name: a, key: [], bytes: { count: 10mb, per: hour } }',
      'must be a whole number of at least 1, as 1000, 500k or 10Mi: "10mb"',
    ],
    ['{ name: a, key: [], requests: { count: 1, per: week } }', 'spec.limits[0].requests.per'],
    ['{ name: a, key: [user], requests: { count: 1, per: hour } }', 'spec.limits[0].key[0]'],
    ['{ name: a, requests: { count: 1, per: hour } }', 'spec.limits[0].key'],
    ['{ name: a, key: [host, host], requests: { count: 1, per: hour } }', 'SP8000 host is in key twice'],
    ['{ name: a, key: [], from: [], requests: { count: 1, per: hour } }', 'SP8003 `from` is empty'],
    ['{ name: a, key: [], to: [{}], requests: { count: 1, per: hour } }', 'SP8003 an entry of `to` says nothing'],
    ['{ name: a, key: [], to: [{ hosts: [] }], requests: { count: 1, per: hour } }', 'SP8003 hosts is empty'],
    ['{ name: a, key: [], to: [{ hosts: [""] }], requests: { count: 1, per: hour } }', 'SP8003 hosts: an empty string'],
    ['{ name: a, key: [], to: [{ paths: ["/{x}"] }], requests: { count: 1, per: hour } }', 'SP8003 paths: "/{x}"'],
    [
      '{ name: a, key: [], from: [{ serviceAccounts: ["a/*"] }], requests: { count: 1, per: hour } }',
      'wildcards are not allowed',
    ],
    ['{ name: a, key: [], from: [{ ipBlocks: [10.0.0.0/8] }], requests: { count: 1, per: hour } }', 'unknown'],
    ['{ name: a, key: [], budget: { requests: 1, per: day, warnAt: 0 } }', 'spec.limits[0].budget.warnAt'],
  ]
  for (const [i, [limit, finding]] of TABLE.entries()) {
    const file = join(dir, `${i}.yaml`)
    writeFileSync(
      file,
      `apiVersion: sallyport.dev/v1alpha1\nkind: EgressRateLimit\nmetadata: { name: l, namespace: istio-system }\nspec:\n  limits:\n    - ${limit}\n`,
    )
    let said = ''
    const io = { write: (text: string) => ((said += text), true) }
    const code = await validate([file], { stdout: io, stderr: io } as unknown as Parameters<typeof validate>[1])
    assert.ok(said.includes(finding), `${limit}\n${said}`)
    assert.equal(code, 1, said)
  }
})

plainTest('a local budget without a place to be kept in does not load', async (t) => {
  const world = await limitWorld(t)
  const errors = await world.refusal(rateLimit([{ name: 'b', key: [], budget: { requests: 1, per: 'day' } }]))
  assert.match(
    errors.join('\n'),
    /error SP8006 the local budget of limit b could not survive a restart → set spec\.stateDirectory/,
  )
})

plainTest('budgets survive a restart', async (t) => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sallyport-state-'))
  t.after(() => rmSync(stateDirectory, { recursive: true, force: true }))
  const limits = [rateLimit([{ name: 'b', key: ['principal'], ...ANYONE, budget: { requests: 3, per: 'month' } }])]
  const first = await limitWorld(t, limits, { spec: { stateDirectory } })
  assert.deepEqual(await first.statuses(2), [200, 200])
  await first.harness.stop(2)
  const second = await limitWorld(t, limits, { spec: { stateDirectory } })
  assert.deepEqual(await second.statuses(2), [200, 429])
  assert.equal((await second.call({ from: BATCH })).status, 200)
  await second.harness.stop(3)
  // A file that says nothing sure is no reason to start anew.
  writeFileSync(join(stateDirectory, 'budgets.json'), '{ "version": 1,')
  await assert.rejects(
    limitWorld(t, limits, { spec: { stateDirectory } }),
    /budgets\.json: .*remove it to start all budgets anew/,
  )
})

plainTest('a budget is written while the gateway runs, for the time when it is killed', async (t) => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sallyport-state-'))
  t.after(() => rmSync(stateDirectory, { recursive: true, force: true }))
  const limits = [rateLimit([{ name: 'b', key: ['host'], budget: { requests: 10, per: 'day' } }])]
  const world = await limitWorld(t, limits, { spec: { stateDirectory } })
  await world.call()
  await eventually('the file', () => {
    try {
      return readFileSync(join(stateDirectory, 'budgets.json'), 'utf8').includes(`"${SITE}":1`)
    } catch {
      return false
    }
  })
})

plainTest('/config_dump shows the limits; without limits there are no series of them', async (t) => {
  const world = await limitWorld(t, [rateLimit([{ name: 'one', key: [], ...hourly(1) }])])
  const dump = await askControl(world.harness, 'admin', '/config_dump')
  assert.match(dump.body, /istio-system\/limits\/one/)
  const without = await limitWorld(t)
  const { body } = await askControl(without.harness, 'metrics', '/stats/prometheus')
  assert.ok(!/^sallyport_rate_limit_decisions_total\{/m.test(body))
  assert.equal(without.harness.gateway.active.gates.after.length, 0)
})
