/** connectionPool, outlierDetection and loadBalancer as a cluster gets them (behaviour §5.4–5.6). */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type ClusterModel, UNLIMITED_POOL } from '../model/cluster.ts'
import { findings, testResource, testSettings } from '../testing/resources.ts'
import { destinationRule } from './kinds/destination-rule.ts'
import { serviceEntry } from './kinds/service-entry.ts'
import { collectDiagnostics } from './report.ts'
import { buildServices } from './services.ts'

function clusterOf(trafficPolicy: object | null, protocol = 'HTTP'): { cluster: ClusterModel; codes: string[] } {
  const collector = collectDiagnostics()
  const entry = testResource(
    serviceEntry,
    { name: 'a' },
    {
      hosts: ['a.com'],
      ports: [{ number: 80, name: 'p', protocol }],
      resolution: 'DNS',
    },
  )
  const rules =
    trafficPolicy === null ? [] : [testResource(destinationRule, { name: 'r' }, { host: 'a.com', trafficPolicy })]
  const services = buildServices(testSettings(), [entry, ...rules], collector.report)
  const at = { file: 'route', line: 1, col: 1 }
  services.clusterFor({ host: 'a.com', port: 80, subset: null, namespace: 'x', listenerPort: 80, at })
  const [cluster] = services.clusters()
  assert.ok(cluster !== undefined)
  return { cluster, codes: findings(collector) }
}

describe('connectionPool', () => {
  const poolOf = (tcp: object, http: object = {}, more: object = {}) =>
    clusterOf({ connectionPool: { tcp, http }, ...more }).cluster.pool
  test('nothing said, and zeros: no limit', () => {
    assert.deepEqual(clusterOf(null).cluster.pool, UNLIMITED_POOL)
    const zeros = { http1MaxPendingRequests: 0, http2MaxRequests: 0, maxRetries: 0, maxRequestsPerConnection: 0 }
    assert.deepEqual(poolOf({ maxConnections: 0 }, { ...zeros, maxConcurrentStreams: 0 }), UNLIMITED_POOL)
  })
  test('every limit', () => {
    const tcp = {
      maxConnections: 1,
      idleTimeout: '2s',
      maxConnectionDuration: '3s',
      tcpKeepalive: { probes: 4, time: '5s', interval: '6s' },
    }
    const http = {
      http1MaxPendingRequests: 7,
      http2MaxRequests: 8,
      maxRetries: 9,
      maxRequestsPerConnection: 10,
      maxConcurrentStreams: 11,
      idleTimeout: '12s',
      http2KeepAlive: { interval: '13s', timeout: '14s' },
    }
    assert.deepEqual(poolOf(tcp, http, { retryBudget: { percent: 15, minRetryConcurrency: 16 } }), {
      maxConnections: 1,
      tcpIdleTimeoutMs: 2000,
      maxConnectionDurationMs: 3000,
      keepAlive: { probes: 4, timeMs: 5000, intervalMs: 6000 },
      maxPendingRequests: 7,
      maxRequests: 8,
      maxRetries: 9,
      maxRequestsPerConnection: 10,
      maxConcurrentStreams: 11,
      httpIdleTimeoutMs: 12_000,
      http2KeepAlive: { intervalMs: 13_000, timeoutMs: 14_000 },
      retryBudget: { percent: 15, minConcurrency: 16 },
    })
  })
  test('defaults within blocks: an idle time-out of TCP is one of HTTP, a budget is 20 % and 3', () => {
    const pool = poolOf({ idleTimeout: '2s', tcpKeepalive: {} }, {}, { retryBudget: {} })
    assert.deepEqual([pool.tcpIdleTimeoutMs, pool.httpIdleTimeoutMs], [2000, 2000])
    assert.deepEqual(pool.keepAlive, { probes: null, timeMs: null, intervalMs: null })
    assert.deepEqual(pool.retryBudget, { percent: 20, minConcurrency: 3 })
  })
  test('which HTTP: the caller’s, an upgrade, what the port says', () => {
    const protocolOf = (http: object | null, port: string) =>
      clusterOf(http === null ? null : { connectionPool: { http } }, port).cluster.protocol
    const rows: [object | null, string, ClusterModel['protocol']][] = [
      [null, 'HTTP', 'http1'],
      [null, 'HTTPS', 'http1'],
      [null, 'HTTP2', 'http2'],
      [null, 'GRPC', 'http2'],
      [{ h2UpgradePolicy: 'UPGRADE' }, 'HTTP', 'http2'],
      [{ h2UpgradePolicy: 'DO_NOT_UPGRADE' }, 'HTTP', 'http1'],
      [{ h2UpgradePolicy: 'DO_NOT_UPGRADE' }, 'HTTP2', 'http2'],
      [{ h2UpgradePolicy: 'DEFAULT' }, 'HTTP', 'http1'],
      [{ useClientProtocol: true }, 'HTTP', 'client'],
      [{ useClientProtocol: true }, 'GRPC', 'client'],
    ]
    for (const [http, port, expected] of rows)
      assert.equal(protocolOf(http, port), expected, JSON.stringify([http, port]))
  })
})

describe('outlierDetection', () => {
  const outlierOf = (outlierDetection: object) => clusterOf({ outlierDetection }).cluster.outlierDetection
  const defaults = {
    consecutive5xx: 5,
    consecutiveGatewayErrors: 0,
    splitLocalOriginErrors: false,
    consecutiveLocalOriginFailures: 5,
    intervalMs: 10_000,
    baseEjectionMs: 30_000,
    maxEjectionPercent: 10,
    minHealthPercent: 0,
  }
  test('no block: off; an empty one: the defaults', () => {
    assert.equal(clusterOf(null).cluster.outlierDetection, null)
    assert.deepEqual(outlierOf({}), defaults)
    assert.deepEqual(outlierOf({ maxEjectionPercent: 0 }), defaults)
  })
  test('every field; a count of 0 turns that count off', () => {
    assert.deepEqual(
      outlierOf({
        consecutive5xxErrors: 0,
        consecutiveGatewayErrors: 1,
        splitExternalLocalOriginErrors: true,
        consecutiveLocalOriginFailures: 2,
        interval: '3s',
        baseEjectionTime: '4s',
        maxEjectionPercent: 50,
        minHealthPercent: 60,
      }),
      {
        consecutive5xx: 0,
        consecutiveGatewayErrors: 1,
        splitLocalOriginErrors: true,
        consecutiveLocalOriginFailures: 2,
        intervalMs: 3000,
        baseEjectionMs: 4000,
        maxEjectionPercent: 50,
        minHealthPercent: 60,
      },
    )
  })
  test('consecutiveErrors is gateway errors alone, unless today’s fields speak', () => {
    assert.deepEqual(outlierOf({ consecutiveErrors: 3 }), {
      ...defaults,
      consecutive5xx: 0,
      consecutiveGatewayErrors: 3,
    })
    const both = outlierOf({ consecutiveErrors: 3, consecutiveGatewayErrors: 4, consecutive5xxErrors: 6 })
    assert.deepEqual(both, { ...defaults, consecutive5xx: 6, consecutiveGatewayErrors: 4 })
  })
})

describe('loadBalancer', () => {
  const balancerOf = (loadBalancer: object) => clusterOf({ loadBalancer }).cluster.loadBalancer
  test('hash keys', () => {
    const rows: [object, object][] = [
      [{ httpHeaderName: 'X-User' }, { kind: 'header', name: 'x-user' }],
      [
        { httpCookie: { name: 'u', path: '/p', ttl: '1h' } },
        { kind: 'cookie', name: 'u', path: '/p', ttlMs: 3_600_000 },
      ],
      [{ httpCookie: { name: 'u', ttl: '0s' } }, { kind: 'cookie', name: 'u', path: null, ttlMs: 0 }],
      [{ httpCookie: { name: 'u' } }, { kind: 'cookie', name: 'u', path: null, ttlMs: null }],
      [{ useSourceIp: true }, { kind: 'source-ip' }],
      [{ httpQueryParameterName: 'q' }, { kind: 'query', name: 'q' }],
    ]
    for (const [consistentHash, key] of rows)
      assert.deepEqual(balancerOf({ consistentHash }), { kind: 'RING_HASH', minimumRingSize: 1024, key })
  })
  test('rings and tables, with their defaults', () => {
    const key = { kind: 'source-ip' }
    const hash = (more: object) => balancerOf({ consistentHash: { useSourceIp: true, ...more } })
    assert.deepEqual(hash({ minimumRingSize: 7 }), { kind: 'RING_HASH', minimumRingSize: 7, key })
    assert.deepEqual(hash({ ringHash: { minimumRingSize: 8 } }), { kind: 'RING_HASH', minimumRingSize: 8, key })
    assert.deepEqual(hash({ ringHash: {} }), { kind: 'RING_HASH', minimumRingSize: 1024, key })
    assert.deepEqual(hash({ maglev: { tableSize: 101 } }), { kind: 'MAGLEV', tableSize: 101, key })
    assert.deepEqual(hash({ maglev: {} }), { kind: 'MAGLEV', tableSize: 65_537, key })
  })
  test('warm-up, in both spellings, where it can have an effect', () => {
    const full = { duration: '20s', minimumPercent: 5, aggression: 2 }
    const warmup = { durationMs: 20_000, minimumPercent: 5, aggression: 2 }
    const plain = { durationMs: 20_000, minimumPercent: 10, aggression: 1 }
    assert.deepEqual(balancerOf({ warmup: full }), { kind: 'LEAST_REQUEST', warmup })
    assert.deepEqual(balancerOf({ simple: 'ROUND_ROBIN', warmup: { duration: '20s' } }), {
      kind: 'ROUND_ROBIN',
      warmup: plain,
    })
    assert.deepEqual(balancerOf({ warmupDurationSecs: '20s' }), { kind: 'LEAST_REQUEST', warmup: plain })
    assert.deepEqual(balancerOf({ simple: 'RANDOM', warmup: full }), { kind: 'RANDOM', warmup: null })
  })
})

test('proxyProtocol and tunnel', () => {
  const { cluster: none } = clusterOf(null)
  assert.deepEqual([none.proxyProtocol, none.tunnel], [null, null])
  assert.equal(clusterOf({ proxyProtocol: {} }).cluster.proxyProtocol, 'V1')
  assert.equal(clusterOf({ proxyProtocol: { version: 'V2' } }).cluster.proxyProtocol, 'V2')
  const target = { targetHost: 'www.example.com', targetPort: 443 }
  const tunnelOf = (protocol: string) => clusterOf({ tunnel: { protocol, ...target } }).cluster.tunnel
  const expected = { host: 'www.example.com', port: 443 }
  assert.deepEqual(clusterOf({ tunnel: target }).cluster.tunnel, { method: 'CONNECT', ...expected })
  assert.deepEqual(tunnelOf('CONNECT'), { method: 'CONNECT', ...expected })
  assert.deepEqual(tunnelOf('POST'), { method: 'POST', ...expected })
})
