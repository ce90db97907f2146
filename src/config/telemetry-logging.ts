/**
 * Where access-log lines go: Telemetry's `accessLogging` over `meshConfig.defaultProviders` and `accessLogFile`, merged as
 * Istio does (pilot/pkg/model/telemetry.go, mergeLogs). Two things differ, so that no line is lost by accident:
 * `accessLogFile` counts as the default provider where meshConfig names none, so that a filter or `disabled` without
 * `providers` speaks for it; and where no provider can be used, lines go there.
 */
import type { SourceRef } from '../core/attributes.ts'
import type { ExtensionProvider, FileLogProvider } from '../model/extension-providers.ts'
import type { Settings } from '../model/settings.ts'
import type { AccessLogModel } from '../model/telemetry.ts'
import { checkExpression } from './expressions.ts'
import type { TelemetrySpec } from './kinds/telemetry.ts'
import type { Report } from './resource.ts'
import type { TelemetryResource } from './telemetry-scope.ts'

type Entry = NonNullable<TelemetrySpec['accessLogging']>[number]

/** Stands for `meshConfig.accessLogFile` among the names of providers; no provider can have it. */
const MESH = ''

type State = { readonly disabled: boolean; readonly filter: string | null }

/** By name of the provider. Reports SP8401, SP8402, SP8403. */
export function lowerAccessLogging(
  settings: Settings,
  scopes: readonly TelemetryResource[],
  report: Report,
): readonly AccessLogModel[] {
  const { accessLogFile, defaultProviders } = settings.mesh
  const defaults = defaultProviders.accessLogging.length > 0 ? defaultProviders.accessLogging : [MESH]
  const levels = scopes.map(entriesOf).filter((entries) => entries.length > 0)
  for (const { entry, at } of levels.flat())
    if (entry.filter !== undefined)
      checkExpression(entry.filter.expression, 'filter', at('filter', 'expression'), report)
  const states = merge(levels, defaults)
  const usable = new Map<string, FileLogProvider>()
  const places = namedAt(levels)
  for (const name of states.keys()) {
    if (name === MESH) continue
    const provider = providerOf(name, settings)
    if (provider?.type === 'envoyFileAccessLog') usable.set(name, provider)
    else reportUnusable(name, provider, places.get(name) ?? null, settings, report)
  }
  const logs: AccessLogModel[] = []
  for (const [name, { disabled, filter }] of [...states].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const provider = usable.get(name)
    if (disabled) continue
    if (name === MESH && accessLogFile !== '') logs.push(meshLog(settings, filter))
    if (provider !== undefined) logs.push(providerLog(settings, provider, filter))
  }
  const given = [...states].some(
    ([name, { disabled }]) => disabled && (name === MESH ? accessLogFile !== '' : usable.has(name)),
  )
  if (logs.length > 0) return logs
  if (given) {
    const off = levels.flat().findLast(({ entry }) => entry.disabled === true)
    if (off !== undefined) report('SP8402', off.at('disabled'), 'no access log is left: Telemetry turns it off')
    return []
  }
  // Nobody said there should be none.
  return accessLogFile === '' || states.has(MESH) ? [] : [meshLog(settings, null)]
}

type Placed = { readonly entry: Entry; readonly at: (...path: readonly (string | number)[]) => SourceRef }

/** Those that speak for a gateway, which is a client in Istio's words. */
function entriesOf(resource: TelemetryResource): readonly Placed[] {
  return (resource.spec.accessLogging ?? []).flatMap((entry, index) =>
    entry.match?.mode === 'SERVER'
      ? []
      : [
          {
            entry,
            at: (...path: readonly (string | number)[]) => resource.at('spec', 'accessLogging', index, ...path),
          },
        ],
  )
}

const namesOf = (entry: Entry) => (entry.providers ?? []).map(({ name }) => name)

function namedAt(levels: readonly (readonly Placed[])[]): ReadonlyMap<string, SourceRef> {
  const places = new Map<string, SourceRef>()
  for (const { entry, at } of levels.flat())
    for (const [index, name] of namesOf(entry).entries()) places.set(name, at('providers', index, 'name'))
  return places
}

/** The closest level that names providers decides which there are; of what is said about each the last word holds. */
function merge(levels: readonly (readonly Placed[])[], defaults: readonly string[]): ReadonlyMap<string, State> {
  const states = new Map<string, State>()
  if (levels.length === 0) for (const name of defaults) states.set(name, { disabled: false, filter: null })
  let inScope: ReadonlySet<string> = new Set(defaults)
  for (const level of levels) {
    const names = level.flatMap(({ entry }) => namesOf(entry))
    if (names.length > 0) inScope = new Set(names)
  }
  const filters = new Map<string, string | null>()
  let parents = defaults
  for (const { entry } of levels.flat()) {
    const named = namesOf(entry)
    const names = named.length > 0 ? named : parents
    parents = names
    const filter = entry.filter?.expression ?? null
    for (const name of names) {
      if (!inScope.has(name)) continue
      // Without providers and without a filter of its own, an entry leaves the parent's filter.
      if (named.length > 0 || filter !== null) filters.set(name, filter)
      states.set(name, { disabled: entry.disabled === true, filter: filters.get(name) ?? null })
    }
  }
  return states
}

/** Istio compares names without regard to case, and knows `envoy` and `prometheus` by itself. */
export function providerOf(name: string, settings: Settings): ExtensionProvider | null {
  const wanted = name.toLowerCase()
  const found = settings.mesh.extensionProviders.find((each) => each.name.toLowerCase() === wanted)
  if (found !== undefined) return found
  const head = { name, source: { file: '', line: 0, col: 0 } }
  if (wanted === 'prometheus') return { ...head, type: 'prometheus' }
  if (wanted !== 'envoy') return null
  return {
    ...head,
    type: 'envoyFileAccessLog',
    path: '/dev/stdout',
    encoding: null,
    format: '',
    omitEmptyValues: false,
  }
}

function reportUnusable(
  name: string,
  provider: ExtensionProvider | null,
  at: SourceRef | null,
  settings: Settings,
  report: Report,
): void {
  const why =
    provider === null
      ? 'is not among meshConfig.extensionProviders'
      : `is of type ${provider.type}, which writes no access log`
  const source = at ?? settings.mesh.extensionProviders.at(0)?.source ?? { file: 'meshConfig', line: 1, col: 1 }
  report('SP8403', source, `the access-log provider ${JSON.stringify(name)} ${why}`, {
    fix: 'add it to meshConfig.extensionProviders of the bootstrap, as envoyFileAccessLog',
  })
}

function meshLog({ mesh, accessLog }: Settings, filter: string | null): AccessLogModel {
  return {
    name: 'meshConfig',
    path: mesh.accessLogFile,
    encoding: mesh.accessLogEncoding,
    format: mesh.accessLogFormat,
    omitEmptyValues: false,
    jsonStyle: accessLog.jsonStyle,
    filter,
  }
}

function providerLog(settings: Settings, provider: FileLogProvider, filter: string | null): AccessLogModel {
  const { name, path, encoding, format, omitEmptyValues } = provider
  if (encoding === null) return { ...meshLog(settings, filter), name, path }
  return { name, path, encoding, format, omitEmptyValues, jsonStyle: settings.accessLog.jsonStyle, filter }
}
