/** A refusal becomes an answer: status, fields and body of contract §5; gRPC callers get a gRPC status (behaviour §10.2). */
import { REFUSALS, type Refusal, type RefusalRow } from '../core/refusal.ts'

export const SERVER = 'sallyport'

export type LocalReply = {
  readonly status: number
  readonly headers: string[]
  readonly body: string
  readonly close: boolean
  /** gRPC status given to a gRPC caller; null for everybody else. */
  readonly grpcStatus: number | null
}

/** HTTP status → gRPC status of a local reply (Envoy Grpc::Utility::httpToGrpcStatus). */
const GRPC_STATUS: Readonly<Record<number, number>> = {
  400: 13,
  401: 16,
  403: 7,
  404: 12,
  429: 14,
  502: 14,
  503: 14,
  504: 14,
}

/** The row of a refusal, as the general type (rows differ in their literal types). */
export function refusalRow(refusal: Refusal): RefusalRow {
  return REFUSALS[refusal.kind]
}

/** What the caller is answered. Headers are flat, lower case, complete but for `date` and framing. */
export function renderRefusal(refusal: Refusal, isGrpc: boolean): LocalReply {
  const row = refusalRow(refusal)
  const body = refusal.body ?? row.body
  const close = row.close === true
  const own = row.reason === null ? [] : ['x-sallyport-reason', row.reason]
  if (row.flag === 'UO') own.push('x-envoy-overloaded', 'true')
  if (isGrpc) {
    const grpcStatus = refusal.grpcStatus ?? GRPC_STATUS[row.status] ?? 2
    const message = body === '' ? [] : ['grpc-message', encodeGrpcMessage(body)]
    return {
      status: 200,
      headers: [
        'content-type',
        'application/grpc',
        'grpc-status',
        String(grpcStatus),
        ...message,
        ...own,
        'server',
        SERVER,
      ],
      body: '',
      close,
      grpcStatus,
    }
  }
  const type = body === '' ? [] : ['content-type', 'text/plain']
  return {
    status: refusal.status ?? row.status,
    headers: ['content-length', String(Buffer.byteLength(body)), ...type, ...own, 'server', SERVER],
    body,
    close,
    grpcStatus: null,
  }
}

/** Percent-encoding of gRPC status messages (gRPC over HTTP/2, Status-Message). */
function encodeGrpcMessage(text: string): string {
  let out = ''
  for (const byte of Buffer.from(text))
    out +=
      byte < 0x20 || byte > 0x7e || byte === 0x25
        ? `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
        : String.fromCharCode(byte)
  return out
}
