/**
 * Turns values that callers and sites choose into text that cannot break out of its place in a log line.
 * Header and path strings are one character per wire byte (latin-1), and stay so: two different byte strings never
 * become the same text, so the line shows what was judged. (Decoding valid UTF-8 would merge `C3 A9` with `E9`.)
 */

/**
 * What may not stand in a line as it is: quotes and backslashes, control characters (C0, DEL, C1: newlines, terminal
 * escapes), the line separators U+2028/9, and half surrogate pairs.
 */
const UNSAFE = /["\\\p{Cc}\p{Zl}\p{Zp}\p{Cs}]/u
const UNSAFE_EACH = new RegExp(UNSAFE, 'gu')
/** What `JSON.stringify` leaves as it is although terminals or line readers act on it. */
const JSON_REST = /[\u007f-\u009f\u2028\u2029]/g

function unicodeEscape(char: string): string {
  return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`
}

/** A JSON string literal, quotes included. Half surrogate pairs become U+FFFD: strict readers refuse them even escaped. */
export function jsonString(value: string): string {
  if (!UNSAFE.test(value)) return `"${value}"`
  return JSON.stringify(value.toWellFormed()).replace(JSON_REST, unicodeEscape)
}

function textEscape(char: string): string {
  if (char === '"' || char === '\\') return `\\${char}`
  const code = char.charCodeAt(0)
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : unicodeEscape(char)
}

/**
 * A value inside a TEXT line. Envoy prints it raw, so that a quote or a newline in a header forges fields or lines;
 * we escape it: `\"`, `\\`, `\x0a`.
 */
export function textValue(value: string): string {
  return UNSAFE.test(value) ? value.toWellFormed().replace(UNSAFE_EACH, textEscape) : value
}
