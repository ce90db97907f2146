/**
 * SNI and ALPN from the first bytes of a TLS connection (RFC 8446 §4.1.2, RFC 6066 §3, RFC 7301), without consuming
 * them. Three answers: found, certainly not a ClientHello, need more bytes. A hello of Node 24 is larger than one
 * segment, so "need more" is the normal case on a real network. Never throws.
 */
import { canonicalSni } from '../core/authority.ts'

export type ClientHello =
  | {
      readonly kind: 'found' /** canonical; null: none sent */
      readonly sni: string | null
      readonly alpn: readonly string[]
    }
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'invalid'; readonly why: string }

const INCOMPLETE: ClientHello = { kind: 'incomplete' }
const invalid = (why: string): ClientHello => ({ kind: 'invalid', why })

/** Bytes a hello may need at most; anything larger is refused (threat 33). */
export const MAX_CLIENT_HELLO = 65536

/** Reassembles the handshake message from TLS records, then reads it. `bytes` is everything received so far. */
export function readClientHello(bytes: Buffer): ClientHello {
  const parts: Buffer[] = []
  let length = 0
  let wanted = -1
  let offset = 0
  while (wanted < 0 || length < wanted) {
    if (bytes.length < offset + 1) return INCOMPLETE
    if (bytes[offset] !== 0x16) return invalid('not a TLS handshake record')
    if (bytes.length < offset + 5) return INCOMPLETE
    if (bytes[offset + 1] !== 3) return invalid('unknown record version')
    const size = bytes.readUInt16BE(offset + 3)
    if (size === 0 || size > 16384 + 256) return invalid('record length out of range')
    const end = Math.min(bytes.length, offset + 5 + size)
    parts.push(bytes.subarray(offset + 5, end))
    length += end - offset - 5
    if (wanted < 0 && length >= 4) {
      const head = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)
      if (head[0] !== 1) return invalid('not a ClientHello')
      wanted = 4 + head.readUIntBE(1, 3)
      if (wanted > MAX_CLIENT_HELLO) return invalid('ClientHello too large')
    }
    offset += 5 + size
    if (bytes.length < offset && (wanted < 0 || length < wanted)) return INCOMPLETE
  }
  return readBody((parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)).subarray(4, wanted))
}

/** A cursor that answers null instead of reading past its end. */
class Cursor {
  readonly #bytes: Buffer
  #at = 0
  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }
  get left(): number {
    return this.#bytes.length - this.#at
  }
  take(count: number): Buffer | null {
    if (this.left < count) return null
    this.#at += count
    return this.#bytes.subarray(this.#at - count, this.#at)
  }
  uint(size: 1 | 2): number | null {
    return this.take(size)?.readUIntBE(0, size) ?? null
  }
  /** A vector whose length stands before it in `size` bytes. */
  vector(size: 1 | 2): Buffer | null {
    const length = this.uint(size)
    return length === null ? null : this.take(length)
  }
}

function readBody(body: Buffer): ClientHello {
  const hello = new Cursor(body)
  if (hello.take(34) === null) return invalid('truncated ClientHello')
  if (hello.vector(1) === null || hello.vector(2) === null || hello.vector(1) === null)
    return invalid('truncated ClientHello')
  if (hello.left === 0) return { kind: 'found', sni: null, alpn: [] }
  const block = hello.vector(2)
  if (block === null || hello.left !== 0) return invalid('malformed extensions')
  const extensions = new Cursor(block)
  let sni: string | null = null
  let alpn: readonly string[] = []
  let seenSni = false
  while (extensions.left > 0) {
    const type = extensions.uint(2)
    const data = extensions.vector(2)
    if (type === null || data === null) return invalid('malformed extensions')
    if (type === 0) {
      if (seenSni) return invalid('two server_name extensions')
      seenSni = true
      const name = readServerName(data)
      if (name === undefined) return invalid('malformed server_name')
      sni = name
    } else if (type === 16) {
      const list = readAlpn(data)
      if (list === null) return invalid('malformed ALPN')
      alpn = list
    }
  }
  return { kind: 'found', sni, alpn }
}

/** Exactly one host_name entry; its canonical form. undefined: refuse. */
function readServerName(data: Buffer): string | null | undefined {
  const list = new Cursor(data).vector(2)
  if (list === null || list.length !== data.length - 2) return undefined
  const entries = new Cursor(list)
  const type = entries.uint(1)
  const name = entries.vector(2)
  if (type !== 0 || name === null || entries.left !== 0) return undefined
  return canonicalSni(name.toString('latin1')) ?? undefined
}

function readAlpn(data: Buffer): readonly string[] | null {
  const list = new Cursor(data).vector(2)
  if (list === null || list.length !== data.length - 2) return null
  const names = new Cursor(list)
  const protocols: string[] = []
  while (names.left > 0) {
    const name = names.vector(1)
    if (name === null || name.length === 0) return null
    protocols.push(name.toString('latin1'))
  }
  return protocols
}
