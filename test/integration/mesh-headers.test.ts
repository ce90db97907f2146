/** Which fields cross the border (contract §4 "Headers outside"): nothing of the mesh out, nothing of ours back in. */
import assert from 'node:assert/strict'
import { after, before, it } from 'node:test'
import type { HarnessOptions } from '../../src/testing/harness.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import { documents, gateway, serviceEntry, to, virtualService } from './manifests.ts'
import { started } from './started.ts'

const HOST = 'site.example'
const TRACE = {
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  'x-b3-traceid': '463ac35c9f6413ad',
  b3: '0',
}
const STEERING = {
  'x-envoy-upstream-rq-timeout-ms': '1',
  'x-envoy-original-path': '/x',
  'x-envoy-decorator-operation': 'x',
  'x-forwarded-host': 'evil.example',
  'x-forwarded-for': '8.8.8.8',
  'x-forwarded-proto': 'https',
  'x-forwarded-client-cert': 'By=spiffe://x',
  'x-sallyport-reason': 'x',
  forwarded: 'for=8.8.8.8',
}

let origin: EchoOrigin
before(async () => {
  origin = await startEchoOrigin()
})
after(() => origin.close())

const resources = (port: number, spec: object = {}): HarnessOptions['resources'] => ({
  'all.yaml': documents(
    gateway(),
    serviceEntry('site', HOST, port, { spec }),
    virtualService('site', [HOST], [{ route: to(HOST) }]),
  ),
})
const field = (headers: Readonly<Record<string, string>>, name: string) =>
  Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1]

it('threat 14: outside: no x-envoy-*, x-forwarded-*, forwarded; x-request-id and trace fields stay', async (t) => {
  const harness = await started(t, { resources: resources(origin.port) })
  const socket = await plainConnect(harness.gateway.port(80))
  const answer = await request(socket, HOST, {
    path: '/headers',
    headers: { ...STEERING, ...TRACE, 'x-request-id': 'kept', 'x-own': '1' },
  })
  const { headers } = JSON.parse(answer.body) as { headers: Record<string, string> }
  assert.deepEqual(
    Object.keys(headers)
      .map((name) => name.toLowerCase())
      .toSorted((a, b) => a.localeCompare(b)),
    ['b3', 'host', 'traceparent', 'x-b3-traceid', 'x-own', 'x-request-id'],
  )
  assert.equal(field(headers, 'x-request-id'), 'kept')
  const other = await request(socket, HOST, { path: '/headers' })
  const made = field((JSON.parse(other.body) as { headers: Record<string, string> }).headers, 'x-request-id')
  assert.match(made ?? '', /^[0-9a-f-]{36}$/)
  const lines = await harness.lines(2)
  assert.deepEqual(
    lines.map((line) => line['request_id']),
    ['kept', made],
  )
  assert.equal(lines[0]?.['trace_id'], '0af7651916cd43dd8448eb211c80319c')
  socket.destroy()
  await harness.stop(2)
})

it('tracing.propagate: false stops the trace fields', async (t) => {
  const harness = await started(t, { resources: resources(origin.port), spec: { tracing: { propagate: false } } })
  const socket = await plainConnect(harness.gateway.port(80))
  const answer = await request(socket, HOST, { path: '/headers', headers: TRACE })
  const { headers } = JSON.parse(answer.body) as { headers: Record<string, string> }
  for (const name of Object.keys(TRACE)) assert.equal(field(headers, name), undefined, name)
  assert.ok(field(headers, 'x-request-id'))
  socket.destroy()
  await harness.stop(1)
})

it('inside the mesh: the caller’s address, as this gateway saw it', async (t) => {
  const harness = await started(t, { resources: resources(origin.port, { location: 'MESH_INTERNAL' }) })
  const socket = await plainConnect(harness.gateway.port(80))
  const answer = await request(socket, HOST, {
    path: '/headers',
    headers: { 'x-forwarded-proto': 'https', 'x-envoy-original-path': '/x' },
  })
  const { headers } = JSON.parse(answer.body) as { headers: Record<string, string> }
  assert.deepEqual(
    [field(headers, 'x-forwarded-for'), field(headers, 'x-forwarded-proto'), field(headers, 'x-envoy-original-path')],
    ['127.0.0.1', 'http', undefined],
  )
  socket.destroy()
  await harness.stop(1)
})

it('threat 14: back: what an upstream says in our name is taken out', async (t) => {
  const lines = [
    'HTTP/1.1 200 OK',
    'content-length: 2',
    'server: nginx',
    'x-sallyport-reason: rbac_denied',
    'x-envoy-upstream-service-time: 9999',
    'x-envoy-overloaded: true',
    'x-own: 1',
    'connection: x-secret',
    'x-secret: 1',
    '',
    'ok',
  ]
  const raw = await startRawOrigin({ onRequest: (connection) => void connection.socket.write(lines.join('\r\n')) })
  t.after(() => raw.close())
  const harness = await started(t, { resources: resources(raw.port) })
  const socket = await plainConnect(harness.gateway.port(80))
  const { headers, body } = await request(socket, HOST)
  assert.equal(body, 'ok')
  assert.deepEqual(
    ['server', 'x-sallyport-reason', 'x-envoy-overloaded', 'x-own', 'x-secret'].map((name) => headers[name]),
    ['sallyport', undefined, undefined, '1', undefined],
  )
  assert.notEqual(headers['x-envoy-upstream-service-time'], '9999')
  socket.destroy()
  await harness.stop(1)
})
