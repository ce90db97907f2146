/** Diagnostic rows SP82xx: tokens (RequestAuthentication). Numbers are never reused. */
import type { DiagnosticRow } from '../diagnostics.ts'

export const TOKEN_CODES = {
  SP8200: {
    severity: 'error',
    title: 'Invalid JWT rule',
    explanation:
      'A value of a RequestAuthentication is not allowed here; the message says what is. Output headers must be fields that reach the destination and that nothing else needs (no framing, forwarding or mesh fields, none that a token is read from), each named once.',
  },
  SP8201: {
    severity: 'error',
    title: 'Unreadable jwks',
    explanation:
      '`jwks` is a JSON Web Key Set (RFC 7517) as a string: an object with a list `keys`, public halves only. As a warning: a key of it can verify nothing here (symmetric, for encryption, RSA below 2048 bits, an unknown curve), or no key is left and every token of this rule is refused.',
  },
  SP8202: {
    severity: 'warning',
    title: 'Condition on a token that nobody verifies',
    explanation:
      'A policy that applies to this gateway asks about tokens (requestPrincipals, request.auth.*), but no RequestAuthentication does. So no request has a principal or claims: what permits never matches; a DENY by notRequestPrincipals or notValues matches every request.',
  },
  SP8203: {
    severity: 'warning',
    title: 'Keys fetched in plain text',
    explanation:
      'The keys that tokens are verified with come over plain HTTP: whoever can answer in the place of that server can sign tokens. Use https, or write the keys down with jwks.',
  },
  SP8204: {
    severity: 'warning',
    title: 'JWT rule for any issuer',
    explanation:
      'As in Istio, a rule without issuer takes tokens of any issuer that its keys have signed. The issuer is part of the request principal, so whoever signs may claim the name of another. Write the issuer.',
  },
  SP8205: {
    severity: 'warning',
    title: 'jwks and jwksUri in one rule',
    explanation: 'As in Istio, jwks is used and jwksUri is not looked at. Leave one of them out.',
  },
  SP8206: {
    severity: 'warning',
    title: 'Request principal of an unknown issuer',
    explanation:
      'A policy names a principal whose issuer is in no rule of a RequestAuthentication that applies to this gateway, so no request can have it: a slip of the pen, or a rule that is missing. Issuers are compared letter by letter, a last slash included.',
  },
} as const satisfies Record<string, DiagnosticRow>
