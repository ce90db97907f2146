/** What becomes of the answers to several names when they come one by one. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { newClusterStats } from '../core/stats.ts'
import { createAddressGuard } from './address-guard.ts'
import { HealthGroup } from './endpoint-health.ts'
import { EndpointSet, type EndpointSource } from './endpoints.ts'
import { HashTables } from './hash-table.ts'
import type { DnsAnswer } from './resolve.ts'
import { NO_HEALTHY_UPSTREAM } from './transport-failure.ts'

const source = (address: string): EndpointSource => ({
  address,
  port: 80,
  weight: 1,
  priority: 0,
  origin: 'resolved',
  firstOnly: false,
})
const answer = (name: string, address: string): DnsAnswer => ({
  name,
  addresses: [address],
  failure: null,
  expiresAt: 0,
  stale: false,
})

/** a.example and b.example at a clock that the test sets. */
function names() {
  const clock = { now: 0 }
  const health = new HealthGroup(0)
  const set = new EndpointSet([source('a.example'), source('b.example')], {
    guard: createAddressGuard([], () => false),
    openPool: () => assert.fail('nobody dials'),
    onDenied: () => assert.fail('nothing is denied'),
    unresolved: NO_HEALTHY_UPSTREAM,
    balancer: { kind: 'ROUND_ROBIN', warmup: null },
    outlierDetection: null,
    health,
    tables: new HashTables(),
    stats: newClusterStats('c'),
    now: () => clock.now,
  })
  const picked = (): (string | undefined)[] => [0, 1, 2].map(() => set.choice.pick(null, () => 0, null, false)?.text)
  return { clock, health, set, picked }
}

test('an answer counts at once, whatever else is awaited; an address that has gone meanwhile comes back as a new one', async () => {
  const { clock, health, set, picked } = names()
  const late = Promise.withResolvers<DnsAnswer>()
  let current = answer('a.example', '93.184.216.1')
  const resolver = { lookup: (name: string) => (name === 'a.example' ? current : late.promise) }
  const waiting = [set.resolve(resolver)]
  assert.deepEqual(new Set(picked()), new Set(['93.184.216.1:80']))
  clock.now = 1_000
  current = answer('a.example', '93.184.216.2')
  waiting.push(set.resolve(resolver))
  assert.deepEqual(new Set(picked()), new Set(['93.184.216.2:80']))
  late.resolve(answer('b.example', '93.184.216.9'))
  assert.ok(waiting.every((each) => each instanceof Promise))
  await Promise.all(waiting)
  assert.deepEqual(new Set(picked()), new Set(['93.184.216.2:80', '93.184.216.9:80']))
  clock.now = 600_000
  assert.equal(health.at('93.184.216.2:80', clock.now).since, 1_000)
  assert.equal(health.at('93.184.216.1:80', clock.now).since, 600_000)
})

test('with all answers there nobody waits, and the same answers change nothing', () => {
  const { set, picked } = names()
  const answers = [answer('a.example', '93.184.216.1'), answer('b.example', '93.184.216.2')]
  const resolver = { lookup: (name: string) => answers.find((each) => each.name === name) as DnsAnswer }
  assert.equal(set.resolve(resolver), null)
  const before = [...set.all()]
  assert.equal(set.resolve(resolver), null)
  assert.deepEqual([...set.all()], before)
  assert.ok([...set.all()].every((endpoint, i) => endpoint === before[i]))
  assert.deepEqual(new Set(picked()), new Set(['93.184.216.1:80', '93.184.216.2:80']))
})
