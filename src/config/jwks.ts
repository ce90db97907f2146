/** What an inline JSON Web Key Set (RFC 7517) is good for, told before it is used. The keys themselves are made in src/gates/jwt. */
import { createPublicKey, type JsonWebKeyInput } from 'node:crypto'

export type JwksProblems = {
  readonly usable: number
  readonly unusable: readonly { readonly index: number; readonly why: string }[]
  /** Those that could sign. */
  readonly secret: readonly number[]
}

const CURVES: readonly unknown[] = ['P-256', 'P-384', 'P-521']

/** RFC 7518 §3.3. */
const MIN_RSA_BITS = 2048

/** What is wrong with each key; a string: what is wrong with the whole. */
export function jwksProblems(text: string): JwksProblems | string {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    return 'it is not JSON'
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return 'it is not an object'
  const { keys } = parsed as Readonly<Record<string, unknown>>
  if (!Array.isArray(keys)) return 'it has no list `keys`'
  const why = keys.map((key: unknown) => keyProblem(key))
  return {
    usable: why.filter((each) => each === null).length,
    secret: keys.flatMap((key: unknown, index) =>
      typeof key === 'object' && key !== null && Object.hasOwn(key, 'd') ? [index] : [],
    ),
    unusable: why.flatMap((each, index) => (each === null ? [] : [{ index, why: each }])),
  }
}

function keyProblem(key: unknown): string | null {
  if (typeof key !== 'object' || key === null) return 'it is not an object'
  const { kty, use, crv } = key as Readonly<Record<string, unknown>>
  if (kty === 'oct') return 'it is symmetric: whoever verifies with it could sign'
  if (kty !== 'RSA' && kty !== 'EC' && kty !== 'OKP') return `kty is ${JSON.stringify(kty)}`
  if (use !== undefined && use !== 'sig') return `it is for ${JSON.stringify(use)}`
  if (kty === 'EC' && !CURVES.includes(crv)) return `its curve is ${JSON.stringify(crv)}`
  if (kty === 'OKP' && crv !== 'Ed25519') return `its curve is ${JSON.stringify(crv)}`
  try {
    const { asymmetricKeyDetails } = createPublicKey({ key: key as JsonWebKeyInput['key'], format: 'jwk' })
    const bits = asymmetricKeyDetails?.modulusLength
    return bits !== undefined && bits < MIN_RSA_BITS ? `its modulus has ${bits} bits` : null
  } catch {
    return 'its members make no public key'
  }
}
