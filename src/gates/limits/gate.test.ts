/** What the gate makes of a store that answers late, or not: a shared store is any `LimitStore`; here one that waits to be told. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Attributes, type Connection, NO_PEER } from '../../core/attributes.ts'
import type { Refusal } from '../../core/refusal.ts'
import type { GatewayModel } from '../../model/gateway.ts'
import type { LimitModel } from '../../model/limits.ts'
import { newRecord } from '../../observe/record.ts'
import { type Admission, Passage } from '../../runtime/gate.ts'
import { testSettings } from '../../testing/resources.ts'
import { SILENT } from '../../testing/silent-log.ts'
import { createLimitsGate } from './gate.ts'
import { LocalStore } from './local-store.ts'
import { LimitServices } from './services.ts'
import type { LimitStore, Verdict } from './store.ts'

/** Counts in memory, and answers when it is told to: with what it has counted, or not at all. */
class SlowStore implements LimitStore {
  readonly #counts = new LocalStore({ now: () => 0, time: () => 0 })
  readonly #waiting: (() => void)[] = []
  readonly released: string[] = []
  down = false
  at: 'once' | 'later' = 'later'

  #answer(verdict: () => Verdict): Verdict | null | Promise<Verdict | null> {
    const counted = this.down ? null : verdict()
    if (this.at === 'once') return counted
    return new Promise((resolve) => this.#waiting.push(() => resolve(counted)))
  }
  /** Of all that wait. */
  async tell(): Promise<void> {
    for (const answer of this.#waiting.splice(0)) answer()
    await new Promise((resolve) => setImmediate(resolve))
  }
  take(limit: LimitModel, key: string, cost: number) {
    return this.#answer(() => this.#counts.take(limit, key, cost))
  }
  charge(limit: LimitModel, key: string, cost: number) {
    return this.#answer(() => this.#counts.charge(limit, key, cost))
  }
  hold(limit: LimitModel, key: string, holder: string) {
    return this.#answer(() => this.#counts.hold(limit, key, holder))
  }
  release(limit: LimitModel, key: string, holder: string): void {
    this.released.push(holder)
    this.#counts.release(limit, key, holder)
  }
  open(limit: LimitModel): number {
    return limit.quota.count - this.#counts.peek(limit, '', 0).remaining
  }
}

function limit(id: string, more: Partial<LimitModel> = {}): LimitModel {
  return {
    id,
    name: id,
    source: { file: 'x', line: 1, col: 1 },
    from: null,
    to: null,
    key: [],
    unit: 'requests',
    direction: 'both',
    quota: { kind: 'rate', count: 1, periodMs: 86_400_000, burst: 2 },
    scope: 'global',
    mode: 'enforce',
    onStoreFailure: 'closed',
    ...more,
  }
}

const CONNECTION: Connection = {
  id: 1,
  openedAt: 0,
  remoteAddress: '127.0.0.1',
  remotePort: 1,
  localAddress: '127.0.0.1',
  localPort: 2,
  gatewayPort: 80,
  peer: NO_PEER,
  tls: null,
}

const TUNNEL: Attributes = {
  peer: NO_PEER,
  sourceIp: '127.0.0.1',
  remoteIp: '127.0.0.1',
  destinationIp: '127.0.0.1',
  destinationPort: 2,
  gatewayPort: 80,
  sni: null,
  token: null,
  http: null,
}

function gate(...limits: readonly LimitModel[]) {
  const store = new SlowStore()
  const services = new LimitServices(SILENT)
  const model = { settings: testSettings(), limits } as unknown as GatewayModel
  const made = createLimitsGate(model, services, () => store)
  assert.ok(made !== null)
  const counts = (id: string) => new Map(services.counts.decisions()).get(id)
  const passage = () => {
    const closings: string[] = []
    const record = newRecord('tcp', CONNECTION, 0)
    return Object.assign(new Passage(CONNECTION, record, TUNNEL, null, () => undefined), { closings })
  }
  return { store, services, counts, passage, admit: (one: Passage) => made.admit(one) }
}

const settled = async (asked: readonly Admission[]) => Promise.all(asked.map(async (one) => one))
const details = (refusal: Refusal | null) => refusal?.details ?? null

test('an answer that is there at once is no promise; a limit that does not apply asks nobody', () => {
  const { store, admit, passage } = gate(
    limit('g', { to: [[{ key: 'method', values: ['GET'], notValues: [], source: { file: 'x', line: 1, col: 1 } }]] }),
  )
  assert.equal(admit(passage()), null)
  const other = gate(limit('g'))
  other.store.at = 'once'
  assert.equal(other.admit(other.passage()), null)
  assert.equal(other.admit(other.passage()), null)
  assert.equal(details(other.admit(other.passage()) as Refusal), 'request_rate_limited{g}')
  assert.equal(store.released.length, 0)
})

test('a local limit is exact also for those who waited for a shared one', async () => {
  const { store, counts, passage, admit } = gate(
    limit('g', { quota: { kind: 'rate', count: 1, periodMs: 86_400_000, burst: 100 } }),
    limit('l', { scope: 'local' }),
  )
  const asked = Array.from({ length: 5 }, () => admit(passage()))
  for (const one of asked) assert.ok(one instanceof Promise)
  await store.tell()
  assert.deepEqual((await settled(asked)).map(details), [
    null,
    null,
    'local_rate_limited{l}',
    'local_rate_limited{l}',
    'local_rate_limited{l}',
  ])
  // Exhausted, it answers without a question to anybody.
  assert.equal(details(admit(passage()) as Refusal), 'local_rate_limited{l}')
  assert.deepEqual([counts('l')?.allow, counts('l')?.deny, counts('g')?.allow], [2, 4, 2])
})

test('what holds when the store cannot be asked', async () => {
  for (const [onStoreFailure, expected] of [
    ['open', [null, null, null]],
    ['closed', ['rate_limiter_error{g}', 'rate_limiter_error{g}', 'rate_limiter_error{g}']],
    ['local', [null, null, 'request_rate_limited{g}']],
  ] as const) {
    const { store, counts, passage, admit } = gate(limit('g', { onStoreFailure }))
    store.down = true
    const asked = [admit(passage()), admit(passage()), admit(passage())]
    await store.tell()
    assert.deepEqual((await settled(asked)).map(details), expected, onStoreFailure)
    assert.equal(counts('g')?.error, 3)
    // And it counts again as soon as it can be asked.
    store.down = false
    store.at = 'once'
    assert.equal(admit(passage()), null)
  }
})

test('a shadow limit lets everybody through, whatever becomes of its store', async () => {
  const { store, counts, passage, admit } = gate(limit('g', { mode: 'shadow' }))
  const asked = [admit(passage()), admit(passage()), admit(passage())]
  store.down = true
  asked.push(admit(passage()))
  await store.tell()
  assert.deepEqual(await settled(asked), [null, null, null, null])
  assert.deepEqual([counts('g')?.shadow_deny, counts('g')?.deny, counts('g')?.error], [1, 0, 1])
})

test('a tunnel that ends while its limits are asked holds nothing', async () => {
  const model = limit('g', { unit: 'tunnels', quota: { kind: 'concurrent', count: 1 } })
  const { store, passage, admit } = gate(model)
  const gone = passage()
  const asked = admit(gone)
  gone.end()
  await store.tell()
  assert.equal(await asked, null)
  assert.equal(store.open(model), 0)
  const next = passage()
  const again = admit(next)
  await store.tell()
  assert.equal(await again, null)
  assert.equal(store.open(model), 1)
  next.end()
  assert.equal(store.open(model), 0)
})

test('a place that another limit makes useless is given back', async () => {
  const places = limit('g', { unit: 'tunnels', quota: { kind: 'concurrent', count: 5 } })
  const { store, passage, admit } = gate(places, limit('h'))
  const asked = [passage(), passage(), passage()].map((one) => admit(one))
  await store.tell()
  assert.deepEqual((await settled(asked)).map(details), [null, null, 'request_rate_limited{h}'])
  assert.equal(store.open(places), 2)
})

test('bytes that could not be charged are owed until the store can be asked; then the tunnel is closed', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] })
  const model = limit('g', { unit: 'bytes', quota: { kind: 'rate', count: 1, periodMs: 86_400_000, burst: 1000 } })
  const { store, passage, admit } = gate(model)
  store.at = 'once'
  const one = passage()
  assert.equal(admit(one), null)
  const closings: string[] = []
  const live = { bytesUp: 600, bytesDown: 600, close: (reason: string) => void closings.push(reason) }
  one.opened(live)
  store.down = true
  t.mock.timers.tick(1000)
  t.mock.timers.tick(1000)
  assert.deepEqual(closings, [])
  store.down = false
  t.mock.timers.tick(1000)
  assert.deepEqual(closings, ['rate_limited'])
  one.record.bytesReceived = 700
  one.record.bytesSent = 600
  one.end()
  // 1300 in all, each byte once.
  const { remaining, resetMs } = store.charge(model, '', 0) as Verdict
  assert.deepEqual([remaining, resetMs], [0, 1300 * 86_400_000])
})

test('one that is refused owes no bytes', () => {
  const { store, passage, admit } = gate(
    limit('g', { unit: 'bytes', quota: { kind: 'rate', count: 1, periodMs: 86_400_000, burst: 1000 } }),
    limit('h', { quota: { kind: 'rate', count: 1, periodMs: 86_400_000, burst: 1 } }),
  )
  store.at = 'once'
  const first = passage()
  assert.equal(admit(first), null)
  const second = passage()
  assert.equal(details(admit(second) as Refusal), 'request_rate_limited{h}')
  second.record.bytesSent = 5000
  second.end()
  first.record.bytesSent = 1
  first.end()
  assert.equal(
    (
      store.charge(
        limit('g', { unit: 'bytes', quota: { kind: 'rate', count: 1, periodMs: 86_400_000, burst: 1000 } }),
        '',
        0,
      ) as Verdict
    ).remaining,
    999,
  )
})

test('a global limit without a store is no configuration', () => {
  const model = { settings: testSettings(), limits: [limit('g')] } as unknown as GatewayModel
  assert.throws(
    () => createLimitsGate(model, new LimitServices(SILENT), () => null),
    /limit g is global, and there is no Redis/,
  )
})
