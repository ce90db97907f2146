/** A refusal becomes an answer: status, fields and body of contract §5; gRPC callers get a gRPC status (behaviour §10.2). */
import { type HeaderList, headerValue } from '../core/attributes.ts'
import { REFUSALS, type Refusal, type RefusalRow } from '../core/refusal.ts'
import type { ExchangeRecord } from '../observe/record.ts'
import { replaceFields } from '../runtime/outgoing.ts'
import type { Downstream } from './downstream.ts'

export const SERVER = 'sallyport'
const NO_FIELDS: HeaderList = []

export type LocalReply = {
  readonly status: number
  readonly headers: HeaderList
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

/** Of an answer of our own with this HTTP status. */
function grpcStatusOf(status: number): number {
  return GRPC_STATUS[status] ?? 2
}

/** Longer ones are left out: the limit on what clients take as fields is theirs to set, and low. */
const MAX_MESSAGE = 4096

/** A route's own answer with this status and these fields, to a gRPC caller. `message`: what its body would have been. */
export function asGrpc(
  status: number,
  fields: HeaderList,
  message: string,
): { grpcStatus: number; headers: HeaderList } {
  const grpcStatus = grpcStatusOf(status)
  return { grpcStatus, headers: [...grpcFields(grpcStatus, message), ...withoutContent(fields)] }
}

/** A "trailers-only" answer. `message`: what the body would have been. */
function grpcFields(grpcStatus: number, message: string): string[] {
  const fields = ['content-type', 'application/grpc', 'grpc-status', String(grpcStatus)]
  if (message !== '' && message.length <= MAX_MESSAGE) fields.push('grpc-message', encodeGrpcMessage(message))
  return fields
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
  const more = refusal.headers ?? NO_FIELDS
  if (isGrpc) {
    const grpcStatus = refusal.grpcStatus ?? grpcStatusOf(refusal.status ?? row.status)
    return {
      status: 200,
      headers: [...replaceFields([...grpcFields(grpcStatus, body), ...own], withoutContent(more)), 'server', SERVER],
      body: '',
      close,
      grpcStatus,
    }
  }
  const type = body === '' ? [] : ['content-type', 'text/plain']
  return {
    status: refusal.status ?? row.status,
    headers: [
      ...replaceFields(['content-length', String(Buffer.byteLength(body)), ...type, ...own], more),
      'server',
      SERVER,
    ],
    body,
    close,
    grpcStatus: null,
  }
}

/** Refuses what may have been answered in part already: then the caller's side is reset, so that nobody takes it for whole. */
export function cutShort(
  exchange: { readonly downstream: Downstream; readonly record: ExchangeRecord; refuse(refusal: Refusal): void },
  refusal: Refusal,
): void {
  const { downstream, record } = exchange
  if (!downstream.responded) return exchange.refuse(refusal)
  const row = refusalRow(refusal)
  if (row.flag !== null) record.flags.push(row.flag)
  record.reason = row.reason
  record.responseCodeDetails = refusal.details ?? row.details
  downstream.reset()
}

/**
 * Fields and body of an answer of our own. A route may answer with any status; of some a body, or word of one, would be read
 * as the next answer. Over HTTP/1 all others say how long they are (RFC 9112 §6.3; a gRPC refusal, too, as by Envoy's codec):
 * what says nothing would last until the connection's end, and a cut one look like a whole one.
 */
export function contentOf(
  status: number,
  fields: HeaderList,
  body: string | Buffer,
  overHttp2: boolean,
): readonly [string[], string | Buffer] {
  const bare = status === 204 || status === 205 || status === 304
  const content = bare ? '' : body
  const all = bare ? withoutContent(fields) : [...fields]
  const saysLength = overHttp2 || status === 204 || status === 304 || headerValue(all, 'content-length') !== null
  if (!saysLength) all.push('content-length', String(Buffer.byteLength(content)))
  return [all, content]
}

/** For a status that has no body (RFC 9110 §6.4.1). */
function withoutContent(headers: HeaderList): string[] {
  return headers.filter((_, i) => !CONTENT.has(headers[i - (i % 2)] as string))
}

const CONTENT: ReadonlySet<string> = new Set(['content-length', 'content-type'])

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
