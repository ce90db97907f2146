/** What the first bytes of a connection, or of what TLS held, are. Decided from bytes alone. */
import { type ClientHello, ClientHelloReader } from './client-hello.ts'

export type FirstBytes =
  | { readonly kind: 'hello'; readonly hello: Extract<ClientHello, { kind: 'found' }> }
  /** Begins like TLS and is none we can read. */
  | { readonly kind: 'broken'; readonly why: string }
  | { readonly kind: 'h1' | 'h2' }
  /** No TLS; what else it is nobody asks. */
  | { readonly kind: 'bytes' }

/** Given the pieces of a stream in turn; null: more are needed. */
export type FirstBytesReader = (chunk: Buffer) => FirstBytes | null

const H2_PREFACE = Buffer.from('PRI * HTTP/2.0\r\n')

/**
 * TLS by its first byte; else HTTP/2 by its preface (RFC 9113 §3.4); anything else is taken for HTTP/1.1, whose parser is
 * strict. Where only `opaque` bytes are carried the first byte decides: with null there, a ClientHello has begun.
 */
export function firstBytesReader(opaque: boolean): FirstBytesReader {
  const hello = new ClientHelloReader()
  let tls: boolean | null = null
  let matched = 0
  return (chunk) => {
    if (chunk.length === 0) return null
    tls ??= chunk[0] === 0x16
    if (tls) {
      const found = hello.push(chunk)
      if (found.kind === 'incomplete') return null
      return found.kind === 'found' ? { kind: 'hello', hello: found } : { kind: 'broken', why: found.why }
    }
    if (opaque) return { kind: 'bytes' }
    const length = Math.min(chunk.length, H2_PREFACE.length - matched)
    if (chunk.compare(H2_PREFACE, matched, matched + length, 0, length) !== 0) return { kind: 'h1' }
    matched += length
    return matched === H2_PREFACE.length ? { kind: 'h2' } : null
  }
}
