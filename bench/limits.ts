/**
 * What limits cost, in CPU µs of this process per request: the gate alone, without sockets. All kinds in one run, interleaved,
 * the median of the rounds; the leased one asks a redis-server of its own. What a whole request costs is `npm run bench`.
 *
 *     bin/sallyport-node bench/limits.ts
 */

import os from 'node:os'
import { createLimitsGate } from '../src/gates/limits/gate.ts'
import { LimitServices } from '../src/gates/limits/services.ts'
import { RedisLimitStore } from '../src/gates/redis/limit-store.ts'
import { RedisLink } from '../src/gates/redis/link.ts'
import type { GatewayModel } from '../src/model/gateway.ts'
import type { LimitModel } from '../src/model/limits.ts'
import { newRecord } from '../src/observe/record.ts'
import { type Gate, Passage, passThrough } from '../src/runtime/gate.ts'
import { eventually } from '../src/testing/eventually.ts'
import { request, spiffePeer } from '../src/testing/policy-fixtures.ts'
import { RedisServer, redisSettings, skipWithoutRedis } from '../src/testing/redis.ts'
import { testSettings } from '../src/testing/resources.ts'
import { SILENT } from '../src/testing/silent-log.ts'

const ROUNDS = 9
const REQUESTS = 100_000
/** Requests between two turns of the event loop. */
const CHUNK = 64
const CALLERS = 50

const source = { file: '', line: 1, col: 1 }
const condition = (key: string, ...values: readonly string[]) => ({ key, values, notValues: [], source })

function limit(id: string, more: Partial<LimitModel> = {}): LimitModel {
  return {
    id,
    name: id,
    source,
    from: [[condition('source.namespace', 'apps')]],
    to: [[condition('host', 'api.example.com', '*.example.org')]],
    key: ['principal'],
    unit: 'requests',
    direction: 'both',
    quota: { kind: 'rate', count: 1e9, periodMs: 1000, burst: 1e9 },
    scope: 'local',
    mode: 'enforce',
    onStoreFailure: 'closed',
    ...more,
  }
}

const asked = Array.from({ length: CALLERS }, (_, i) =>
  request({ host: 'api.example.com', peer: spiffePeer(`cluster.local/ns/apps/sa/caller-${i}`) }),
)
const [first] = asked
if (first === undefined) throw new Error('nobody asks')
const record = newRecord(
  'http',
  {
    id: 1,
    openedAt: 0,
    remoteAddress: '10.0.0.1',
    remotePort: 1,
    localAddress: '10.0.0.2',
    localPort: 8080,
    gatewayPort: 80,
    peer: first.peer,
    tls: null,
  },
  0,
)

/** CPU microseconds per request. */
async function round(gates: readonly Gate[], count: number): Promise<number> {
  const before = process.cpuUsage()
  let refused = 0
  let waiting: Promise<void>[] = []
  for (let i = 0; i < count; i += 1) {
    const attributes = asked[i % CALLERS] ?? first
    // What the exchange does: without gates there is not even a passage.
    if (gates.length > 0 && attributes !== undefined) {
      const passage = new Passage(record.connection, record, attributes, null, null)
      const { promise, resolve } = Promise.withResolvers<void>()
      let over = false
      passThrough(
        gates,
        passage,
        (refusal) => {
          if (refusal !== null) refused += 1
          over = true
          passage.end()
          resolve()
        },
        (error) => {
          throw error
        },
      )
      if (!over) waiting.push(promise)
    }
    if (i % CHUNK !== CHUNK - 1) continue
    await Promise.all(waiting)
    waiting = []
    await new Promise((resolve) => setImmediate(resolve))
  }
  if (refused > 0) throw new Error(`${refused} were refused`)
  const { user, system } = process.cpuUsage(before)
  return (user + system) / count
}

const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

const redis = skipWithoutRedis === false ? await RedisServer.start() : null
const link = redis === null ? null : new RedisLink(redisSettings(redis.port), SILENT)
const store = redis === null || link === null ? null : new RedisLimitStore(redisSettings(redis.port), link)
if (link !== null) await eventually('the store is up', () => link.up)

const gate = (...limits: readonly LimitModel[]): readonly Gate[] => {
  const model = { settings: testSettings(), limits } as unknown as GatewayModel
  const made = createLimitsGate(model, new LimitServices(SILENT), () => store)
  return made === null ? [] : [made]
}

const KINDS: Readonly<Record<string, readonly Gate[]>> = {
  'no limits': gate(),
  'one local limit that does not apply': gate(limit('a', { to: [[condition('host', 'other.example')]] })),
  'one local limit of requests': gate(limit('a')),
  'one local limit of bytes': gate(limit('a', { unit: 'bytes' })),
  'three local limits': gate(limit('a'), limit('b', { key: ['principal', 'host'] }), limit('c', { key: [] })),
  ...(store === null ? {} : { 'one global limit, leased': gate(limit('a', { scope: 'global' })) }),
}

const costs = new Map(Object.keys(KINDS).map((name) => [name, [] as number[]]))
for (let i = 0; i <= ROUNDS; i += 1)
  for (const [name, gates] of Object.entries(KINDS)) {
    const cost = await round(gates, REQUESTS)
    // The first round warms up.
    if (i > 0) costs.get(name)?.push(cost)
  }
const base = median(costs.get('no limits') ?? [])
console.log(
  `Node ${process.versions.node}, ${os.cpus()[0]?.model ?? 'unknown CPU'}; ${ROUNDS} rounds of ${REQUESTS} requests of ${CALLERS} callers, this loop itself (${base.toFixed(2)} µs) taken off\n`,
)
console.log('| limits | CPU µs per request | lowest–highest |\n|---|---|---|')
for (const [name, all] of costs) {
  const [low, middle, high] = [Math.min(...all), median(all), Math.max(...all)].map((each) =>
    Math.max(0, each - base).toFixed(2),
  )
  console.log(`| ${name} | ${middle} | ${low}–${high} |`)
}
if (store === null) console.log(`\nNo global limit: ${String(skipWithoutRedis)}`)
await store?.close()
link?.close()
await redis?.close()
