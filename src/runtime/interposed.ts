/** What a route does to a request before it forwards or answers it: faults, then CORS (Envoy's filters, in Istio's order). */
import type { HeaderList, HttpAttributes } from '../core/attributes.ts'
import { grpcToHttpStatus } from '../core/grpc-status.ts'
import type { Refusal } from '../core/refusal.ts'
import { corsAnswer, corsResponseHeaders } from '../routing/cors.ts'
import { type ChosenFault, chooseFault } from '../routing/fault.ts'
import type { Judgement } from './judge.ts'

/** null: none. @param random a fresh number in [0, 1) on each call */
export function faultOf({ match }: Judgement, random: () => number): ChosenFault | null {
  const fault = match?.route.model.fault ?? null
  return fault === null ? null : chooseFault(fault, random)
}

/** What an aborted caller is answered. */
export function abortRefusal(abort: NonNullable<ChosenFault['abort']>): Refusal {
  const { grpcStatus } = abort
  return { kind: 'fault_abort', status: abortStatus(abort), ...(grpcStatus === null ? {} : { grpcStatus }) }
}

/**
 * For one who does not speak gRPC. Envoy answers 200 where the fault names a gRPC status; that would look like success, so it
 * is the HTTP status that the gRPC one stands for (503 for OK).
 */
export function abortStatus({ httpStatus, grpcStatus }: NonNullable<ChosenFault['abort']>): number {
  if (httpStatus !== null) return httpStatus
  return grpcStatus === null || grpcStatus === 0 ? 503 : grpcToHttpStatus(String(grpcStatus))
}

export type CorsVerdict = {
  /** The answer to a preflight; null: the request goes on. Headers are flat, framing included. */
  readonly answer: { readonly status: number; readonly headers: HeaderList } | null
  /** Fields of whatever it is answered then, in place of others of the same names. */
  readonly fields: HeaderList
}

/** null: the route has no CORS policy. */
export function corsOf({ match }: Judgement, http: HttpAttributes): CorsVerdict | null {
  const cors = match?.route.cors ?? null
  if (cors === null) return null
  const answer = corsAnswer(cors, http)
  if (answer === null) return { answer, fields: corsResponseHeaders(cors, http) }
  return { answer: { status: answer.status, headers: [...answer.headers, 'content-length', '0'] }, fields: [] }
}
