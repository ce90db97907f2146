/** `fault` of a VirtualService rule → FaultModel (behaviour §4.5; Istio TranslateFault). */
import { grpcStatusCode } from '../core/grpc-status.ts'
import type { FaultModel } from '../model/route.ts'
import type { HttpRule } from './kinds/virtual-service-schema.ts'

type FaultSpec = NonNullable<HttpRule['fault']>

/** null: nothing is ever injected. A percentage that is not written is 0, for delays the deprecated `percent` counts. */
export function lowerFault(fault: FaultSpec | undefined): FaultModel | null {
  if (fault === undefined) return null
  const delay = lowerDelay(fault.delay)
  const abort = lowerAbort(fault.abort)
  return delay === null && abort === null ? null : { delay, abort }
}

function lowerDelay(delay: FaultSpec['delay']): FaultModel['delay'] {
  const ms = delay?.fixedDelay ?? 0
  const percent = percentOf(delay?.percentage) ?? delay?.percent ?? 0
  return ms === 0 || percent === 0 ? null : { ms, percent }
}

function lowerAbort(abort: FaultSpec['abort']): FaultModel['abort'] {
  if (abort === undefined) return null
  const percent = percentOf(abort.percentage) ?? 0
  const grpcStatus = abort.httpStatus === undefined ? grpcStatusCode(abort.grpcStatus ?? '') : null
  if (percent === 0 || (abort.httpStatus === undefined && grpcStatus === null)) return null
  return { httpStatus: abort.httpStatus ?? null, grpcStatus, percent }
}

/** `percentage: {}` is 0, as in protobuf. */
function percentOf(percentage: { readonly value?: number | undefined } | undefined): number | null {
  return percentage === undefined ? null : (percentage.value ?? 0)
}
