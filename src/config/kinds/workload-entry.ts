/**
 * networking.istio.io WorkloadEntry, and the endpoints of a ServiceEntry, which have the same shape
 * (behaviour §2.1). A WorkloadEntry of its own is used only by `ServiceEntry.workloadSelector`.
 */
import { isIP } from 'node:net'
import { z } from 'zod'
import { hostProblem, isLabel } from '../hostname.ts'
import type { KindModule, Report, Resource } from '../resource.ts'
import { int, port, stringMap, text } from '../schema.ts'
import { labelsProblem } from './labels-check.ts'

export const endpointSchema = z.object({
  address: text.optional(),
  /** Port name → port number. */
  ports: z.record(z.string(), port).optional(),
  labels: stringMap.optional(),
  network: text.optional(),
  locality: text.optional(),
  weight: int(0, 0xffffffff).optional(),
  serviceAccount: text.optional(),
})

export type WorkloadEntrySpec = z.infer<typeof endpointSchema>

export function isUnixAddress(address: string): boolean {
  return address.startsWith('unix://')
}

/**
 * Istio's rules for one endpoint. `names`: IP only, IP or host name, and whether a Unix socket is legal.
 * @param path of the endpoint in its resource
 */
export function checkEndpoint(
  endpoint: WorkloadEntrySpec,
  names: { readonly hosts: boolean; readonly unix: boolean },
  resource: Pick<Resource, 'at'>,
  path: readonly (string | number)[],
  report: Report,
): void {
  const address = endpoint.address ?? ''
  const at = resource.at(...path, 'address')
  const label = labelsProblem(endpoint.labels ?? {})
  if (label !== null) report('SP7000', resource.at(...path, 'labels', label.key), label.message)
  for (const name of Object.keys(endpoint.ports ?? {}))
    if (!isLabel(name.toLowerCase()))
      report('SP7000', resource.at(...path, 'ports', name), `"${name}" is not the name of a port (a DNS label)`)
  if (address === '') {
    if ((endpoint.network ?? '') === '') report('SP7000', at, 'an endpoint needs an address')
    return
  }
  if (isUnixAddress(address)) {
    if (!names.unix) report('SP7000', at, `"${address}": a Unix socket is possible with resolution STATIC only`)
    else if (!address.startsWith('unix:///')) report('SP7000', at, `"${address}" is not an absolute path`)
    if (endpoint.ports !== undefined) report('SP7000', resource.at(...path, 'ports'), 'a Unix socket has no ports')
    return
  }
  if (isIP(address) !== 0) return
  if (!names.hosts)
    report('SP7000', at, `"${address}" is not an IP address`, {
      fix: 'with resolution STATIC endpoints are IP addresses; write resolution: DNS to have names resolved',
    })
  else if (hostProblem(address) !== null || address.startsWith('*'))
    report('SP7000', at, `"${address}" is neither an IP address nor a host name`)
}

export const workloadEntry: KindModule<WorkloadEntrySpec> = {
  kind: 'WorkloadEntry',
  group: 'networking.istio.io',
  versions: ['v1', 'v1beta1', 'v1alpha3'],
  unknownKeys: 'warning',
  schema: endpointSchema,
  specOptional: false,
  unsupported: [{ path: 'spec.network', severity: 'warning', why: 'endpoints are always dialled directly' }],
  check(resource, report) {
    checkEndpoint(resource.spec, { hosts: true, unix: true }, resource, ['spec'], report)
  },
}
