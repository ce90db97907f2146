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

export type TunnelNames = {
  /** Of the ClientHello that routes (the inner one, or the only one); null: it names nobody; undefined: no ClientHello. */
  readonly sni: string | null | undefined
  /** Of the mTLS around it; null: none. */
  readonly outerSni: string | null
  /** True for names of the gateway itself. */
  readonly isOwnName: (name: string) => boolean
}

/** @param random in [0, 1): picks among weighted destinations */
export function judgeTunnel(
  judge: Judge,
  table: TunnelTable,
  attributes: Attributes,
  names: TunnelNames,
  random: number,
): TunnelJudgement {
  const decision = judge.authorizer.decide(attributes)
  if (disagree(names)) {
    return { decision, ...NOWHERE, refusal: { reason: 'sni_mismatch', flag: null, details: 'sni_mismatch' } }
  }
  const found = lookUp(judge, table, attributes, names.sni, random)
  const denial = decision.allow ? deniedByOuterName(judge, attributes, names) : decision
  if (denial === null) return { decision, ...found }
  const details = `rbac_access_denied_matched_policy[${denial.policy ?? 'none'}]`.replaceAll(/\s/g, '_')
  return { decision: denial, ...found, refusal: { reason: 'rbac_denied', flag: null, details } }
}

/** An outer name that is neither Istio's own nor the gateway's must be the inner one (contract §4, Names). */
function disagree({ sni, outerSni, isOwnName }: TunnelNames): boolean {
  if (typeof sni !== 'string' || outerSni === null || outerSni === sni) return false
  return !outerSni.startsWith('outbound_') && !isOwnName(outerSni)
}

/** `connection.sni` is the inner name; a DENY also tests the outer one (contract §4, Names). null: it denies nothing. */
function deniedByOuterName(judge: Judge, attributes: Attributes, { outerSni }: TunnelNames): Decision | null {
  if (outerSni === null || outerSni === attributes.sni) return null
  const decision = judge.authorizer.decide({ ...attributes, sni: outerSni })
  // Without a policy's name it is an ALLOW that did not match, which is judged on the inner name alone.
  return !decision.allow && decision.policy !== null ? decision : null
}

const NOWHERE = { host: null, grant: null, route: null, clusterName: null, passthrough: false } as const
const unregistered = (reason: 'not_registered' | 'caller_not_listed'): Found => ({
  ...NOWHERE,
  clusterName: BLACK_HOLE,
  refusal: { reason, flag: 'UH', details: reason },
})

function lookUp(
  judge: Judge,
  table: TunnelTable,
  attributes: Attributes,
  sni: TunnelNames['sni'],
  random: number,
): Found {
  if (typeof sni !== 'string') {
    const route = table.tcp(null)
    if (route !== null) return routed({ host: null, grant: null, route }, random)
    const reason = sni === null ? 'no_sni' : 'no_route'
    return {
      ...NOWHERE,
      refusal: { reason, flag: 'NR', details: sni === null ? 'filter_chain_not_found' : 'route_not_found' },
    }
  }
  const host = table.host(sni)
  if (host !== null && host.grants !== null) {
    const grant = tunnelGrant(host, attributes.peer)
    if (grant === null) return { ...unregistered('caller_not_listed'), host }
    return routed({ host, grant, route: host.route ?? grant.route }, random)
  }
  const route = host?.route ?? table.tcp(sni)
  if (route !== null) return routed({ host, grant: null, route }, random)
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
