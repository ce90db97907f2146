/** Telemetry: where lines go, which are written, and what Istio's metrics say, over real sockets. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { h2Over, h2Request } from '../../src/testing/h2-client.ts'
import type { HarnessOptions } from '../../src/testing/harness.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { documents, gateway, type Manifest, serviceEntry } from '../integration/manifests.ts'
import { askControl } from '../integration/operator.ts'
import { started } from '../integration/started.ts'
import { endpoint, routeTo, startSites } from './outside.ts'
import { told } from './route-site.ts'

const HOST = 'site.example'
const GATEWAY_API = 'gateway.networking.k8s.io'
const ROOT = 'istio-system'

function telemetry(spec: object, name = 'logs', namespace = ROOT): Manifest {
  return { apiVersion: 'telemetry.istio.io/v1', kind: 'Telemetry', metadata: { name, namespace }, spec }
}

const logging = (...accessLogging: readonly object[]) => ({ accessLogging })
const metrics = (...overrides: readonly object[]) => ({ metrics: [{ overrides }] })
const OFF = logging({ disabled: true })

type World = {
  readonly harness: Awaited<ReturnType<typeof started>>
  /** Status; the request and its record are over. */
  readonly get: (path: string) => Promise<number>
  /** Paths of the lines of one provider, or of `mesh`. */
  readonly logged: (name?: string) => readonly string[]
  readonly become: (...manifests: readonly Manifest[]) => Promise<void>
  readonly exposition: () => Promise<string>
}

/** A site, and providers `a` and `b` beside the log of meshConfig. Each says nothing but the path. */
async function world(
  t: TestContext,
  manifests: readonly Manifest[],
  options: Partial<HarnessOptions> = {},
): Promise<World> {
  const sites = await startSites(t, ['site'])
  const all = (more: readonly Manifest[]) =>
    documents(
      gateway(),
      serviceEntry('site', HOST, 80, { spec: { endpoints: [endpoint(sites, 'site')] } }),
      routeTo(HOST),
      ...more,
    )
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-telemetry-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const path = (name: string) => join(dir, `${name}.log`)
  const provider = (name: string) => ({
    name,
    envoyFileAccessLog: { path: path(name), logFormat: { text: '%REQ(:PATH)%' } },
  })
  const { meshConfig, ...spec } = (options.spec ?? {}) as { meshConfig?: object }
  const harness = await started(t, {
    ...options,
    resources: { 'all.yaml': all(manifests) },
    spec: {
      ...spec,
      meshConfig: {
        accessLogFile: path('mesh'),
        accessLogEncoding: 'TEXT',
        accessLogFormat: '%REQ(:PATH)%',
        extensionProviders: [provider('a'), provider('b')],
        ...meshConfig,
      },
    },
  })
  const logged = (name = 'mesh') => {
    try {
      return readFileSync(path(name), 'utf8').split('\n').slice(0, -1)
    } catch {
      return []
    }
  }
  const exposition = async () => (await askControl(harness, 'metrics', '/stats/prometheus')).body
  return {
    harness,
    logged,
    exposition,
    get: async (target) => {
      const socket = await plainConnect(harness.gateway.port(80))
      const { status } = await request(socket, HOST, { path: target })
      socket.destroy()
      return status
    },
    become: async (...more) => {
      assert.deepEqual(await harness.change({ 'all.yaml': all(more) }), { ok: true, errors: [] })
    },
  }
}

/** Waits until the lines are there, and no others: logs that are off have written nothing by then. */
async function expectLogs(w: World, expected: Readonly<Record<string, readonly string[]>>): Promise<void> {
  await eventually(JSON.stringify(expected), () =>
    Object.entries(expected).every(([name, paths]) => w.logged(name).length >= paths.length),
  )
  for (const [name, paths] of Object.entries(expected)) assert.deepEqual(w.logged(name), paths, name)
}

test('field Telemetry.accessLogging[].providers[].name: lines go to those that are named, in their formats', async (t) => {
  const w = await world(t, [telemetry(logging({ providers: [{ name: 'a' }, { name: 'b' }] }))])
  await w.get('/1')
  await expectLogs(w, { a: ['/1'], b: ['/1'], mesh: [] })
  await w.become(telemetry(logging({ providers: [{ name: 'b' }] })))
  await w.get('/2')
  await expectLogs(w, { a: ['/1'], b: ['/1', '/2'], mesh: [] })
  await w.become()
  await w.get('/3')
  await expectLogs(w, { mesh: ['/3'], a: ['/1'], b: ['/1', '/2'] })
})

test('field Telemetry.accessLogging[].disabled: no line, said at load; metrics go on; on again with the next reload', async (t) => {
  const w = await world(t, [telemetry(OFF)])
  await told(w.harness, 'SP8402', 1)
  assert.equal(await w.get('/1'), 200)
  assert.match(await w.exposition(), /^istio_requests_total\{[^\n]*response_code="200"[^\n]*\} 1$/m)
  await w.become(telemetry(logging({ disabled: false })))
  await w.get('/2')
  await expectLogs(w, { mesh: ['/2'] })
})

test('field Telemetry.accessLogging[].filter.expression: only what it holds for, and what it cannot tell', async (t) => {
  const filter = (expression: string) => telemetry(logging({ filter: { expression } }))
  const w = await world(t, [filter('response.code >= 400')])
  assert.equal(await w.get('/status/204'), 204)
  assert.equal(await w.get('/status/404'), 404)
  await expectLogs(w, { mesh: ['/status/404'] })
  await w.become(filter("request.headers['x-missing'] == 'x' || xds.cluster_name == 'none'"))
  await w.get('/untold')
  await expectLogs(w, { mesh: ['/status/404', '/untold'] })
  await w.become(filter("'host' in request.headers && request.path.startsWith('/a') && !connection.mtls"))
  await w.get('/b')
  await w.get('/a')
  await expectLogs(w, { mesh: ['/status/404', '/untold', '/a'] })
  const refused = await w.harness.change({ 'bad.yaml': documents(filter('response.cod > 1')) })
  assert.equal(refused.ok, false)
})

test('field Telemetry.accessLogging[].match.mode: what is for servers is not for a gateway', async (t) => {
  const w = await world(t, [telemetry(logging({ match: { mode: 'SERVER' }, disabled: true }))])
  await w.get('/1')
  await expectLogs(w, { mesh: ['/1'] })
  await w.become(telemetry(logging({ match: { mode: 'CLIENT' }, providers: [{ name: 'a' }] })))
  await w.get('/2')
  await expectLogs(w, { mesh: ['/1'], a: ['/2'] })
})

test('field Telemetry.selector.matchLabels: for the workloads it names', async (t) => {
  const toA = logging({ providers: [{ name: 'a' }] })
  const chosen = (istio: string) => telemetry({ selector: { matchLabels: { istio } }, ...toA })
  const w = await world(t, [chosen('another')])
  await w.get('/1')
  await w.become(chosen('egressgateway'))
  await w.get('/2')
  await w.become(telemetry(toA, 'logs', 'default'))
  await w.get('/3')
  await expectLogs(w, { mesh: ['/1', '/3'], a: ['/2'] })
})

async function reachesTheGatewayItNames(t: TestContext, wrap: (ref: object) => object): Promise<void> {
  const toA = logging({ providers: [{ name: 'a' }] })
  const ref = (more: object) =>
    telemetry({ ...wrap({ group: GATEWAY_API, kind: 'Gateway', name: 'ours', ...more }), ...toA })
  const labels = { istio: 'egressgateway', [`${GATEWAY_API}/gateway-name`]: 'ours' }
  const w = await world(t, [ref({})], { metadata: { labels } })
  await w.get('/1')
  await w.become(ref({ name: 'theirs' }))
  await w.get('/2')
  await w.become(ref({ namespace: ROOT }))
  await w.get('/3')
  // Services are not what a gateway is; Istio's validation knows no other kinds, groups or namespaces.
  await w.become(ref({ group: '', kind: 'Service' }))
  await w.get('/4')
  await expectLogs(w, { a: ['/1', '/3'], mesh: ['/2', '/4'] })
  for (const wrong of [{ kind: 'Pod' }, { group: 'example.com' }, { namespace: 'default' }])
    assert.equal((await w.harness.change({ 'bad.yaml': documents(ref(wrong)) })).ok, false)
}

test('field Telemetry.targetRef.group, Telemetry.targetRef.kind, Telemetry.targetRef.name, Telemetry.targetRef.namespace: the Gateway it names', (t) =>
  reachesTheGatewayItNames(t, (targetRef) => ({ targetRef })))

test('field Telemetry.targetRefs[].group, Telemetry.targetRefs[].kind, Telemetry.targetRefs[].name, Telemetry.targetRefs[].namespace: the Gateway they name', (t) =>
  reachesTheGatewayItNames(t, (ref) => ({ targetRefs: [ref] })))

test('a log that cannot be opened refuses the reload; the logs before go on', async (t) => {
  const bad = { name: 'bad', envoyFileAccessLog: { path: '/proc/sallyport/none.log' } }
  const w = await world(t, [], { spec: { meshConfig: { extensionProviders: [bad] } } })
  const asked = { 'bad.yaml': documents(telemetry(logging({ providers: [{ name: 'bad' }] }))) }
  const { ok, errors } = await w.harness.change(asked)
  assert.equal(ok, false)
  assert.match(errors.join(), /none\.log/)
  await w.get('/1')
  await expectLogs(w, { mesh: ['/1'] })
})

test('filters see HTTP/2 as they see HTTP/1.1', async (t) => {
  const w = await world(t, [telemetry(logging({ filter: { expression: "request.protocol == 'HTTP/2'" } }))])
  await w.get('/1')
  const session = h2Over(await plainConnect(w.harness.gateway.port(80)))
  assert.equal((await h2Request(session, HOST, { path: '/2' })).status, 200)
  session.close()
  await expectLogs(w, { mesh: ['/2'] })
})

const COUNT = { metric: 'REQUEST_COUNT' }
const seriesOf = (exposition: string, family: string) =>
  exposition.split('\n').filter((line) => line.startsWith(`${family}{`))

test('field Telemetry.metrics[].overrides[].tagOverrides.*.value, Telemetry.metrics[].overrides[].tagOverrides.*.operation, Telemetry.metrics[].overrides[].match.metric: tags of one family', async (t) => {
  const tagOverrides = {
    host: { value: 'request.host' },
    port: { operation: 'UPSERT', value: 'string(destination.port)' },
    agent: { value: 'request.useragent' },
    destination_service_name: { value: "'x' + request.method" },
    source_app: { operation: 'REMOVE' },
  }
  const w = await world(t, [telemetry(metrics({ match: COUNT, tagOverrides }))])
  await w.get('/1')
  await w.get('/2')
  const exposition = await w.exposition()
  const [series, ...more] = seriesOf(exposition, 'istio_requests_total')
  assert.deepEqual(more, [])
  assert.match(series ?? '', /\} 2$/)
  for (const label of [
    'host="site.example"',
    'agent="unknown"',
    'destination_service_name="xGET"',
    'reporter="source"',
  ])
    assert.ok(series?.includes(label), `${label} in ${series}`)
  assert.match(series ?? '', new RegExp(`port="${w.harness.gateway.port(80)}"`))
  assert.doesNotMatch(series ?? '', /source_app/)
  const [duration] = seriesOf(exposition, 'istio_request_bytes_count')
  assert.match(duration ?? '', /source_app="istio-egressgateway"/)
  assert.doesNotMatch(duration ?? '', /agent=/)
  // Without it the family is what it was, and has forgotten nothing.
  await w.become()
  await w.get('/3')
  assert.match(seriesOf(await w.exposition(), 'istio_requests_total')[0] ?? '', /source_app=[^\n]*\} 3$/)
})

test('field Telemetry.metrics[].overrides[].disabled, Telemetry.metrics[].overrides[].match.customMetric: families that are not reported', async (t) => {
  const w = await world(t, [
    telemetry(
      metrics({ match: COUNT, disabled: true }, { match: { customMetric: 'istio_request_bytes' }, disabled: true }),
    ),
  ])
  await told(w.harness, 'SP8407', 2)
  await w.get('/1')
  const exposition = await w.exposition()
  assert.deepEqual(seriesOf(exposition, 'istio_requests_total'), [])
  assert.deepEqual(seriesOf(exposition, 'istio_request_bytes_count'), [])
  assert.equal(seriesOf(exposition, 'istio_response_bytes_count').length, 1)
  assert.match(exposition, /^sallyport_requests_total\{[^\n]*\} 1$/m)
  await w.become(telemetry(metrics({ match: { metric: 'ALL_METRICS' }, disabled: true })))
  assert.doesNotMatch(await w.exposition(), /^istio_(request|response|tcp)[a-z_]*\{/m)
})

test('field Telemetry.metrics[].overrides[].match.mode: what is for servers is not for a gateway', async (t) => {
  const w = await world(t, [telemetry(metrics({ match: { ...COUNT, mode: 'SERVER' }, disabled: true }))])
  await w.get('/1')
  assert.equal(seriesOf(await w.exposition(), 'istio_requests_total').length, 1)
  await w.become(telemetry(metrics({ match: { ...COUNT, mode: 'CLIENT' }, disabled: true })))
  assert.equal(seriesOf(await w.exposition(), 'istio_requests_total').length, 0)
})

test('field Telemetry.metrics[].providers[].name: without Prometheus there are none of Istio’s metrics', async (t) => {
  const to = (name: string) => telemetry({ metrics: [{ providers: [{ name }] }] })
  const w = await world(t, [to('stackdriver')])
  await told(w.harness, 'SP8403', 1)
  await w.get('/1')
  assert.equal(seriesOf(await w.exposition(), 'istio_requests_total').length, 0)
  await w.become(to('prometheus'))
  assert.equal(seriesOf(await w.exposition(), 'istio_requests_total').length, 1)
})

test('field Telemetry.metrics[].reportingInterval, Telemetry.metrics[].rotationInterval, Telemetry.metrics[].gracefulDeletionInterval: told about', async (t) => {
  const spec = { metrics: [{ reportingInterval: '5s', rotationInterval: '0s', gracefulDeletionInterval: '300s' }] }
  const w = await world(t, [telemetry(spec)])
  const found = await told(w.harness, 'SP1034', 3)
  for (const field of Object.keys(spec.metrics[0] as object))
    assert.ok(
      found.some((message) => message.includes(field)),
      field,
    )
  await w.get('/1')
  assert.equal(seriesOf(await w.exposition(), 'istio_requests_total').length, 1)
})

test('tags of what a caller chooses are bounded', async (t) => {
  const tagOverrides = { path: { value: 'request.path' } }
  const w = await world(t, [telemetry(metrics({ match: COUNT, tagOverrides }))])
  const socket = await plainConnect(w.harness.gateway.port(80))
  const long = `/${'x'.repeat(1000)}`
  await request(socket, HOST, { path: long })
  socket.destroy()
  const [series = ''] = seriesOf(await w.exposition(), 'istio_requests_total')
  assert.match(series, /path="\/x{255}"/)
})
