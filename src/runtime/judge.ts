/**
 * The order of judgement of contract §4 for an HTTP request, as a pure function of a compiled snapshot:
 * authorize → registered and caller listed → route. Normalising comes before, resolving and connecting after.
 * `explain` and the running gateway call the same function, so they cannot disagree.
 */
import type { Attributes, HttpAttributes } from '../core/attributes.ts'
import type { Decision } from '../core/decision.ts'
import type { Refusal } from '../core/refusal.ts'
import type { HeaderEdits } from '../model/route.ts'
import type { Authorizer } from '../policy/authorizer.ts'
import { type Grant, pickDestination, type RouteMatch, type RouteTable, type VirtualHost } from '../routing/table.ts'

export const BLACK_HOLE = 'BlackHoleCluster'
export const PASSTHROUGH = 'PassthroughCluster'

/** What of a snapshot a judgement reads. */
export type Judge = {
  readonly authorizer: Authorizer
  /** True when a visible ServiceEntry, or anything bound to this Gateway port, names the host. */
  readonly isRegistered: (host: string, gatewayPort: number) => boolean
  readonly allowAny: boolean
}

export type HttpRequestAttributes = Attributes & { readonly http: HttpAttributes }

export type Judgement = {
  readonly decision: Decision
  /** null: go on with `match` (or dial the authority itself when `passthrough`). */
  readonly refusal: Refusal | null
  readonly virtualHost: VirtualHost | null
  readonly grant: Grant | null
  readonly match: RouteMatch | null
  /** Chosen destination of a forwarding route. */
  readonly destination: { readonly cluster: string; readonly headers: HeaderEdits | null } | null
  /** ALLOW_ANY: the host is not registered; dial the authority. */
  readonly passthrough: boolean
  /** For the record: set on refusals too. */
  readonly routeName: string | null
  readonly clusterName: string | null
}

/** @param random in [0, 1): picks among weighted destinations */
export function judgeHttp(
  judge: Judge,
  table: RouteTable,
  attributes: HttpRequestAttributes,
  random: number,
): Judgement {
  const decision = judge.authorizer.decide(attributes)
  const found = lookUp(judge, table, attributes, random)
  if (decision.allow)
    return {
      decision,
      refusal: found.refusal,
      virtualHost: found.virtualHost,
      grant: found.grant,
      match: found.match,
      destination: found.destination,
      passthrough: found.passthrough,
      routeName: found.routeName,
      clusterName: found.clusterName,
    }
  const details = `rbac_access_denied_matched_policy[${decision.policy ?? 'none'}]`.replaceAll(/\s/g, '_')
  return { decision, ...found, refusal: { kind: 'rbac_denied', details } }
}

function lookUp(
  judge: Judge,
  table: RouteTable,
  attributes: HttpRequestAttributes,
  random: number,
): Omit<Judgement, 'decision'> {
  const { http } = attributes
  const virtualHost = table.virtualHost(http.authority.host)
  if (virtualHost === null) {
    const none = { virtualHost, grant: null, match: null, destination: null, passthrough: false }
    if (judge.isRegistered(http.authority.host, attributes.gatewayPort)) {
      return { ...none, refusal: { kind: 'no_route' }, routeName: null, clusterName: null }
    }
    if (judge.allowAny)
      return { ...none, refusal: null, passthrough: true, routeName: 'allow_any', clusterName: PASSTHROUGH }
    return { ...none, refusal: { kind: 'not_registered' }, routeName: 'block_all', clusterName: BLACK_HOLE }
  }
  const grant = virtualHost.model.grants === null ? null : virtualHost.grant(attributes.peer)
  if (virtualHost.model.grants !== null && grant === null) {
    // A `to` of TLS speaks for the host, but not for requests: no `from` could let this caller in (contract §4).
    const speaksForRequests = virtualHost.model.grants.length > 0
    const refusal: Refusal = { kind: speaksForRequests ? 'caller_not_listed' : 'not_registered' }
    return {
      virtualHost,
      grant,
      match: null,
      destination: null,
      passthrough: false,
      refusal,
      routeName: 'block_all',
      clusterName: BLACK_HOLE,
    }
  }
  const match = virtualHost.match(http, grant)
  if (match === null) {
    return {
      virtualHost,
      grant,
      match,
      destination: null,
      passthrough: false,
      refusal: { kind: 'no_route' },
      routeName: null,
      clusterName: null,
    }
  }
  const destination = match.route.model.action.kind === 'forward' ? pickDestination(match.route, random) : null
  return {
    virtualHost,
    grant,
    match,
    destination,
    passthrough: false,
    refusal: null,
    routeName: match.name,
    clusterName: destination?.cluster ?? null,
  }
}
