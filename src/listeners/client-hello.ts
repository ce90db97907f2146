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
      /** An encrypted ClientHello is inside: the name that shows is not the name that counts. */
      readonly ech?: true
    }
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'invalid'; readonly why: string }

const INCOMPLETE: ClientHello = { kind: 'incomplete' }
const invalid = (why: string): ClientHello => ({ kind: 'invalid', why })

/** RFC 9849, `encrypted_client_hello`; also what browsers send as GREASE, which cannot be told from the real thing. */
const ENCRYPTED_CLIENT_HELLO = 0xfe0d

/** Bytes a hello may need at most; anything larger is refused (threat 33). */
export const MAX_CLIENT_HELLO = 65536

/** What `bytes`, everything received so far, are. */
export function readClientHello(bytes: Buffer): ClientHello {
  return new ClientHelloReader().push(bytes)
}

/** RFC 8446 §5.1, and what TLS 1.2 allowed beyond it (RFC 5246 §6.2.3). */
const MAX_RECORD = 16384 + 256

/**
 * Reassembles the handshake message from TLS records as they come, then reads it. Every byte is looked at once: a caller
 * that sends a hello byte by byte, or in records of one byte, costs no more than its bytes.
 */
export class ClientHelloReader {
  #message = Buffer.allocUnsafe(2048)
  #length = 0
  /** Of the whole message with its header; -1: not known yet. */
  #wanted = -1
  readonly #head = Buffer.alloc(5)
  #headLength = 0
  /** Payload of the present record still to come; 0: a record header is next. */
  #left = 0
  #answer: ClientHello = INCOMPLETE

  /** The next bytes. Once it is anything but `incomplete`, the answer stays. */
  push(chunk: Buffer): ClientHello {
    let at = 0
    while (this.#answer === INCOMPLETE && at < chunk.length)
      at = this.#left === 0 ? this.#readHead(chunk, at) : this.#readPayload(chunk, at)
    return this.#answer
  }

  #readHead(chunk: Buffer, at: number): number {
    const head = this.#head
    const taken = chunk.copy(head, this.#headLength, at, at + 5 - this.#headLength)
    this.#headLength += taken
    if (head[0] !== 0x16) this.#answer = invalid('not a TLS handshake record')
    else if (this.#headLength === 5) {
      this.#headLength = 0
      this.#left = head.readUInt16BE(3)
      if (head[1] !== 3) this.#answer = invalid('unknown record version')
      else if (this.#left === 0 || this.#left > MAX_RECORD) this.#answer = invalid('record length out of range')
    }
    return at + taken
  }

  #readPayload(chunk: Buffer, at: number): number {
    // What follows the message in its last record is not ours to read.
    const room = (this.#wanted < 0 ? 4 : this.#wanted) - this.#length
    const taken = Math.min(this.#left, chunk.length - at, room)
    this.#grow(this.#length + taken)
    chunk.copy(this.#message, this.#length, at, at + taken)
    this.#length += taken
    this.#left -= taken
    if (this.#wanted < 0 && this.#length === 4) {
      this.#wanted = 4 + this.#message.readUIntBE(1, 3)
      if (this.#message[0] !== 1) this.#answer = invalid('not a ClientHello')
      else if (this.#wanted > MAX_CLIENT_HELLO) this.#answer = invalid('ClientHello too large')
    }
    if (this.#answer === INCOMPLETE && this.#length === this.#wanted)
      this.#answer = readBody(this.#message.subarray(4, this.#wanted))
    return at + taken
  }

  /** Grows with what has arrived, never with what a length field promises. */
  #grow(size: number): void {
    if (size <= this.#message.length) return
    const larger = Buffer.allocUnsafe(Math.max(size, this.#message.length * 2))
    this.#message.copy(larger, 0, 0, this.#length)
    this.#message = larger
  }
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
  let ech = false
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
    } else if (type === ENCRYPTED_CLIENT_HELLO) {
      ech = true
    } else if (type === 16) {
      const list = readAlpn(data)
      if (list === null) return invalid('malformed ALPN')
      alpn = list
    }
  }
  return ech ? { kind: 'found', sni, alpn, ech } : { kind: 'found', sni, alpn }
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
