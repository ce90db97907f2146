/**
 * Telemetry (telemetry.istio.io): read, checked, and not acted upon yet. Logs, metrics and trace headers are those of
 * the bootstrap. Nothing in it restricts access, so every field is a warning.
 * Source: istio.io/latest/docs/reference/config/telemetry.
 */
import { z } from 'zod'
import type { KindModule } from '../resource.ts'
import { bool, duration, enumeration, float, stringMap, text } from '../schema.ts'

const selector = z.object({ matchLabels: stringMap.optional() })
const targetRef = z.object({
  group: text.optional(),
  kind: text.optional(),
  name: text.optional(),
  namespace: text.optional(),
})
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

const customTag = z.object({
  literal: z.object({ value: text }).optional(),
  environment: z.object({ name: text, defaultValue: text.optional() }).optional(),
  header: z.object({ name: text, defaultValue: text.optional() }).optional(),
  formatter: z.object({ value: text }).optional(),
})

const schema = z.object({
  selector: selector.optional(),
  targetRef: targetRef.optional(),
  targetRefs: z.array(targetRef).optional(),
  tracing: z
    .array(
      z.object({
        match: z.object({ mode }).optional(),
        providers,
        randomSamplingPercentage: float(0, 100).optional(),
        disableSpanReporting: bool.optional(),
        customTags: z.record(z.string(), customTag).optional(),
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

export const telemetry: KindModule<TelemetrySpec> = {
  kind: 'Telemetry',
  group: 'telemetry.istio.io',
  versions: ['v1', 'v1alpha1'],
  unknownKeys: 'warning',
  schema,
  specOptional: true,
  unsupported: [
    { path: 'spec.tracing', severity: 'warning', why: 'trace headers follow the bootstrap (tracing.propagate)' },
    { path: 'spec.metrics', severity: 'warning', why: 'the standard metrics are always reported' },
    {
      path: 'spec.accessLogging',
      severity: 'warning',
      why: 'the access log follows the bootstrap (meshConfig.accessLog*)',
    },
  ],
}
