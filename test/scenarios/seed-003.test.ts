/** Walk-through 003: REGISTRY_ONLY, a ServiceEntry, a plaintext gateway, and the JSON access log the page shows. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { explained, startOutside, startScenario } from './scenario.ts'

/** Fields of the page's line; `istio_policy_status` is always null there and no longer part of Istio's format. */
const PAGE_FIELDS = [
  'trace_id',
  'upstream_host',
  'downstream_remote_address',
  'requested_server_name',
  'response_code',
  'upstream_service_time',
  'user_agent',
  'path',
  'route_name',
  'bytes_sent',
  'response_flags',
  'upstream_local_address',
  'duration',
  'upstream_cluster',
  'upstream_transport_failure_reason',
  'authority',
  'request_id',
  'protocol',
  'bytes_received',
  'method',
  'downstream_local_address',
  'start_time',
  'x_forwarded_for',
]

test('003: the registered host is served and logged as the page shows; another one gets 502', async (t) => {
  const pki = await createTestPki()
  const outside = await startOutside(pki, ['aliyun.com'])
  t.after(() => outside.close())
  const harness = await startScenario(
    'seed-003',
    ['added.yaml', 'service-entry.yaml', 'gateway.yaml', 'virtual-service.yaml'],
    outside,
    pki,
  )
  let socket = await plainConnect(harness.gateway.port(80))
  const answer = await request(socket, 'aliyun.com', {
    method: 'HEAD',
    path: '/status/301',
    headers: { 'user-agent': 'curl/7.86.0-DEV' },
  })
  assert.equal(answer.status, 301)
  socket.destroy()
  socket = await plainConnect(harness.gateway.port(80))
  const refused = await request(socket, 'www.aliyun.com', { method: 'HEAD' })
  assert.equal(refused.status, 502)
  socket.destroy()
  assert.equal((await explained(harness, null, 'HEAD', 'http://aliyun.com/status/301')).code, 0)
  assert.equal((await explained(harness, null, 'HEAD', 'http://www.aliyun.com/')).result.status, 502)

  const [line, block] = await harness.lines(2)
  assert.deepEqual(
    PAGE_FIELDS.filter((field) => !(field in (line ?? {}))),
    [],
  )
  assert.deepEqual(
    [
      'method',
      'path',
      'protocol',
      'response_code',
      'response_flags',
      'bytes_received',
      'bytes_sent',
      'user_agent',
      'authority',
      'upstream_cluster',
      'requested_server_name',
      'x_forwarded_for',
      'route_name',
      'upstream_transport_failure_reason',
      'upstream_host',
    ].map((key) => line?.[key]),
    [
      'HEAD',
      '/status/301',
      'HTTP/1.1',
      301,
      '-',
      0,
      0,
      'curl/7.86.0-DEV',
      'aliyun.com',
      'outbound|80||aliyun.com',
      null,
      '127.0.0.1',
      null,
      null,
      `127.0.0.1:${outside.httpPort}`,
    ],
  )
  assert.equal(typeof line?.['upstream_service_time'], 'string')
  assert.equal(typeof line?.['duration'], 'number')
  assert.match(String(line?.['request_id']), /^[0-9a-f-]{36}$/)
  assert.match(String(line?.['start_time']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  assert.deepEqual(
    [block?.['response_code'], block?.['upstream_cluster'], block?.['route_name'], block?.['response_code_details']],
    [502, 'BlackHoleCluster', 'block_all', 'direct_response'],
  )
  await harness.stop(2)
})
