/** TABLE of the files in docs/ (and one in observability/) that are written from tables in the source. */
import { bootstrapJsonSchema } from '../src/config/bootstrap-json-schema.ts'
import { diagnosticsDocument } from '../src/config/diagnostics-document.ts'
import { renderAccessLogDoc } from '../src/observe/access-log-doc.ts'
import { renderAdminDoc } from '../src/observe/admin-doc.ts'
import { renderMetricsDoc } from '../src/observe/metrics-doc.ts'
import { renderReasonsDoc } from '../src/observe/reasons-doc.ts'
import { renderSupportMatrix } from '../test/fields/support-matrix.ts'
import { renderThreatsDoc } from '../test/threats/document.ts'
import { renderDashboard } from './observability/dashboard.ts'
import { renderPrometheusRule } from './prometheus-rule.ts'

export const DOCUMENTS = {
  '../config/egress-gateway.schema.json': bootstrapJsonSchema,
  'access-log.md': renderAccessLogDoc,
  'admin.md': renderAdminDoc,
  'diagnostics.md': diagnosticsDocument,
  'metrics.md': renderMetricsDoc,
  'reasons.md': renderReasonsDoc,
  'support-matrix.md': renderSupportMatrix,
  'threats.md': renderThreatsDoc,
  '../observability/dashboard.json': renderDashboard,
  '../k8s/components/monitoring/prometheus-rule.yaml': renderPrometheusRule,
} as const satisfies Record<string, () => string>
