/** Diagnostic rows SP1xxx. Numbers are never reused. */
import type { DiagnosticRow } from '../diagnostics.ts'

export const FILE_CODES = {
  SP1000: {
    severity: 'error',
    title: 'Invalid value',
    explanation: 'A value is not allowed here; the message says what is.',
  },
} as const satisfies Record<string, DiagnosticRow>
