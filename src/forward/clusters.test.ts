import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClusterModel } from '../model/cluster.ts'
import { eventually } from '../testing/eventually.ts'
import {
  CALLER,
  clusterEnvironment,
  clusterModel,
  responseOf,
  testUpstream,
  upstreamTls,
} from '../testing/forwarding.ts'
import { type RecordedConnection, startRawOrigin } from '../testing/origin.ts'
import { createTestPki } from '../testing/pki.ts'

const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
const answer = ({ socket }: RecordedConnection) => socket.write(OK)

test('a reload keeps connections, counters and nothing else', async () => {
  await using origin = await startRawOrigin({ onRequest: answer })
  const model = clusterModel(origin.port)
  using first = testUpstream(model)
  await first.get()
  using second = testUpstream({ ...model, loadBalancer: { kind: 'RANDOM', warmup: null } }, clusterEnvironment(), {
    previous: first.set,
  })
  first.set.retire()
  assert.equal(second.cluster.stats, first.cluster.stats)
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(await second.get(), { status: 200, text: 'ok', reused: true })
  assert.equal(second.cluster.stats.upstream_rq_total, 2)
  assert.equal(origin.connections.length, 1)
})

test('what the new configuration would not open is closed: at once when idle, after its exchange when not', async () => {
  const changes: Readonly<Record<string, (model: ClusterModel) => Partial<ClusterModel>>> = {
    'another connect timeout': () => ({ connectTimeoutMs: 4_000 }),
    'another endpoint': (model) => ({
      endpoints: model.endpoints.map((endpoint) => ({ ...endpoint, address: '127.0.0.2' })),
    }),
    TLS: () => ({ tls: upstreamTls({ insecureSkipVerify: true }) }),
    'another name': () => ({ name: 'outbound|80||other.example' }),
    'a header of the PROXY protocol': () => ({ proxyProtocol: 'V2' }),
    'another idle timeout': ({ pool }) => ({ pool: { ...pool, httpIdleTimeoutMs: 1 } }),
    'fewer requests to a connection': ({ pool }) => ({ pool: { ...pool, maxRequestsPerConnection: 1 } }),
    'another age': ({ pool }) => ({ pool: { ...pool, maxConnectionDurationMs: 60_000 } }),
    'another keep-alive': ({ pool }) => ({
      pool: { ...pool, keepAlive: { probes: null, timeMs: 60_000, intervalMs: null } },
    }),
  }
  for (const [name, change] of Object.entries(changes)) {
    await using origin = await startRawOrigin({
      onRequest: (connection, head) => {
        if (head.includes('/now')) answer(connection)
      },
    })
    const model = clusterModel(origin.port)
    using first = testUpstream(model)
    const slow = first.send({ target: '/later' })
    const busy = await origin.connection(0)
    await busy.until((text) => text.includes('/later'))
    await first.get('/now')
    const idle = await origin.connection(1)
    await new Promise((resolve) => setImmediate(resolve))
    using _second = testUpstream({ ...model, ...change(model) }, clusterEnvironment(), { previous: first.set })
    assert.equal(idle.socket.destroyed, false, name)
    first.set.retire()
    await idle.closed
    assert.equal(busy.socket.destroyed, false, name)
    answer(busy)
    assert.equal((await responseOf(await slow.outcome).body()).toString(), 'ok')
    await busy.closed
    assert.equal(first.cluster.stats.upstream_cx_active, 0, name)
  }
})

test('limits of the whole cluster cost no connection, nor does telling of callers; each has its own', async () => {
  await using origin = await startRawOrigin({
    onConnection: (connection) => {
      let answered = 0
      connection.on('bytes', () => {
        const asked = connection.text.split('GET / ').length - 1
        for (; answered < asked; answered++) answer(connection)
      })
    },
  })
  const model = clusterModel(origin.port, { proxyProtocol: 'V1' })
  using first = testUpstream(model)
  await first.get()
  using second = testUpstream({ ...model, pool: { ...model.pool, maxConnections: 3, maxRequests: 3 } }, undefined, {
    previous: first.set,
  })
  first.set.retire()
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal((await second.get()).reused, true)
  const other = second.send({ caller: { ...CALLER, sourcePort: CALLER.sourcePort + 1 } })
  await responseOf(await other.outcome).body()
  assert.deepEqual(
    origin.connections.map(({ text }) => text.slice(0, text.indexOf('\r\n'))),
    ['PROXY TCP4 192.0.2.7 192.0.2.1 40000 8080', 'PROXY TCP4 192.0.2.7 192.0.2.1 40001 8080'],
  )
  const [described] = second.set.describe()
  assert.equal(described?.endpoints[0]?.cxActive, 2)
})

test('a request that began under a retired configuration still goes out, and leaves no connection behind', async () => {
  await using origin = await startRawOrigin({ onRequest: answer })
  using upstream = testUpstream(clusterModel(origin.port))
  upstream.set.retire()
  assert.equal((await upstream.get()).status, 200)
  await (await origin.connection(0)).closed
})

test('a candidate that is thrown away costs the living configuration nothing', async () => {
  await using origin = await startRawOrigin({ onRequest: answer })
  const model = clusterModel(origin.port)
  using living = testUpstream(model)
  await living.get()
  const candidate = testUpstream({ ...model, connectTimeoutMs: 1 }, clusterEnvironment(), { previous: living.set })
  candidate.close()
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal((await living.get()).reused, true)
  assert.throws(() => testUpstream({ ...model, tls: upstreamTls() }, clusterEnvironment(), { previous: living.set }))
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal((await living.get()).reused, true)
})

test('rotated material, other names and verification switched off never share a connection', async () => {
  const pki = await createTestPki()
  const server = await pki.leaf({ dns: ['site.example', 'other.example'] })
  await using origin = await startRawOrigin({ tls: server, onRequest: answer })
  const client = await pki.svid('a/b')
  const base = clusterModel(origin.port, { tls: upstreamTls() })
  const environment = clusterEnvironment({ ca: pki.root })
  const variants = [
    [base, environment],
    [base, clusterEnvironment({ ca: pki.root, client })],
    [{ ...base, tls: upstreamTls({ sni: 'other.example' }) }, environment],
    [{ ...base, tls: upstreamTls({ subjectAltNames: ['other.example'] }) }, environment],
    [{ ...base, tls: upstreamTls({ insecureSkipVerify: true }) }, environment],
  ] as const
  let previous = testUpstream(base, environment)
  await previous.get()
  for (const [index, [model, its]] of variants.entries()) {
    const next = testUpstream(model, its, { previous: previous.set })
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal((await next.get()).reused, index === 0, String(index))
    previous.close()
    previous = next
  }
  previous.close()
  await eventually('all are closed', () => previous.cluster.stats.upstream_cx_active === 0)
})
