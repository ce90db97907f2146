/** Diagnostic rows SP5xxx. Numbers are never reused. */
import type { DiagnosticRow } from '../diagnostics.ts'

export const SECURITY_CODES = {
  SP5000: {
    severity: 'error',
    title: 'Invalid value',
    explanation: 'A value is not allowed here; the message says what is.',
  },
} as const satisfies Record<string, DiagnosticRow>
