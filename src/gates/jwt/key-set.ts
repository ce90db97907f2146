/** A JSON Web Key Set (RFC 7517) as keys that can verify, and which of them may have signed a token. */
import { createPublicKey, type JsonWebKeyInput, type KeyObject } from 'node:crypto'
import { ALGORITHMS } from './token.ts'

export type VerificationKey = {
  readonly kid: string | null
  /** The only algorithm it is for; null: any of its type. */
  readonly alg: string | null
  readonly kty: string
  readonly crv: string | null
  readonly key: KeyObject
}

/** Its identity matters: what a set has verified holds as long as that set is the one in use. */
export type KeySet = { readonly keys: readonly VerificationKey[]; readonly text: string }

/** Of one set; a token without `kid` is tried with all of them. */
const MAX_KEYS = 64
/** RFC 7518 §3.3. */
const MIN_RSA_BITS = 2048
/** An exponent of 1 would make every text its own signature. */
const MIN_RSA_EXPONENT = 3n

/** Keys that are not for this are left out. @throws Error when it is no key set, or none of its keys can verify */
export function parseKeySet(text: string): KeySet {
  const parsed: unknown = JSON.parse(text)
  const list =
    typeof parsed === 'object' && parsed !== null ? (parsed as Readonly<Record<string, unknown>>)['keys'] : undefined
  if (!Array.isArray(list)) throw new Error('it has no list `keys`')
  const keys = list.slice(0, MAX_KEYS).flatMap((each: unknown) => readKey(each) ?? [])
  if (keys.length === 0) throw new Error('none of its keys can verify')
  return { keys, text }
}

function readKey(value: unknown): VerificationKey | null {
  if (typeof value !== 'object' || value === null) return null
  const { kty, crv, alg, use, kid, key_ops: operations } = value as Readonly<Record<string, unknown>>
  if (typeof kty !== 'string' || (use !== undefined && use !== 'sig')) return null
  if (Array.isArray(operations) && !operations.includes('verify')) return null
  if ((alg !== undefined && typeof alg !== 'string') || (kid !== undefined && typeof kid !== 'string')) return null
  const curve = kty === 'RSA' ? null : crv
  const fits = Object.values(ALGORITHMS).some((row) => row.kty === kty && row.crv === curve)
  if (!fits || (curve !== null && typeof curve !== 'string')) return null
  const key = publicKey(value as JsonWebKeyInput['key'])
  return key === null ? null : { kid: kid ?? null, alg: alg ?? null, kty, crv: curve, key }
}

function publicKey(jwk: JsonWebKeyInput['key']): KeyObject | null {
  try {
    const key = createPublicKey({ key: jwk, format: 'jwk' })
    const { modulusLength, publicExponent } = key.asymmetricKeyDetails ?? {}
    if (modulusLength !== undefined && modulusLength < MIN_RSA_BITS) return null
    return publicExponent !== undefined && publicExponent < MIN_RSA_EXPONENT ? null : key
  } catch {
    return null
  }
}

/**
 * The keys a token may have been signed with: of the type that its algorithm needs, and of the same name where both have
 * one. What the token says never makes a key something it is not (RFC 8725 §2.1, key confusion).
 */
export function keysFor(
  { keys }: KeySet,
  token: { readonly alg: string; readonly kid: string | null },
): readonly VerificationKey[] {
  const needs = ALGORITHMS[token.alg]
  return keys.filter(
    ({ kid, alg, kty, crv }) =>
      kty === needs?.kty &&
      crv === needs.crv &&
      (alg === null || alg === token.alg) &&
      (kid === null || token.kid === null || kid === token.kid),
  )
}
