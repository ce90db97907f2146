/**
 * Telemetry (telemetry.istio.io): schema and Istio's validation rules. What it means for this gateway is
 * config/telemetry.ts. Nothing in it restricts access, so what is not built is a warning.
 * Source: istio.io/latest/docs/reference/config/telemetry.
 */
import { z } from 'zod'
import { CUSTOM_TAGS } from '../custom-tags.ts'
import { checkTarget, targetFields } from '../policy-target.ts'
import type { KindModule, Report, Resource } from '../resource.ts'
import { bool, duration, enumeration, float, text } from '../schema.ts'

const providers = z.array(z.object({ name: text.min(1) })).optional()
const mode = enumeration(['CLIENT_AND_SERVER', 'CLIENT', 'SERVER']).optional()
const metrics = enumeration([
  'ALL_METRICS',
  'REQUEST_COUNT',
  'REQUEST_DURATION',
  'REQUEST_SIZE',
  'RESPONSE_SIZE',
  'TCP_OPENED_CONNECTIONS',
  'TCP_CLOSED_CONNECTIONS',
  'TCP_SENT_BYTES',
  'TCP_RECEIVED_BYTES',
  'GRPC_REQUEST_MESSAGES',
  'GRPC_RESPONSE_MESSAGES',
])

const schema = z.object({
  ...targetFields,
  tracing: z
    .array(
      z.object({
        match: z.object({ mode }).optional(),
        providers,
        randomSamplingPercentage: float(0, 100).optional(),
        disableSpanReporting: bool.optional(),
        customTags: CUSTOM_TAGS.optional(),
        useRequestIdForTraceSampling: bool.optional(),
        enableIstioTags: bool.optional(),
        disableContextPropagation: bool.optional(),
      }),
    )
    .optional(),
  metrics: z
    .array(
      z.object({
        providers,
        overrides: z
          .array(
            z.object({
              match: z.object({ metric: metrics.optional(), customMetric: text.optional(), mode }).optional(),
              disabled: bool.optional(),
              tagOverrides: z
                .record(
                  z.string(),
                  z.object({ operation: enumeration(['UPSERT', 'REMOVE']).optional(), value: text.optional() }),
                )
                .optional(),
            }),
          )
          .optional(),
        reportingInterval: duration.optional(),
        rotationInterval: duration.optional(),
        gracefulDeletionInterval: duration.optional(),
      }),
    )
    .optional(),
  accessLogging: z
    .array(
      z.object({
        match: z.object({ mode }).optional(),
        providers,
        disabled: bool.optional(),
        filter: z.object({ expression: text }).optional(),
      }),
    )
    .optional(),
})

export type TelemetrySpec = z.infer<typeof schema>

/** Prometheus' rule for label names; `__` is its own, `le` the bound of a histogram's bucket. */
const TAG = /^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$/

function checkTelemetry(resource: Resource<TelemetrySpec>, report: Report): void {
  checkTarget(resource, report)
  for (const [index, { overrides = [] }] of (resource.spec.metrics ?? []).entries())
    for (const [position, { match, tagOverrides = {} }] of overrides.entries()) {
      const wrong = (message: string, ...path: readonly string[]) =>
        report('SP8406', resource.at('spec', 'metrics', index, 'overrides', position, ...path), message)
      if (match?.metric !== undefined && match.customMetric !== undefined)
        wrong('metric and customMetric stand side by side', 'match')
      for (const [tag, { operation, value }] of Object.entries(tagOverrides)) {
        if (!TAG.test(tag) || tag === 'le') wrong(`${tag} cannot be the name of a tag`, 'tagOverrides', tag)
        if (operation === 'REMOVE' && value !== undefined)
          wrong(`the tag ${tag} is removed and has a value`, 'tagOverrides', tag, 'value')
        if (operation !== 'REMOVE' && (value ?? '') === '') wrong(`the tag ${tag} has no value`, 'tagOverrides', tag)
      }
    }
}

export const telemetry: KindModule<TelemetrySpec> = {
  kind: 'Telemetry',
  group: 'telemetry.istio.io',
  versions: ['v1', 'v1alpha1'],
  unknownKeys: 'warning',
  schema,
  specOptional: true,
  unsupported: [
    {
      path: 'spec.metrics[].reportingInterval',
      severity: 'warning',
      why: 'numbers of tunnels are reported when they end',
    },
    { path: 'spec.metrics[].rotationInterval', severity: 'warning', why: 'label sets are kept, up to a cap' },
    { path: 'spec.metrics[].gracefulDeletionInterval', severity: 'warning', why: 'label sets are kept, up to a cap' },
  ],
  notes: [
    {
      path: 'spec.tracing[].useRequestIdForTraceSampling',
      is: 'inert',
      why: 'x-request-id has no part in sampling here: the caller’s trace context has, else the percentage',
    },
    { path: 'spec.tracing[].customTags.*.formatter', is: 'inert', why: 'the tag is left out, with a warning' },
    {
      path: 'spec.tracing[].providers[].name',
      is: 'limited',
      why: 'opentelemetry (over HTTP) and zipkin take spans; of several the first is used, as in Istio',
    },
    {
      path: 'spec.metrics[].overrides[].match.customMetric',
      is: 'limited',
      why: 'only names of Istio’s families, as istio_requests_total: others do not exist here',
    },
    {
      path: 'spec.metrics[].overrides[].match.metric',
      is: 'limited',
      why: 'messages of gRPC streams are not counted',
    },
    {
      path: 'spec.metrics[].providers[].name',
      is: 'limited',
      why: 'only Prometheus reports here',
    },
  ],
  check: checkTelemetry,
}
