/**
 * TABLE of verification errors, as Node names OpenSSL's (X509_V_ERR_…, `tlsSocket.authorizationError`), to our reason
 * codes. What is not listed is `untrusted_certificate`: an error we do not know is still an error.
 */
import type { Reason } from '../core/reasons.ts'

const VERIFY_ERRORS = {
  CERT_HAS_EXPIRED: { reason: 'expired_certificate', text: 'it has expired' },
  CERT_NOT_YET_VALID: { reason: 'expired_certificate', text: 'it is not yet valid' },
  CERT_REVOKED: { reason: 'revoked_certificate', text: 'it is on the revocation list' },
  INVALID_PURPOSE: {
    reason: 'invalid_svid',
    text: 'its usage does not allow client authentication (extended key usage lacks clientAuth)',
  },
  INVALID_CA: { reason: 'untrusted_certificate', text: 'a certificate of the chain is used as a CA but is none' },
  PATH_LENGTH_EXCEEDED: { reason: 'untrusted_certificate', text: 'the chain is longer than a CA of it allows' },
  CERT_CHAIN_TOO_LONG: { reason: 'untrusted_certificate', text: 'the chain is too long' },
  CERT_SIGNATURE_FAILURE: { reason: 'untrusted_certificate', text: 'a signature of the chain is wrong' },
  CERT_UNTRUSTED: { reason: 'untrusted_certificate', text: 'its root is not trusted for this use' },
  CERT_REJECTED: { reason: 'untrusted_certificate', text: 'its root refuses this use' },
  DEPTH_ZERO_SELF_SIGNED_CERT: { reason: 'untrusted_certificate', text: 'it is self-signed and not in the CA bundle' },
  SELF_SIGNED_CERT_IN_CHAIN: { reason: 'untrusted_certificate', text: 'the root of its chain is not in the CA bundle' },
  UNABLE_TO_GET_ISSUER_CERT: {
    reason: 'untrusted_certificate',
    text: 'an issuer of its chain is not in the CA bundle',
  },
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: {
    reason: 'untrusted_certificate',
    text: 'its issuer is neither in the CA bundle nor among the certificates sent',
  },
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: {
    reason: 'untrusted_certificate',
    text: 'no certificate of the CA bundle vouches for it (another CA?)',
  },
} as const satisfies Record<string, { readonly reason: Reason; readonly text: string }>

/** The row for a code, or the row for codes without one. */
export function verifyError(code: string | null): { readonly reason: Reason; readonly text: string } {
  if (code !== null && Object.hasOwn(VERIFY_ERRORS, code)) return VERIFY_ERRORS[code as keyof typeof VERIFY_ERRORS]
  return { reason: 'untrusted_certificate', text: 'its chain does not verify' }
}
