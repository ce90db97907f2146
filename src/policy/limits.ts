/**
 * Which limits a request or tunnel falls under, and what it is counted by. The conditions are those of an
 * AuthorizationPolicy, and as a match restricts they err the way a DENY does: towards matching.
 */
import type { Attributes } from '../core/attributes.ts'
import { anyPattern } from '../core/pattern.ts'
import type { LimitKey, LimitModel } from '../model/limits.ts'
import type { ConditionModel } from '../model/policy.ts'
import { findCondition } from './conditions.ts'
import { Facts } from './facts.ts'
import { parseHostRule } from './host.ts'
import { limitFailure } from './limit-words.ts'

/** `host`: what the request or tunnel leads to (`limitHost`). */
type Test = (facts: Facts, host: string) => boolean
export type LimitCondition = {
  readonly model: ConditionModel
  readonly values: Test | null
  readonly notValues: Test | null
}
type Alternatives = readonly (readonly LimitCondition[])[] | null
type Parts = { readonly from: Alternatives; readonly to: Alternatives }

export type LimitMatcher = {
  readonly model: LimitModel
  readonly applies: (facts: Facts, host: string) => boolean
  /** null: it applies; else a sentence that says why not. */
  readonly explain: (attributes: Attributes, host: string) => string | null
}

/** Throws RangeError on a model that no loader would let through: never guess about a restriction. */
export function compileLimit(model: LimitModel): LimitMatcher {
  const http: Parts = { from: compile(model.from, compileForRequests), to: compile(model.to, compileForRequests) }
  const tunnels: Parts = { from: compile(model.from, compileForTunnels), to: compile(model.to, compileForTunnels) }
  const partsOf = ({ attributes }: Facts) => (attributes.http === null ? tunnels : http)
  return {
    model,
    applies: (facts, host) => {
      const { from, to } = partsOf(facts)
      return anyHolds(from, facts, host) && anyHolds(to, facts, host)
    },
    explain: (attributes, host) => {
      const facts = new Facts(attributes)
      const { from, to } = partsOf(facts)
      const part = anyHolds(from, facts, host) ? (anyHolds(to, facts, host) ? null : 'to') : 'from'
      if (part === null) return null
      const failing = ((part === 'from' ? from : to) ?? []).map((list) => list.find((one) => !holds(one, facts, host)))
      return limitFailure(part, failing, attributes, host)
    },
  }
}

/**
 * What a limit means by host: the authority's, a tunnel's SNI, else the host of the cluster that its bytes go to.
 * It is always there, so a limit by host can never be without its key.
 */
export function limitHost(attributes: Attributes, sni: string | null, clusterName: string | null): string {
  if (attributes.http !== null) return attributes.http.authority.host
  return sni ?? (clusterName ?? '').slice((clusterName ?? '').lastIndexOf('|') + 1)
}

/** The value of the limit's keys in one string. Loading has made sure that they exist; what lacks one shares a count all the same. */
export function limitKey(keys: readonly LimitKey[], attributes: Attributes, host: string): string {
  const [first, second] = keys
  if (first === undefined) return ''
  if (second === undefined) return keyValue(first, attributes, host)
  return keys.map((key) => keyValue(key, attributes, host)).join(' ')
}

/** Of one key; '' where there is none. SPIFFE IDs and hosts hold no space. */
export function keyValue(key: LimitKey, { peer }: Attributes, host: string): string {
  if (key === 'host') return host
  if (peer.kind !== 'spiffe') return ''
  const { uri, namespace, serviceAccount } = peer.id
  switch (key) {
    case 'principal':
      return uri
    case 'namespace':
      return namespace ?? ''
    case 'serviceAccount':
      return serviceAccount === null ? '' : `${namespace}/${serviceAccount}`
  }
}

function compile(
  alternatives: LimitModel['from'],
  one: (key: string, values: readonly string[], wide: boolean) => Test,
): Alternatives {
  const list = (key: string, values: readonly string[], wide: boolean) =>
    values.length === 0 ? null : one(key, values, wide)
  return (
    alternatives?.map((conditions) =>
      conditions.map((model) => ({
        model,
        values: list(model.key, model.values, true),
        // A match of the `not` list takes the limit away, so it errs the other way round.
        notValues: list(model.key, model.notValues, false),
      })),
    ) ?? null
  )
}

function compileForRequests(key: string, values: readonly string[], wide: boolean): Test {
  const found = findCondition(key)
  if (found === null) throw new RangeError(`unknown condition ${JSON.stringify(key)}`)
  return found.row.compile(values, wide, found.argument)
}

/** A tunnel has a host, by its SNI or its route, but no method and no path: a list of those never holds. */
function compileForTunnels(key: string, values: readonly string[], wide: boolean): Test {
  if (key === 'host') {
    const matches = anyPattern(values.map((value) => parseHostRule(value).pattern))
    return ({ attributes }, host) => matches(host) || matches(`${host}:${attributes.gatewayPort}`)
  }
  return findCondition(key)?.row.scope === 'http' ? () => false : compileForRequests(key, values, wide)
}

function anyHolds(alternatives: Alternatives, facts: Facts, host: string): boolean {
  if (alternatives === null) return true
  for (const conditions of alternatives) if (allHold(conditions, facts, host)) return true
  return false
}

function allHold(conditions: readonly LimitCondition[], facts: Facts, host: string): boolean {
  for (const condition of conditions) if (!holds(condition, facts, host)) return false
  return true
}

function holds({ values, notValues }: LimitCondition, facts: Facts, host: string): boolean {
  if (values !== null && !values(facts, host)) return false
  return notValues === null || !notValues(facts, host)
}
