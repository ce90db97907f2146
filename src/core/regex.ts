/**
 * RE2 regular expressions, matched against the whole text in linear time (Envoy `safe_regex`; behaviour §4.4).
 * The only importer of `re2js`. It lives in core because both sides need it: `config` reports a bad pattern with its
 * position at load, `routing` compiles the same pattern into the data path. JavaScript's RegExp is never used for
 * configured patterns: it backtracks, and accepts look-around and back-references that Envoy refuses.
 */
import { RE2JS } from 're2js'

export type Regex = {
  /** True when the whole of `text` matches. */
  readonly matches: (text: string) => boolean
}

/** A pattern RE2 refuses. `message` says why, without the pattern. */
export class RegexError extends Error {
  override readonly name = 'RegexError'
}

/** Longer patterns are refused: they compile to automata whose first match would stall the event loop. */
const MAX_PATTERN_LENGTH = 4096

/** Compiles an RE2 pattern. Throws RegexError. Only at reload: one compilation costs up to milliseconds. */
export function compileRegex(pattern: string): Regex {
  const compiled = compile(pattern)
  return { matches: (text) => compiled.testExact(text) }
}

/**
 * Replaces every match found anywhere in a text (RE2::GlobalReplace, as Envoy's regex_rewrite does): `\1` to `\9` in the
 * substitution stand for groups, `\0` for the match, `\\` for a backslash. Throws RegexError for a pattern RE2 refuses, a
 * group the pattern lacks, or any other use of a backslash.
 */
export function compileReplacement(pattern: string, substitution: string): (text: string) => string {
  const compiled = compile(pattern)
  const parts = substitutionParts(substitution, compiled.groupCount())
  return (text) => {
    const matcher = compiled.matcher(text)
    let result = ''
    let from = 0
    let previous = -1
    while (matcher.find()) {
      const [start, end] = [matcher.start(), matcher.end()]
      // RE2 does not take an empty match right behind another one.
      if (start === end && start === previous) continue
      result += text.slice(from, start)
      for (const part of parts) result += typeof part === 'string' ? part : (matcher.group(part) ?? '')
      from = end
      previous = end
    }
    return result + text.slice(from)
  }
}

/** Literal text and numbers of groups. */
function substitutionParts(substitution: string, groups: number): readonly (string | number)[] {
  const parts: (string | number)[] = []
  for (const piece of substitution.match(/[^\\]+|\\[\s\S]?/g) ?? []) {
    const digit = /^\\(\d)$/.exec(piece)?.[1]
    if (digit !== undefined) {
      if (Number(digit) > groups)
        throw new RegexError(`the substitution names group ${digit}, the pattern has ${groups}`)
      parts.push(Number(digit))
    } else if (piece === '\\\\') parts.push('\\')
    else if (piece.startsWith('\\'))
      throw new RegexError('in a substitution a backslash stands before a digit or a backslash')
    else parts.push(piece)
  }
  return parts
}

function compile(pattern: string): RE2JS {
  if (pattern === '') throw new RegexError('the pattern is empty')
  if (pattern.length > MAX_PATTERN_LENGTH) throw new RegexError(`longer than ${MAX_PATTERN_LENGTH} characters`)
  try {
    return RE2JS.compile(pattern)
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    throw new RegexError(text.replace(/^error parsing regexp: /, ''), { cause: error })
  }
}

/** Why RE2 refuses the pattern, or null when it is fine. */
export function checkRegex(pattern: string): string | null {
  try {
    compileRegex(pattern)
    return null
  } catch (error) {
    if (error instanceof RegexError) return error.message
    throw error
  }
}
