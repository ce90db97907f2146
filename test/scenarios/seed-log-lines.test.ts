/**
 * The two access-log lines that the seeds print, field by field, by configuration alone: 000's, whose values are all text
 * (older Istio), for a tunnel to a host nobody registered; 003's, typed, for a request that was answered. The samples stand
 * here as the seeds print them; each test makes such traffic and compares every field.
 */
import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import tls from 'node:tls'
import type { LogLine } from '../../src/testing/harness.ts'
import { meshConnect, plainConnect, request } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
import {
  documents,
  gateway,
  ISTIO_MUTUAL,
  type Manifest,
  serviceEntry,
  to,
  virtualService,
} from '../integration/manifests.ts'
import { started } from '../integration/started.ts'

const SEED_000 =
  '{"authority":"-","bytes_received":"0","bytes_sent":"0","downstream_local_address":"52.86.XX.XX:443","downstream_remote_address":"172.16.0.199:56748","duration":"0","istio_policy_status":"-","method":"-","path":"-","protocol":"-","request_id":"-","requested_server_name":"-","response_code":"0","response_flags":"UH","route_name":"-","start_time":"2023-04-11T02:00:07.409Z","trace_id":"-","upstream_cluster":"BlackHoleCluster","upstream_host":"-","upstream_local_address":"-","upstream_service_time":"-","upstream_transport_failure_reason":"-","user_agent":"-","x_forwarded_for":"-"}'
const SEED_003 =
  '{"trace_id":null,"upstream_host":"106.11.XXX.XX:80","downstream_remote_address":"10.34.0.140:47942","requested_server_name":null,"response_code":301,"upstream_service_time":"24","user_agent":"curl/7.86.0-DEV","path":"/","route_name":null,"bytes_sent":0,"response_flags":"-","upstream_local_address":"10.34.0.141:60388","duration":24,"upstream_cluster":"outbound|80||aliyun.com","upstream_transport_failure_reason":null,"authority":"aliyun.com","request_id":"55789d59-9b81-4e39-b64a-66baf44e****","protocol":"HTTP/1.1","bytes_received":0,"method":"HEAD","downstream_local_address":"10.34.0.141:80","start_time":"2022-11-30T08:03:01.315Z","istio_policy_status":null,"x_forwarded_for":"10.34.0.140"}'

/** What both versions of the mesh logged under these names (behaviour §8.1). */
const OPERATORS: Readonly<Record<string, string>> = {
  authority: '%REQ(:AUTHORITY)%',
  bytes_received: '%BYTES_RECEIVED%',
  bytes_sent: '%BYTES_SENT%',
  downstream_local_address: '%DOWNSTREAM_LOCAL_ADDRESS%',
  downstream_remote_address: '%DOWNSTREAM_REMOTE_ADDRESS%',
  duration: '%DURATION%',
  istio_policy_status: '%DYNAMIC_METADATA(istio.mixer:status)%',
  method: '%REQ(:METHOD)%',
  path: '%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%',
  protocol: '%PROTOCOL%',
  request_id: '%REQ(X-REQUEST-ID)%',
  requested_server_name: '%REQUESTED_SERVER_NAME%',
  response_code: '%RESPONSE_CODE%',
  response_flags: '%RESPONSE_FLAGS%',
  route_name: '%ROUTE_NAME%',
  start_time: '%START_TIME%',
  trace_id: '%TRACE_ID%',
  upstream_cluster: '%UPSTREAM_CLUSTER%',
  upstream_host: '%UPSTREAM_HOST%',
  upstream_local_address: '%UPSTREAM_LOCAL_ADDRESS%',
  upstream_service_time: '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%',
  upstream_transport_failure_reason: '%UPSTREAM_TRANSPORT_FAILURE_REASON%',
  user_agent: '%REQ(USER-AGENT)%',
  x_forwarded_for: '%REQ(X-FORWARDED-FOR)%',
}

const ADDRESS = /^\d+\.\d+\.[\dX]+\.[\dX]+:\d+$/
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
const NUMBER = /^\d+$/
/** Fields whose values differ from line to line: the sample's and ours both look like this. */
const SHAPES: Readonly<Record<string, RegExp>> = {
  downstream_local_address: ADDRESS,
  downstream_remote_address: ADDRESS,
  upstream_host: ADDRESS,
  upstream_local_address: ADDRESS,
  start_time: TIME,
  duration: NUMBER,
  upstream_service_time: NUMBER,
  request_id: /^[0-9a-f]{8}-[0-9a-f-]{15}[0-9a-f*-]+$/,
  x_forwarded_for: /^\d+\.\d+\.\d+\.\d+$/,
}

/** The format that prints the sample's fields in the sample's order. */
const formatOf = (seed: string) =>
  JSON.stringify(Object.fromEntries(Object.keys(JSON.parse(seed) as object).map((key) => [key, OPERATORS[key]])))

function assertLike(line: LogLine | undefined, seed: string): void {
  assert.ok(line !== undefined)
  const sample = JSON.parse(seed) as LogLine
  assert.deepEqual(Object.keys(line), Object.keys(sample))
  for (const [key, value] of Object.entries(sample)) {
    const ours: unknown = line[key]
    assert.equal(typeof ours, typeof value, key)
    const shape = SHAPES[key]
    if (shape === undefined || value === '-' || value === null) {
      assert.equal(ours, value, key)
    } else {
      assert.match(`${value as string}`, shape, `${key} of the sample`)
      assert.match(`${ours as string}`, shape, key)
    }
  }
}

async function gone(socket: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  socket.on('error', () => undefined).once('close', () => resolve())
  await promise
}

const start = (t: TestContext, seed: string, manifests: readonly Manifest[], spec: object) =>
  started(t, {
    resources: { 'all.yaml': documents(...manifests) },
    spec: { ports: { 80: 0, 443: 0 }, meshConfig: { accessLogFormat: formatOf(seed) }, ...spec },
  })

test('000: a tunnel to nobody, every value as text', async (t) => {
  const server = { number: 443, protocol: 'TLS', tls: ISTIO_MUTUAL }
  const harness = await start(t, SEED_000, [gateway(server)], { accessLog: { jsonStyle: 'strings' } })
  const svid = await harness.pki.svid('default/nginx')
  const port = harness.gateway.port(443)
  // Without a name of its own, as `requested_server_name` of the sample; the application's name stands inside.
  const mesh = await meshConnect({ port, svid, ca: harness.pki.root, servername: '', alpn: ['istio'] })
  await gone(tls.connect({ socket: mesh, servername: 'www.httpbin.org' }))
  assertLike((await harness.lines(1))[0], SEED_000)
  await harness.stop(1)
})

test('003: a request that was answered, typed', async (t) => {
  await using origin = await startEchoOrigin()
  // The path of the line is that before the rewrite.
  const rule = { rewrite: { uri: '/status/301' }, route: to('aliyun.com') }
  const manifests = [
    gateway(),
    serviceEntry('aliyun', 'aliyun.com', origin.port),
    virtualService('aliyun', ['aliyun.com'], [rule]),
  ]
  const harness = await start(t, SEED_003, manifests, {})
  const socket = await plainConnect(harness.gateway.port(80))
  await request(socket, 'aliyun.com', { method: 'HEAD', path: '/', headers: { 'user-agent': 'curl/7.86.0-DEV' } })
  socket.destroy()
  assertLike((await harness.lines(1))[0], SEED_003)
  await harness.stop(1)
})
