/**
 * Turns errors of sockets, TLS and parsers into what callers and logs see: the rows of core/refusal.ts with Envoy's
 * texts (behaviour §8.6, §10.3). OpenSSL's words replace BoringSSL's; the `TLS_error:` prefix stays, so greps work.
 */
import { REFUSALS, type RefusalKind } from '../core/refusal.ts'
import type { UpstreamFailure } from './forwarder.ts'

/** strerror(3) as Envoy prints it. */
const ERRNO_TEXT: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'Connection refused',
  ECONNRESET: 'Connection reset by peer',
  EHOSTUNREACH: 'No route to host',
  ENETUNREACH: 'Network is unreachable',
  ETIMEDOUT: 'Connection timed out',
  EADDRNOTAVAIL: 'Cannot assign requested address',
  EACCES: 'Permission denied',
  EPERM: 'Operation not permitted',
  EMFILE: 'Too many open files',
  ENFILE: 'Too many open files in system',
  EINVAL: 'Invalid argument',
  EPIPE: 'Broken pipe',
}

/** How a TLS handshake failed, for the `ssl.*` counters. */
export type TlsFault = 'chain' | 'name' | 'other'

/** Codes of X509_verify_cert (crypto(3)), as `node:tls` reports them. */
const CHAIN_ERRORS: ReadonlySet<string> = new Set([
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_CRL',
  'UNABLE_TO_DECRYPT_CERT_SIGNATURE',
  'UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY',
  'CERT_SIGNATURE_FAILURE',
  'CERT_NOT_YET_VALID',
  'CERT_HAS_EXPIRED',
  'ERROR_IN_CERT_NOT_BEFORE_FIELD',
  'ERROR_IN_CERT_NOT_AFTER_FIELD',
  'OUT_OF_MEM',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'CERT_CHAIN_TOO_LONG',
  'CERT_REVOKED',
  'UNABLE_TO_GET_CRL_ISSUER',
  'UNABLE_TO_DECRYPT_CRL_SIGNATURE',
  'CRL_SIGNATURE_FAILURE',
  'CRL_NOT_YET_VALID',
  'CRL_HAS_EXPIRED',
  'INVALID_CA',
  'PATH_LENGTH_EXCEEDED',
  'INVALID_PURPOSE',
  'CERT_UNTRUSTED',
  'CERT_REJECTED',
  'HOSTNAME_MISMATCH',
  'UNSPECIFIED',
])

export function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'UNKNOWN'
}

/** A name or an address could not be connected to: TCP refused, unreachable, reset before the handshake. */
export function connectFailure(code: string): UpstreamFailure {
  return failure('connect_failure', `delayed connect error: ${ERRNO_TEXT[code] ?? code}`, true)
}

/** TCP was there, TLS was not: an alert, a bad certificate, plain text instead of TLS. */
export function tlsFailure(code: string): UpstreamFailure {
  const word = tlsFault(code) === 'other' ? code.replace(/^ERR_(?:SSL|TLS)_/, '') : `CERTIFICATE_VERIFY_FAILED:${code}`
  return failure('connect_failure', `TLS_error:SSL routines:${word}:TLS_error_end`, true)
}

/** The proxy that a tunnel leads through did not open it: its status, or what is wrong with its answer. */
export function tunnelFailure(why: string): UpstreamFailure {
  return failure('connect_failure', `tunnel refused: ${why}`, true)
}

export function tlsFault(code: string): TlsFault {
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return 'name'
  return CHAIN_ERRORS.has(code) ? 'chain' : 'other'
}

/** True for errors that only TLS raises, such as an alert that arrives after a TLS 1.3 handshake looked complete. */
export function isTlsError(code: string): boolean {
  return code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_') || CHAIN_ERRORS.has(code)
}

export const CONNECT_TIMEOUT: UpstreamFailure = plain('connect_timeout')
export const UPSTREAM_CLOSED: UpstreamFailure = plain('upstream_closed')
/** One HTTP/2 stream was reset by the other side. */
export const UPSTREAM_RESET: UpstreamFailure = plain('upstream_reset')
/** A circuit breaker of the cluster is open (breakers.ts). */
export const UPSTREAM_OVERFLOW: UpstreamFailure = plain('upstream_overflow')
export const NO_HEALTHY_UPSTREAM: UpstreamFailure = plain('no_healthy_upstream')
export const DNS_FAILURE: UpstreamFailure = plain('dns_failure')

/** The upstream's bytes are not the HTTP/1.1 response they should be. `why`: the parser's code or our own word. */
export function protocolFailure(why: string): UpstreamFailure {
  return failure('upstream_protocol', why, false)
}

/** Every candidate was refused by the address guard; `denial` is a word of address-guard.ts. */
export function addressDenied(denial: string): UpstreamFailure {
  return { kind: 'address_denied', details: `address_denied{${denial}}`, body: null, transportFailure: null }
}

/** The request cannot be carried as it is (the caller should have refused it). */
export function uncarriable(): UpstreamFailure {
  return plain('bad_headers')
}

function plain(kind: RefusalKind): UpstreamFailure {
  return { kind, details: null, body: null, transportFailure: null }
}

/** The row's texts with a reason inside the braces and, when the transport failed, at the end of the body. */
function failure(kind: 'connect_failure' | 'upstream_protocol', reason: string, transport: boolean): UpstreamFailure {
  const row = REFUSALS[kind]
  return {
    kind,
    details: `${row.details.slice(0, -1)}|${reason.replaceAll(' ', '_')}}`,
    body: transport ? `${row.body}, transport failure reason: ${reason}` : null,
    transportFailure: transport ? reason : null,
  }
}
