/** The bytes of HTTP/1.1 heads (RFC 9112, RFC 9110 §5): where a head ends, and why one is refused. */

/** Why a head is refused; goes into `response_code_details`. */
export type HeadFault =
  | 'INVALID_METHOD'
  | 'INVALID_TARGET'
  | 'INVALID_VERSION'
  | 'INVALID_STATUS'
  | 'INVALID_LINE_END'
  | 'INVALID_FIELD_NAME'
  | 'INVALID_FIELD_VALUE'
  | 'OBSOLETE_LINE_FOLDING'
  | 'TOO_MANY_FIELDS'

/** A type alone: `core` makes no buffers. */
export type Bytes = Buffer

export const CR = 13
export const LF = 10
export const SP = 32
export const HTAB = 9
export const COLON = 58

/** RFC 9110 §5.6.2 tchar: the byte's lower-case form; 0: not allowed. */
export const TOKEN = new Uint8Array(256)
for (const char of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") TOKEN[char.charCodeAt(0)] = char.charCodeAt(0)
for (const char of 'ABCDEFGHIJKLMNOPQRSTUVWXYZ') TOKEN[char.charCodeAt(0)] = char.charCodeAt(0) + 32

/**
 * Index behind the first empty line that begins at or after `from`; -1: not there yet. Never looks behind `end`, where
 * somebody else's bytes may be.
 */
export function headEnd(buffer: Bytes, from: number, end: number): number {
  // By the last byte of CR LF CR LF: one that is none of them rules out the three places behind it, too.
  let at = from + 3
  while (at < end) {
    const byte = buffer[at] as number
    if (byte > CR) at += 4
    else if (byte !== LF) at += 1
    else if (buffer[at - 1] === CR && buffer[at - 2] === LF && buffer[at - 3] === CR) return at + 1
    else at += 2
  }
  return -1
}

/** True when an incomplete head already holds a line end that cannot become CRLF: no reason to wait for the rest. */
export function hasBareLineEnd(buffer: Bytes, from: number, end: number): boolean {
  for (let at = from; at < end; at++) {
    const byte = buffer[at]
    if (byte === LF && (at === from || buffer[at - 1] !== CR)) return true
    if (byte === CR && at + 1 < end && buffer[at + 1] !== LF) return true
  }
  return false
}
