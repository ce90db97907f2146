/** Telemetry `tracing` and meshConfig's tracing fields, over real sockets: what the collector gets, what the next hop sees. */
import assert from 'node:assert/strict'
import { after, before, type TestContext, test } from 'node:test'
import { type CollectedSpan, type Collector, startCollector } from '../../src/testing/collector.ts'
import { eventually } from '../../src/testing/eventually.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin } from '../../src/testing/origin.ts'
import { documents, gateway, type Manifest, serviceEntry, to, virtualService } from '../integration/manifests.ts'
import { started } from '../integration/started.ts'

const HOST = 'site.example'
const TAG = 'Telemetry.tracing[].customTags.*'
let origin: EchoOrigin
let collector: Collector
let other: Collector
before(async () => {
  origin = await startEchoOrigin()
  collector = await startCollector()
  other = await startCollector()
})
after(async () => Promise.all([origin, collector, other].map(async (each) => each.close())))

function telemetry(name: string, tracing: readonly object[], more: object = {}): Manifest {
  const metadata = { name, namespace: 'istio-system' }
  return { apiVersion: 'telemetry.istio.io/v1', kind: 'Telemetry', metadata, spec: { ...more, tracing } }
}

const SELECTOR = { selector: { matchLabels: { istio: 'egressgateway' } } }
const ALWAYS = { providers: [{ name: 'otel' }], randomSamplingPercentage: 100 }

async function world(t: TestContext, resources: readonly Manifest[], mesh: object = {}): Promise<Harness> {
  const provider = ({ port }: Collector) => ({ opentelemetry: { service: '127.0.0.1', port, http: {} } })
  return started(t, {
    resources: {
      'base.yaml': documents(
        gateway(),
        serviceEntry('site', HOST, origin.port),
        virtualService('site', [HOST], [{ route: to(HOST) }]),
        ...resources,
      ),
    },
    spec: {
      meshConfig: {
        extensionProviders: [
          { name: 'otel', ...provider(collector) },
          { name: 'other', ...provider(other) },
        ],
        ...mesh,
      },
    },
  })
}

/** At start, or a moment later: the operational log is written in batches. */
async function told(harness: Harness, warning: RegExp): Promise<void> {
  await eventually(String(warning), () => warning.test(JSON.stringify(harness.log())))
}

type Seen = {
  readonly spans: readonly CollectedSpan[]
  readonly others: number
  readonly traceparents: readonly string[]
}

/** Sends `count` requests, ends the gateway (which sends what waits), and says what came of it. */
async function drive(harness: Harness, headers: Record<string, string> = {}, count = 1): Promise<Seen> {
  const before = [collector.spans.length, other.spans.length] as const
  const traceparents: string[] = []
  const socket = await plainConnect(harness.gateway.port(80))
  for (let i = 0; i < count; i += 1) {
    const answer = await request(socket, HOST, { path: '/headers', headers })
    const sent = (JSON.parse(answer.body) as { headers: Record<string, string> }).headers
    traceparents.push(
      ...Object.entries(sent).flatMap(([name, value]) => (name.toLowerCase() === 'traceparent' ? [value] : [])),
    )
  }
  socket.destroy()
  await harness.stop(count)
  return { spans: collector.spans.slice(before[0]), others: other.spans.length - before[1], traceparents }
}

test('field Telemetry.tracing[].providers[].name: the first takes the spans; the closest Telemetry decides; none, no spans', async (t) => {
  const both = telemetry('mesh', [{ ...ALWAYS, providers: [{ name: 'other' }, { name: 'otel' }] }])
  assert.deepEqual(await drive(await world(t, [both])).then(({ others, spans }) => [others, spans.length]), [1, 0])
  const closer = telemetry('gateway', [{ providers: [{ name: 'OTEL' }] }], SELECTOR)
  assert.deepEqual(
    await drive(await world(t, [both, closer])).then(({ others, spans }) => [others, spans.length]),
    [0, 1],
  )
  const { spans, traceparents } = await drive(await world(t, [telemetry('mesh', [{ randomSamplingPercentage: 100 }])]))
  assert.deepEqual([spans, traceparents], [[], []])
  const unknown = await world(t, [telemetry('mesh', [{ ...ALWAYS, providers: [{ name: 'nobody' }] }])])
  await told(unknown, /SP8501 provider nobody is none of meshConfig\.extensionProviders/)
  assert.equal((await drive(unknown)).traceparents.length, 0)
})

test('field Telemetry.tracing[].randomSamplingPercentage: 0 none, 100 all, between them a share', async (t) => {
  const at = async (percent: number, count: number) =>
    (await drive(await world(t, [telemetry('t', [{ ...ALWAYS, randomSamplingPercentage: percent }])]), {}, count)).spans
  assert.equal((await at(0, 20)).length, 0)
  assert.equal((await at(100, 20)).length, 20)
  // 200 at 50 %: outside of 40–160 once in 10^17 runs.
  const half = (await at(50, 200)).length
  assert.ok(half > 40 && half < 160, String(half))
})

test('field Telemetry.tracing[].disableSpanReporting: no spans, and the caller’s fields as they came', async (t) => {
  const parent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  const off = telemetry('gateway', [{ disableSpanReporting: true }], SELECTOR)
  const { spans, traceparents } = await drive(await world(t, [telemetry('mesh', [ALWAYS]), off]), {
    traceparent: parent,
  })
  assert.deepEqual([spans.length, traceparents], [0, [parent]])
})

test('field Telemetry.tracing[].disableContextPropagation: spans, and the caller’s fields as they came', async (t) => {
  const parent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  const resources = [telemetry('t', [{ ...ALWAYS, disableContextPropagation: true }])]
  const { spans, traceparents } = await drive(await world(t, resources), { traceparent: parent })
  assert.deepEqual([spans[0]?.parentSpanId, traceparents], ['00f067aa0ba902b7', [parent]])
})

test('field Telemetry.tracing[].match.mode: what is for servers is not for a gateway', async (t) => {
  const server = telemetry('t', [{ ...ALWAYS, match: { mode: 'SERVER' } }])
  assert.equal((await drive(await world(t, [server]))).spans.length, 0)
  const client = telemetry('t', [{ ...ALWAYS, match: { mode: 'CLIENT' } }])
  assert.equal((await drive(await world(t, [client]))).spans.length, 1)
})

test('field Telemetry.tracing[].enableIstioTags: false leaves out istio.*', async (t) => {
  const { spans } = await drive(await world(t, [telemetry('t', [{ ...ALWAYS, enableIstioTags: false }])]))
  assert.deepEqual(
    Object.keys(spans[0]?.tags ?? {}).filter((name) => name.startsWith('istio.')),
    [],
  )
  assert.equal(spans[0]?.tags['component'], 'proxy')
})

test(`field ${TAG}.literal.value, ${TAG}.environment.name, ${TAG}.environment.defaultValue, ${TAG}.header.name, ${TAG}.header.defaultValue, ${TAG}.formatter.value: each source, with its default`, async (t) => {
  process.env['SALLYPORT_TEST_TAG'] = 'from-env'
  t.after(() => delete process.env['SALLYPORT_TEST_TAG'])
  const customTags = {
    literal: { literal: { value: 'x' } },
    environment: { environment: { name: 'SALLYPORT_TEST_TAG' } },
    unset: { environment: { name: 'SALLYPORT_TEST_UNSET', defaultValue: 'y' } },
    gone: { environment: { name: 'SALLYPORT_TEST_UNSET' } },
    header: { header: { name: 'X-Tenant' } },
    missing: { header: { name: 'x-missing', defaultValue: 'z' } },
    absent: { header: { name: 'x-missing' } },
    formatted: { formatter: { value: '%REQ(X)%' } },
  }
  const harness = await world(t, [telemetry('t', [{ ...ALWAYS, customTags }])])
  await told(harness, /SP8502 the tag formatted has no literal, environment or header/)
  const { spans } = await drive(harness, { 'x-tenant': 'blue' })
  const tags = spans[0]?.tags ?? {}
  assert.deepEqual(
    Object.keys(customTags).map((name) => tags[name]),
    ['x', 'from-env', 'y', undefined, 'blue', 'z', undefined, undefined],
  )
})

test('field Telemetry.tracing[].useRequestIdForTraceSampling: true is told to do nothing', async (t) => {
  const harness = await world(t, [telemetry('t', [{ ...ALWAYS, useRequestIdForTraceSampling: true }])])
  await told(harness, /SP8502 x-request-id has no part in sampling here/)
  assert.equal((await drive(harness)).spans.length, 1)
})

test('meshConfig: defaultProviders.tracing, defaultConfig.tracing and enableTracing', async (t) => {
  const defaults = {
    defaultProviders: { tracing: ['otel'] },
    defaultConfig: {
      tracing: { sampling: 100, enableIstioTags: false, customTags: { a: { literal: { value: 'b' } } } },
    },
  }
  const { spans } = await drive(await world(t, [], defaults))
  assert.equal(spans.length, 1)
  assert.equal(spans[0]?.tags['a'], 'b')
  assert.equal(spans[0]?.tags['istio.namespace'], undefined)
  const off = await world(t, [], { ...defaults, enableTracing: false })
  assert.equal(off.gateway.active.gates.before.length, 0, 'nothing is spent on a request')
  assert.equal((await drive(off)).spans.length, 0)
  // 1 % where nobody says more: 50 requests without a span are more likely than not, 50 with one are out of the question.
  const few = await drive(await world(t, [], { defaultProviders: { tracing: ['otel'] } }), {}, 50)
  assert.ok(few.spans.length < 25)
})
