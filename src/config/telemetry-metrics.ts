/**
 * Telemetry's `metrics`: what becomes of Istio's families, merged as Istio does (pilot/pkg/model/telemetry.go,
 * mergeMetrics). The only provider that reports here is Prometheus.
 */
import type { Settings } from '../model/settings.ts'
import type { MetricOverride } from '../model/telemetry.ts'
import { checkExpression } from './expressions.ts'
import type { TelemetrySpec } from './kinds/telemetry.ts'
import type { Report } from './resource.ts'
import { providerOf } from './telemetry-logging.ts'
import type { TelemetryResource } from './telemetry-scope.ts'

/** TABLE: Istio's name → the family. Messages of gRPC streams are not counted here. */
const FAMILIES: Readonly<Record<string, string | null>> = {
  REQUEST_COUNT: 'istio_requests_total',
  REQUEST_DURATION: 'istio_request_duration_milliseconds',
  REQUEST_SIZE: 'istio_request_bytes',
  RESPONSE_SIZE: 'istio_response_bytes',
  TCP_OPENED_CONNECTIONS: 'istio_tcp_connections_opened_total',
  TCP_CLOSED_CONNECTIONS: 'istio_tcp_connections_closed_total',
  TCP_SENT_BYTES: 'istio_tcp_sent_bytes_total',
  TCP_RECEIVED_BYTES: 'istio_tcp_received_bytes_total',
  GRPC_REQUEST_MESSAGES: null,
  GRPC_RESPONSE_MESSAGES: null,
}
const ALL = Object.values(FAMILIES).filter((family) => family !== null)

type Entry = NonNullable<TelemetrySpec['metrics']>[number]
type Override = NonNullable<Entry['overrides']>[number]
type State = { disabled: boolean; readonly tags: Map<string, string | null> }

/** By name; only what is changed. Reports SP8401, SP8403, SP8407. */
export function lowerMetrics(
  settings: Settings,
  scopes: readonly TelemetryResource[],
  report: Report,
): readonly MetricOverride[] {
  const entries = scopes.flatMap((resource) =>
    (resource.spec.metrics ?? []).map((entry, index) => ({ resource, entry, index })),
  )
  const reports = (names: readonly string[]) => names.some((name) => providerOf(name, settings)?.type === 'prometheus')
  const namesOf = ({ providers = [] }: Entry) => providers.map(({ name }) => name)
  let names = settings.mesh.defaultProviders.metrics
  for (const { entry, resource, index } of entries) {
    const own = namesOf(entry)
    if (own.length > 0) names = own
    for (const [position, name] of own.entries())
      if (!reports([name]))
        report(
          'SP8403',
          resource.at('spec', 'metrics', index, 'providers', position, 'name'),
          `the metrics provider ${JSON.stringify(name)} is not Prometheus: nothing is sent to it`,
        )
  }
  if (!reports(names)) return ALL.map((metric) => ({ metric, disabled: true, tags: [] }))
  const states = new Map<string, State>()
  // As in Istio: whoever speaks of one family afterwards wants the others back.
  let allOff = false
  let parents = settings.mesh.defaultProviders.metrics
  for (const { entry, resource, index } of entries) {
    const own = namesOf(entry)
    parents = own.length > 0 ? own : parents
    if (!reports(parents)) continue
    for (const [position, override] of (entry.overrides ?? []).entries()) {
      const at = (...path: readonly (string | number)[]) =>
        resource.at('spec', 'metrics', index, 'overrides', position, ...path)
      if (override.match?.mode === 'SERVER') continue
      for (const [tag, { value }] of Object.entries(override.tagOverrides ?? {}))
        if (value !== undefined && value !== '') checkExpression(value, 'tag', at('tagOverrides', tag, 'value'), report)
      allOff = override.match?.metric === 'ALL_METRICS' && override.disabled === true
      if (override.disabled === true)
        report('SP8407', at('disabled'), `${familiesOf(override).join(', ')}: turned off by Telemetry`)
      if (!allOff) for (const family of familiesOf(override)) apply(states, family, override)
    }
  }
  if (allOff) return ALL.map((metric) => ({ metric, disabled: true, tags: [] }))
  return [...states]
    .filter(([, { disabled, tags }]) => disabled || tags.size > 0)
    .map(([metric, { disabled, tags }]) => ({
      metric,
      disabled,
      tags: [...tags].map(([name, value]) => ({ name, value })).toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    }))
    .toSorted((a, b) => (a.metric < b.metric ? -1 : 1))
}

function familiesOf({ match }: Override): readonly string[] {
  if (match?.customMetric !== undefined) return ALL.filter((family) => family === match.customMetric)
  const family = match?.metric === undefined || match.metric === 'ALL_METRICS' ? undefined : FAMILIES[match.metric]
  return family === undefined ? ALL : family === null ? [] : [family]
}

function apply(states: Map<string, State>, family: string, { disabled, tagOverrides = {} }: Override): void {
  const state = states.get(family) ?? { disabled: false, tags: new Map<string, string | null>() }
  if (disabled !== undefined) state.disabled = disabled
  for (const [tag, { operation, value }] of Object.entries(tagOverrides))
    state.tags.set(tag, operation === 'REMOVE' ? null : (value ?? ''))
  states.set(family, state)
}
