/** Spans (contract §2, §6): one per request, joined to the caller's trace and to the next hop's; a sick collector costs nothing. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { after, before, type TestContext, test } from 'node:test'
import { type Collector, startCollector } from '../../src/testing/collector.ts'
import { eventually } from '../../src/testing/eventually.ts'
import { h2Request, meshH2 } from '../../src/testing/h2-client.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { meshConnect, plainConnect, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import {
  authorizationPolicy,
  documents,
  gateway,
  ISTIO_MUTUAL,
  type Manifest,
  serviceEntry,
  to,
  virtualService,
} from './manifests.ts'
import { ask, freePort, sample } from './operator.ts'
import { started } from './started.ts'

const HOST = 'site.example'
const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const SPAN = '00f067aa0ba902b7'

let origin: EchoOrigin
before(async () => (origin = await startEchoOrigin()))
after(async () => origin.close())

function telemetry(tracing: object, name = 'tracing'): Manifest {
  return {
    apiVersion: 'telemetry.istio.io/v1',
    kind: 'Telemetry',
    metadata: { name, namespace: 'istio-system' },
    spec: { tracing: [tracing] },
  }
}

const NO_SECRETS = authorizationPolicy('no-secrets', 'DENY', [{ to: [{ operation: { paths: ['/secret'] } }] }])

type Options = {
  readonly tracing?: object
  readonly provider?: object
  readonly spec?: object
  readonly more?: readonly Manifest[]
  readonly policies?: readonly Manifest[]
}

async function traced(t: TestContext, port: number, options: Options = {}): Promise<Harness> {
  const { more = [], policies = [NO_SECRETS], provider, spec = {}, tracing = {} } = options
  const resources = documents(
    gateway({}, { number: 443, tls: ISTIO_MUTUAL }),
    serviceEntry('site', HOST, origin.port),
    virtualService('site', [HOST], [{ route: to(HOST) }]),
    telemetry({ providers: [{ name: 'otel' }], randomSamplingPercentage: 100, ...tracing }),
    ...policies,
    ...more,
  )
  const own = provider ?? { opentelemetry: { service: '127.0.0.1', port, http: {} } }
  return started(t, {
    resources: { 'base.yaml': resources },
    spec: { meshConfig: { extensionProviders: [{ name: 'otel', ...own }] }, ...spec },
  })
}

async function seen(harness: Harness, headers: Record<string, string> = {}): Promise<Record<string, string>> {
  const socket = await plainConnect(harness.gateway.port(80))
  const answer = await request(socket, HOST, { path: '/headers', headers })
  socket.destroy()
  assert.equal(answer.status, 200)
  const received = (JSON.parse(answer.body) as { headers: Record<string, string> }).headers
  return Object.fromEntries(Object.entries(received).map(([name, value]) => [name.toLowerCase(), value]))
}

async function spans(collector: Collector, count: number): Promise<Collector['spans']> {
  return eventually(`${count} spans`, () => (collector.spans.length >= count ? collector.spans : null))
}

test('a trace that begins here: our span is what the next hop sees as its parent, and what the log shows', async (t) => {
  await using collector = await startCollector()
  const harness = await traced(t, collector.port)
  const headers = await seen(harness, { 'user-agent': 'curl/8', 'x-request-id': 'r-1' })
  const [span] = await spans(collector, 1)
  const [version, traceId, parentId, flags] = headers['traceparent']?.split('-') ?? []
  assert.deepEqual([version, traceId, parentId, flags], ['00', span?.traceId, span?.spanId, '01'])
  assert.equal(span?.parentSpanId, undefined)
  const [line] = await harness.lines(1)
  assert.equal(line?.['trace_id'], traceId)
  assert.equal(span?.name, `${HOST}:80/*`)
  assert.equal(span?.kind, 3)
  assert.ok(BigInt(span?.endTimeUnixNano ?? 0) >= BigInt(span?.startTimeUnixNano ?? 1))
  assert.ok(Math.abs(Number(BigInt(span?.startTimeUnixNano ?? 0) / 1_000_000n) - Date.now()) < 60_000)
  const { node_id: node, upstream_address: upstream, 'http.url': url, response_size: size, ...tags } = span?.tags ?? {}
  assert.match(node ?? '', /^router~127\.0\.0\.1~.+\.istio-system~istio-system\.svc\.cluster\.local$/)
  assert.equal(upstream, `127.0.0.1:${origin.port}`)
  assert.equal(url, `http://${HOST}/headers`)
  assert.ok(Number(size) > 0)
  assert.deepEqual(tags, {
    'service.name': 'istio-egressgateway.istio-system',
    'guid:x-request-id': 'r-1',
    'http.method': 'GET',
    downstream_cluster: '-',
    user_agent: 'curl/8',
    'http.protocol': 'HTTP/1.1',
    'peer.address': '127.0.0.1',
    request_size: '0',
    'http.status_code': '200',
    response_flags: '-',
    component: 'proxy',
    'istio.canonical_service': 'istio-egressgateway',
    'istio.canonical_revision': 'latest',
    'istio.mesh_id': 'cluster.local',
    'istio.namespace': 'istio-system',
    'istio.cluster_id': 'Kubernetes',
    upstream_cluster: `outbound|80||${HOST}`,
    'upstream_cluster.name': `outbound|80||${HOST}`,
  })
  const { path, headers: sent } = collector.posted[0] ?? {}
  assert.equal(path, '/v1/traces')
  assert.equal(sent?.['content-type'], 'application/json')
  await eventually('counted', async () => (await sample(harness, 'sallyport_spans_exported_total')) === 1)
  await harness.stop(1)
})

test('a trace that goes on: the caller’s id, the caller’s span as parent, tracestate as it was; B3 in kind', async (t) => {
  await using collector = await startCollector()
  const harness = await traced(t, collector.port, { tracing: { randomSamplingPercentage: 0 } })
  const w3c = await seen(harness, { traceparent: `00-${TRACE}-${SPAN}-01`, tracestate: 'vendor=1' })
  const [first] = await spans(collector, 1)
  assert.deepEqual([first?.traceId, first?.parentSpanId], [TRACE, SPAN])
  assert.notEqual(first?.spanId, SPAN)
  assert.equal(w3c['traceparent'], `00-${TRACE}-${first?.spanId}-01`)
  assert.equal(w3c['tracestate'], 'vendor=1')
  const multi = await seen(harness, { 'x-b3-traceid': TRACE, 'x-b3-spanid': SPAN, 'x-b3-sampled': '1' })
  const second = (await spans(collector, 2))[1]
  assert.deepEqual([second?.traceId, second?.parentSpanId], [TRACE, SPAN])
  assert.deepEqual(
    [multi['x-b3-traceid'], multi['x-b3-spanid'], multi['x-b3-parentspanid'], multi['x-b3-sampled']],
    [TRACE, second?.spanId, SPAN, '1'],
  )
  assert.equal(multi['traceparent'], `00-${TRACE}-${second?.spanId}-01`)
  const single = await seen(harness, { b3: `${TRACE}-${SPAN}-1` })
  const third = (await spans(collector, 3))[2]
  assert.equal(single['b3'], `${TRACE}-${third?.spanId}-1-${SPAN}`)
  await harness.stop(3)
})

test('sampling: the caller’s word before the percentage; without a span nothing is added and nothing taken', async (t) => {
  await using collector = await startCollector()
  const harness = await traced(t, collector.port)
  const unsampled = { traceparent: `00-${TRACE}-${SPAN}-00`, tracestate: 'vendor=1' }
  const headers = await seen(harness, unsampled)
  assert.deepEqual([headers['traceparent'], headers['tracestate']], [unsampled.traceparent, unsampled.tracestate])
  assert.equal((await seen(harness, { b3: '0' }))['traceparent'], undefined)
  await harness.stop(2)
  // Flushed at the end: had there been any, they would be here.
  assert.equal(collector.posted.length, 0)
  const never = await traced(t, collector.port, { tracing: { randomSamplingPercentage: 0 } })
  assert.equal((await seen(never))['traceparent'], undefined)
  const lines = await never.lines(1)
  assert.equal(lines[0]?.['trace_id'], null)
  await never.stop(1)
  assert.equal(collector.posted.length, 0)
})

test('over HTTP/2, with the caller’s identity; a refusal has a span, what could not be read has none', async (t) => {
  await using collector = await startCollector()
  const harness = await traced(t, collector.port)
  const svid = await harness.pki.svid('demo/sleep')
  const session = await meshH2({ port: harness.gateway.port(443), svid, ca: harness.pki.root })
  const traceparent = `00-${TRACE}-${SPAN}-01`
  assert.equal((await h2Request(session, HOST, { path: '/headers', headers: { traceparent } })).status, 200)
  assert.equal((await h2Request(session, HOST, { path: '/secret', headers: { traceparent } })).status, 403)
  assert.equal((await h2Request(session, 'unknown.example', { headers: { traceparent } })).status, 502)
  session.close()
  const anonymous = await meshConnect({ port: harness.gateway.port(443), svid: null, ca: harness.pki.root })
  anonymous.resume()
  const malformed = await plainConnect(harness.gateway.port(80))
  malformed.resume()
  malformed.write('GARBAGE\r\n\r\n')
  await Promise.all([anonymous, malformed].map(async (socket) => socket.closed || once(socket, 'close')))
  await harness.stop(5)
  const all = await spans(collector, 3)
  assert.equal(all.length, 3)
  assert.deepEqual(
    all.map(({ name, parentSpanId, status, tags }) => [
      name,
      parentSpanId,
      status.code,
      tags['http.status_code'],
      tags['sallyport.reason'],
      tags['http.protocol'],
    ]),
    [
      [`${HOST}:80/*`, SPAN, undefined, '200', undefined, 'HTTP/2'],
      [`${HOST}:80/*`, SPAN, undefined, '403', 'rbac_denied', 'HTTP/2'],
      ['egress unknown.example', SPAN, 2, '502', 'not_registered', 'HTTP/2'],
    ],
  )
  assert.equal(all[0]?.tags['sallyport.source_principal'], 'spiffe://cluster.local/ns/demo/sa/sleep')
})

test('tracing.propagate: false: the span is exported, and nothing of the trace leaves', async (t) => {
  await using collector = await startCollector()
  const harness = await traced(t, collector.port, { spec: { tracing: { propagate: false } } })
  const headers = await seen(harness, {
    traceparent: `00-${TRACE}-${SPAN}-01`,
    tracestate: 'vendor=1',
    b3: `${TRACE}-${SPAN}-1`,
    'x-b3-traceid': TRACE,
    'x-b3-spanid': SPAN,
    'x-b3-anything': '1',
    'x-ot-span-context': 'x',
    'uber-trace-id': 'x',
    'ot-tracer-traceid': 'x',
    'x-datadog-origin': 'x',
    baggage: 'a=b',
  })
  assert.deepEqual(
    Object.keys(headers).filter((name) => /trace|b3|baggage|span|datadog/.test(name)),
    [],
  )
  const [span] = await spans(collector, 1)
  assert.deepEqual([span?.traceId, span?.parentSpanId], [TRACE, SPAN])
  await harness.stop(1)
})

test('what policies judge is what goes out: our traceparent, not the caller’s', async (t) => {
  await using collector = await startCollector()
  const only = authorizationPolicy('no-foreign-spans', 'DENY', [
    { when: [{ key: 'request.headers[traceparent]', values: [`00-${TRACE}-${SPAN}-01`] }] },
  ])
  const harness = await traced(t, collector.port, { more: [only] })
  const headers = await seen(harness, { traceparent: `00-${TRACE}-${SPAN}-01` })
  assert.notEqual(headers['traceparent'], `00-${TRACE}-${SPAN}-01`)
  await harness.stop(1)
})

test('headers of the provider, from the file and from the environment, and not in dumps', async (t) => {
  await using collector = await startCollector()
  process.env['SALLYPORT_TEST_COLLECTOR_KEY'] = 'from-env'
  t.after(() => {
    delete process.env['SALLYPORT_TEST_COLLECTOR_KEY']
    delete process.env['OTEL_RESOURCE_ATTRIBUTES']
  })
  process.env['OTEL_RESOURCE_ATTRIBUTES'] = 'deployment.environment=pro%20d,k8s.pod.name=gw-1'
  const headers = [
    { name: 'X-Team', value: 'visible-only-to-it' },
    { name: 'authorization', envName: 'SALLYPORT_TEST_COLLECTOR_KEY' },
  ]
  const harness = await traced(t, collector.port, {
    provider: {
      opentelemetry: {
        service: '127.0.0.1',
        port: collector.port,
        http: { path: '/api/otlp', headers },
        resourceDetectors: { environment: {} },
      },
    },
  })
  await seen(harness)
  const [span] = await spans(collector, 1)
  const { headers: sent, path } = collector.posted[0] ?? {}
  assert.deepEqual([path, sent?.['x-team'], sent?.['authorization']], ['/api/otlp', 'visible-only-to-it', 'from-env'])
  assert.deepEqual([span?.tags['deployment.environment'], span?.tags['k8s.pod.name']], ['pro d', 'gw-1'])
  const dump = (await ask(harness.gateway.control?.admin.port ?? 0, '/config_dump')).body
  assert.match(dump, /x-team/)
  assert.doesNotMatch(dump, /visible-only-to-it|from-env/)
  await harness.stop(1)
})

test('zipkin: version 2 JSON, B3 to the next hop', async (t) => {
  await using collector = await startCollector()
  const provider = { zipkin: { service: '127.0.0.1', port: collector.port } }
  const harness = await traced(t, collector.port, { provider })
  const headers = await seen(harness)
  await harness.stop(1)
  const { body, path } = collector.posted[0] ?? {}
  assert.equal(path, '/api/v2/spans')
  const [span] = body as readonly { readonly [key: string]: unknown; readonly tags: Readonly<Record<string, string>> }[]
  assert.deepEqual(
    [span?.['traceId'], span?.['id'], span?.['parentId']],
    [headers['x-b3-traceid'], headers['x-b3-spanid'], undefined],
  )
  assert.equal(headers['traceparent'], undefined)
  assert.equal(span?.['kind'], 'CLIENT')
  assert.deepEqual(span?.['localEndpoint'], { serviceName: 'istio-egressgateway.istio-system' })
  assert.equal(span?.tags['http.status_code'], '200')
})

test('a collector that is down: requests go on, what waits is bounded, drops are counted; it heals', async (t) => {
  const port = await freePort()
  const harness = await traced(t, port)
  const socket = await plainConnect(harness.gateway.port(80))
  let slowest = 0
  const count = 180
  // Long fields, so that the 8 MB that may wait are reached soon.
  const headers = { 'user-agent': 'x'.repeat(56_000) }
  for (let i = 0; i < count; i += 1) {
    const before = performance.now()
    assert.equal((await request(socket, HOST, { path: '/secret', headers })).status, 403)
    slowest = Math.max(slowest, performance.now() - before)
  }
  const dropped = (await eventually('drops', () => sample(harness, 'sallyport_spans_dropped_total'))) as number
  assert.equal(dropped, count - Math.floor((8 * 1024 * 1024) / 57_500), 'a span is a little longer than its field')
  t.diagnostic(`slowest request ${slowest.toFixed(1)} ms`)
  const warnings = () =>
    harness.log().filter((line) => String(line['message']).startsWith('tracing: the collector takes no'))
  await eventually('the warning', () => warnings().length > 0)
  await using collector = await startCollector(port)
  await eventually(
    'all that waited',
    async () => (await sample(harness, 'sallyport_spans_exported_total')) === count - dropped,
    30_000,
  )
  assert.equal(new Set(collector.spans.map(({ spanId }) => spanId)).size, count - dropped)
  assert.equal(warnings().length, 1, 'once per outage')
  await eventually('the end of the outage', () =>
    harness.log().some((line) => line['message'] === 'tracing: the collector takes spans again'),
  )
  socket.destroy()
  await harness.stop(count)
})

test('a tunnel has no span', async (t) => {
  await using collector = await startCollector()
  await using database = await startRawOrigin({ onConnection: ({ socket }) => socket.end('answer') })
  const harness = await traced(t, collector.port, {
    spec: { ports: { 80: 0, 443: 0, 9000: 0 } },
    // A DENY on paths covers every tunnel.
    policies: [],
    more: [
      { ...gateway({ number: 9000, protocol: 'TCP' }), metadata: { name: 'tcp', namespace: 'istio-system' } },
      serviceEntry('database', 'db.example', database.port, { port: 9000, protocol: 'TCP' }),
      virtualService('database', ['db.example'], [], {
        gateways: ['tcp'],
        http: undefined,
        tcp: [{ match: [{ port: 9000 }], route: to('db.example', 9000) }],
      }),
    ],
  })
  const socket = await plainConnect(harness.gateway.port(9000))
  assert.equal(await text(socket), 'answer')
  socket.destroy()
  await harness.stop(1)
  assert.equal(collector.posted.length, 0)
})

test('a collector that is slow, refuses, or talks nonsense: counted, and the end waits no longer than it must', async (t) => {
  await using collector = await startCollector()
  const provider = { opentelemetry: { service: '127.0.0.1', port: collector.port, http: { timeout: '0.2s' } } }
  const harness = await traced(t, collector.port, { provider })
  const metric = async (name: string, value: number) =>
    eventually(`${name} ${value}`, async () => (await sample(harness, name)) === value)
  collector.answer = { status: 400, body: 'no' }
  await seen(harness)
  await metric('sallyport_spans_dropped_total', 1)
  collector.answer = { status: 200, body: '{"partialSuccess":{"rejectedSpans":"1"}}' }
  await seen(harness)
  await metric('sallyport_spans_dropped_total', 2)
  collector.answer = { status: 200, body: '<html>' }
  await seen(harness)
  await metric('sallyport_spans_exported_total', 1)
  collector.answer = { status: 503, body: '' }
  await seen(harness)
  const asked = collector.posted.length
  await eventually('tried again', () => collector.posted.length > asked + 1)
  collector.answer = null
  const before = performance.now()
  await harness.stop(4)
  t.diagnostic(`the end took ${Math.round(performance.now() - before)} ms`)
  assert.ok(performance.now() - before < 20_000)
})

test('the collector is found by its ServiceEntry; after a reload spans go to the new one, what waits for the old is no obstacle', async (t) => {
  await using collector = await startCollector()
  const gone = await freePort()
  const harness = await traced(t, gone, {
    provider: { zipkin: { service: '127.0.0.1', port: gone } },
    more: [serviceEntry('otel', 'otel.example', collector.port, { port: 4318 })],
  })
  await seen(harness)
  const bootstrap = JSON.parse(readFileSync(harness.configFile, 'utf8')) as { spec: { meshConfig: object } }
  const opentelemetry = { service: 'otel.example', port: 4318, http: {} }
  const meshConfig = { ...bootstrap.spec.meshConfig, extensionProviders: [{ name: 'otel', opentelemetry }] }
  writeFileSync(harness.configFile, JSON.stringify({ ...bootstrap, spec: { ...bootstrap.spec, meshConfig } }))
  assert.deepEqual(await harness.gateway.reload(), { ok: true, errors: [] })
  await seen(harness)
  await spans(collector, 1)
  await eventually(
    'the lost one is counted',
    async () => (await sample(harness, 'sallyport_spans_dropped_total')) === 1,
  )
  assert.equal(collector.posted[0]?.headers.host, 'otel.example:4318')
  await harness.stop(2)
})

test('what waits at the end is sent', async (t) => {
  await using collector = await startCollector()
  const harness = await traced(t, collector.port)
  await seen(harness)
  await harness.stop(1)
  assert.equal(collector.spans.length, 1)
})
