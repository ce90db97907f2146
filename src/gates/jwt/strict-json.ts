/** JSON in which a name stands once: two readers of `{"sub":"a","sub":"b"}` may see two different tokens (RFC 8725 §2.4). */

/** Deeper than claims are; whoever writes more means mischief. */
const MAX_DEPTH = 32

/** The object; null: no JSON, no object, a name twice, too deep, or not UTF-8. */
export function parseStrictObject(bytes: Uint8Array): Readonly<Record<string, unknown>> | null {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return null
    return isPlain(text) ? (value as Readonly<Record<string, unknown>>) : null
  } catch {
    return null
  }
}

/** Of a text that is JSON: names unique within their object, and not too deep. */
function isPlain(text: string): boolean {
  /** The names seen in each open object; null for an open list. */
  const open: (Set<string> | null)[] = []
  for (let i = 0; i < text.length; i += 1) {
    const char = text[i]
    if (char === '{' || char === '[') {
      open.push(char === '{' ? new Set() : null)
      if (open.length > MAX_DEPTH) return false
    } else if (char === '}' || char === ']') open.pop()
    else if (char === '"') {
      const end = endOfString(text, i)
      const names = open.at(-1) ?? null
      if (names !== null && isFollowedByColon(text, end)) {
        const name: unknown = JSON.parse(text.slice(i, end))
        if (typeof name !== 'string' || names.has(name)) return false
        names.add(name)
      }
      i = end - 1
    }
  }
  return true
}

/** Just behind the closing quote. */
function endOfString(text: string, start: number): number {
  let i = start + 1
  while (text[i] !== '"') i += text[i] === '\\' ? 2 : 1
  return i + 1
}

function isFollowedByColon(text: string, from: number): boolean {
  let i = from
  while (text[i] === ' ' || text[i] === '\t' || text[i] === '\n' || text[i] === '\r') i += 1
  return text[i] === ':'
}
