/**
 * `meshConfig.extensionProviders` (Istio's MeshConfig.ExtensionProvider): a name and exactly one provider. PROVIDERS is
 * the table by provider type; another type is an unknown key, and that is an error.
 */
import { z } from 'zod'
import type { ExtensionProvider, ProviderType } from '../model/extension-providers.ts'
import { EXT_AUTHZ_GRPC, EXT_AUTHZ_HTTP, lowerExtAuthzGrpc, lowerExtAuthzHttp } from './ext-authz-providers.ts'
import { FILE_ACCESS_LOG, lowerFileAccessLog, lowerPrometheus, PROMETHEUS } from './file-log-provider.ts'
import type { ProviderPlace } from './provider-service.ts'
import type { Report, Resource } from './resource.ts'
import { nonEmpty } from './schema.ts'
import { lowerOpenTelemetry, lowerZipkin, OPEN_TELEMETRY, ZIPKIN } from './trace-providers.ts'

type ProviderRow = {
  /** Closed, plain z.object of schema.ts' building blocks. */
  readonly schema: z.ZodType
  /** `spec` is what `schema` gave. null: cannot be honoured (reported as an error). */
  readonly lower: (spec: unknown, place: ProviderPlace) => ExtensionProvider | null
}

function row<Schema extends z.ZodType>(
  schema: Schema,
  lower: (spec: z.output<Schema>, place: ProviderPlace) => ExtensionProvider | null,
): ProviderRow {
  return { schema, lower: (spec, place) => lower(spec as z.output<Schema>, place) }
}

/** TABLE by provider type. */
const PROVIDERS = {
  envoyExtAuthzHttp: row(EXT_AUTHZ_HTTP, lowerExtAuthzHttp),
  envoyExtAuthzGrpc: row(EXT_AUTHZ_GRPC, lowerExtAuthzGrpc),
  envoyFileAccessLog: row(FILE_ACCESS_LOG, lowerFileAccessLog),
  prometheus: row(PROMETHEUS, lowerPrometheus),
  opentelemetry: row(OPEN_TELEMETRY, lowerOpenTelemetry),
  zipkin: row(ZIPKIN, lowerZipkin),
} as const satisfies Record<ProviderType, ProviderRow>

const TYPES = Object.keys(PROVIDERS) as ProviderType[]

type ProviderEntry = { name: string } & { [Type in ProviderType]?: unknown }

/** Of one item of the list: `name`, and one optional field per provider type. */
export const EXTENSION_PROVIDER = z.object({
  name: nonEmpty,
  ...Object.fromEntries(TYPES.map((type) => [type, PROVIDERS[type].schema.optional()])),
}) as unknown as z.ZodType<ProviderEntry>

/**
 * The list, in its order. Reports what Istio's validation refuses: no provider or several in one item, a name twice. `at`
 * takes a path below `extensionProviders`.
 */
export function lowerProviders(
  entries: readonly ProviderEntry[],
  at: Resource['at'],
  report: Report,
): readonly ExtensionProvider[] {
  const providers: ExtensionProvider[] = []
  const names = new Set<string>()
  for (const [index, entry] of entries.entries()) {
    const source = at(index, 'name')
    if (names.has(entry.name)) report('SP8300', source, `there are two extension providers ${entry.name}`)
    names.add(entry.name)
    const [type, ...more] = TYPES.filter((each) => entry[each] !== undefined)
    if (type === undefined) {
      report('SP8300', source, `extension provider ${entry.name} has no provider`, {
        fix: `give it one of ${TYPES.join(', ')}`,
      })
      continue
    }
    if (more[0] !== undefined) {
      report('SP8300', at(index, more[0]), `extension provider ${entry.name} has ${type} and ${more.join(', ')}`, {
        fix: 'give each of them an item of its own',
      })
      continue
    }
    const place = {
      head: { name: entry.name, source },
      at: (...path: (string | number)[]) => at(index, type, ...path),
      report,
    }
    const provider = PROVIDERS[type].lower(entry[type], place)
    if (provider !== null) providers.push(provider)
  }
  return providers
}
