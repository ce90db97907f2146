/**
 * Catalogue of diagnostics. Every finding has a code; each area keeps its rows in its own file under
 * config/diagnostics/, docs/diagnostics.md is generated from them.
 */
import type { SourceRef } from '../core/attributes.ts'
import { AUTHORIZER_CODES } from './diagnostics/authorizers.ts'
import { EGRESS_CODES } from './diagnostics/egress.ts'
import { FILE_CODES } from './diagnostics/files.ts'
import { LIMIT_CODES } from './diagnostics/limits.ts'
import { NETWORKING_CODES } from './diagnostics/networking.ts'
import { REDIS_CODES } from './diagnostics/redis.ts'
import { SECURITY_CODES } from './diagnostics/security.ts'
import { SERVICE_CODES } from './diagnostics/services.ts'
import { TELEMETRY_CODES } from './diagnostics/telemetry.ts'
import { TOKEN_CODES } from './diagnostics/tokens.ts'
import { TRACING_CODES } from './diagnostics/tracing.ts'

export type Severity = 'error' | 'warning' | 'info'

/** One row: default severity, a short title, and a paragraph saying what it means and what to do. */
export type DiagnosticRow = { readonly severity: Severity; readonly title: string; readonly explanation: string }

export const DIAGNOSTICS = {
  ...FILE_CODES,
  ...NETWORKING_CODES,
  ...SERVICE_CODES,
  ...SECURITY_CODES,
  ...EGRESS_CODES,
  ...AUTHORIZER_CODES,
  ...LIMIT_CODES,
  ...REDIS_CODES,
  ...TOKEN_CODES,
  ...TELEMETRY_CODES,
  ...TRACING_CODES,
} as const satisfies Record<string, DiagnosticRow>

export type DiagnosticCode = keyof typeof DIAGNOSTICS

export type Diagnostic = SourceRef & {
  readonly severity: Severity
  readonly code: DiagnosticCode
  readonly message: string
  /** What to write instead; null when the message says it. */
  readonly fix: string | null
}

/** `file:line:col severity CODE message → fix` (contract §1). */
export function formatDiagnostic(diagnostic: Diagnostic): string {
  const { file, line, col, severity, code, message, fix } = diagnostic
  return `${file}:${line}:${col} ${severity} ${code} ${message}${fix === null ? '' : ` → ${fix}`}`
}
