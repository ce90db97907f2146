/** Telemetry and meshConfig's defaults: who speaks for the gateway, where lines go, what becomes of the metrics. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ExtensionProvider, FileLogProvider } from '../model/extension-providers.ts'
import type { Settings } from '../model/settings.ts'
import type { TelemetryModel } from '../model/telemetry.ts'
import { checkFindings, findings, testResource, testSettings } from '../testing/resources.ts'
import { telemetry } from './kinds/telemetry.ts'
import { collectDiagnostics } from './report.ts'
import type { Resource } from './resource.ts'
import { lowerTelemetry } from './telemetry.ts'

const ROOT = 'istio-system'
const source = { file: 'gateway.yaml', line: 1, col: 1 }

const file = (name: string, path: string): FileLogProvider => ({
  name,
  source,
  type: 'envoyFileAccessLog',
  path,
  encoding: 'TEXT',
  format: '',
  omitEmptyValues: false,
})

type Options = {
  readonly providers?: readonly ExtensionProvider[]
  readonly defaults?: readonly string[]
  readonly metrics?: readonly string[]
  readonly file?: string
  readonly namespace?: string
}

function settings(options: Options = {}): Settings {
  const base = testSettings()
  return {
    ...base,
    namespace: options.namespace ?? ROOT,
    mesh: {
      ...base.mesh,
      accessLogFile: options.file ?? '/mesh.log',
      extensionProviders: options.providers ?? [],
      defaultProviders: {
        accessLogging: options.defaults ?? [],
        metrics: options.metrics ?? ['prometheus'],
        tracing: [],
      },
    },
  }
}

const resource = (name: string, spec: object, namespace = ROOT): Resource =>
  testResource(telemetry, { name, namespace }, spec)

function lower(resources: readonly Resource[], options: Options = {}): [TelemetryModel, string[]] {
  const collector = collectDiagnostics()
  const model = lowerTelemetry(settings(options), resources, collector.report)
  return [model, findings(collector)]
}

/** `path[ filter]` of every log. */
const logsOf = ([model]: [TelemetryModel, string[]]) =>
  model.accessLogs.map(({ path, filter }) => (filter === null ? path : `${path} ${filter}`))

const logging = (...accessLogging: readonly object[]) => ({ accessLogging })
const to = (...names: readonly string[]) => ({ providers: names.map((name) => ({ name })) })
const A = file('a', '/a.log')
const B = file('b', '/b.log')
const OURS = { selector: { matchLabels: { istio: 'egressgateway' } } }
const ERRORS = { filter: { expression: 'response.code >= 400' } }

describe('where lines go', () => {
  test('nothing said: accessLogFile, and nowhere when that is empty', () => {
    assert.deepEqual(logsOf(lower([])), ['/mesh.log'])
    assert.deepEqual(logsOf(lower([], { file: '' })), [])
  })

  test('default providers take the place of accessLogFile', () => {
    assert.deepEqual(logsOf(lower([], { providers: [A, B], defaults: ['b', 'A'] })), ['/a.log', '/b.log'])
  })

  test('a Telemetry names providers; several are several destinations', () => {
    const all = resource('x', logging(to('a', 'b')))
    assert.deepEqual(logsOf(lower([all], { providers: [A, B] })), ['/a.log', '/b.log'])
  })

  test('the closest scope that names providers decides which there are', () => {
    const root = resource('root', logging(to('a')))
    const ours = resource('ours', { ...OURS, ...logging(to('b')) }, 'egress')
    const wide = resource('wide', logging({ disabled: true }), 'egress')
    const options = { providers: [A, B], namespace: 'egress' }
    assert.deepEqual(logsOf(lower([root, ours], options)), ['/b.log'])
    assert.deepEqual(logsOf(lower([root, wide], options)), [])
    assert.deepEqual(logsOf(lower([root, wide, ours], options)), ['/b.log'])
    assert.deepEqual(
      logsOf(lower([root, resource('off', logging({ ...to('a'), disabled: true }), 'egress')], options)),
      [],
    )
  })

  test('a filter is inherited until a closer scope writes another', () => {
    const root = resource('root', logging({ ...to('a'), ...ERRORS }))
    const options = { providers: [A], namespace: 'egress' }
    const at400 = '/a.log response.code >= 400'
    assert.deepEqual(logsOf(lower([root], options)), [at400])
    assert.deepEqual(logsOf(lower([root, resource('x', logging({}), 'egress')], options)), [at400])
    const other = logging({ filter: { expression: 'connection.mtls' } })
    assert.deepEqual(logsOf(lower([root, resource('x', other, 'egress')], options)), ['/a.log connection.mtls'])
    assert.deepEqual(logsOf(lower([root, resource('x', logging(to('a')), 'egress')], options)), ['/a.log'])
  })

  test('without providers it speaks for accessLogFile', () => {
    assert.deepEqual(logsOf(lower([resource('x', logging(ERRORS))])), ['/mesh.log response.code >= 400'])
    const [model, found] = lower([resource('x', logging({ disabled: true }))])
    assert.deepEqual(model.accessLogs, [])
    assert.deepEqual(found, [`SP8402 Telemetry/${ROOT}/x:spec.accessLogging.0.disabled`])
    assert.deepEqual(logsOf(lower([resource('x', logging({ disabled: true }, { disabled: false }))])), ['/mesh.log'])
  })

  test('what is for servers is not for a gateway', () => {
    const server = { match: { mode: 'SERVER' } }
    assert.deepEqual(logsOf(lower([resource('x', logging({ ...server, disabled: true }))])), ['/mesh.log'])
    const client = { match: { mode: 'CLIENT' } }
    assert.deepEqual(logsOf(lower([resource('x', logging({ ...client, disabled: true }))])), [])
  })

  test('a provider that cannot be used is told about, and no line is lost', () => {
    const x = resource('x', logging(to('otel')))
    const [model, found] = lower([x])
    assert.deepEqual(
      model.accessLogs.map(({ path }) => path),
      ['/mesh.log'],
    )
    assert.deepEqual(found, [`SP8403 Telemetry/${ROOT}/x:spec.accessLogging.0.providers.0.name`])
    assert.deepEqual(logsOf(lower([resource('x', logging(to('otel', 'a')))], { providers: [A] })), ['/a.log'])
    const metrics: ExtensionProvider = { name: 'm', source, type: 'prometheus' }
    assert.deepEqual(logsOf(lower([resource('x', logging(to('m')))], { providers: [metrics] })), ['/mesh.log'])
  })

  test('the built-in envoy writes meshConfig’s format to stdout', () => {
    const [{ accessLogs }] = lower([resource('x', logging(to('envoy')))])
    assert.deepEqual(
      accessLogs.map(({ path, encoding, name }) => [path, encoding, name]),
      [['/dev/stdout', 'JSON', 'envoy']],
    )
  })

  test('an expression that cannot be compiled is an error at its place', () => {
    const bad = { filter: { expression: 'response.cod > 1' } }
    const collector = collectDiagnostics()
    lowerTelemetry(settings(), [resource('x', logging(bad))], collector.report)
    const [found] = collector.sorted()
    assert.equal(found?.severity, 'error')
    assert.equal(found.file, `Telemetry/${ROOT}/x:spec.accessLogging.0.filter.expression`)
    assert.match(found.message, /column 1: unknown attribute response\.cod;/)
    assert.deepEqual(
      lower([resource('x', logging({ filter: { expression: 'response.code' } }))])[1].map((each) => each.slice(0, 6)),
      ['SP8401'],
    )
    const local = { filter: { expression: "connection.subject_local_certificate == 'x'" } }
    assert.deepEqual(
      lower([resource('x', logging(local))])[1].map((each) => each.slice(0, 6)),
      ['SP8405'],
    )
  })
})

describe('who speaks for the gateway', () => {
  const off = logging({ disabled: true })
  const speaks = (each: Resource, namespace = ROOT) => lower([each], { namespace })[0].accessLogs.length === 0

  test('the root namespace, the gateway’s, and a selector in the gateway’s', () => {
    assert.ok(speaks(resource('x', off)))
    assert.ok(speaks(resource('x', off), 'egress'))
    assert.ok(speaks(resource('x', off, 'egress'), 'egress'))
    assert.ok(speaks(resource('x', { ...OURS, ...off })))
    assert.ok(speaks(resource('x', { selector: {}, ...off })))
  })

  test('nobody else', () => {
    assert.equal(speaks(resource('x', off, 'default')), false)
    assert.equal(speaks(resource('x', { selector: { matchLabels: { app: 'other' } }, ...off })), false)
    const [model, found] = lower([resource('x', { ...OURS, ...off })], { namespace: 'egress' })
    assert.equal(model.accessLogs.length, 1)
    assert.deepEqual(found, [`SP5028 Telemetry/${ROOT}/x:metadata.namespace`])
    const ref = { targetRefs: [{ group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'other' }] }
    assert.equal(speaks(resource('x', { ...ref, ...off })), false)
  })

  test('of two in one scope the first by name', () => {
    const [model, found] = lower([resource('b', off), resource('a', logging(ERRORS))])
    assert.deepEqual(
      model.accessLogs.map(({ filter }) => filter),
      ['response.code >= 400'],
    )
    assert.deepEqual(found, [`SP8400 Telemetry/${ROOT}/b:metadata.name`])
  })
})

describe('metrics', () => {
  const metrics = (...overrides: readonly object[]) => ({ metrics: [{ ...to('prometheus'), overrides }] })
  const of = (...specs: readonly object[]) =>
    lower(
      specs.map((spec, index) => resource(`x${index}`, spec, index === 0 ? ROOT : 'egress')),
      { namespace: 'egress' },
    )[0].metrics
  const count = (more: object) => ({ match: { metric: 'REQUEST_COUNT' }, ...more })

  test('tags are added and removed; the closer scope wins', () => {
    const root = metrics(
      count({ tagOverrides: { host: { value: 'request.host' }, source_app: { operation: 'REMOVE' } } }),
    )
    const near = metrics(count({ tagOverrides: { host: { operation: 'UPSERT', value: "'x'" } } }))
    assert.deepEqual(of(root, near), [
      {
        metric: 'istio_requests_total',
        disabled: false,
        tags: [
          { name: 'host', value: "'x'" },
          { name: 'source_app', value: null },
        ],
      },
    ])
  })

  test('one family off; all off; and on again when a closer scope speaks of one', () => {
    assert.deepEqual(
      of(metrics(count({ disabled: true }))).map(({ metric, disabled }) => [metric, disabled]),
      [['istio_requests_total', true]],
    )
    const all = metrics({ match: { metric: 'ALL_METRICS' }, disabled: true })
    assert.equal(of(all).length, 8)
    assert.deepEqual(of(all, metrics(count({ tagOverrides: { host: { value: 'request.host' } } }))).length, 1)
    assert.equal(of(metrics({ disabled: true })).length, 8)
    assert.deepEqual(of(metrics({ disabled: true }), metrics(count({ disabled: false }))).length, 7)
  })

  test('what is for servers, or for families that are not kept, changes nothing', () => {
    assert.deepEqual(of(metrics({ match: { mode: 'SERVER' }, disabled: true })), [])
    assert.deepEqual(of(metrics({ match: { metric: 'GRPC_REQUEST_MESSAGES' }, disabled: true })), [])
    assert.deepEqual(of(metrics({ match: { customMetric: 'mine' }, disabled: true })), [])
    assert.equal(of(metrics({ match: { customMetric: 'istio_request_bytes' }, disabled: true })).length, 1)
  })

  test('only Prometheus reports', () => {
    const [model, found] = lower([resource('x', { metrics: [to('stackdriver')] })])
    assert.equal(model.metrics.filter(({ disabled }) => disabled).length, 8)
    assert.deepEqual(found, [`SP8403 Telemetry/${ROOT}/x:spec.metrics.0.providers.0.name`])
    assert.equal(lower([], { metrics: [] })[0].metrics.length, 8)
  })

  test('Istio’s validation', () => {
    const at = 'spec.metrics.0.overrides.0.tagOverrides'
    const wrong = (name: string, tag: object) =>
      checkFindings(telemetry, metrics(count({ tagOverrides: { [name]: tag } })))
    assert.deepEqual(wrong('x', { value: 'request.host' }), [])
    assert.deepEqual(wrong('x', { operation: 'UPSERT' }), [`SP8406 ${at}.x`])
    assert.deepEqual(wrong('x', { operation: 'REMOVE', value: "'a'" }), [`SP8406 ${at}.x.value`])
    assert.deepEqual(wrong('x-y', { value: "'a'" }), [`SP8406 ${at}.x-y`])
    assert.deepEqual(wrong('le', { value: "'a'" }), [`SP8406 ${at}.le`])
    assert.deepEqual(checkFindings(telemetry, metrics({ match: { metric: 'REQUEST_COUNT', customMetric: 'x' } })), [
      'SP8406 spec.metrics.0.overrides.0.match',
    ])
  })
})
