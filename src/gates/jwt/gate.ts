/**
 * Tokens (RequestAuthentication): one that is there must be good, one that is not there is just none. A good one gives the
 * request its principal and claims, goes on only where a rule says so, and fills the fields that the rule names. What is
 * judged afterwards is the request as it goes out.
 */
import { hash } from 'node:crypto'
import type { HttpAttributes, TokenFacts } from '../../core/attributes.ts'
import type { Refusal } from '../../core/refusal.ts'
import { targetText } from '../../core/request-target.ts'
import { BoundedCache } from '../../identity/bounded-cache.ts'
import type { TokenLocation, TokenRuleModel } from '../../model/token.ts'
import type { Admission, Gate, Passage } from '../../runtime/gate.ts'
import type { KeySet } from './key-set.ts'
import { findTokens, withoutField, withoutTokens } from './locations.ts'
import { outputFields, outputNames } from './outputs.ts'
import type { KeySource } from './remote-keys.ts'
import { FAULTS, type Fault } from './status.ts'
import { type ParsedToken, parseToken } from './token.ts'
import { audienceAllowed, signatureFault, timeFault, tokenFacts } from './verify.ts'

/** A token that a rule has found good. Times are looked at each time, keys must still be the same. */
type Verified = {
  readonly keys: KeySet
  readonly facts: TokenFacts
  readonly outputs: readonly string[]
  readonly notBefore: number
  readonly expires: number | null
}

type Rule = {
  readonly model: TokenRuleModel
  /** Objects that all rules share: equal places are the same one. */
  readonly locations: ReadonlySet<TokenLocation>
  readonly keys: KeySource
  readonly verified: BoundedCache<string, Verified>
}

/** Good tokens remembered per rule. */
const REMEMBERED = 1_000
/** As Envoy cuts the realm. */
const MAX_REALM_PATH = 256

export class JwtGate implements Gate {
  readonly name = 'jwt'
  readonly #rules: readonly Rule[]
  readonly #locations: readonly TokenLocation[]
  readonly #outputs: readonly string[]

  /** `keys`: of each rule, in their order. */
  constructor(rules: readonly TokenRuleModel[], keys: readonly KeySource[]) {
    const shared = new Map<string, TokenLocation>()
    const share = (location: TokenLocation): TokenLocation => {
      const key = JSON.stringify([location.in, location.name, location.in === 'header' ? location.prefix : ''])
      const known = shared.get(key) ?? location
      shared.set(key, known)
      return known
    }
    this.#rules = rules.map((model, i) => ({
      model,
      locations: new Set(model.locations.map(share)),
      keys: keys[i] as KeySource,
      verified: new BoundedCache(REMEMBERED),
    }))
    this.#locations = [...shared.values()]
    this.#outputs = [...new Set(rules.flatMap(outputNames))]
  }

  admit(passage: Passage): Admission {
    const { http } = passage.attributes
    if (http === null) return null
    const clean = this.#withoutOutputs(http)
    const found = findTokens(this.#locations, clean)
    const [first] = found
    if (first === undefined) {
      return clean === http ? null : goOnWith(passage, clean, null)
    }
    // A refused token need not be seen by whoever reads the log either.
    if (found.some(({ location }) => location.in === 'param'))
      passage.record.path = targetText(withoutTokens(clean, this.#locations))
    if (found.some(({ text }) => text !== first.text)) return refusalOf(FAULTS.severalTokens, clean)
    const where = found.map(({ location }) => location)
    const rules = this.#rules.filter(({ locations }) => where.some((each) => locations.has(each)))
    const digest = hash('sha256', first.text, 'base64')
    for (const rule of rules) {
      const verified = remembered(rule, digest)
      if (verified !== null) return admitAs(passage, clean, where, rule, verified)
    }
    return this.#verify(passage, clean, where, rules, first.text, digest)
  }

  /** A copy of such a field that a caller sends is not ours. */
  #withoutOutputs(http: HttpAttributes): HttpAttributes {
    let { headers } = http
    for (const name of this.#outputs) headers = withoutField(headers, name)
    return headers === http.headers ? http : { ...http, headers }
  }

  /** The first rule that finds it good has its way; the last one's objection is told, that of the issuer only for want of others. */
  async #verify(
    passage: Passage,
    http: HttpAttributes,
    where: readonly TokenLocation[],
    rules: readonly Rule[],
    text: string,
    digest: string,
  ): Promise<Refusal | null> {
    const token = parseToken(text)
    if (typeof token === 'string') return refusalOf(token, http)
    let fault: Fault = FAULTS.unknownIssuer
    for (const rule of rules) {
      const { issuer } = rule.model
      if (issuer !== null && issuer !== token.claims['iss']) continue
      const verified = await verifyBy(rule, token)
      if (typeof verified !== 'string') {
        rule.verified.set(digest, verified)
        return admitAs(passage, http, where, rule, verified)
      }
      fault = verified
    }
    return refusalOf(fault, http)
  }
}

/** null: not yet, not any more, or by keys that have been replaced. */
function remembered(rule: Rule, digest: string): Verified | null {
  const verified = rule.verified.get(digest)
  if (verified === undefined || verified.keys !== rule.keys.current()) return null
  return timeFault(verified, nowInSeconds()) === null ? verified : null
}

async function verifyBy({ model, keys: source }: Rule, token: ParsedToken): Promise<Verified | Fault> {
  const early = timeFault(token, nowInSeconds())
  if (early !== null) return early
  if (!audienceAllowed(model.audiences, token.audiences)) return FAULTS.audienceNotAllowed
  let keys = await source.current()
  if (keys === null) return FAULTS.fetchFailed
  if (keys.keys.length === 0) return FAULTS.noValidKeys
  let fault = await signatureFault(token, keys)
  if (fault !== null) {
    // The issuer may have changed its keys.
    const newer = await source.newer(keys)
    if (newer !== null) {
      keys = newer
      fault = await signatureFault(token, keys)
    }
  }
  if (fault !== null) return fault
  const outputs = outputFields(model, token)
  if (outputs === null) return FAULTS.verificationFails
  const { notBefore, expires } = token
  return { keys, facts: tokenFacts(token.claims, model.wordClaims), outputs, notBefore, expires }
}

function admitAs(
  passage: Passage,
  http: HttpAttributes,
  where: readonly TokenLocation[],
  { model }: Rule,
  { facts, outputs }: Verified,
): null {
  const rest = model.forward ? http : withoutTokens(http, where)
  const headers = outputs.length === 0 ? rest.headers : [...rest.headers, ...outputs]
  return goOnWith(passage, { ...rest, headers }, facts)
}

/** What is logged of the fields is what goes on, as with Envoy: not the token, but what it filled. */
function goOnWith(passage: Passage, http: HttpAttributes, token: TokenFacts | null): null {
  passage.attributes = { ...passage.attributes, token, http }
  passage.record.requestHeaders = http.headers
  return null
}

function nowInSeconds(): number {
  return Math.floor(Date.now() / 1000)
}

/** As jwt_authn answers. The realm is what was asked for, without the query: a token may have been in it. */
function refusalOf(fault: Fault, { scheme, authority, path }: HttpAttributes): Refusal {
  const shown = path.slice(0, MAX_REALM_PATH).replaceAll('\\', '%5C').replaceAll('"', '%22')
  return {
    kind: 'jwt_invalid',
    body: fault,
    details: `jwt_authn_access_denied{${fault}}`,
    headers: ['www-authenticate', `Bearer realm="${scheme}://${authority.text}${shown}", error="invalid_token"`],
  }
}
