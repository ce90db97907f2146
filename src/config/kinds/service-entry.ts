/** networking.istio.io ServiceEntry: schema and Istio's validation rules (behaviour §2.1, §2.2). */
import { isIP } from 'node:net'
import { z } from 'zod'
import { canonicalHost, hostProblem, isLabel, isWildcard } from '../hostname.ts'
import type { KindModule, Report, Resource } from '../resource.ts'
import { enumeration, int, nonEmpty, port, stringMap, text } from '../schema.ts'
import { parseServiceProtocol, SERVICE_PROTOCOLS } from '../service-protocol.ts'
import { exportProblem } from '../visibility.ts'
import { checkEndpoint, endpointSchema, isUnixAddress } from './workload-entry.ts'

/** Names in protobuf order. */
const RESOLUTIONS = ['NONE', 'STATIC', 'DNS', 'DNS_ROUND_ROBIN', 'DYNAMIC_DNS'] as const

const schema = z.object({
  hosts: z.array(nonEmpty).min(1).max(256),
  /** Virtual addresses by which sidecars know the service. A gateway is told the name: checked, and without effect. */
  addresses: z.array(nonEmpty).max(256).optional(),
  ports: z
    .array(
      z.object({
        number: port,
        name: nonEmpty,
        protocol: text.optional(),
        /** 0 is protobuf's "not set". */
        targetPort: int(0, 65535).optional(),
      }),
    )
    .max(256)
    .optional(),
  location: enumeration(['MESH_EXTERNAL', 'MESH_INTERNAL']).optional(),
  resolution: enumeration(RESOLUTIONS).optional(),
  endpoints: z.array(endpointSchema).max(4096).optional(),
  workloadSelector: z.object({ labels: stringMap.optional() }).optional(),
  exportTo: z.array(text).optional(),
  subjectAltNames: z.array(nonEmpty).optional(),
})

export type ServiceEntrySpec = z.infer<typeof schema>

export const serviceEntry: KindModule<ServiceEntrySpec> = {
  kind: 'ServiceEntry',
  group: 'networking.istio.io',
  versions: ['v1', 'v1beta1', 'v1alpha3'],
  unknownKeys: 'warning',
  schema,
  specOptional: false,
  unsupported: [
    { path: 'spec.endpoints[].network', severity: 'warning', why: 'endpoints are always dialled directly' },
  ],
  notes: [
    {
      path: 'spec.addresses',
      is: 'inert',
      why: 'virtual addresses by which sidecars know the service; a gateway is told the name',
    },
    {
      path: 'spec.resolution',
      is: 'limited',
      why: 'NONE resolves the requested name here, with a warning that Istio’s gateway could not; refused on TCP ports that a route uses',
    },
  ],
  check,
}

function check(resource: Resource<ServiceEntrySpec>, report: Report): void {
  const { spec } = resource
  const at = (...path: (string | number)[]) => resource.at('spec', ...path)
  spec.hosts.forEach((host, i) => {
    const problem = hostProblem(host)
    if (problem !== null) report('SP7000', at('hosts', i), problem)
    else if (!canonicalHost(host).includes('.'))
      report('SP7017', at('hosts', i), `"${host}" has no dot: no VirtualService destination can name it`, {
        fix: 'write the full name',
      })
  })
  const exported = exportProblem(spec.exportTo ?? [], resource.namespace, true)
  if (exported !== null) report('SP7000', at('exportTo'), `exportTo: ${exported}`)
  checkSelector(spec, at, report)
  checkPorts(spec, at, report)
  checkAddresses(spec, at, report)
  checkResolution(resource, report)
}

type At = (...path: (string | number)[]) => ReturnType<Resource['at']>

function checkSelector(spec: ServiceEntrySpec, at: At, report: Report): void {
  if (spec.workloadSelector === undefined) return
  if ((spec.endpoints ?? []).length > 0)
    report('SP7000', at('workloadSelector'), 'workloadSelector and endpoints exclude each other')
  if ((spec.resolution ?? 'NONE') === 'NONE')
    report('SP7024', at('workloadSelector'), 'resolution NONE selects no workloads', {
      fix: 'write resolution: STATIC',
    })
  if (spec.resolution === 'DYNAMIC_DNS')
    report('SP7000', at('workloadSelector'), 'resolution DYNAMIC_DNS takes no workloadSelector')
  const labels = Object.entries(spec.workloadSelector.labels ?? {})
  if (labels.length === 0)
    report(
      'SP7024',
      at('workloadSelector'),
      'workloadSelector without labels selects every WorkloadEntry of the namespace',
    )
  for (const [key, value] of labels)
    if (key === '' || `${key}${value}`.includes('*'))
      report('SP7000', at('workloadSelector', 'labels', key), 'labels are compared exactly: no empty keys, no "*"')
}

function checkPorts(spec: ServiceEntrySpec, at: At, report: Report): void {
  const names = new Set<string>()
  const numbers = new Set<number>()
  for (const [i, entry] of (spec.ports ?? []).entries()) {
    if (names.has(entry.name)) report('SP7000', at('ports', i, 'name'), `two ports are called "${entry.name}"`)
    if (numbers.has(entry.number)) report('SP7000', at('ports', i, 'number'), `port ${entry.number} is listed twice`)
    // Istio's labels may have capitals.
    if (!isLabel(entry.name.toLowerCase()))
      report('SP7000', at('ports', i, 'name'), `"${entry.name}" is not a name (a DNS label)`)
    names.add(entry.name)
    numbers.add(entry.number)
    if ((entry.protocol ?? '') !== '' && parseServiceProtocol(entry.protocol ?? '') === null)
      report('SP7000', at('ports', i, 'protocol'), `unknown protocol "${entry.protocol}"`, {
        fix: `one of ${Object.keys(SERVICE_PROTOCOLS).join(', ')}`,
      })
    else if (spec.hosts.length > 1 && isOpaque(entry.protocol) && (spec.resolution ?? 'NONE') !== 'NONE')
      report('SP7000', at('ports', i), 'a service with several hosts needs ports of an HTTP or TLS protocol', {
        fix: 'bytes without a name cannot tell its hosts apart: write one ServiceEntry per host',
      })
  }
  for (const [i, endpoint] of (spec.endpoints ?? []).entries()) {
    for (const name of Object.keys(endpoint.ports ?? {}))
      if (!names.has(name))
        report('SP7000', at('endpoints', i, 'ports', name), `the ServiceEntry has no port called "${name}"`)
    if (isUnixAddress(endpoint.address ?? '') && names.size !== 1)
      report('SP7000', at('endpoints', i, 'address'), 'a Unix socket needs a ServiceEntry with exactly one port')
  }
}

/** A named protocol of opaque bytes; none named means "detect", which Istio does not count here. */
function isOpaque(protocol: string | undefined): boolean {
  const parsed = parseServiceProtocol(protocol ?? '')
  return parsed !== null && SERVICE_PROTOCOLS[parsed].family === 'tcp'
}

function checkAddresses(spec: ServiceEntrySpec, at: At, report: Report): void {
  const cidrs = spec.resolution === undefined || spec.resolution === 'NONE' || spec.resolution === 'STATIC'
  for (const [i, address] of (spec.addresses ?? []).entries()) {
    const [ip = '', bits, ...more] = address.split('/')
    const version = isIP(ip)
    const legal =
      version !== 0 &&
      more.length === 0 &&
      (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128)))
    if (!legal) report('SP7000', at('addresses', i), `"${address}" is neither an IP address nor a CIDR block`)
    else if (bits !== undefined && !cidrs)
      report('SP7000', at('addresses', i), 'a CIDR block is possible with resolution NONE or STATIC only')
  }
}

function checkResolution(resource: Resource<ServiceEntrySpec>, report: Report): void {
  const { spec } = resource
  const at = (...path: (string | number)[]) => resource.at('spec', ...path)
  const resolution = spec.resolution ?? 'NONE'
  const endpoints = spec.endpoints ?? []
  const wildcard = spec.hosts.some(isWildcard)
  for (const [i, endpoint] of endpoints.entries())
    checkEndpoint(
      endpoint,
      { hosts: resolution !== 'STATIC', unix: resolution === 'STATIC' },
      resource,
      ['spec', 'endpoints', i],
      report,
    )
  switch (resolution) {
    case 'NONE':
      if (endpoints.length > 0)
        report('SP7000', at('endpoints'), 'resolution NONE takes no endpoints', {
          fix: 'write resolution: STATIC (IP addresses) or DNS (names)',
        })
      break
    case 'STATIC':
    case 'DNS':
      break
    case 'DNS_ROUND_ROBIN':
      if (endpoints.length > 1)
        report('SP7000', at('endpoints'), 'resolution DNS_ROUND_ROBIN takes at most one endpoint')
      if (wildcard && endpoints.length === 0)
        report('SP7000', at('hosts'), 'a wildcard host with resolution DNS_ROUND_ROBIN needs an endpoint')
      break
    case 'DYNAMIC_DNS':
      if (!spec.hosts.every(isWildcard))
        report('SP7000', at('hosts'), 'resolution DYNAMIC_DNS is for wildcard hosts only')
      if (endpoints.length > 0 || (spec.addresses ?? []).length > 0)
        report('SP7000', at('resolution'), 'resolution DYNAMIC_DNS takes neither endpoints nor addresses')
      if (spec.location === 'MESH_INTERNAL')
        report('SP7000', at('location'), 'resolution DYNAMIC_DNS needs location MESH_EXTERNAL')
      for (const [i, entry] of (spec.ports ?? []).entries())
        if (isOpaque(entry.protocol))
          report('SP7000', at('ports', i, 'protocol'), 'resolution DYNAMIC_DNS needs HTTP or TLS ports')
      break
  }
}
