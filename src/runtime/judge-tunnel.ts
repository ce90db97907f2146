/**
 * The order of judgement of contract §4 for a tunnel: authorize → registered and caller listed → route, all before
 * anything is dialled. Pure; `explain`, the running gateway and the re-judging after a reload call the same function.
 */
import type { Attributes } from '../core/attributes.ts'
import type { Decision } from '../core/decision.ts'
import type { Flag } from '../core/flags.ts'
import type { Reason } from '../core/reasons.ts'
import type { TunnelGrantModel, TunnelHostModel, TunnelRouteModel } from '../model/tunnel.ts'
import { pickTunnelDestination, type TunnelTable, tunnelGrant } from '../routing/tunnel-table.ts'
import { BLACK_HOLE, type Judge, PASSTHROUGH } from './judge.ts'

export type TunnelJudgement = {
  readonly decision: Decision
  /** null: go on to `clusterName`. */
  readonly refusal: { readonly reason: Reason; readonly flag: Flag | null; readonly details: string } | null
  readonly host: TunnelHostModel | null
  readonly grant: TunnelGrantModel | null
  readonly route: TunnelRouteModel | null
  readonly clusterName: string | null
  /** ALLOW_ANY: dial the SNI itself on 443. */
  readonly passthrough: boolean
}

type Found = Omit<TunnelJudgement, 'decision'>

/**
 * @param sni what routes: the inner SNI, or the only one; null: bytes that are no ClientHello
 * @param sniRequired egress policies' TLS ports: without an inner ClientHello nothing is registered
 * @param random in [0, 1): picks among weighted destinations
 */
export function judgeTunnel(
  judge: Judge,
  table: TunnelTable,
  attributes: Attributes,
  sni: string | null,
  random: number,
): TunnelJudgement {
  const decision = judge.authorizer.decide(attributes)
  const found = lookUp(judge, table, attributes, sni, random)
  if (decision.allow) return { decision, ...found }
  const details = `rbac_access_denied_matched_policy[${decision.policy ?? 'none'}]`.replaceAll(/\s/g, '_')
  return { decision, ...found, refusal: { reason: 'rbac_denied', flag: null, details } }
}

const NOWHERE = { host: null, grant: null, route: null, clusterName: null, passthrough: false } as const
const unregistered = (reason: 'not_registered' | 'caller_not_listed'): Found => ({
  ...NOWHERE,
  clusterName: BLACK_HOLE,
  refusal: { reason, flag: 'UH', details: reason },
})

function lookUp(judge: Judge, table: TunnelTable, attributes: Attributes, sni: string | null, random: number): Found {
  const host = sni === null ? null : table.host(sni)
  if (host !== null && host.grants !== null) {
    const grant = tunnelGrant(host, attributes.peer)
    if (grant === null) return { ...unregistered('caller_not_listed'), host }
    return routed({ host, grant, route: host.route ?? grant.route }, random)
  }
  const route = host?.route ?? table.tcp(sni)
  if (route !== null) return routed({ host, grant: null, route }, random)
  if (sni === null) return { ...NOWHERE, refusal: { reason: 'no_route', flag: 'NR', details: 'route_not_found' } }
  if (host !== null || judge.isRegistered(sni, attributes.gatewayPort)) {
    return { ...NOWHERE, host, refusal: { reason: 'no_route', flag: 'NR', details: 'route_not_found' } }
  }
  if (judge.allowAny) return { ...NOWHERE, clusterName: PASSTHROUGH, passthrough: true, refusal: null }
  return unregistered('not_registered')
}

function routed(
  found: { host: TunnelHostModel | null; grant: TunnelGrantModel | null; route: TunnelRouteModel },
  random: number,
): Found {
  return { ...found, clusterName: pickTunnelDestination(found.route, random), passthrough: false, refusal: null }
}
