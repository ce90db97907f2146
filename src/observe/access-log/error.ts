/** The one error of access-log formats. */

/** A format that cannot be compiled; the message says where and why, for the bootstrap's diagnostics. */
export class AccessLogFormatError extends Error {
  override readonly name = 'AccessLogFormatError'
}
