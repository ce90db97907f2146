/**
 * ASMEgressTrafficPolicy → who may use which host from which gateway port, and where it goes (contract §3, behaviour
 * §6). `from` is enforced here, at the gateway; in ASM only the caller's own sidecar does that.
 */
import type { SourceRef } from '../core/attributes.ts'
import type { CallerModel, GrantModel } from '../model/route.ts'
import type { Settings } from '../model/settings.ts'
import {
  type EgressPolicy,
  type EgressTarget,
  egressPolicies,
  egressTargets,
  isForOtherGateway,
} from './egress-targets.ts'
import type { EgressFrom, EgressTo } from './kinds/asm-egress-traffic-policy.ts'
import type { Report, Resource } from './resource.ts'
import { lowerRetries } from './retries.ts'
import { parseServiceProtocol, SERVICE_PROTOCOLS } from './service-protocol.ts'
import type { Services } from './services.ts'
import { learnWorkloads, type Workloads } from './workloads.ts'

/** One host on one gateway port, with its grants in deciding order. */
export type EgressHost = {
  /** Exact or `*.suffix`, lower case. */
  readonly host: string
  readonly gatewayPort: number
  readonly application: 'http' | 'tunnel'
  readonly grants: readonly GrantModel[]
  readonly source: SourceRef
}

export function lowerEgressPolicies(
  settings: Settings,
  resources: readonly Resource[],
  services: Services,
  report: Report,
): readonly EgressHost[] {
  const { ours, others } = egressPolicies(settings, resources)
  for (const policy of others)
    report(
      'SP6001',
      policy.at('spec', 'byEgressGateway', 'name'),
      `ASMEgressTrafficPolicy ${policy.namespace}/${policy.name} is for gateway "${policy.spec.byEgressGateway.name}", this one is ${whoWeAre(settings)}: passed over`,
    )
  const workloads = learnWorkloads(resources)
  const callers = new Map<string, readonly CallerModel[]>()
  for (const policy of ours) {
    judgePolicy(policy, report)
    for (const [i, rule] of policy.spec.egressRules.entries()) {
      const at = (...path: readonly (string | number)[]) => policy.at('spec', 'egressRules', i, ...path)
      callers.set(
        callersKey(policy, i),
        rule.from.map((from, j) => lowerFrom(from, (...path) => at('from', j, ...path), workloads, report)),
      )
      for (const [j, to] of rule.to.entries()) judgeTo(settings, policy, to, (...path) => at('to', j, ...path), report)
    }
  }

  const hosts = new Map<string, EgressHost & { readonly grants: GrantModel[] }>()
  for (const target of egressTargets(settings, resources)) {
    const { gatewayPort, host, application, policy, path, hostIndex } = target
    if (gatewayPort === null) continue
    const source = policy.at(...path, 'hosts', hostIndex)
    const key = `${gatewayPort} ${application} ${host}`
    const known = hosts.get(key) ?? { host, gatewayPort, application, grants: [], source }
    hosts.set(key, known)
    const ruleIndex = path[2] as number
    known.grants.push(grantFor(target, gatewayPort, callers.get(callersKey(policy, ruleIndex)) ?? [], services))
  }
  return [...hosts.values()]
}

function callersKey(policy: EgressPolicy, rule: number): string {
  return `${policy.namespace}/${policy.name}/${rule}`
}

function whoWeAre({ name, labels }: Settings): string {
  const named = (['istio', 'app'] as const).flatMap((key) => {
    const value = labels[key]
    return value === undefined ? [] : [`${key}: ${value}`]
  })
  return `"${name}"${named.length === 0 ? '' : ` (labels ${named.join(', ')})`}`
}

/** ASM fixes namespace and name; its own documentation does not keep to them, so: warnings (behaviour §6.1). */
function judgePolicy(policy: EgressPolicy, report: Report): void {
  if (policy.namespace !== 'istio-egress')
    report('SP6004', policy.at('metadata', 'namespace'), `ASM reads this kind only in namespace istio-egress`, {
      fix: 'write metadata.namespace: istio-egress',
    })
  const expected = `egress-by-${policy.spec.byEgressGateway.name}`
  if (policy.name !== expected)
    report('SP6005', policy.at('metadata', 'name'), `ASM wants this policy to be called ${expected}`, {
      fix: `write metadata.name: ${expected}`,
    })
}

type At = (...path: readonly (string | number)[]) => SourceRef

function judgeTo(settings: Settings, policy: EgressPolicy, to: EgressTo, at: At, report: Report): void {
  if (isForOtherGateway(settings, to)) {
    report(
      'SP6001',
      at('byEgressGateway', 'name'),
      `this destination is for gateway "${to.byEgressGateway?.name}", this one is ${whoWeAre(settings)}: passed over`,
    )
    return
  }
  if (to.byEgressGateway?.port === undefined && policy.spec.byEgressGateway.port === undefined)
    report('SP6002', at(), 'no gateway port: nothing says on which port this gateway carries these hosts', {
      fix: 'add byEgressGateway: { port: … } here, or port to spec.byEgressGateway',
    })
  const protocol = parseServiceProtocol(to.port.protocol)
  if (protocol === null) return
  const { family } = SERVICE_PROTOCOLS[protocol]
  if (family === 'http') return judgeUpgrade(to, at, report)
  if (family !== 'tls')
    return report(
      'SP6011',
      at('port', 'protocol'),
      `${protocol}: bytes without a host name cannot be told apart here`,
      {
        fix: 'HTTP, HTTP2, GRPC, HTTPS or TLS; or a Gateway and VirtualService of protocol TCP',
      },
    )
  if (to.httpsUpgrade?.enabled === true)
    report('SP6012', at('httpsUpgrade'), `httpsUpgrade has no effect: ${protocol} is encrypted by the application`, {
      fix: 'remove httpsUpgrade, or write protocol: HTTP',
    })
}

function judgeUpgrade({ httpsUpgrade, port }: EgressTo, at: At, report: Report): void {
  if (httpsUpgrade === undefined) return
  if (httpsUpgrade.enabled === true) {
    if (httpsUpgrade.port === undefined)
      report('SP6000', at('httpsUpgrade'), 'httpsUpgrade needs the port of the TLS server', {
        fix: 'add port: 443',
      })
    if ((port.targetPort ?? 0) !== 0)
      report('SP6012', at('port', 'targetPort'), 'targetPort has no effect with httpsUpgrade', {
        fix: 'httpsUpgrade.port is the port dialled',
      })
  } else if (httpsUpgrade.enabled === undefined)
    report('SP6010', at('httpsUpgrade'), 'httpsUpgrade is not enabled: requests leave in plain text', {
      fix: 'write enabled: true (or enabled: false if that is meant)',
    })
}

function lowerFrom(from: EgressFrom, at: At, workloads: Workloads, report: Report): CallerModel {
  const { namespace, workloadSelector } = from
  const source = at()
  if (workloadSelector === undefined) return { namespace, serviceAccounts: null, source }
  if (Object.keys(workloadSelector).length === 0) {
    // Kubernetes reads an empty selector as "all", a reader as "none": it is more often a deleted line than a wish.
    report('SP6000', at('workloadSelector'), 'an empty workloadSelector: the whole namespace, or nobody?', {
      fix: 'list labels, or leave workloadSelector out to admit the whole namespace',
    })
    return { namespace, serviceAccounts: [], source }
  }
  const { accounts, problems } = workloads.serviceAccountsFor(namespace, workloadSelector)
  for (const problem of problems)
    report(problem.kind === 'unknown' ? 'SP6006' : 'SP6007', at('workloadSelector'), problem.message, {
      fix: problem.fix,
    })
  return { namespace, serviceAccounts: accounts, source }
}

function grantFor(
  target: EgressTarget,
  gatewayPort: number,
  callers: readonly CallerModel[],
  services: Services,
): GrantModel {
  const { policy, path, to, host } = target
  const source = policy.at(...path)
  const destination = {
    host,
    port: target.externalPort,
    subset: null,
    namespace: policy.namespace,
    listenerPort: gatewayPort,
    at: policy.at(...path, 'hosts', target.hostIndex),
  }
  const cluster =
    target.application === 'http' ? services.clusterFor(destination) : services.tunnelClusterFor(destination)
  return {
    name: `${policy.namespace}/${policy.name}/${to.name ?? path.slice(2).filter(Number.isInteger).join('.')}`,
    source,
    callers,
    route: {
      name: to.name ?? null,
      source,
      matches: [],
      action: {
        kind: 'forward',
        destinations: [{ cluster, weight: 1, headers: null }],
        timeoutMs: null,
        retry: lowerRetries(undefined, services.isHashed(cluster)),
        mirrors: [],
        rewrite: null,
      },
      headers: null,
      fault: null,
      cors: null,
    },
  }
}
