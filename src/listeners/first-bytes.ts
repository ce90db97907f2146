/** What the first bytes of a connection, or of what TLS held, are. Decided from bytes alone; null: more are needed. */
import { type ClientHello, readClientHello } from './client-hello.ts'

export type FirstBytes =
  | { readonly kind: 'hello'; readonly hello: Extract<ClientHello, { kind: 'found' }> }
  /** Begins like TLS and is none we can read. */
  | { readonly kind: 'broken'; readonly why: string }
  | { readonly kind: 'h1' | 'h2' }

const H2_PREFACE = Buffer.from('PRI * HTTP/2.0\r\n')

/** TLS by its first byte; else HTTP/2 by its preface (RFC 9113 §3.4); anything else is taken for HTTP/1.1, whose parser is strict. */
export function readFirstBytes(bytes: Buffer): FirstBytes | null {
  if (bytes[0] === 0x16) {
    const hello = readClientHello(bytes)
    if (hello.kind === 'incomplete') return null
    return hello.kind === 'found' ? { kind: 'hello', hello } : { kind: 'broken', why: hello.why }
  }
  const length = Math.min(bytes.length, H2_PREFACE.length)
  if (bytes.compare(H2_PREFACE, 0, length, 0, length) !== 0) return { kind: 'h1' }
  return length === H2_PREFACE.length ? { kind: 'h2' } : null
}
