/** "Did you mean": the known word closest to a misspelt one. */

/**
 * The candidate within an edit distance (insert, delete, replace, swap neighbours) of one third of its length, at least 1; null when
 * none is that close. Letter case counts as half an edit, so `Selector` finds `selector` first. `most` lowers the limit where
 * words are long and alike (PeerAuthentication is no misspelt RequestAuthentication).
 */
export function nearest(
  word: string,
  candidates: Iterable<string>,
  most: number = Number.POSITIVE_INFINITY,
): string | null {
  let best: string | null = null
  let bestDistance = Number.POSITIVE_INFINITY
  for (const candidate of candidates) {
    const limit = Math.min(most, Math.max(1, Math.floor(candidate.length / 3)))
    if (Math.abs(candidate.length - word.length) > limit) continue
    const exact = editDistance(word, candidate)
    const folded = editDistance(word.toLowerCase(), candidate.toLowerCase()) + 0.5
    const distance = Math.min(exact, folded)
    if (distance <= limit && distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** Optimal string alignment distance; callers bound the lengths. */
function editDistance(a: string, b: string): number {
  let before: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let value = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        value = Math.min(value, (before[j - 2] ?? 0) + 1)
      }
      row.push(value)
    }
    before = last
    last = row
  }
  return last[b.length] ?? 0
}
