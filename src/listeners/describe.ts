/** What the log says of a request before it is understood, and of one that was cut before its answer was out. */
import { randomUUID } from 'node:crypto'
import { headerValue } from '../core/attributes.ts'
import type { Flag } from '../core/flags.ts'
import { traceIdOf } from '../core/trace-context.ts'
import type { ExchangeRecord } from '../observe/record.ts'
import type { Downstream } from './downstream.ts'

/** Fills the record from the request as received; normalisation replaces path and authority later. */
export function describeRequest(record: ExchangeRecord, downstream: Downstream): void {
  const { headers, method, protocol, target, authorities } = downstream
  const { remoteAddress } = record.connection
  record.method = method
  record.path = target
  record.protocol = protocol
  record.authority = authorities[0] ?? null
  record.requestHeaders = headers
  record.isGrpc = isGrpc(headerValue(headers, 'content-type') ?? '')
  record.requestId = headerValue(headers, 'x-request-id') ?? randomUUID()
  const forwarded = headerValue(headers, 'x-forwarded-for')
  record.xForwardedFor = forwarded === null ? remoteAddress : `${forwarded},${remoteAddress}`
  record.traceId = traceIdOf(headers)
}

const GRPC = 'application/grpc'

/** Also with a format behind `+`; `application/grpc-web` is none: its callers read HTTP (Envoy Grpc::Common::hasGrpcContentType). */
function isGrpc(contentType: string): boolean {
  return contentType.startsWith(GRPC) && (contentType.length === GRPC.length || contentType[GRPC.length] === '+')
}

/** What says that somebody else than the caller ended it. */
const OTHERS: readonly Flag[] = ['UC', 'UR', 'UPE', 'UT', 'LR']

/** Why an exchange ended before its answer was out. True: the caller went away. `cutting`: the drain deadline has passed. */
export function describeCut(record: ExchangeRecord, responded: boolean, cutting: boolean): boolean {
  if (!responded) record.responseCode = 0
  if (record.reason !== null || OTHERS.some((flag) => record.flags.includes(flag))) return false
  if (cutting) {
    record.reason = 'draining'
    record.responseCodeDetails = 'downstream_local_disconnect(drain_deadline)'
    return false
  }
  record.flags.push('DC')
  record.responseCodeDetails = 'downstream_remote_disconnect'
  return true
}
