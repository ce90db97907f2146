/** TABLE of the files in docs/ that are written from tables in the source. */
import { diagnosticsDocument } from '../src/config/diagnostics-document.ts'
import { renderAdminDoc } from '../src/observe/admin-doc.ts'
import { renderMetricsDoc } from '../src/observe/metrics-doc.ts'
import { renderReasonsDoc } from '../src/observe/reasons-doc.ts'
import { renderThreatsDoc } from '../test/threats/document.ts'

export const DOCUMENTS = {
  'admin.md': renderAdminDoc,
  'diagnostics.md': diagnosticsDocument,
  'metrics.md': renderMetricsDoc,
  'reasons.md': renderReasonsDoc,
  'threats.md': renderThreatsDoc,
} as const satisfies Record<string, () => string>
