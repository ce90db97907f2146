/** Collects findings: every reader reports into one list, and nobody stops at the first. */
import { DIAGNOSTICS, type Diagnostic } from './diagnostics.ts'
import type { Report } from './resource.ts'

export type Collector = {
  readonly report: Report
  /** What was reported so far: sorted by file, line and column, exact repetitions removed. */
  readonly sorted: () => readonly Diagnostic[]
}

export function collectDiagnostics(): Collector {
  const list: Diagnostic[] = []
  return {
    report: (code, at, message, options) => {
      const { file, line, col } = at
      const severity = options?.severity ?? DIAGNOSTICS[code].severity
      list.push({ file, line, col, severity, code, message, fix: options?.fix ?? null })
    },
    sorted: () => sortDiagnostics(list),
  }
}

/** By file, line, column; findings at one place keep the order they were made in. Exact repetitions are dropped. */
function sortDiagnostics(list: readonly Diagnostic[]): readonly Diagnostic[] {
  const seen = new Set<string>()
  const unique = list.filter((item) => {
    const key = JSON.stringify([item.file, item.line, item.col, item.code, item.severity, item.message])
    if (seen.has(key)) return false
    seen.add(key)
    return true
  })
  // Plain comparison, not the locale's: the order must be the same on every machine.
  return unique.sort((a, b) => (a.file === b.file ? a.line - b.line || a.col - b.col : a.file < b.file ? -1 : 1))
}
