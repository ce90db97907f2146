/** One mistake: an edit of a good file, and where its finding has to stand. */
import type { DiagnosticCode, Severity } from '../../src/config/diagnostics.ts'
import type { Variant } from './variants.ts'

/** Stands in an edit where a finding is expected; no file of the variants holds it. */
export const MARK = '▸'
/** Where the mistake leads to a second one, whatever its code: what is misspelt is missing too. */
export const ECHO = '▹'

export type Broken = readonly [
  mistake: string,
  variant: Variant,
  /** Below resources/; `gateway.yaml` alone is the bootstrap file. */
  file: string,
  /** Stands there exactly once. */
  from: string,
  to: string,
  severity: Severity,
  code: DiagnosticCode,
]

export function unmarked(text: string): string {
  return text.replaceAll(MARK, '').replaceAll(ECHO, '')
}

/** `line:col` of every `mark`, as if no marks were there; both from 1, columns in UTF-16 units as editors count them. */
export function places(marked: string, mark: typeof MARK | typeof ECHO): readonly string[] {
  return marked.split('\n').flatMap((line, index) => {
    const pieces = line.split(mark).slice(0, -1)
    let col = 1
    return pieces.map((piece) => {
      col += unmarked(piece).length
      return `${index + 1}:${col}`
    })
  })
}
