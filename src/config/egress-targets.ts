/**
 * The `to` entries of the ASMEgressTrafficPolicies that are ours, host by host, in the order in which they decide
 * (contract §3: namespace, name, position). Services register them; egress-policies.ts turns them into grants.
 */
import type { Settings } from '../model/settings.ts'
import { canonicalHost } from './hostname.ts'
import {
  type AsmEgressTrafficPolicySpec,
  asmEgressTrafficPolicy,
  type EgressTo,
} from './kinds/asm-egress-traffic-policy.ts'
import { byNamespaceAndName, ofKind } from './of-kind.ts'
import type { Resource } from './resource.ts'
import { parseServiceProtocol, SERVICE_PROTOCOLS, type ServiceProtocol } from './service-protocol.ts'

export type EgressPolicy = Resource<AsmEgressTrafficPolicySpec>

export type EgressTarget = {
  readonly policy: EgressPolicy
  readonly to: EgressTo
  /** Path of the `to` in its policy. */
  readonly path: readonly (string | number)[]
  readonly hostIndex: number
  /** Canonical: exact or `*.suffix`. */
  readonly host: string
  readonly protocol: ServiceProtocol
  readonly application: 'http' | 'tunnel'
  /** null: given nowhere, an error. */
  readonly gatewayPort: number | null
  /** Port of the outside that the cluster is named after. */
  readonly externalPort: number
  /** Port dialled when no ServiceEntry says otherwise. */
  readonly dialPort: number
  /** The gateway originates TLS. */
  readonly upgrade: boolean
}

/** Contract §3: the gateway's own name, or the value of its label `istio` or `app`. */
function isNamedUs(settings: Settings, gateway: string): boolean {
  return gateway === settings.name || gateway === settings.labels['istio'] || gateway === settings.labels['app']
}

/** Our policies and everybody else's, each in deciding order. */
export function egressPolicies(
  settings: Settings,
  resources: readonly Resource[],
): { readonly ours: readonly EgressPolicy[]; readonly others: readonly EgressPolicy[] } {
  const sorted = [...ofKind(resources, asmEgressTrafficPolicy)].sort(byNamespaceAndName)
  const ours = (policy: EgressPolicy) => isNamedUs(settings, policy.spec.byEgressGateway.name)
  return { ours: sorted.filter(ours), others: sorted.filter((policy) => !ours(policy)) }
}

/** True when a `to` names another gateway than its policy does: then it is not for us. */
export function isForOtherGateway(settings: Settings, to: EgressTo): boolean {
  const name = to.byEgressGateway?.name ?? ''
  return name !== '' && !isNamedUs(settings, name)
}

/** `to`s whose protocol has no host name to route by (TCP, MongoDB …) yield no target; the lowering reports them. */
export function egressTargets(settings: Settings, resources: readonly Resource[]): readonly EgressTarget[] {
  const targets: EgressTarget[] = []
  for (const policy of egressPolicies(settings, resources).ours)
    for (const [i, rule] of policy.spec.egressRules.entries())
      for (const [j, to] of rule.to.entries()) {
        if (isForOtherGateway(settings, to)) continue
        const protocol = parseServiceProtocol(to.port.protocol)
        if (protocol === null) continue
        const { family } = SERVICE_PROTOCOLS[protocol]
        if (family !== 'http' && family !== 'tls') continue
        const upgrade = family === 'http' && to.httpsUpgrade?.enabled === true
        const externalPort = upgrade ? (to.httpsUpgrade?.port ?? null) : to.port.number
        // An upgrade without a port is an error of the policy, and no reason to fall back to plain text.
        if (externalPort === null) continue
        for (const [k, host] of to.hosts.entries())
          targets.push({
            policy,
            to,
            path: ['spec', 'egressRules', i, 'to', j],
            hostIndex: k,
            host: canonicalHost(host),
            protocol,
            application: family === 'http' ? 'http' : 'tunnel',
            gatewayPort: to.byEgressGateway?.port ?? policy.spec.byEgressGateway.port ?? null,
            externalPort,
            // targetPort belongs to port.number; an upgrade has a port of its own. 0 is "not set".
            dialPort: upgrade ? externalPort : to.port.targetPort || externalPort,
            upgrade,
          })
      }
  return targets
}
