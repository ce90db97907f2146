/**
 * One cluster from all that is said about its host and port (behaviour §2, §5; contract §3). A cluster is a function of
 * host and port alone: its endpoints come from the ServiceEntry of that host and port, else from DNS; its TLS from the
 * DestinationRule, else from `httpsUpgrade`. So however many routes and policies name a cluster, equal names mean equal
 * settings, and policies that would need different ones are refused (SP6009) instead of one of them winning.
 */
import type { SourceRef } from '../core/attributes.ts'
import { type ClusterModel, UNLIMITED_POOL, type UpstreamTlsModel } from '../model/cluster.ts'
import type { Settings } from '../model/settings.ts'
import type { DestinationRules, PortPolicy } from './destination-rules.ts'
import type { EgressTarget } from './egress-targets.ts'
import { isWildcard } from './hostname.ts'
import type { Report } from './resource.ts'
import type { Catalogue } from './service-catalogue.ts'
import { type Discovered, discover, endpointIdentities, type ServicePort } from './service-endpoints.ts'
import { SERVICE_PROTOCOLS } from './service-protocol.ts'
import { lowerUpstreamTls, upgradeTls } from './upstream-tls.ts'

/** Istio's name (`BuildSubsetKey`), with the service port, not targetPort. */
export function clusterName(port: number, subset: string, host: string): string {
  return `outbound|${port}|${subset}|${host}`
}

type Context = {
  readonly settings: Settings
  readonly catalogue: Catalogue
  readonly rules: DestinationRules
  readonly report: Report
}

/** Null when nothing is known of this host and port. Reports what is wrong with what is known. */
export function buildCluster(context: Context, host: string, port: number): ClusterModel | null {
  const { settings, catalogue, rules, report } = context
  const entry = catalogue.entryFor(host, port)
  const targets = catalogue.targetsFor(host, port)
  const [first] = targets
  const namespace = entry?.service.namespace ?? first?.policy.namespace
  if (namespace === undefined) return null
  refuseConflicts(targets, entry, report)

  // A host that an egress policy calls external stays external: its headers are stripped whatever else is said.
  const external = first !== undefined || entry?.service.spec.location !== 'MESH_INTERNAL'
  const policy = rules.policyFor(host, namespace, port)
  const origin = entry !== null ? fromEntry(host, entry, report) : first !== undefined ? fromTarget(first) : null
  if (origin === null) return null
  if (entry !== null && entry.protocol !== null && SERVICE_PROTOCOLS[entry.protocol].http2)
    warnHttp2(entry.service.at('spec', 'ports', entry.portIndex, 'protocol'), host, port, report)
  else if (first !== undefined && SERVICE_PROTOCOLS[first.protocol].http2)
    warnHttp2(first.policy.at(...first.path, 'port', 'protocol'), host, port, report)

  return {
    name: clusterName(port, '', host),
    statName: clusterName(port, '', host),
    host,
    port,
    ...origin.found,
    external,
    tls: tlsFor(context, { host, port, external, entry, targets, policy }),
    protocol: 'http1',
    loadBalancer: { kind: balancerFor(policy, report), warmup: null },
    connectTimeoutMs: policy?.policy.connectionPool?.tcp?.connectTimeout ?? settings.mesh.connectTimeoutMs,
    pool: UNLIMITED_POOL,
    outlierDetection: null,
    proxyProtocol: null,
    tunnel: null,
    source: origin.source,
  }
}

type Origin = { readonly source: SourceRef; readonly found: Discovered }

function fromEntry(host: string, entry: ServicePort, report: Report): Origin {
  return { source: entry.service.at('spec', 'hosts', entry.hostIndex), found: discover(host, entry, report) }
}

/** What a `to` registers by itself: its host, resolved (contract §3: a MESH_EXTERNAL, DNS service entry). */
function fromTarget({ policy, path, hostIndex, host, dialPort }: EgressTarget): Origin {
  const dynamic = isWildcard(host)
  return {
    source: policy.at(...path, 'hosts', hostIndex),
    found: {
      discovery: dynamic ? 'dynamic' : 'dns',
      endpoints: dynamic ? [] : [{ address: host, port: dialPort, weight: 1, locality: '', priority: 0 }],
      dynamicPort: dialPort,
    },
  }
}

type TlsQuestion = {
  readonly host: string
  readonly port: number
  readonly external: boolean
  readonly entry: ServicePort | null
  readonly targets: readonly EgressTarget[]
  readonly policy: PortPolicy | null
}

function tlsFor({ settings, report }: Context, question: TlsQuestion): UpstreamTlsModel | null {
  const { host, port, external, entry, targets, policy } = question
  const subjectAltNames = entry?.service.spec.subjectAltNames ?? []
  const upgrading = targets.find((target) => target.upgrade)
  const tls = policy?.policy.tls
  if (policy === null || tls === undefined) return upgrading === undefined ? null : upgradeTls(host, subjectAltNames)
  const lowered = lowerUpstreamTls(
    {
      tls,
      at: (...path) => policy.at('tls', ...path),
      host,
      port,
      external,
      subjectAltNames,
      meshIdentities: entry === null ? [] : endpointIdentities(entry, settings.mesh.trustDomain),
      secretsDirectory: settings.secretsDirectory,
    },
    report,
  )
  if (lowered !== null || upgrading === undefined) return lowered
  // Promise 1: what the policy promises to send over TLS never leaves in plain text because another file says so.
  report(
    'SP6008',
    policy.at('tls'),
    `DestinationRule ${policy.rule} turns TLS off for port ${port} of ${host}, but ASMEgressTrafficPolicy ${upgrading.policy.namespace}/${upgrading.policy.name} upgrades that port to HTTPS`,
    { fix: 'remove the DISABLE, or httpsUpgrade' },
  )
  return upgradeTls(host, subjectAltNames)
}

const BALANCERS = {
  UNSPECIFIED: 'LEAST_REQUEST',
  LEAST_CONN: 'LEAST_REQUEST',
  LEAST_REQUEST: 'LEAST_REQUEST',
  ROUND_ROBIN: 'ROUND_ROBIN',
  RANDOM: 'RANDOM',
  /** The caller's original destination is the gateway itself: it means nothing here. */
  PASSTHROUGH: null,
} as const

function balancerFor(policy: PortPolicy | null, report: Report): 'LEAST_REQUEST' | 'ROUND_ROBIN' | 'RANDOM' {
  const balancer = BALANCERS[policy?.policy.loadBalancer?.simple ?? 'UNSPECIFIED']
  if (balancer !== null) return balancer
  if (policy !== null)
    report('SP7014', policy.at('loadBalancer', 'simple'), 'PASSTHROUGH means nothing at a gateway', {
      fix: 'LEAST_REQUEST is used',
    })
  return 'LEAST_REQUEST'
}

function warnHttp2(at: SourceRef, host: string, port: number, report: Report): void {
  report('SP7011', at, `port ${port} of ${host} is HTTP/2; this release speaks HTTP/1.1 to the outside`, {
    fix: 'gRPC and servers without HTTP/1.1 cannot be reached yet',
  })
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
