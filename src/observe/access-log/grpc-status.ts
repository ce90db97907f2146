/** `%GRPC_STATUS(…)%`: names of the gRPC status codes (grpc.io, status codes). */
import type { ExchangeRecord } from '../record.ts'
import { AccessLogFormatError } from './error.ts'

const CAMEL = [
  'OK',
  'Canceled',
  'Unknown',
  'InvalidArgument',
  'DeadlineExceeded',
  'NotFound',
  'AlreadyExists',
  'PermissionDenied',
  'ResourceExhausted',
  'FailedPrecondition',
  'Aborted',
  'OutOfRange',
  'Unimplemented',
  'Internal',
  'Unavailable',
  'DataLoss',
  'Unauthenticated',
] as const

const snake = (name: string) => name.replace(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase()

/** Reader for one style; an unnamed code prints as its number. Throws AccessLogFormatError for an unknown style. */
export function grpcStatusReader(style: string): (record: ExchangeRecord) => string | number | null {
  if (style === 'NUMBER') return (record) => record.grpcStatus
  if (style !== '' && style !== 'CAMEL_STRING' && style !== 'SNAKE_STRING') {
    throw new AccessLogFormatError(`GRPC_STATUS(${style}): write CAMEL_STRING, SNAKE_STRING or NUMBER`)
  }
  const names: readonly string[] = style === 'SNAKE_STRING' ? CAMEL.map(snake) : CAMEL
  return (record) => {
    const code = record.grpcStatus
    return code === null ? null : (names[code] ?? String(code))
  }
}
