/**
 * A compact JWT (RFC 7519, RFC 7515 §3.1) taken apart, strictly: what two readers could read differently is refused (RFC
 * 8725). Nothing here is to be trusted yet; the signature is looked at in verify.ts.
 */
import { FAULTS, type Fault } from './status.ts'
import { parseStrictObject } from './strict-json.ts'

export type ParsedToken = {
  readonly text: string
  readonly alg: string
  readonly kid: string | null
  /** Base64url, as it came. */
  readonly payload: string
  readonly claims: Readonly<Record<string, unknown>>
  readonly audiences: readonly string[]
  /** Seconds since the epoch; `expires: null`: it never does. */
  readonly notBefore: number
  readonly expires: number | null
}

/** Longer ones are refused before anything is decoded. */
const MAX_LENGTH = 16_384

/**
 * TABLE of algorithms and the keys they go with (RFC 7518 §3.1, RFC 8037 §3.1). Symmetric ones are not in it: a key that is
 * published could then be used to sign (RFC 8725 §2.1).
 */
export const ALGORITHMS: Readonly<Record<string, { readonly kty: string; readonly crv: string | null }>> = {
  RS256: { kty: 'RSA', crv: null },
  RS384: { kty: 'RSA', crv: null },
  RS512: { kty: 'RSA', crv: null },
  PS256: { kty: 'RSA', crv: null },
  PS384: { kty: 'RSA', crv: null },
  PS512: { kty: 'RSA', crv: null },
  ES256: { kty: 'EC', crv: 'P-256' },
  ES384: { kty: 'EC', crv: 'P-384' },
  ES512: { kty: 'EC', crv: 'P-521' },
  EdDSA: { kty: 'OKP', crv: 'Ed25519' },
}

export function parseToken(text: string): ParsedToken | Fault {
  const parts = text.length > MAX_LENGTH ? [] : text.split('.')
  const [head = '', payload = '', signature = ''] = parts
  if (parts.length !== 3 || head === '' || payload === '' || signature === '') return FAULTS.badFormat
  const headBytes = decode(head)
  if (headBytes === null) return FAULTS.headerBase64
  const header = parseStrictObject(headBytes)
  if (header === null) return FAULTS.headerJson
  const { alg, kid } = header
  if (typeof alg !== 'string') return FAULTS.headerAlg
  if (!Object.hasOwn(ALGORITHMS, alg)) return FAULTS.algNotSupported
  if (kid !== undefined && typeof kid !== 'string') return FAULTS.headerKid
  // No extension is understood here, and what is marked critical must be (RFC 7515 §4.1.11); `b64` changes what is signed.
  if (Object.hasOwn(header, 'crit') || Object.hasOwn(header, 'b64')) return FAULTS.verificationFails
  const payloadBytes = decode(payload)
  if (payloadBytes === null) return FAULTS.payloadBase64
  const claims = parseStrictObject(payloadBytes)
  if (claims === null) return FAULTS.payloadJson
  if (decode(signature) === null) return FAULTS.signatureBase64
  return readClaims({ text, alg, kid: kid === undefined || kid === '' ? null : kid, payload, claims })
}

type Undated = Omit<ParsedToken, 'audiences' | 'notBefore' | 'expires'>

function readClaims(token: Undated): ParsedToken | Fault {
  const { iss, sub, jti, iat, nbf, exp, aud } = token.claims
  if (iss !== undefined && typeof iss !== 'string') return FAULTS.issNotString
  if (sub !== undefined && typeof sub !== 'string') return FAULTS.subNotString
  const wrongTime =
    timeFault(iat, FAULTS.iatNotInteger, FAULTS.iatRange) ??
    timeFault(nbf, FAULTS.nbfNotInteger, FAULTS.nbfRange) ??
    timeFault(exp, FAULTS.expNotInteger, FAULTS.expRange)
  if (wrongTime !== null) return wrongTime
  if (jti !== undefined && typeof jti !== 'string') return FAULTS.jtiNotString
  const audiences: readonly unknown[] = aud === undefined ? [] : Array.isArray(aud) ? aud : [aud]
  if (!areStrings(audiences)) return FAULTS.audNotString
  return {
    ...token,
    audiences,
    notBefore: typeof nbf === 'number' ? nbf : 0,
    // Envoy takes `exp: 0` for none; here it is what it says.
    expires: typeof exp === 'number' ? exp : null,
  }
}

function timeFault(value: unknown, notInteger: Fault, range: Fault): Fault | null {
  if (value === undefined) return null
  if (typeof value !== 'number' || !Number.isInteger(value)) return notInteger
  return value < 0 || !Number.isSafeInteger(value) ? range : null
}

function areStrings(list: readonly unknown[]): list is readonly string[] {
  return list.every((each) => typeof each === 'string')
}

/** Base64url in its one spelling: no padding, no other characters, no bits left over. */
function decode(text: string): Buffer | null {
  if (!/^[A-Za-z0-9_-]+$/.test(text)) return null
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : null
}
