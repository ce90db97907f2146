/** Interim answers (1xx) in front of the final one: how many of them, and which, a reader passes over (RFC 9110 §15.2). */
import { lists } from '../headers.ts'
import type { ResponseHead } from './response-head.ts'

/** A flood of them is no way to hold a connection (threats 7). */
export const MAX_INTERIM = 32

/**
 * Why nothing may be read behind this interim head: readers do not agree about what that would be. null: it may. Whether a
 * 101 was asked for is for the reader to know.
 */
export function interimFault({ minorVersion, fields }: ResponseHead): string | null {
  // HTTP/1.0 knows of none; for Node it ends the connection, for others it is the answer.
  if (minorVersion === 0) return 'interim_response_of_http_1_0'
  // For Node's parser nothing can come behind it, for others the answer does (RFC 9112 §9.6 has it end with that).
  const closes = fields.some(
    (name, i) => i % 2 === 0 && name === 'connection' && lists(fields[i + 1] as string, 'close'),
  )
  return closes ? 'interim_response_closes' : null
}
