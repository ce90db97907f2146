/** Where a ServiceEntry's port is reached: its resolution and endpoints as a cluster needs them (behaviour §2.2). */
import type { ClusterModel, EndpointModel } from '../model/cluster.ts'
import { canonicalHost, isWildcard } from './hostname.ts'
import type { ServiceEntrySpec } from './kinds/service-entry.ts'
import { isUnixAddress } from './kinds/workload-entry.ts'
import type { Report, Resource } from './resource.ts'
import { SERVICE_PROTOCOLS, type ServiceProtocol } from './service-protocol.ts'

/** One port of one host of a ServiceEntry. */
export type ServicePort = {
  readonly service: Resource<ServiceEntrySpec>
  readonly hostIndex: number
  readonly portIndex: number
  readonly port: NonNullable<ServiceEntrySpec['ports']>[number]
  /** null: not given. */
  readonly protocol: ServiceProtocol | null
}

export type Discovered = Pick<ClusterModel, 'discovery' | 'endpoints' | 'dynamicPort'>

export function discover(host: string, entry: ServicePort, report: Report): Discovered {
  const { service, port } = entry
  const resolution = service.spec.resolution ?? 'NONE'
  const targetPort = port.targetPort || port.number
  const itself: readonly EndpointModel[] = [{ address: host, port: targetPort, weight: 1, locality: '', priority: 0 }]
  const listed = listEndpoints(entry, targetPort, report)
  const found = (discovery: Discovered['discovery'], endpoints: readonly EndpointModel[]): Discovered => ({
    discovery,
    endpoints,
    dynamicPort: targetPort,
  })
  const requested = (): Discovered => {
    refuseOpaque(host, entry, report)
    return found('dynamic', [])
  }
  if (service.spec.workloadSelector !== undefined || (resolution === 'STATIC' && listed.length === 0)) {
    const at = service.at('spec', service.spec.workloadSelector === undefined ? 'endpoints' : 'workloadSelector')
    report('SP7013', at, `${host} has no endpoints: every request to it answers 503 (UH)`, {
      fix: 'list its endpoints',
    })
    return found('static', [])
  }
  switch (resolution) {
    case 'NONE':
      report(
        'SP7004',
        service.at('spec', 'resolution'),
        `${host} has resolution NONE, which a gateway of Istio cannot serve; here the ${isWildcard(host) ? 'requested' : 'host'} name is resolved`,
        { fix: `write resolution: ${isWildcard(host) ? 'DYNAMIC_DNS' : 'DNS'}` },
      )
      if (isWildcard(host)) return requested()
      refuseOpaque(host, entry, report)
      return found('dns', itself)
    case 'STATIC':
      return found('static', listed)
    case 'DNS':
      if (hasEndpoints(entry)) return found('dns', listed)
      return isWildcard(host) ? requested() : found('dns', itself)
    case 'DNS_ROUND_ROBIN':
      return found('dns-first', hasEndpoints(entry) ? listed : isWildcard(host) ? [] : itself)
    case 'DYNAMIC_DNS':
      return requested()
  }
}

/** SPIFFE IDs of the endpoints, as far as they name their service accounts (Istio's `secureNaming`). */
export function endpointIdentities({ service }: ServicePort, trustDomain: string): readonly string[] {
  const accounts = new Set<string>()
  for (const { serviceAccount } of service.spec.endpoints ?? [])
    if (serviceAccount !== undefined && serviceAccount !== '') accounts.add(serviceAccount)
  return [...accounts].map((account) => `spiffe://${trustDomain}/ns/${service.namespace}/sa/${account}`)
}

function hasEndpoints({ service }: ServicePort): boolean {
  return (service.spec.endpoints ?? []).length > 0
}

/** An endpoint's `ports` beat `targetPort`; weight 0 is protobuf's "not set". */
function listEndpoints({ service, port }: ServicePort, targetPort: number, report: Report): readonly EndpointModel[] {
  const endpoints: EndpointModel[] = []
  for (const [i, endpoint] of (service.spec.endpoints ?? []).entries()) {
    const address = endpoint.address ?? ''
    // Leaving one out narrows: the others are what the operator listed.
    if (address === '' || isUnixAddress(address))
      report('SP7012', service.at('spec', 'endpoints', i), 'this endpoint has no address that can be dialled over IP', {
        fix: 'it is left out; give it an IP address or a name',
      })
    else
      endpoints.push({
        address: canonicalHost(address),
        port: endpoint.ports?.[port.name] ?? targetPort,
        weight: endpoint.weight || 1,
        locality: endpoint.locality ?? '',
        priority: 0,
      })
  }
  return endpoints
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
