/** Callers, requests and policies for tests of the policy engine: short to write, real all the way through config and lowering. */

import type { Diagnostic } from '../config/diagnostics.ts'
import { authorizationPolicy } from '../config/kinds/authorization-policy.ts'
import { requestAuthentication } from '../config/kinds/request-authentication.ts'
import { lowerPolicies } from '../config/policies.ts'
import { collectDiagnostics } from '../config/report.ts'
import type { KindModule, Resource } from '../config/resource.ts'
import { lowerTokenRules } from '../config/token-rules.ts'
import type { Attributes, Authority, CertificateFacts, Peer } from '../core/attributes.ts'
import { parseAuthority } from '../core/authority.ts'
import { parseSpiffeId } from '../identity/spiffe.ts'
import type { ListenerModel } from '../model/listener.ts'
import type { PolicyModel } from '../model/policy.ts'
import type { Settings } from '../model/settings.ts'

const CERTIFICATE: CertificateFacts = {
  sha256: '00',
  subject: '',
  issuer: 'O=test',
  serial: '1',
  uriSans: [],
  dnsSans: [],
  notBefore: 0,
  notAfter: 1,
}

/** A caller with a verified SPIFFE ID; `id` without `spiffe://`. */
export function spiffePeer(id: string): Peer {
  const parsed = parseSpiffeId(`spiffe://${id}`)
  if (!('id' in parsed)) throw new Error(`bad test identity ${id}: ${parsed.error}`)
  return { kind: 'spiffe', id: parsed.id, certificate: { ...CERTIFICATE, uriSans: [`spiffe://${id}`] } }
}

/** A caller with a verified certificate that gives no identity. */
export function certificatePeer(facts: Partial<CertificateFacts>): Peer {
  return { kind: 'certificate', certificate: { ...CERTIFICATE, ...facts } }
}

export type RequestOptions = Partial<Omit<Attributes, 'http'>> & {
  readonly method?: string
  readonly host?: string
  readonly path?: string
  readonly query?: string | null
  readonly scheme?: 'http' | 'https'
  readonly headers?: readonly string[]
}

const CONNECTION: Omit<Attributes, 'http'> = {
  peer: { kind: 'none' },
  sourceIp: '10.1.0.5',
  remoteIp: '10.1.0.5',
  destinationIp: '10.1.0.9',
  destinationPort: 8080,
  gatewayPort: 80,
  sni: null,
  token: null,
}

/** GET http://httpbin.org/ on Gateway port 80 (bound: 8080) by a caller without identity, unless said otherwise. */
export function request(options: RequestOptions = {}): Attributes {
  const { method = 'GET', host = 'httpbin.org', path = '/', query = null, scheme = 'http', headers = [] } = options
  const { peer, sourceIp, remoteIp, destinationIp, destinationPort, gatewayPort, sni, token } = {
    ...CONNECTION,
    ...options,
  }
  const connection = { peer, sourceIp, remoteIp, destinationIp, destinationPort, gatewayPort, sni, token }
  return { ...connection, http: { method, path, query, scheme, authority: authority(host), headers } }
}

/** A tunnel on Gateway port 444 (bound: 8444). */
export function tunnel(options: Partial<Omit<Attributes, 'http'>> = {}): Attributes {
  return { ...CONNECTION, destinationPort: 8444, gatewayPort: 444, ...options, http: null }
}

function authority(text: string): Authority {
  const parsed = parseAuthority(text)
  if (parsed === null) throw new Error(`bad test authority ${text}`)
  return parsed
}

/** Only what policies look at; the gateway is istio-system/istio-egressgateway with the usual labels and ports. */
export function policySettings(mesh: Partial<Settings['mesh']> = {}, rest: Partial<Settings> = {}): Settings {
  const defaults: Partial<Settings['mesh']> = {
    rootNamespace: 'istio-system',
    trustDomain: 'cluster.local',
    trustDomainAliases: [],
    pathNormalization: 'BASE',
  }
  return {
    name: 'istio-egressgateway',
    namespace: 'istio-system',
    labels: { istio: 'egressgateway', app: 'istio-egressgateway' },
    mesh: { ...defaults, ...mesh },
    ports: [
      { gatewayPort: 80, bindPort: 8080 },
      { gatewayPort: 443, bindPort: 8443 },
    ],
    ...rest,
  } as Settings
}

export type PolicySpec = {
  readonly kind?: 'AuthorizationPolicy' | 'RequestAuthentication'
  readonly namespace?: string
  readonly name?: string
  readonly annotations?: Readonly<Record<string, string>>
  readonly spec?: unknown
}

export type Lowered = { readonly policies: readonly PolicyModel[]; readonly diagnostics: readonly Diagnostic[] }

/** Schema, checks and lowering, as the loader does it. Throws when the schema itself refuses. */
export function lower(
  specs: readonly PolicySpec[],
  settings: Settings = policySettings(),
  listeners: readonly ListenerModel[] = [],
): Lowered {
  const { report, sorted } = collectDiagnostics()
  const resources = specs.map((each, i) => {
    const { kind = 'AuthorizationPolicy', namespace = 'istio-system', name = `p${i}`, annotations = {} } = each
    const module: KindModule<never> = (kind === 'AuthorizationPolicy'
      ? authorizationPolicy
      : requestAuthentication) as unknown as KindModule<never>
    const resource: Resource<never> = {
      apiVersion: 'security.istio.io/v1',
      kind,
      namespace,
      name,
      labels: {},
      annotations,
      spec: module.schema.parse(each.spec ?? {}),
      // The path stands in for a line: readable in a failing assertion, different for every place.
      at: (...path) => ({ file: `${namespace}/${name}.yaml#${path.join('.')}`, line: 1, col: 1 }),
    }
    module.check?.(resource, report)
    return resource
  })
  const tokenRules = lowerTokenRules(settings, resources, report)
  return { policies: lowerPolicies(settings, resources, report, listeners, tokenRules), diagnostics: sorted() }
}

/** The policies of specs that must load without an error. */
export function policies(specs: readonly PolicySpec[], settings?: Settings): readonly PolicyModel[] {
  const { policies: models, diagnostics } = lower(specs, settings)
  const error = diagnostics.find((diagnostic) => diagnostic.severity === 'error')
  if (error !== undefined) throw new Error(`${error.file} ${error.code} ${error.message}`)
  return models
}
