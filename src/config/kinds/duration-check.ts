/** Istio's rule for durations, shared by the checks of several blocks. */

/** Reports a wrong value at a path below the block that is checked. */
export type Wrong = (path: readonly (string | number)[], message: string, fix?: string) => void

/** `ValidateDuration`: one millisecond or more, and no part of one. Milliseconds. */
export function checkDuration(value: number | undefined, path: readonly (string | number)[], wrong: Wrong): void {
  if (value === undefined || (value >= 1 && Number.isInteger(value))) return
  wrong(path, `${String(path.at(-1))} must be 1ms or more, in whole milliseconds`)
}
