/** `--claim k=v` of explain: what a token says, without a token. Its signature and times are taken to be good, nothing else. */
import type { HttpAttributes, TokenFacts } from '../core/attributes.ts'
import { REFUSALS } from '../core/refusal.ts'
import { findTokens, withoutField, withoutTokens } from '../gates/jwt/locations.ts'
import { outputFields, outputNames } from '../gates/jwt/outputs.ts'
import { FAULTS } from '../gates/jwt/status.ts'
import { audienceAllowed, tokenFacts } from '../gates/jwt/verify.ts'
import type { GatewayModel } from '../model/gateway.ts'
import type { ServerModel } from '../model/listener.ts'
import { EMPTY, type Explanation } from './explain-parts.ts'
import { UsageError } from './io.ts'

type Claims = Readonly<Record<string, unknown>>

/**
 * `k=v` is a string claim, the same name again makes a list, `a[b]=v` a claim within a claim.
 * @throws UsageError
 */
export function readClaims(texts: readonly string[]): Claims {
  const claims: Record<string, unknown> = {}
  for (const text of texts) {
    const parts = /^([^[\]=]+)((?:\[[^[\]]+\])*)=(.*)$/s.exec(text)
    if (parts === null) throw new UsageError(`--claim takes NAME=VALUE or NAME[INNER]=VALUE: ${text}`)
    const path = [parts[1] as string, ...(parts[2] as string).slice(1, -1).split('][')].filter((name) => name !== '')
    put(claims, path, parts[3] as string, text)
  }
  return claims
}

function put(into: Record<string, unknown>, path: readonly string[], value: string, text: string): void {
  const [name = '', ...rest] = path
  const there = Object.hasOwn(into, name) ? into[name] : undefined
  const isObject = typeof there === 'object' && there !== null && !Array.isArray(there)
  if (there !== undefined && isObject !== rest.length > 0)
    throw new UsageError(`--claim: ${name} is a value and an object at once: ${text}`)
  if (rest.length === 0) {
    define(into, name, there === undefined ? value : [there, value].flat())
    return
  }
  const inner = (isObject ? there : {}) as Record<string, unknown>
  define(into, name, inner)
  put(inner, rest, value, text)
}

/** Also a claim named `__proto__` is one. */
function define(into: Record<string, unknown>, name: string, value: unknown): void {
  Object.defineProperty(into, name, { value, enumerable: true, configurable: true, writable: true })
}

/**
 * The token and the request as policies see them, without a signature to look at. A string: why the token is refused.
 * @throws UsageError when the request holds a token, of which nobody has said what it says
 */
export function withToken(
  { tokenRules }: GatewayModel,
  claims: Claims | null,
  http: HttpAttributes,
): { readonly token: TokenFacts | null; readonly http: HttpAttributes } | string {
  let { headers } = http
  for (const name of tokenRules.flatMap(outputNames)) headers = withoutField(headers, name)
  const clean = { ...http, headers }
  if (claims === null) {
    const locations = tokenRules.flatMap((rule) => rule.locations)
    if (findTokens(locations, clean).length > 0)
      throw new UsageError('the request holds a token, which explain cannot verify: say what it says with --claim')
    return { token: null, http: clean }
  }
  if (tokenRules.length === 0) return { token: null, http: clean }
  const { audiences } = tokenFacts(claims, [])
  const known = tokenRules.filter(({ issuer }) => issuer === null || issuer === claims['iss'])
  if (known.length === 0) return FAULTS.unknownIssuer
  const rule = known.find((each) => audienceAllowed(each.audiences, audiences))
  if (rule === undefined) return FAULTS.audienceNotAllowed
  const payload = Buffer.from(JSON.stringify(claims)).toString('base64url')
  const outputs = outputFields(rule, { payload, claims })
  if (outputs === null) return FAULTS.verificationFails
  const rest = rule.forward ? clean : withoutTokens(clean, rule.locations)
  return { token: tokenFacts(claims, rule.wordClaims), http: { ...rest, headers: [...rest.headers, ...outputs] } }
}

export function refusedToken(server: ServerModel, why: string): Explanation {
  const { status, reason } = REFUSALS.jwt_invalid
  return {
    ...EMPTY,
    server: server.name,
    status,
    reason,
    details: `jwt_authn_access_denied{${why.replaceAll(' ', '_')}}`,
    conclusion: `refused: ${status}, ${why}`,
  }
}
