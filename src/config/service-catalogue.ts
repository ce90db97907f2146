/** What is known of hosts and ports: visible ServiceEntries, and the `to`s of the egress policies that are ours. */
import type { SourceRef } from '../core/attributes.ts'
import type { RegisteredHost } from '../model/route.ts'
import type { Settings } from '../model/settings.ts'
import { type EgressTarget, egressTargets } from './egress-targets.ts'
import { canonicalHost } from './hostname.ts'
import { serviceEntry } from './kinds/service-entry.ts'
import { byNamespaceAndName, ofKind } from './of-kind.ts'
import type { Report, Resource } from './resource.ts'
import type { ServicePort } from './service-endpoints.ts'
import { parseServiceProtocol, SERVICE_PROTOCOLS } from './service-protocol.ts'
import { isExportedTo } from './visibility.ts'

export type Catalogue = {
  /** Hosts of visible ServiceEntries, each once. */
  readonly registry: readonly RegisteredHost[]
  /** Every service port number known for a host. */
  portsOf(host: string): readonly number[]
  /** The ServiceEntry port that speaks for host and port. */
  entryFor(host: string, port: number): ServicePort | null
  /** Egress policies' `to`s that leave for host and port, in deciding order. */
  targetsFor(host: string, port: number): readonly EgressTarget[]
  /** True when plain HTTP to this port is a mistake as far as anyone can tell. */
  speaksTls(host: string, port: number): boolean
  /** Why a destination has no cluster, for a diagnostic. */
  whyUnknown(host: string, port: number): string
}

export function createCatalogue(settings: Settings, resources: readonly Resource[], report: Report): Catalogue {
  const targets = groupTargets(settings, resources)
  const { registry, entries, hidden } = indexEntries(settings, resources, report)
  const entryFor = (host: string, port: number) => entries.get(host)?.get(port) ?? null
  const targetsFor = (host: string, port: number) =>
    (targets.get(host) ?? []).filter((target) => target.externalPort === port)
  const portsOf = (host: string) => {
    const numbers = new Set(entries.get(host)?.keys())
    for (const target of targets.get(host) ?? []) numbers.add(target.externalPort)
    return [...numbers]
  }
  return {
    registry,
    portsOf,
    entryFor,
    targetsFor,
    speaksTls(host, port) {
      const protocol = entryFor(host, port)?.protocol ?? null
      if (protocol !== null) return SERVICE_PROTOCOLS[protocol].family === 'tls'
      return port === 443 || targetsFor(host, port).some((target) => target.application === 'tunnel')
    },
    whyUnknown(host, port) {
      const ports = portsOf(host)
      if (ports.length > 0) return `${host} is registered without port ${port} (it has ${ports.join(', ')})`
      const owner = hidden.get(host)
      if (owner !== undefined)
        return `ServiceEntry ${owner} has ${host}, but does not export it to namespace ${settings.namespace}`
      return `no ServiceEntry has a host ${host}`
    },
  }
}

function groupTargets(settings: Settings, resources: readonly Resource[]): ReadonlyMap<string, EgressTarget[]> {
  const targets = new Map<string, EgressTarget[]>()
  for (const target of egressTargets(settings, resources)) {
    const list = targets.get(target.host)
    if (list === undefined) targets.set(target.host, [target])
    else list.push(target)
  }
  return targets
}

type EntryIndex = {
  readonly registry: readonly RegisteredHost[]
  readonly entries: ReadonlyMap<string, ReadonlyMap<number, ServicePort>>
  /** Hosts of ServiceEntries that are not exported to us → `NS/NAME`. */
  readonly hidden: ReadonlyMap<string, string>
}

function indexEntries(settings: Settings, resources: readonly Resource[], report: Report): EntryIndex {
  const registered = new Map<string, SourceRef>()
  const entries = new Map<string, Map<number, ServicePort>>()
  const hidden = new Map<string, string>()
  // The gateway's own namespace speaks first, as a proxy prefers the services of its namespace.
  const rank = (resource: Resource) => (resource.namespace === settings.namespace ? 0 : 1)
  const services = [...ofKind(resources, serviceEntry)].sort((a, b) => rank(a) - rank(b) || byNamespaceAndName(a, b))
  for (const service of services)
    for (const [hostIndex, text] of service.spec.hosts.entries()) {
      const host = canonicalHost(text)
      if (!isExportedTo(service.spec.exportTo, service.namespace, settings.namespace)) {
        hidden.set(host, `${service.namespace}/${service.name}`)
        continue
      }
      if (!registered.has(host)) registered.set(host, service.at('spec', 'hosts', hostIndex))
      const known = entries.get(host) ?? new Map<number, ServicePort>()
      entries.set(host, known)
      for (const [portIndex, port] of (service.spec.ports ?? []).entries()) {
        const before = known.get(port.number)
        if (before === undefined) {
          const protocol = parseServiceProtocol(port.protocol ?? '')
          known.set(port.number, { service, hostIndex, portIndex, port, protocol })
        } else if (before.service !== service)
          report(
            'SP7006',
            service.at('spec', 'ports', portIndex),
            `port ${port.number} of ${host} is taken from ServiceEntry ${before.service.namespace}/${before.service.name}; this one is not used`,
            { fix: 'merge the two entries, or give them different ports' },
          )
      }
    }
  return { registry: [...registered].map(([host, source]) => ({ host, source })), entries, hidden }
}
