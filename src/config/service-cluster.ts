/**
 * One cluster from all that is said about its host and port (behaviour §2, §5; contract §3). A cluster is a function of
 * host, port and subset alone: its endpoints come from the ServiceEntry of that host and port, else from DNS; its TLS from
 * the DestinationRule, else from `httpsUpgrade`. So however many routes and policies name a cluster, equal names mean equal
 * settings, and policies that would need different ones are refused (SP6009) instead of one of them winning.
 */
import type { SourceRef } from '../core/attributes.ts'
import type { ClusterModel, UpstreamTlsModel } from '../model/cluster.ts'
import type { Settings } from '../model/settings.ts'
import { lowerConnectionPool, upstreamProtocol } from './connection-pool.ts'
import type { DestinationRules, PortPolicy, Subset } from './destination-rules.ts'
import type { EgressTarget } from './egress-targets.ts'
import { isWildcard } from './hostname.ts'
import { lowerLoadBalancer } from './load-balancer.ts'
import { type Candidate, gatewayLocality, preferLocalities } from './locality.ts'
import { lowerOutlierDetection } from './outlier-detection.ts'
import type { Report } from './resource.ts'
import type { Catalogue } from './service-catalogue.ts'
import { type Discovered, discover, endpointIdentities, implicit, type ServicePort } from './service-endpoints.ts'
import { lowerUpstreamTls, upgradeTls } from './upstream-tls.ts'
import { carries, type WorkloadEntries } from './workload-entries.ts'

/** Istio's name (`BuildSubsetKey`), with the service port, not targetPort. */
export function clusterName(port: number, subset: string, host: string): string {
  return `outbound|${port}|${subset}|${host}`
}

type Context = {
  readonly settings: Settings
  readonly catalogue: Catalogue
  readonly rules: DestinationRules
  readonly workloads: WorkloadEntries
  readonly report: Report
}

export type ClusterKey = { readonly host: string; readonly port: number /** '': none. */; readonly subset: string }

/** Why a destination has no cluster. */
export type Missing =
  | { readonly missing: 'service' }
  | { readonly missing: 'subset'; readonly known: readonly string[] }

/** Reports what is wrong with what is known of this host and port. */
export function buildCluster(context: Context, key: ClusterKey): ClusterModel | Missing {
  const { host, port } = key
  const { settings, catalogue, rules, workloads, report } = context
  const entry = catalogue.entryFor(host, port)
  const targets = catalogue.targetsFor(host, port)
  const [first] = targets
  const namespace = entry?.service.namespace ?? first?.policy.namespace
  if (namespace === undefined) return { missing: 'service' }
  const subset = key.subset === '' ? null : rules.subsetOf(host, namespace, key.subset)
  if (subset === null && key.subset !== '') return { missing: 'subset', known: rules.subsetNames(host, namespace) }
  refuseConflicts(targets, entry, report)

  // A host that an egress policy calls external stays external: its headers are stripped whatever else is said.
  const external = first !== undefined || entry?.service.spec.location !== 'MESH_INTERNAL'
  const placed = rules.policyFor(host, namespace, port, subset)
  const origin =
    entry !== null ? fromEntry(host, entry, workloads, report) : first !== undefined ? fromTarget(first) : null
  if (origin === null) return { missing: 'service' }
  const policy = placed?.policy ?? {}
  const name = clusterName(port, key.subset, host)
  const outlierDetection = lowerOutlierDetection(policy.outlierDetection)
  const found = subset === null ? origin.found : ofSubset(origin.found, subset, host, report)

  return {
    name,
    statName: name,
    host,
    port,
    discovery: found.discovery,
    endpoints: preferred(found.candidates, placed, { settings, outlierDetection, report }),
    dynamicPort: found.dynamicPort,
    external,
    tls: tlsFor(context, { key, external, entry, targets, placed }),
    protocol: upstreamProtocol(policy, entry === null ? (first?.protocol ?? null) : entry.protocol),
    loadBalancer: lowerLoadBalancer(placed, report),
    connectTimeoutMs: policy.connectionPool?.tcp?.connectTimeout ?? settings.mesh.connectTimeoutMs,
    pool: lowerConnectionPool(policy),
    outlierDetection,
    proxyProtocol: policy.proxyProtocol === undefined ? null : (policy.proxyProtocol.version ?? 'V1'),
    tunnel: tunnelOf(policy, subset),
    source: origin.source,
  }
}

type Origin = { readonly source: SourceRef; readonly found: Discovered }

function fromEntry(host: string, entry: ServicePort, workloads: WorkloadEntries, report: Report): Origin {
  return { source: entry.service.at('spec', 'hosts', entry.hostIndex), found: discover(host, entry, workloads, report) }
}

/** What a `to` registers by itself: its host, resolved (contract §3: a MESH_EXTERNAL, DNS service entry). */
function fromTarget({ policy, path, hostIndex, host, dialPort }: EgressTarget): Origin {
  const dynamic = isWildcard(host)
  return {
    source: policy.at(...path, 'hosts', hostIndex),
    found: {
      discovery: dynamic ? 'dynamic' : 'dns',
      candidates: dynamic ? [] : implicit(host, dialPort),
      dynamicPort: dialPort,
    },
  }
}

/** The endpoints with the subset's labels. A name that is resolved because nothing is listed has none. */
function ofSubset(found: Discovered, { name, labels, source }: Subset, host: string, report: Report): Discovered {
  if (Object.keys(labels).length === 0) return found
  const candidates = found.candidates.filter((candidate) => carries(candidate.labels, labels))
  if (candidates.length > 0) return { ...found, candidates }
  report(
    'SP7021',
    source,
    `no endpoint of ${host} has the labels of subset "${name}": requests to it answer 503 (UH)`,
    {
      fix: 'list endpoints with these labels in the ServiceEntry',
    },
  )
  return { ...found, discovery: 'static', candidates: [] }
}

type PreferenceContext = Pick<Context, 'settings' | 'report'> & Pick<ClusterModel, 'outlierDetection'>

function preferred(
  candidates: readonly Candidate[],
  placed: PortPolicy | null,
  { settings, outlierDetection, report }: PreferenceContext,
): ClusterModel['endpoints'] {
  const setting = placed?.policy.loadBalancer?.localityLbSetting
  const locality = gatewayLocality(settings.labels)
  const { enabled = true, failover = [], failoverPriority = [], distribute = [] } = setting ?? {}
  if (placed !== null && enabled) {
    const at = (key: string) => placed.at('loadBalancer', 'localityLbSetting', key)
    const key = failover.length > 0 ? 'failover' : failoverPriority.length > 0 ? 'failoverPriority' : null
    if (key !== null && outlierDetection === null)
      report('SP7022', at(key), `${key} has no effect: nothing ejects an endpoint that fails`, {
        fix: 'add outlierDetection',
      })
    const near = failover.length > 0 ? 'failover' : distribute.length > 0 ? 'distribute' : null
    if (near !== null && locality === '')
      report('SP7025', at(near), `${near} goes by the locality of the gateway, which has none`, {
        fix: 'add the label topology.kubernetes.io/region to metadata.labels of the bootstrap',
      })
  }
  const context = { setting, outlierDetection, locality, labels: settings.labels }
  return preferLocalities(candidates, context).map(({ endpoint }) => endpoint)
}

/** As in Istio (tunnelingconfig/apply.go) a subset has the tunnel it names itself, not that of the whole rule. */
function tunnelOf({ tunnel }: Partial<PortPolicy['policy']>, subset: Subset | null): ClusterModel['tunnel'] {
  const spec = subset === null ? tunnel : subset.rule.spec.subsets?.[subset.index]?.trafficPolicy?.tunnel
  if (spec === undefined) return null
  return { method: spec.protocol === 'POST' ? 'POST' : 'CONNECT', host: spec.targetHost, port: spec.targetPort }
}

type TlsQuestion = {
  readonly key: ClusterKey
  readonly external: boolean
  readonly entry: ServicePort | null
  readonly targets: readonly EgressTarget[]
  readonly placed: PortPolicy | null
}

function tlsFor({ settings, workloads, report }: Context, question: TlsQuestion): UpstreamTlsModel | null {
  const { key, external, entry, targets, placed } = question
  const { host, port } = key
  const subjectAltNames = entry?.service.spec.subjectAltNames ?? []
  const upgrading = targets.find((target) => target.upgrade)
  const tls = placed?.policy.tls
  if (placed === null || tls === undefined) return upgrading === undefined ? null : upgradeTls(host, subjectAltNames)
  const lowered = lowerUpstreamTls(
    {
      tls,
      at: (...path) => placed.at('tls', ...path),
      key,
      external,
      subjectAltNames,
      meshIdentities: entry === null ? [] : endpointIdentities(entry, workloads, settings.mesh.trustDomain),
      secretsDirectory: settings.secretsDirectory,
    },
    report,
  )
  if (lowered !== null || upgrading === undefined) return lowered
  // Promise 1: what the policy promises to send over TLS never leaves in plain text because another file says so.
  report(
    'SP6008',
    placed.at('tls'),
    `DestinationRule ${placed.rule} turns TLS off for port ${port} of ${host}, but ASMEgressTrafficPolicy ${upgrading.policy.namespace}/${upgrading.policy.name} upgrades that port to HTTPS`,
    { fix: 'remove the DISABLE, or httpsUpgrade' },
  )
  return upgradeTls(host, subjectAltNames)
}

/** Policies that need different settings for one cluster; an explicit ServiceEntry settles the port to dial. */
function refuseConflicts(targets: readonly EgressTarget[], entry: ServicePort | null, report: Report): void {
  const [first] = targets
  if (first === undefined) return
  const requests = targets.filter((target) => target.application === 'http')
  const [firstRequest] = requests
  const plain = requests.find((target) => target.upgrade !== firstRequest?.upgrade)
  const refuse = (target: EgressTarget, than: EgressTarget, what: string) => {
    const { file, line } = than.policy.at(...than.path)
    report(
      'SP6009',
      target.policy.at(...target.path),
      `port ${target.externalPort} of ${target.host} is ${what} than in ${file}:${line}; one cluster cannot be both`,
      { fix: 'make the entries agree' },
    )
  }
  if (plain !== undefined && firstRequest !== undefined)
    refuse(plain, firstRequest, plain.upgrade ? 'upgraded to HTTPS, other' : 'plain HTTP, other')
  const elsewhere = targets.find((target) => target.dialPort !== first.dialPort)
  if (elsewhere !== undefined && entry === null)
    refuse(elsewhere, first, `reached at port ${elsewhere.dialPort}, another`)
}
