/** The signature, audience and times of a token. The package `jose` is used here and nowhere else. */
import { compactVerify } from 'jose'
import type { TokenFacts } from '../../core/attributes.ts'
import { type KeySet, keysFor } from './key-set.ts'
import { FAULTS, type Fault } from './status.ts'
import type { ParsedToken } from './token.ts'

/** As Envoy's default, seconds. */
const CLOCK_SKEW = 60

/** `now`: seconds since the epoch. null: good. */
export function timeFault(times: Pick<ParsedToken, 'notBefore' | 'expires'>, now: number): Fault | null {
  if (now + CLOCK_SKEW < times.notBefore) return FAULTS.notYetValid
  return times.expires !== null && now > times.expires + CLOCK_SKEW ? FAULTS.expired : null
}

/** One of the audiences is expected, or any will do. Scheme and a last slash do not count, as in Envoy. */
export function audienceAllowed(expected: readonly string[], audiences: readonly string[]): boolean {
  if (expected.length === 0) return true
  const known = expected.map(bare)
  return audiences.some((audience) => known.includes(bare(audience)))
}

function bare(audience: string): string {
  return audience.replace(/^https?:\/\//, '').replace(/\/$/, '')
}

/** null: a key of the set has signed it. */
export async function signatureFault(token: ParsedToken, keys: KeySet): Promise<Fault | null> {
  const candidates = keysFor(keys, token)
  if (candidates.length === 0) return FAULTS.noKeyFits
  for (const { key } of candidates) {
    try {
      await compactVerify(token.text, key, { algorithms: [token.alg] })
      return null
    } catch {
      // A signature of somebody else's, or a key that cannot do it: in either case it is not good by this one.
    }
  }
  return FAULTS.verificationFails
}

/** What policies may see. `wordClaims`: claims whose words are a list of their own (Envoy's normalised payload). */
export function tokenFacts(claims: Readonly<Record<string, unknown>>, wordClaims: readonly string[]): TokenFacts {
  const { iss, sub, aud, azp } = claims
  const audiences: readonly unknown[] = Array.isArray(aud) ? aud : [aud]
  const seen = new Map(Object.entries(claims))
  for (const name of wordClaims) {
    const value = seen.get(name)
    if (typeof value === 'string') seen.set(name, value.split(' '))
  }
  return {
    principal: typeof iss === 'string' && typeof sub === 'string' ? `${iss}/${sub}` : null,
    audiences: audiences.filter((each) => typeof each === 'string'),
    presenter: typeof azp === 'string' ? azp : null,
    claims: Object.fromEntries(seen),
  }
}
