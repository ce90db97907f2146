/** Where a ServiceEntry's port is reached: its resolution and endpoints as a cluster needs them (behaviour §2.2). */
import { isIP } from 'node:net'
import type { SourceRef } from '../core/attributes.ts'
import type { ClusterModel } from '../model/cluster.ts'
import { canonicalHost, isWildcard } from './hostname.ts'
import type { ServiceEntrySpec } from './kinds/service-entry.ts'
import { isUnixAddress, type WorkloadEntrySpec } from './kinds/workload-entry.ts'
import { type Candidate, localityOf } from './locality.ts'
import type { Report, Resource } from './resource.ts'
import { SERVICE_PROTOCOLS, type ServiceProtocol } from './service-protocol.ts'
import { type WorkloadEntries, workloadLabels } from './workload-entries.ts'

/** One port of one host of a ServiceEntry. */
export type ServicePort = {
  readonly service: Resource<ServiceEntrySpec>
  readonly hostIndex: number
  readonly portIndex: number
  readonly port: NonNullable<ServiceEntrySpec['ports']>[number]
  /** null: not given. */
  readonly protocol: ServiceProtocol | null
}

export type Discovered = Pick<ClusterModel, 'discovery' | 'dynamicPort'> & { readonly candidates: readonly Candidate[] }

/** Reports endpoints that cannot be used, and when there are none. */
export function discover(host: string, entry: ServicePort, workloads: WorkloadEntries, report: Report): Discovered {
  const { service } = entry
  const { resolution = 'NONE', workloadSelector } = service.spec
  const targetPort = targetPortOf(entry)
  const found = (discovery: Discovered['discovery'], candidates: readonly Candidate[]): Discovered => ({
    discovery,
    candidates,
    dynamicPort: targetPort,
  })
  const itself = () => implicit(host, targetPort)
  const requested = (): Discovered => {
    refuseOpaque(host, entry, report)
    return found('dynamic', [])
  }
  const listed = listEndpoints(entry, workloads, report)
  if (listed.length === 0 && (workloadSelector !== undefined || resolution === 'STATIC')) {
    const selects = workloadSelector !== undefined
    report(
      'SP7013',
      service.at('spec', selects ? 'workloadSelector' : 'endpoints'),
      `${host} has no endpoints: every request to it answers 503 (UH)`,
      {
        fix: selects
          ? `mount the WorkloadEntries of namespace ${service.namespace}, or list endpoints`
          : 'list its endpoints',
      },
    )
    return found('static', [])
  }
  switch (resolution) {
    case 'NONE':
      reportNone(host, entry, report)
      if (workloadSelector !== undefined) return found('static', listed)
      if (isWildcard(host)) return requested()
      refuseOpaque(host, entry, report)
      return found('dns', itself())
    case 'STATIC':
      return found('static', listed)
    case 'DNS':
      if (listed.length > 0) return found('dns', listed)
      return isWildcard(host) ? requested() : found('dns', itself())
    case 'DNS_ROUND_ROBIN':
      if (listed.length > 1)
        report('SP7024', service.at('spec', 'workloadSelector'), 'DNS_ROUND_ROBIN has one endpoint: the first is used')
      return found('dns-first', listed.length > 0 ? listed.slice(0, 1) : isWildcard(host) ? [] : itself())
    case 'DYNAMIC_DNS':
      return requested()
  }
}

/** A name that stands for itself: no labels, no locality. */
export function implicit(address: string, port: number): readonly Candidate[] {
  return [{ endpoint: { address, port, weight: 1, locality: '', priority: 0 }, labels: {}, serviceAccount: '' }]
}

/** SPIFFE IDs of the endpoints, as far as they name their service accounts (Istio's `secureNaming`). */
export function endpointIdentities(
  entry: ServicePort,
  workloads: WorkloadEntries,
  trustDomain: string,
): readonly string[] {
  const accounts = new Set(specsOf(entry, workloads).map(({ spec }) => spec.serviceAccount ?? ''))
  accounts.delete('')
  return [...accounts].map((account) => `spiffe://${trustDomain}/ns/${entry.service.namespace}/sa/${account}`)
}

function targetPortOf({ port }: ServicePort): number {
  return port.targetPort || port.number
}

type PlacedEndpoint = {
  readonly spec: WorkloadEntrySpec
  readonly labels: Readonly<Record<string, string>>
  readonly at: SourceRef
}

/** The endpoints that are listed, or those that the selector finds. */
function specsOf({ service }: ServicePort, workloads: WorkloadEntries): readonly PlacedEndpoint[] {
  const { workloadSelector, endpoints = [] } = service.spec
  if (workloadSelector === undefined)
    return endpoints.map((spec, i) => ({ spec, labels: spec.labels ?? {}, at: service.at('spec', 'endpoints', i) }))
  return workloads
    .selected(service.namespace, workloadSelector.labels ?? {})
    .map((entry) => ({ spec: entry.spec, labels: workloadLabels(entry), at: entry.at('spec', 'address') }))
}

/** An endpoint's `ports` beat `targetPort`; weight 0 is protobuf's "not set". */
function listEndpoints(entry: ServicePort, workloads: WorkloadEntries, report: Report): readonly Candidate[] {
  const { resolution = 'NONE' } = entry.service.spec
  const resolves = resolution === 'DNS' || resolution === 'DNS_ROUND_ROBIN'
  const candidates: Candidate[] = []
  for (const { spec, labels, at } of specsOf(entry, workloads)) {
    const address = canonicalHost(spec.address ?? '')
    // Leaving one out narrows: the others are what the operator listed.
    if (address === '' || isUnixAddress(address))
      report('SP7012', at, 'this endpoint has no address that can be dialled over IP', {
        fix: 'it is left out; give it an IP address or a name',
      })
    else if (!resolves && isIP(address) === 0)
      report('SP7012', at, `"${address}" is a name, and resolution ${resolution} resolves none`, {
        fix: 'it is left out; write resolution: DNS in the ServiceEntry, or an IP address here',
      })
    else
      candidates.push({
        endpoint: {
          address,
          port: spec.ports?.[entry.port.name] ?? targetPortOf(entry),
          weight: spec.weight || 1,
          locality: localityOf(spec.locality, labels),
          priority: 0,
        },
        labels,
        serviceAccount: spec.serviceAccount ?? '',
      })
  }
  return candidates
}

function reportNone(host: string, { service }: ServicePort, report: Report): void {
  const selects = service.spec.workloadSelector !== undefined
  const instead = selects
    ? 'the selected WorkloadEntries are dialled'
    : `the ${isWildcard(host) ? 'requested' : 'host'} name is resolved`
  report(
    'SP7004',
    service.at('spec', 'resolution'),
    `${host} has resolution NONE, which a gateway of Istio cannot serve; here ${instead}`,
    { fix: `write resolution: ${selects ? 'STATIC' : isWildcard(host) ? 'DYNAMIC_DNS' : 'DNS'}` },
  )
}

/** Opaque bytes carry no name that could be resolved, and there is no original destination at a gateway. */
function refuseOpaque(host: string, { service, portIndex, port, protocol }: ServicePort, report: Report): void {
  if (protocol === null) return
  const { family } = SERVICE_PROTOCOLS[protocol]
  if (family !== 'http' && family !== 'tls')
    report(
      'SP7005',
      service.at('spec', 'ports', portIndex),
      `port ${port.number} of ${host} is ${protocol}: its bytes name no host to resolve`,
      { fix: 'list endpoints with resolution STATIC or DNS' },
    )
}
