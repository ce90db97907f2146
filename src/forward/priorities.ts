/**
 * How much of the load each priority gets (Envoy: load_balancing/priority, overprovisioning, panic_threshold): all of it goes
 * to the first while enough of its endpoints are healthy, the rest spills over to the next.
 */

/** Percent: a level with 1/1.4 of its endpoints healthy still counts as whole. */
const OVERPROVISIONING = 140

export type LevelCount = { readonly healthy: number; readonly total: number }

export type LevelLoad = {
  /** Percent; over all levels 100, or 0 when nothing can be used. */
  readonly load: number
  /** Too few are healthy to insist on it: all endpoints of the level are used. */
  readonly panic: boolean
}

/** `panicPercent`: minHealthPercent; 0: never panic. Levels in order of priority, empty ones included. */
export function shareLoad(levels: readonly LevelCount[], panicPercent: number): readonly LevelLoad[] {
  const available = levels.map(({ healthy, total }) =>
    total === 0 ? 0 : Math.min(100, (OVERPROVISIONING * healthy) / total),
  )
  const sum = Math.min(
    100,
    available.reduce((a, b) => a + b, 0),
  )
  // With enough healthy endpoints somewhere, nobody panics.
  const panics = levels.map(
    ({ healthy, total }) => sum < 100 && panicPercent > 0 && (total === 0 || (100 * healthy) / total < panicPercent),
  )
  if (panics.length > 0 && panics.every(Boolean)) {
    const all = levels.reduce((count, { total }) => count + total, 0)
    return levels.map(({ total }) => ({ load: all === 0 ? 0 : (100 * total) / all, panic: true }))
  }
  let left = 100
  return available.map((health, index) => {
    const load = sum === 0 ? 0 : Math.min(left, (100 * health) / sum)
    left -= load
    return { load, panic: panics[index] === true }
  })
}
