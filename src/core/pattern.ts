/**
 * Istio's string patterns (behaviour §1.3), compiled once: exact, `prefix*`, `*suffix`, `*` = present (non-empty).
 * Plain string operations only: `.`, `[` and other regular-expression characters are always literal (threats 31).
 */

export type StringPattern =
  | { readonly kind: 'present' }
  | { readonly kind: 'exact' | 'prefix' | 'suffix'; readonly text: string }

/** True when the subject matches. */
export type StringMatcher = (subject: string) => boolean

/**
 * Reads one value. The leading star wins: `*a*` is the suffix `a*` with a literal star, and a star in the middle is
 * literal (pilot/pkg/security/authz/matcher/string.go).
 */
export function parsePattern(value: string): StringPattern {
  if (value === '*') return { kind: 'present' }
  if (value.startsWith('*')) return { kind: 'suffix', text: value.slice(1) }
  if (value.endsWith('*')) return { kind: 'prefix', text: value.slice(0, -1) }
  return { kind: 'exact', text: value }
}

/** Whether `subject` matches one pattern. Case counts; fold both sides beforehand where it must not. */
function matchesPattern(pattern: StringPattern, subject: string): boolean {
  switch (pattern.kind) {
    case 'present':
      return subject !== ''
    case 'exact':
      return subject === pattern.text
    case 'prefix':
      return subject.startsWith(pattern.text)
    case 'suffix':
      return subject.endsWith(pattern.text)
  }
}

/** One matcher for a list of values: true when any of them matches. An empty list matches nothing. */
export function compilePatterns(values: readonly string[]): StringMatcher {
  return anyPattern(values.map(parsePattern))
}

/** One matcher for parsed patterns: exact ones in a set, so that long lists cost one look-up. */
export function anyPattern(patterns: readonly StringPattern[]): StringMatcher {
  const exact = new Set<string>()
  const rest: StringPattern[] = []
  for (const pattern of patterns) {
    if (pattern.kind === 'exact') exact.add(pattern.text)
    else rest.push(pattern)
  }
  if (rest.length === 0) return (subject) => exact.has(subject)
  return (subject) => {
    if (exact.has(subject)) return true
    for (const pattern of rest) if (matchesPattern(pattern, subject)) return true
    return false
  }
}

/**
 * A full match in which every `*` stands for any run of characters, possibly empty (Istio's `namespaces`, where a star
 * may stand anywhere). Leftmost placement of the pieces is enough for this pattern language, so there is no backtracking.
 */
export function compileGlob(glob: string): StringMatcher {
  const pieces = glob.split('*')
  const first = pieces[0] as string
  if (pieces.length === 1) return (subject) => subject === first
  const last = pieces[pieces.length - 1] as string
  const middle = pieces.slice(1, -1).filter((piece) => piece !== '')
  return (subject) => {
    if (subject.length < first.length + last.length) return false
    if (!subject.startsWith(first) || !subject.endsWith(last)) return false
    const end = subject.length - last.length
    let at = first.length
    for (const piece of middle) {
      const found = subject.indexOf(piece, at)
      if (found < 0 || found + piece.length > end) return false
      at = found + piece.length
    }
    return true
  }
}
