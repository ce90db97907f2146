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
  if (pattern === '') throw new RegexError('the pattern is empty')
  if (pattern.length > MAX_PATTERN_LENGTH) throw new RegexError(`longer than ${MAX_PATTERN_LENGTH} characters`)
  let compiled: RE2JS
  try {
    compiled = RE2JS.compile(pattern)
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    throw new RegexError(text.replace(/^error parsing regexp: /, ''), { cause: error })
  }
  return { matches: (text) => compiled.testExact(text) }
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
