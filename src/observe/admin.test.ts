/** The control ports over real sockets: every endpoint, methods, foreign names, and no secrets. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { after, describe, test } from 'node:test'
import { newClusterStats } from '../core/stats.ts'
import {
  ADMIN_ENDPOINTS,
  type AdminProvider,
  createAdminServer,
  createHealthServer,
  createMetricsServer,
} from './admin.ts'
import { createMetrics } from './metrics.ts'

const cnn = newClusterStats('outbound|443||edition.cnn.com')
cnn.upstream_cx_total = 2

const metrics = createMetrics({
  clusters: () => [cnn],
  listeners: () => [],
  certificates: () => [],
  accessLogDropped: () => 0,
  openConnections: () => 0,
  openTunnels: () => 0,
  config: () => ({ generation: 1, lastReloadSuccessful: true, lastReloadAt: 0, version: 'abc' }),
  gatewayName: 'gw',
  gatewayNamespace: 'ns',
})

const calls: string[] = []
let state: ReturnType<AdminProvider['state']> = 'LIVE'
const HOUR = 3_600_000
const provider: AdminProvider = {
  state: () => state,
  configDump: () => ({
    settings: { identity: { privateKey: '/etc/certs/key.pem' } },
    leak: '-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----',
    route: { headers: { set: [['authorization', 'Bearer hunter2']] } },
  }),
  clusters: () => [
    {
      name: 'outbound|443||h',
      host: 'h',
      discovery: 'dns',
      tls: null,
      endpoints: [
        {
          address: '192.0.2.1',
          port: 443,
          weight: 1,
          cxActive: 3,
          rqActive: 1,
          denied: null,
          ejected: true,
          priority: 0,
        },
        {
          address: '::1',
          port: 443,
          weight: 1,
          cxActive: 0,
          rqActive: 0,
          denied: 'loopback',
          ejected: false,
          priority: 1,
        },
      ],
    },
  ],
  listeners: () => [{ name: '0.0.0.0_8080', address: '0.0.0.0', port: 8080, gatewayPort: 80 }],
  certs: () => [
    {
      credential: 'identity',
      path: '/etc/certs/cert-chain.pem',
      kind: 'certificate',
      sans: ['spiffe://cluster.local/ns/a/sa/b', 'gw.example', '192.0.2.1'],
      notBefore: Date.now() - HOUR,
      notAfter: Date.now() + 49 * HOUR,
      serial: '0a',
    },
  ],
  serverInfo: () => ({ version: '0.1.0', state: 'overwritten' }),
  routes: () => [],
  policies: () => [],
  lastReload: () => ({ successful: true, at: 0, errors: [] }),
  setLogLevel: (level) => void calls.push(`level ${level}`),
  drainListeners: () => void calls.push('drain'),
  failHealthcheck: () => void calls.push('fail'),
  okHealthcheck: () => void calls.push('ok'),
  quit: () => void calls.push('quit'),
  metrics,
  blocks: {
    list: () => [{ id: 'b-000000000001' }],
    block: async ({ from }) => (from === '*' ? { id: 'b-000000000002' } : `from: ${from}?`),
    unblock: async (id) => {
      if (id === 'unreachable') throw new Error('ECONNREFUSED')
      return id === 'b-000000000001'
    },
  },
}

const admin = createAdminServer(provider)
const { port } = await admin.listen('127.0.0.1', 0)
after(() => admin.close())

const call = async (method: string, path: string, headers: Record<string, string> = {}) => {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, headers })
  return { status: response.status, headers: response.headers, text: await response.text() }
}

describe('admin port', () => {
  test('/ready follows the state', async () => {
    const live = await call('GET', '/ready')
    assert.deepEqual([live.status, live.text], [200, 'LIVE\n'])
    state = 'DRAINING'
    const draining = await call('GET', '/ready')
    state = 'LIVE'
    assert.deepEqual([draining.status, draining.text], [503, 'DRAINING\n'])
  })

  test('/stats prints the line of seed 002, filters by RE2 and by text, and refuses a bad expression', async () => {
    const line = 'cluster.outbound|443||edition.cnn.com.upstream_cx_total: 2\n'
    const filtered = await call('GET', '/stats?filter=edition.cnn.com.upstream_cx_total')
    assert.equal(filtered.text, line)
    assert.equal((await call('GET', `/stats?filter=${encodeURIComponent('^cluster.*cx_total$')}`)).text, line)
    assert.ok((await call('GET', '/stats')).text.includes(line))
    assert.equal((await call('GET', `/stats?filter=${encodeURIComponent('a(')}`)).status, 400)
    // Balanced only together with what we put around it: still refused.
    assert.equal((await call('GET', `/stats?filter=${encodeURIComponent('a)(b')}`)).status, 400)
    assert.equal((await call('GET', '/stats?format=xml')).status, 400)
    const used = await call('GET', '/stats?usedonly&format=json')
    assert.deepEqual(JSON.parse(used.text), {
      stats: [
        { name: 'cluster.outbound|443||edition.cnn.com.upstream_cx_total', value: 2 },
        { name: 'server.live', value: 1 },
      ],
    })
  })

  test('a filter made to backtrack answers at once', async () => {
    const started = performance.now()
    await call('GET', `/stats?filter=${encodeURIComponent('(a*)*(a*)*b$')}`)
    assert.ok(performance.now() - started < 10_000, 'it would take years')
  })

  test('/stats/prometheus and /stats?format=prometheus are the exposition', async () => {
    for (const path of ['/stats/prometheus', '/stats?format=prometheus']) {
      const { text, headers } = await call('GET', path)
      assert.equal(headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
      assert.match(text, /^envoy_cluster_upstream_cx_total\{cluster_name="outbound\|443\|\|edition\.cnn\.com"\} 2$/m)
    }
  })

  test('/config_dump shows paths and no secrets', async () => {
    const { text, headers } = await call('GET', '/config_dump')
    assert.equal(headers.get('content-type'), 'application/json')
    assert.doesNotMatch(text, /MIIE|hunter2/)
    assert.match(text, /\/etc\/certs\/key\.pem/)
  })

  test('/clusters, /listeners, /certs and /server_info', async () => {
    const clusters = await call('GET', '/clusters')
    assert.match(clusters.text, /^outbound\|443\|\|h::192\.0\.2\.1:443::cx_active::3$/m)
    assert.match(clusters.text, /^outbound\|443\|\|h::\[::1\]:443::health_flags::\/address_denied\{loopback\}$/m)
    assert.match(clusters.text, /^outbound\|443\|\|h::192\.0\.2\.1:443::health_flags::\/failed_outlier_check$/m)
    assert.match(clusters.text, /^outbound\|443\|\|h::\[::1\]:443::priority::1$/m)
    const clustersJson = JSON.parse((await call('GET', '/clusters?format=json')).text) as {
      cluster_statuses: { host_statuses: { address: unknown; health_status: unknown }[] }[]
    }
    assert.deepEqual(clustersJson.cluster_statuses[0]?.host_statuses[0]?.address, {
      socket_address: { address: '192.0.2.1', port_value: 443 },
    })
    assert.deepEqual(
      clustersJson.cluster_statuses[0]?.host_statuses.map(({ health_status }) => health_status),
      [{ eds_health_status: 'HEALTHY', failed_outlier_check: true }, { eds_health_status: 'UNHEALTHY' }],
    )
    assert.equal((await call('GET', '/listeners')).text, '0.0.0.0_8080::0.0.0.0:8080\n')
    assert.match((await call('GET', '/listeners?format=json')).text, /"gateway_port": 80/)
    const certs = JSON.parse((await call('GET', '/certs')).text) as {
      certificates: {
        cert_chain: { subject_alt_names: unknown; days_until_expiration: string }[]
        ca_cert: unknown[]
      }[]
    }
    assert.deepEqual(certs.certificates[0]?.cert_chain[0]?.subject_alt_names, [
      { uri: 'spiffe://cluster.local/ns/a/sa/b' },
      { dns: 'gw.example' },
      { ip_address: '192.0.2.1' },
    ])
    assert.equal(certs.certificates[0]?.cert_chain[0]?.days_until_expiration, '2')
    assert.deepEqual(certs.certificates[0]?.ca_cert, [])
    assert.deepEqual(JSON.parse((await call('GET', '/server_info')).text), { version: '0.1.0', state: 'LIVE' })
  })

  test('/help names every endpoint, and so does an unknown path', async () => {
    const help = await call('GET', '/help')
    const unknown = await call('GET', '/nothing')
    assert.equal(help.status, 200)
    assert.equal(unknown.status, 404)
    for (const { path } of ADMIN_ENDPOINTS) {
      assert.ok(help.text.includes(path))
      assert.ok(unknown.text.includes(path))
    }
  })

  test('commands need POST, reads need GET', async () => {
    const paths = Map.groupBy(ADMIN_ENDPOINTS, ({ path }) => path)
    for (const [path, endpoints] of paths) {
      const methods: readonly string[] = endpoints.map(({ method }) => method)
      const other = ['GET', 'POST', 'PUT'].find((method) => !methods.includes(method)) ?? ''
      const { status, headers } = await call(other, path)
      assert.equal(status, 405, `${other} ${path}`)
      assert.equal(headers.get('allow'), methods.map((method) => (method === 'GET' ? 'GET, HEAD' : method)).join(', '))
    }
    assert.deepEqual(calls, [])
    const head = await call('HEAD', '/ready')
    assert.deepEqual([head.status, head.text], [200, ''])
  })

  test('/blocks: lists, sets and lifts; a word it does not know is refused, since without its `to` a block covers more', async () => {
    assert.deepEqual(JSON.parse((await call('GET', '/blocks')).text), { blocks: [{ id: 'b-000000000001' }] })
    const asked = [
      ['POST', '/blocks?from=*&for=1m&reason=x', 200, /b-000000000002/],
      ['POST', '/blocks?from=nobody&for=1m&reason=x', 400, /^from: nobody\?\nusage: POST/],
      ['POST', '/blocks?from=*&too=a&for=1m&reason=x', 400, /^"too" is unknown/],
      ['POST', '/blocks?from=*&to=a&to=b&for=1m&reason=x', 400, /^"to" is unknown, or stands twice/],
      ['DELETE', '/blocks?id=b-000000000001', 200, /^unblocked/],
      ['DELETE', '/blocks?id=b-000000000009', 404, /no block has the id/],
      ['DELETE', '/blocks?id=unreachable', 503, /not lifted, Redis cannot be told: ECONNREFUSED/],
      ['DELETE', '/blocks', 400, /^usage: DELETE/],
    ] as const
    for (const [method, path, status, said] of asked) {
      const answer = await call(method, path)
      assert.deepEqual([answer.status, said.test(answer.text)], [status, true], `${method} ${path}: ${answer.text}`)
    }
  })

  test('commands run', async () => {
    for (const path of [
      '/logging?level=debug',
      '/drain_listeners',
      '/healthcheck/fail',
      '/healthcheck/ok',
      '/quitquitquit',
    ]) {
      assert.equal((await call('POST', path)).status, 200, path)
    }
    assert.equal((await call('POST', '/logging?level=loud')).status, 400)
    assert.deepEqual(calls.splice(0), ['level debug', 'drain', 'fail', 'ok', 'quit'])
  })

  test('what a web page could make a browser send is refused', async () => {
    assert.equal((await call('POST', '/quitquitquit', { origin: 'http://evil.example' })).status, 403)
    assert.equal((await call('GET', '/config_dump', { origin: 'null' })).status, 403)
    for (const host of ['evil.example', 'evil.example:15000', '127.0.0.1.evil.example', 'localhost.evil.example', '']) {
      assert.match(
        await raw(`POST /quitquitquit HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`),
        /^HTTP\/1\.1 403 /,
        host,
      )
    }
    for (const host of ['localhost', 'LOCALHOST:15000', '127.0.0.1', '[::1]:15000']) {
      assert.match(
        await raw(`GET /ready HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`),
        /^HTTP\/1\.1 200 /,
        host,
      )
    }
    assert.deepEqual(calls, [])
  })

  test('a malformed request gets 400 and hurts nobody', async () => {
    assert.match(await raw('GET / HTTP/1.1\r\nbad header\r\n\r\n'), /^HTTP\/1\.1 400 /)
    assert.equal((await call('GET', '/ready')).status, 200)
  })
})

async function raw(request: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  let answer = ''
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    answer += chunk
  })
  socket.end(request)
  await once(socket, 'close')
  return answer
}

describe('metrics and health ports', () => {
  test('metrics answer at one path only', async () => {
    const server = createMetricsServer(metrics)
    const bound = await server.listen('127.0.0.1', 0)
    const good = await fetch(`http://127.0.0.1:${bound.port}/stats/prometheus`)
    assert.equal(good.status, 200)
    assert.equal(good.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
    assert.match(await good.text(), /^# HELP sallyport_requests_total /m)
    assert.equal((await fetch(`http://127.0.0.1:${bound.port}/config_dump`)).status, 404)
    assert.equal((await fetch(`http://127.0.0.1:${bound.port}/stats/prometheus`, { method: 'POST' })).status, 405)
    await server.close()
  })

  test('health follows readiness, under any host name', async () => {
    let ready = false
    const server = createHealthServer(() => ready)
    const bound = await server.listen('127.0.0.1', 0)
    const url = `http://127.0.0.1:${bound.port}/healthz/ready`
    assert.equal((await fetch(url)).status, 503)
    ready = true
    assert.equal((await fetch(url)).status, 200)
    assert.equal((await fetch(`http://127.0.0.1:${bound.port}/`)).status, 404)
    await server.close()
    await assert.rejects(fetch(url))
  })

  test('a port that is taken is an error of listen; a handler that throws is a 500 without details', async () => {
    await assert.rejects(createHealthServer(() => true).listen('127.0.0.1', port), /EADDRINUSE/)
    const errors: unknown[] = []
    const server = createHealthServer(
      () => {
        throw new Error('inner secret')
      },
      (error) => errors.push(error),
    )
    const bound = await server.listen('127.0.0.1', 0)
    const response = await fetch(`http://127.0.0.1:${bound.port}/healthz/ready`)
    assert.deepEqual([response.status, await response.text()], [500, 'internal error\n'])
    assert.equal(errors.length, 1)
    await server.close()
  })

  test('close cuts a connection that never finishes its request', async () => {
    const server = createHealthServer(() => true)
    const bound = await server.listen('127.0.0.1', 0)
    const socket = connect(bound.port, '127.0.0.1')
    await once(socket, 'connect')
    socket.write('GET /healthz')
    socket.on('error', () => undefined)
    const closed = once(socket, 'close')
    await Promise.all([server.close(), server.close(), closed])
  })
})
