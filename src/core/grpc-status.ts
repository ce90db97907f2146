/** gRPC's status codes (google.rpc.Code): their names, and the HTTP ones they stand for. */

/** By gRPC status, 0–16, as Envoy's outlier detection and the gRPC gateway convention read them. */
const HTTP_STATUS = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401] as const

/** `status`: the value of `grpc-status`. What is no status of gRPC's own is UNKNOWN, 500. */
export function grpcToHttpStatus(status: string): number {
  return (/^(?:\d|1[0-6])$/.test(status) ? HTTP_STATUS[Number(status)] : undefined) ?? 500
}

/** TABLE: the place of a name is its number. Istio's faults name statuses like this. */
const NAMES = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
] as const

/** The number of a name; null when gRPC has no such status. */
export function grpcStatusCode(name: string): number | null {
  const code = (NAMES as readonly string[]).indexOf(name)
  return code === -1 ? null : code
}
