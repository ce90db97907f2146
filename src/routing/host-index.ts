/**
 * Lookup of a name among host patterns: exact name, else longest `*.suffix`, else `*` (behaviour §4.3). Used for
 * virtual hosts, for the choice of a server by SNI and for the registry. Built at reload; a lookup allocates only the
 * suffixes it probes.
 */

export type HostIndex<T> = {
  /** `host`: canonical name, without port. The value of the most specific pattern that covers it, or null. */
  readonly find: (host: string) => T | null
}

/** `entries`: canonical pattern and value. Of entries with the same pattern the first counts. */
export function indexHosts<T>(entries: Iterable<readonly [pattern: string, value: T]>): HostIndex<T> {
  const exact = new Map<string, T>()
  const suffixes = new Map<string, T>()
  let everything: { readonly value: T } | null = null
  let longestSuffix = 0
  for (const [pattern, value] of entries) {
    if (pattern === '*') everything ??= { value }
    else if (pattern.startsWith('*.')) {
      const suffix = pattern.slice(2)
      if (!suffixes.has(suffix)) suffixes.set(suffix, value)
      longestSuffix = Math.max(longestSuffix, suffix.length)
    } else if (!exact.has(pattern)) exact.set(pattern, value)
  }
  const fallback = everything
  const find = (host: string): T | null => {
    const hit = exact.get(host)
    if (hit !== undefined) return hit
    // From the left, so the longest suffix comes first; ones longer than any known are not worth hashing.
    for (let dot = host.indexOf('.'); dot !== -1; dot = host.indexOf('.', dot + 1)) {
      if (dot === 0 || host.length - dot - 1 > longestSuffix) continue
      const value = suffixes.get(host.slice(dot + 1))
      if (value !== undefined) return value
    }
    return fallback === null ? null : fallback.value
  }
  return { find }
}
