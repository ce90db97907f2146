import assert from 'node:assert/strict'
import { test } from 'node:test'
import { newClusterStats } from '../core/stats.ts'
import { eventually } from '../testing/eventually.ts'
import { CALLER } from '../testing/forwarding.ts'
import { startRawOrigin } from '../testing/origin.ts'
import { Breakers } from './breakers.ts'
import type { DialFailure } from './dial.ts'
import { UpstreamPool } from './pool.ts'
import { type PoolIdentity, poolKey } from './pool-identity.ts'
import type { PooledConnection } from './pooled-connection.ts'

const IDENTITY: PoolIdentity = {
  cluster: 'outbound|443||a.example',
  address: '93.184.216.34',
  port: 443,
  connectTimeoutMs: 10_000,
  idleTimeoutMs: 60_000,
  maxRequests: null,
  maxDurationMs: 0,
  keepAliveMs: 30_000,
  http2: null,
  proxy: null,
  tls: {
    mode: 'SIMPLE',
    serverName: 'a.example',
    names: ['a.example'],
    skipVerify: false,
    alpn: null,
    materialHash: 'aa',
  },
}
const PROXY = { version: 'V1', ...CALLER } as NonNullable<PoolIdentity['proxy']>
const TLS = IDENTITY.tls as NonNullable<PoolIdentity['tls']>

/** One variant per field; a field without one is a compile error. */
const CHANGES: { readonly [K in Exclude<keyof PoolIdentity, 'tls'>]: PoolIdentity[K] } = {
  cluster: 'outbound|443||b.example',
  address: '93.184.216.35',
  port: 8443,
  connectTimeoutMs: 9_000,
  idleTimeoutMs: 30_000,
  maxRequests: 1,
  maxDurationMs: 1_000,
  keepAliveMs: 60_000,
  http2: { keepAlive: null },
  proxy: { version: 'V1', ...CALLER },
}
const PROXY_CHANGES: { readonly [K in keyof typeof PROXY]: (typeof PROXY)[K] } = {
  version: 'V2',
  sourceIp: '192.0.2.8',
  sourcePort: 40_001,
  destinationIp: '192.0.2.2',
  destinationPort: 8081,
}
const TLS_CHANGES: { readonly [K in keyof typeof TLS]: (typeof TLS)[K] } = {
  mode: 'MUTUAL',
  serverName: 'b.example',
  names: ['b.example'],
  skipVerify: true,
  alpn: ['h2'],
  materialHash: 'bb',
}

test('every field changes the key', () => {
  const variants = [
    IDENTITY,
    ...Object.entries(CHANGES).map(([field, value]) => ({ ...IDENTITY, [field]: value })),
    { ...IDENTITY, tls: null },
    ...Object.entries(TLS_CHANGES).map(([field, value]) => ({ ...IDENTITY, tls: { ...TLS, [field]: value } })),
    ...Object.entries(PROXY_CHANGES).map(([field, value]) => ({ ...IDENTITY, proxy: { ...PROXY, [field]: value } })),
    { ...IDENTITY, tls: { ...TLS, serverName: null } },
    { ...IDENTITY, tls: { ...TLS, names: ['a.example', 'b.example'] } },
    { ...IDENTITY, tls: { ...TLS, names: ['a.example,b.example'] } },
    { ...IDENTITY, tls: { ...TLS, serverName: '","' } },
  ]
  assert.equal(new Set(variants.map(poolKey)).size, variants.length)
  assert.deepEqual(Object.keys(IDENTITY).sort(), [...Object.keys(CHANGES), 'tls'].sort())
  assert.deepEqual(Object.keys(TLS).sort(), Object.keys(TLS_CHANGES).sort())
})

function pool(port: number, settings: Partial<PoolIdentity> = {}): UpstreamPool {
  const identity: PoolIdentity = { ...IDENTITY, address: '127.0.0.1', port, ...settings, tls: null }
  const target = { ...identity, connectTimeoutMs: 5_000, preface: null, tls: null }
  return new UpstreamPool(poolKey(identity), identity, target, new Breakers(newClusterStats(identity.cluster)))
}

async function open(from: UpstreamPool): Promise<PooledConnection> {
  return new Promise((resolve, reject) => {
    from.dial({ onReady: resolve, onFailed: ({ failure }: DialFailure) => reject(new Error(failure.kind)) })
  })
}

test('a connection given back is taken again, last in, first out; counters follow', async () => {
  await using origin = await startRawOrigin()
  const target = pool(origin.port)
  const [first, second] = [await open(target), await open(target)]
  assert.equal(target.takeIdle(), null)
  first.release()
  second.release()
  await eventually('both are idle', () => target.idle === 2)
  const again = target.takeIdle()
  assert.equal(again, second)
  assert.equal(again?.reused, true)
  assert.deepEqual([target.stats.upstream_cx_total, target.stats.upstream_cx_active], [2, 2])
  target.retire()
  await (await origin.connection(0)).closed
  assert.equal(again?.socket.destroyed, false)
  again?.release()
  await (await origin.connection(1)).closed
  await eventually('all are gone', () => target.unused)
  assert.deepEqual([target.stats.upstream_cx_active, target.stats.upstream_cx_destroy], [0, 2])
})

test('idle connections die of age, of the other end closing, and of bytes nobody asked for', async () => {
  await using origin = await startRawOrigin()
  for (const [idleTimeoutMs, end] of [
    [3_600_000, (index: number) => origin.connections[index]?.socket.end()],
    [3_600_000, (index: number) => origin.connections[index]?.reset()],
    [3_600_000, (index: number) => origin.connections[index]?.socket.write('x')],
    [400, () => undefined],
  ] as const) {
    const target = pool(origin.port, { idleTimeoutMs })
    const connection = await open(target)
    const index = origin.connections.length - 1
    connection.release()
    await eventually('it is idle', () => target.idle === 1)
    end(index)
    await eventually('it is gone', () => target.open === 0)
    assert.equal(target.takeIdle(), null)
    assert.equal(target.idle, 0)
  }
})

test('a connection is let go before the upstream says it closes it', async () => {
  await using origin = await startRawOrigin()
  for (const [keepAliveMs, closes] of [
    [1_000, true],
    [1_030, true],
    [60_000, false],
    [null, false],
  ] as const) {
    const target = pool(origin.port)
    const connection = await open(target)
    connection.release(keepAliveMs)
    if (closes) await eventually('it is closed', () => target.open === 0)
    else await eventually('it is idle', () => target.idle === 1)
    target.retire()
  }
})

test('connect failures and timeouts are told apart', async () => {
  const origin = await startRawOrigin()
  await origin.close()
  const refused = pool(origin.port)
  await assert.rejects(open(refused), /connect_failure/)
  assert.deepEqual([refused.stats.upstream_cx_connect_fail, refused.stats.upstream_cx_active], [1, 0])
  assert.equal(refused.unused, true)
})

test('a connection carries so many requests, and no more', async () => {
  await using origin = await startRawOrigin()
  const target = pool(origin.port, { maxRequests: 2 })
  const connection = await open(target)
  connection.release()
  await eventually('it is idle', () => target.idle === 1)
  assert.equal(target.stats.upstream_cx_max_requests, 0)
  target.takeIdle()?.release()
  await (await origin.connection(0)).closed
  assert.equal(target.stats.upstream_cx_max_requests, 1)
})

test('at its age a connection closes: at once when it is idle, else when it is given back', async () => {
  await using origin = await startRawOrigin()
  const target = pool(origin.port, { maxDurationMs: 60 })
  const [idle, busy] = [await open(target), await open(target)]
  idle.release()
  await (await origin.connection(0)).closed
  await eventually('both are old', () => target.stats.upstream_cx_max_duration_reached === 2)
  assert.equal(busy.socket.destroyed, false)
  busy.release()
  await (await origin.connection(1)).closed
  assert.equal(target.stats.upstream_cx_idle_timeout, 0)
  const young = await open(target)
  young.destroy()
  await eventually('all are gone', () => target.unused)
})
