/**
 * Finds the first rule that matches without trying them all: a rule is filed under the exact principals, namespaces or
 * hosts it requires, and only what a request could hit is tried. Rules that require none of these (negations, wildcards,
 * methods …) are tried always. Filing only ever leaves out rules that cannot match; the answer is that of the plain walk.
 */
import type { HttpAttributes, Peer } from '../core/attributes.ts'
import { parsePattern } from '../core/pattern.ts'
import { bareHost, claimedNames, type Facts } from './facts.ts'
import { parseHostRule } from './host.ts'
import { type CompiledCondition, type CompiledRule, ruleMatches } from './rule.ts'

/** The rules of one action, in one scope. */
export type RuleSet = { readonly first: (facts: Facts) => CompiledRule | null }

type Buckets = ReadonlyMap<string, readonly CompiledRule[]>
type Kind = 'principal' | 'namespace' | 'host'
/** One way to file a rule: it can only match a request that shows one of these keys. */
type Filing = { readonly kind: Kind; readonly keys: readonly string[] }

const KEYS_OF: Readonly<Record<string, { readonly kind: Kind; readonly key: (value: string) => string | null }>> = {
  'source.principal': { kind: 'principal', key: exactPrincipal },
  'source.namespace': { kind: 'namespace', key: (value) => (/[*/]/.test(value) ? null : value) },
  host: { kind: 'host', key: exactHost },
}

/** The plain walk: what `indexedRules` must agree with, and what it falls back to for short lists. */
export function plainRules(rules: readonly CompiledRule[]): RuleSet {
  return {
    first: (facts) => {
      for (const rule of rules) if (ruleMatches(rule, facts)) return rule
      return null
    },
  }
}

/** `rules` in ascending ordinal order. */
export function indexedRules(rules: readonly CompiledRule[]): RuleSet {
  const filings = rules.map(filingsOf)
  const popularity = new Map<string, number>()
  for (const options of filings)
    for (const { kind, keys } of options)
      for (const key of keys) popularity.set(`${kind} ${key}`, (popularity.get(`${kind} ${key}`) ?? 0) + 1)

  const buckets: Record<Kind, Map<string, CompiledRule[]>> = {
    principal: new Map(),
    namespace: new Map(),
    host: new Map(),
  }
  const always: CompiledRule[] = []
  for (const [i, rule] of rules.entries()) {
    const filing = leastCrowded(filings[i] as readonly Filing[], popularity)
    if (filing === null) {
      always.push(rule)
      continue
    }
    for (const key of new Set(filing.keys)) {
      const bucket = buckets[filing.kind].get(key)
      if (bucket === undefined) buckets[filing.kind].set(key, [rule])
      else bucket.push(rule)
    }
  }
  return { first: (facts) => firstOf(buckets, always, facts) }
}

function firstOf(buckets: Record<Kind, Buckets>, always: readonly CompiledRule[], facts: Facts): CompiledRule | null {
  const { peer, http } = facts.attributes
  let best = scan(always, facts, null)
  if (peer.kind !== 'none') {
    if (buckets.principal.size > 0)
      for (const name of claimedNames(peer)) best = scan(buckets.principal.get(name), facts, best)
    if (buckets.namespace.size > 0)
      for (const namespace of namespacesOf(peer)) best = scan(buckets.namespace.get(namespace), facts, best)
  }
  if (http !== null && buckets.host.size > 0) best = scanHosts(buckets.host, http, facts, best)
  return best
}

/** A rule of the bucket that comes before `best` and matches, else `best`. */
function scan(
  bucket: readonly CompiledRule[] | undefined,
  facts: Facts,
  best: CompiledRule | null,
): CompiledRule | null {
  if (bucket === undefined) return best
  for (const rule of bucket) {
    if (best !== null && rule.ordinal >= best.ordinal) return best
    if (ruleMatches(rule, facts)) return rule
  }
  return best
}

/** The spellings of `Facts.hostForms` are all that an exact host can match, narrow or wide. */
function scanHosts(
  buckets: Buckets,
  http: HttpAttributes,
  facts: Facts,
  before: CompiledRule | null,
): CompiledRule | null {
  let best = before
  const bare = bareHost(http.authority)
  const forms = facts.hostForms(http)
  for (let i = 0; i < forms.length; i++) {
    const form = forms[i] as string
    if (i > 0 && form === forms[0]) continue
    if (i > 1 && form === bare) continue
    best = scan(buckets.get(form), facts, best)
  }
  return best
}

/** Every `X` for which `.*\/ns/X/.*` holds of a name the caller has, X without `/`. */
function namespacesOf(peer: Peer): readonly string[] {
  const found: string[] = []
  for (const name of claimedNames(peer)) {
    for (let at = name.indexOf('/ns/'); at >= 0; at = name.indexOf('/ns/', at + 3)) {
      const end = name.indexOf('/', at + 4)
      if (end >= 0) found.push(name.slice(at + 4, end))
    }
  }
  return found
}

/** How a rule may be filed: under `from`, under `to`, or under one condition of `when`. */
function filingsOf(rule: CompiledRule): readonly Filing[] {
  const filings: Filing[] = []
  for (const alternatives of [rule.from, rule.to, [rule.when]]) {
    if (alternatives === null) continue
    for (const kind of ['principal', 'namespace', 'host'] as const) {
      const keys = keysOf(alternatives, kind)
      if (keys !== null) filings.push({ kind, keys })
    }
  }
  return filings
}

/** null unless *every* alternative requires one of a known set of keys of this kind. */
function keysOf(alternatives: readonly (readonly CompiledCondition[])[], kind: Kind): readonly string[] | null {
  const keys: string[] = []
  for (const conditions of alternatives) {
    const required = conditions.map((condition) => requiredKeys(condition, kind)).find((list) => list !== null)
    if (required === undefined) return null
    keys.push(...required)
  }
  return keys
}

function requiredKeys({ model }: CompiledCondition, kind: Kind): readonly string[] | null {
  const row = Object.hasOwn(KEYS_OF, model.key) ? KEYS_OF[model.key] : undefined
  if (row === undefined || row.kind !== kind || model.values.length === 0) return null
  const keys: string[] = []
  for (const value of model.values) {
    const key = row.key(value)
    if (key === null) return null
    keys.push(key)
  }
  return keys
}

function leastCrowded(filings: readonly Filing[], popularity: ReadonlyMap<string, number>): Filing | null {
  let best: Filing | null = null
  let bestCrowd = Number.POSITIVE_INFINITY
  for (const filing of filings) {
    let crowd = 0
    for (const key of filing.keys) crowd = Math.max(crowd, popularity.get(`${filing.kind} ${key}`) ?? 0)
    if (crowd < bestCrowd) {
      best = filing
      bestCrowd = crowd
    }
  }
  return best
}

/** A value written with `spiffe://` has two readings (identity.ts), so it is not filed. */
function exactPrincipal(value: string): string | null {
  const pattern = parsePattern(value)
  return pattern.kind === 'exact' && !value.startsWith('spiffe://') ? `spiffe://${pattern.text}` : null
}

function exactHost(value: string): string | null {
  const { pattern } = parseHostRule(value)
  return pattern.kind === 'exact' ? pattern.text : null
}
