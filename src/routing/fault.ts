/** Which of a route's faults a request gets (Envoy fault filter; behaviour §4.5). Pure: randomness is passed in. */
import type { FaultModel } from '../model/route.ts'

/** Wait `delayMs` first, then abort; at least one of the two is set. Of `httpStatus` and `grpcStatus` exactly one is. */
export type ChosenFault = {
  readonly delayMs: number | null
  readonly abort: { readonly httpStatus: number | null; readonly grpcStatus: number | null } | null
}

/** null: none. @param random a fresh number in [0, 1) on each call; delay and abort are drawn apart, as in Envoy */
export function chooseFault(fault: FaultModel | null, random: () => number): ChosenFault | null {
  if (fault === null) return null
  const { delay, abort } = fault
  const delayMs = delay !== null && random() * 100 < delay.percent ? delay.ms : null
  const aborted = abort !== null && random() * 100 < abort.percent ? abort : null
  return delayMs === null && aborted === null ? null : { delayMs, abort: aborted }
}
