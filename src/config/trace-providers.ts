/** Extension providers that take spans: `opentelemetry` (OTLP over HTTP) and `zipkin`. */
import { z } from 'zod'
import type { OpenTelemetryProvider, ZipkinProvider } from '../model/extension-providers.ts'
import { type ProviderPlace, providerService } from './provider-service.ts'
import { bool, duration, int, nonEmpty, port, text } from './schema.ts'

const header = z.object({ name: nonEmpty, value: text.optional(), envName: nonEmpty.optional() })
const maxTagLength = int(1, 65_536).default(256)
const timeout = duration.refine((ms) => ms > 0 && ms <= 60_000, 'must be longer than 0 and at most 60s')
const apiPath = text.regex(/^\/[!-~]*$/, 'must begin with / and hold no blanks')

export const OPEN_TELEMETRY = z.object({
  service: nonEmpty,
  port,
  maxTagLength,
  http: z
    .object({
      path: apiPath.default('/v1/traces'),
      timeout: timeout.prefault('10s'),
      headers: z.array(header).default([]),
    })
    .optional(),
  resourceDetectors: z.object({ environment: z.object({}).optional() }).optional(),
})

export const ZIPKIN = z.object({
  service: nonEmpty,
  port,
  maxTagLength,
  enable64bitTraceId: bool.default(false),
  path: apiPath.default('/api/v2/spans'),
  timeout: timeout.prefault('10s'),
})

/** Of a field's name; framing is ours. */
const NAME =
  /^(?!(?:host|content-length|content-type|transfer-encoding|connection|te|expect|upgrade)$)[!#$%&'*+.^_`|~0-9a-z-]+$/
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

/** null, reported as SP8500 or SP8301: it cannot be honoured. */
export function lowerOpenTelemetry(
  spec: z.output<typeof OPEN_TELEMETRY>,
  place: ProviderPlace,
): OpenTelemetryProvider | null {
  const { at, head, report } = place
  const service = providerService(spec.service, spec.port, place)
  const { http } = spec
  if (http === undefined) {
    report('SP8500', at('service'), `provider ${head.name}: OTLP over gRPC is not built`, {
      fix: 'write http: { path: /v1/traces } and the collector’s port for HTTP (usually 4318)',
    })
    return null
  }
  let wrong = service === null
  for (const [index, { name, value, envName }] of http.headers.entries()) {
    const problem =
      !NAME.test(name.toLowerCase()) || (value !== undefined && !VALUE.test(value))
        ? 'cannot be sent'
        : (value === undefined) === (envName === undefined)
          ? 'needs value or envName'
          : null
    if (problem === null) continue
    wrong = true
    report('SP8500', at('http', 'headers', index), `provider ${head.name}: the header ${name} ${problem}`)
  }
  if (wrong || service === null) return null
  return {
    ...head,
    type: 'opentelemetry',
    service,
    timeoutMs: http.timeout,
    path: http.path,
    maxTagLength: spec.maxTagLength,
    headers: http.headers.map(({ name, value, envName }) => ({
      name: name.toLowerCase(),
      valueSecret: value ?? null,
      env: envName ?? null,
    })),
    resource: spec.resourceDetectors?.environment === undefined ? [] : resourceFromEnvironment(),
  }
}

export function lowerZipkin(spec: z.output<typeof ZIPKIN>, place: ProviderPlace): ZipkinProvider | null {
  const service = providerService(spec.service, spec.port, place)
  const { enable64bitTraceId, maxTagLength: longest, path, timeout: timeoutMs } = spec
  if (service === null) return null
  return { ...place.head, type: 'zipkin', service, path, timeoutMs, maxTagLength: longest, ids64: enable64bitTraceId }
}

/** `key=value,key=value`, percent-encoded (opentelemetry.io, Resource SDK). As there, one that is wrong is none at all. */
function resourceFromEnvironment(): readonly (readonly [string, string])[] {
  const written = process.env['OTEL_RESOURCE_ATTRIBUTES'] ?? ''
  try {
    return written
      .split(',')
      .filter((part) => part.includes('='))
      .map((part) => {
        const equals = part.indexOf('=')
        return [part.slice(0, equals).trim(), decodeURIComponent(part.slice(equals + 1).trim())] as const
      })
  } catch {
    return []
  }
}
