/** Diagnostic rows SP85xx: tracing and the audit stream. Numbers are never reused. */
import type { DiagnosticRow } from '../diagnostics.ts'

export const TRACING_CODES = {
  SP8500: {
    severity: 'error',
    title: 'Invalid tracing provider',
    explanation:
      'An extension provider that takes spans cannot be honoured: `opentelemetry` needs `http` (OTLP over gRPC is not built), and each of its headers a name that may be sent and either `value` or `envName`.',
  },
  SP8501: {
    severity: 'warning',
    title: 'No spans are exported',
    explanation:
      'Telemetry `tracing` or `meshConfig.defaultProviders.tracing` names a provider that is not among `meshConfig.extensionProviders`, or is of a type that takes no spans. As in Istio requests then have no spans.',
  },
  SP8502: {
    severity: 'warning',
    title: 'Part of a tracing configuration without effect',
    explanation: 'The message says which field does nothing at this gateway, and what holds instead.',
  },
  SP8503: {
    severity: 'error',
    title: 'Audit stream and access log in one file',
    explanation:
      'Two writers of one file could tear each other’s lines. Only stdout is shared: there the two take turns.',
  },
} as const satisfies Record<string, DiagnosticRow>
