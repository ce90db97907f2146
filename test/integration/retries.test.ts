/** Retries as the whole gateway does them: what the log counts, what the route's timeout covers, and hosts that only ALLOW_ANY lets out. */
import assert from 'node:assert/strict'
import { eventually } from '../../src/testing/eventually.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import { test } from './engines.ts'
import { documents, gateway, serviceEntry, to, virtualService } from './manifests.ts'
import { freePort, stat } from './operator.ts'
import { started } from './started.ts'

const HOST = 'site.example'
const FORMAT = JSON.stringify({
  code: '%RESPONSE_CODE%',
  flags: '%RESPONSE_FLAGS%',
  attempts: '%UPSTREAM_REQUEST_ATTEMPT_COUNT%',
})
const unavailable = 'HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n'

test('the log counts tries: none without an address, one that is answered, three that could not connect', async (t) => {
  await using origin = await startEchoOrigin()
  const hosts = { 'fine.example': origin.port, 'dead.example': await freePort(), 'denied.example': 80 }
  const harness = await started(t, {
    spec: { meshConfig: { accessLogFormat: FORMAT } },
    resources: {
      'all.yaml': documents(
        gateway(),
        ...Object.entries(hosts).map(([host, port]) =>
          serviceEntry(host.slice(0, -8), host, port, host === 'denied.example' ? { address: '169.254.169.254' } : {}),
        ),
        ...Object.keys(hosts).map((host) => virtualService(host.slice(0, -8), [host], [{ route: to(host) }])),
      ),
    },
  })
  const socket = await plainConnect(harness.gateway.port(80))
  for (const host of [...Object.keys(hosts), 'unknown.example']) await request(socket, host)
  socket.destroy()
  assert.deepEqual(await harness.lines(4), [
    { code: 200, flags: '-', attempts: 1 },
    { code: 503, flags: 'UF,URX', attempts: 3 },
    { code: 403, flags: '-', attempts: 0 },
    { code: 502, flags: '-', attempts: 0 },
  ])
  await harness.stop(4)
})

test("the route's timeout covers all tries together; a caller who leaves between two ends them", async (t) => {
  let seen = 0
  await using origin = await startRawOrigin({
    onRequest: ({ socket }) => {
      seen++
      socket.write(unavailable)
    },
  })
  const retries = { attempts: 100, retryOn: '5xx', backoff: '200ms' }
  const harness = await started(t, {
    resources: {
      'all.yaml': documents(
        gateway(),
        serviceEntry('site', HOST, origin.port),
        virtualService(
          'site',
          [HOST],
          [
            { match: [{ uri: { prefix: '/timeout' } }], retries, timeout: '400ms', route: to(HOST) },
            { retries, route: to(HOST) },
          ],
        ),
      ),
    },
  })
  const socket = await plainConnect(harness.gateway.port(80))
  const began = performance.now()
  const answer = await request(socket, HOST, { path: '/timeout' })
  const took = performance.now() - began
  assert.deepEqual([answer.status, answer.body], [504, 'upstream request timeout'])
  assert.ok(took >= 395 && took < 10_000, `${took} ms`)
  assert.ok(seen >= 1)
  const before = seen
  socket.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
  await eventually('the first try', () => seen > before)
  socket.destroy()
  const lines = await harness.lines(2)
  assert.deepEqual(
    lines.map((line) => [line['response_code'], line['response_flags']]),
    [
      [504, 'UT'],
      [0, 'DC'],
    ],
  )
  const after = seen
  await harness.stop(2)
  assert.equal(seen, after, 'nothing is tried for a caller who has left')
})

test('a host that only ALLOW_ANY lets out is tried again like any other', async (t) => {
  const dead = await freePort()
  const harness = await started(t, {
    spec: { meshConfig: { outboundTrafficPolicy: { mode: 'ALLOW_ANY' } }, addressGuard: { allow: ['127.0.0.0/8'] } },
    resources: { 'all.yaml': documents(gateway()) },
  })
  const socket = await plainConnect(harness.gateway.port(80))
  const answer = await request(socket, `127.0.0.1:${dead}`)
  socket.destroy()
  assert.equal(answer.status, 503)
  const [line] = await harness.lines(1)
  assert.deepEqual([line?.['response_flags'], line?.['upstream_cluster']], ['UF,URX', 'PassthroughCluster'])
  assert.equal(await stat(harness, 'cluster.PassthroughCluster.upstream_cx_connect_fail'), 3)
  await harness.stop(1)
})
