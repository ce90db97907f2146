/**
 * Which requests have spans, and who gets them: Telemetry's `tracing` over `meshConfig.defaultProviders.tracing` and
 * `meshConfig.defaultConfig.tracing`, merged as Istio does (pilot/pkg/model/telemetry.go, Tracing): field by field, the
 * closest word holds, of several providers the first. Two things differ: `enableTracing: false` turns spans off whoever
 * asks for them (in Istio only for tracers without a provider), and a request without a span keeps the caller's fields.
 */
import type { SourceRef } from '../core/attributes.ts'
import type { ExtensionProvider, TracingProvider } from '../model/extension-providers.ts'
import type { Settings } from '../model/settings.ts'
import type { TracingModel } from '../model/tracing.ts'
import type { BootstrapSpec } from './bootstrap-schema.ts'
import { tagsOf } from './custom-tags.ts'
import type { TelemetrySpec } from './kinds/telemetry.ts'
import type { Report, Resource } from './resource.ts'
import type { Services } from './services.ts'
import { providerOf } from './telemetry-logging.ts'
import { type TelemetryResource, telemetryScopes } from './telemetry-scope.ts'

type Entry = NonNullable<TelemetrySpec['tracing']>[number]

/** Istio's default (features.TraceSampling). */
const DEFAULT_PERCENT = 1

/** null: no request has a span. Reports SP8501 and SP8502. */
export function lowerTracing(
  settings: Settings,
  resources: readonly Resource[],
  services: Services,
  report: Report,
): TracingModel | null {
  const { defaultProviders, defaultTracing, enableTracing } = settings.mesh
  // What is wrong with the scopes has been said by whoever asked for the logs.
  const entries = telemetryScopes(settings, resources, () => undefined).flatMap(entriesOf)
  const named = entries.findLast(({ entry }) => (entry.providers ?? []).length > 0)
  const name = named?.entry.providers?.[0]?.name ?? defaultProviders.tracing[0] ?? null
  for (const { entry, at } of entries) {
    adviseOn(entry, at, report)
    // A tag that is written wrong is told about wherever it stands.
    tagsOf(entry.customTags ?? {}, (tag, why) => report('SP8502', at('customTags', tag), why))
  }
  if (name === null) return null
  const provider = providerOf(name, settings)
  if (!takesSpans(provider)) {
    const why = named === undefined ? null : whyNot(name, provider)
    if (named !== undefined && why !== null) report('SP8501', named.at('providers', 0, 'name'), why)
    return null
  }
  const last = <Field extends keyof Entry>(field: Field): Entry[Field] =>
    entries.findLast(({ entry }) => entry[field] !== undefined)?.entry[field]
  if (!enableTracing || last('disableSpanReporting') === true) return null
  const tags = last('customTags')
  return {
    provider,
    cluster: services.ownClusterFor(provider.service, false, provider.source),
    samplingPercent: last('randomSamplingPercentage') ?? defaultTracing.sampling ?? DEFAULT_PERCENT,
    customTags: tags === undefined ? defaultTracing.customTags : tagsOf(tags),
    istioTags: last('enableIstioTags') ?? defaultTracing.enableIstioTags ?? true,
    propagate: last('disableContextPropagation') !== true,
  }
}

type Placed = { readonly entry: Entry; readonly at: (...path: readonly (string | number)[]) => SourceRef }

/** Those that speak for a gateway, which is a client in Istio's words. */
function entriesOf(resource: TelemetryResource): readonly Placed[] {
  return (resource.spec.tracing ?? []).flatMap((entry, index) =>
    entry.match?.mode === 'SERVER' ? [] : [{ entry, at: (...path) => resource.at('spec', 'tracing', index, ...path) }],
  )
}

function takesSpans(provider: ExtensionProvider | null): provider is TracingProvider {
  return provider?.type === 'opentelemetry' || provider?.type === 'zipkin'
}

function whyNot(name: string, provider: ExtensionProvider | null): string {
  const why = provider === null ? 'is none of meshConfig.extensionProviders' : `(${provider.type}) takes no spans`
  return `provider ${name} ${why}: no spans are exported`
}

/** What of meshConfig can be judged without any Telemetry. */
export function adviseOnTracing(
  { meshConfig }: BootstrapSpec,
  providers: readonly ExtensionProvider[],
  at: Resource['at'],
  report: Report,
): void {
  const { defaultConfig, defaultProviders } = meshConfig
  const [name] = defaultProviders.tracing
  if (name !== undefined) {
    const provider = providers.find((each) => each.name.toLowerCase() === name.toLowerCase()) ?? null
    if (!takesSpans(provider))
      report('SP8501', at('spec', 'meshConfig', 'defaultProviders', 'tracing', 0), whyNot(name, provider))
  }
  const tags = (...path: readonly string[]) => at('spec', 'meshConfig', 'defaultConfig', 'tracing', ...path)
  tagsOf(defaultConfig.tracing.customTags, (tag, why) => report('SP8502', tags('customTags', tag), why))
}

function adviseOn(entry: Entry, at: Placed['at'], report: Report): void {
  if (entry.useRequestIdForTraceSampling === true)
    report('SP8502', at('useRequestIdForTraceSampling'), 'x-request-id has no part in sampling here', {
      fix: 'leave it out: what the trace context of the caller says holds, else randomSamplingPercentage',
    })
}
