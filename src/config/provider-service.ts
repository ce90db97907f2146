/** The `service` and `port` of an extension provider: who it is, before anybody looks it up. */
import { isIP } from 'node:net'
import { classifyAddress } from '../core/address-class.ts'
import { parseAuthority } from '../core/authority.ts'
import type { ProviderHead, ProviderService } from '../model/extension-providers.ts'
import type { Report, Resource } from './resource.ts'

/** What the lowering of a provider knows besides its own fields. `at` takes a path below the provider's block. */
export type ProviderPlace = { readonly head: ProviderHead; readonly at: Resource['at']; readonly report: Report }

/**
 * `[namespace/]hostname` and a port. null, reported as SP8301: it is none, or an address that no authorizer can have.
 * For every provider with a `service`.
 */
export function providerService(written: string, servicePort: number, place: ProviderPlace): ProviderService | null {
  const refuse = (why: string) => {
    place.report('SP8301', place.at('service'), `service ${JSON.stringify(written)} ${why}`, {
      fix: 'write a host name, as opa.istio-system.svc.cluster.local, or NAMESPACE/HOST',
    })
    return null
  }
  const slash = written.indexOf('/')
  const namespace = slash === -1 ? null : written.slice(0, slash)
  const name = written.slice(slash + 1)
  if (namespace !== null && !/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(namespace))
    return refuse('names no namespace before its slash')
  const bracketed = isIP(name) === 6 ? `[${name}]` : name
  const authority = parseAuthority(bracketed.toLowerCase())
  if (authority === null || authority.port !== null) return refuse('is no host name')
  if (authority.isIp && classifyAddress(authority.host)?.class === 'metadata') return refuse('is a metadata address')
  return { namespace, host: authority.host, port: servicePort }
}
