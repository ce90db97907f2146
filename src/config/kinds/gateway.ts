/** Gateway of networking.istio.io: schema and what can be judged from the resource alone (behaviour §3.1–3.3). */
import { z } from 'zod'
import { canonicalHostPattern } from '../../core/host-pattern.ts'
import type { KindModule, Report, Resource } from '../resource.ts'
import { bool, enumeration, nonEmpty, port, stringMap, text } from '../schema.ts'
import { GATEWAY_NOTES } from './gateway-notes.ts'

const TLS_VERSIONS = ['TLS_AUTO', 'TLSV1_0', 'TLSV1_1', 'TLSV1_2', 'TLSV1_3'] as const

const serverTls = z.object({
  httpsRedirect: bool.optional(),
  mode: enumeration([
    'PASSTHROUGH',
    'SIMPLE',
    'MUTUAL',
    'AUTO_PASSTHROUGH',
    'ISTIO_MUTUAL',
    'OPTIONAL_MUTUAL',
  ]).optional(),
  serverCertificate: nonEmpty.optional(),
  privateKey: nonEmpty.optional(),
  caCertificates: nonEmpty.optional(),
  caCrl: text.optional(),
  tlsCertificates: z
    .array(z.object({ serverCertificate: nonEmpty, privateKey: nonEmpty, caCertificates: nonEmpty.optional() }))
    .max(2)
    .optional(),
  credentialName: nonEmpty.optional(),
  credentialNames: z.array(nonEmpty).max(2).optional(),
  caCertCredentialName: nonEmpty.optional(),
  subjectAltNames: z.array(nonEmpty).optional(),
  verifyCertificateSpki: z.array(text).optional(),
  verifyCertificateHash: z.array(text).optional(),
  minProtocolVersion: enumeration(TLS_VERSIONS).optional(),
  maxProtocolVersion: enumeration(TLS_VERSIONS).optional(),
  cipherSuites: z.array(text).optional(),
  insecureSkipVerify: bool.optional(),
})

const server = z.object({
  name: text.optional(),
  bind: text.optional(),
  defaultEndpoint: text.optional(),
  hosts: z.array(text).min(1, 'at least one host is needed'),
  port: z.object({ number: port, protocol: nonEmpty, name: nonEmpty, targetPort: port.optional() }),
  tls: serverTls.optional(),
})

const schema = z.object({
  selector: stringMap.optional(),
  servers: z.array(server).min(1, 'at least one server is needed'),
})

export type GatewaySpec = z.infer<typeof schema>
export type GatewayServerSpec = GatewaySpec['servers'][number]
export type GatewayTlsSpec = NonNullable<GatewayServerSpec['tls']>

/** TABLE of the protocols a server may name (case-insensitive; Istio pkg/config/protocol). */
export const PROTOCOLS = {
  HTTP: { family: 'http', tls: false },
  HTTP2: { family: 'http', tls: false },
  GRPC: { family: 'http', tls: false },
  'GRPC-WEB': { family: 'http', tls: false },
  HTTPS: { family: 'http', tls: true },
  TLS: { family: 'tcp', tls: true },
  TCP: { family: 'tcp', tls: false },
  MONGO: { family: 'tcp', tls: false },
} as const satisfies Record<string, { readonly family: 'http' | 'tcp'; readonly tls: boolean }>

export type Protocol = keyof typeof PROTOCOLS

/** The protocol of a port, or null when it is none a Gateway may name. */
export function protocolOf(spec: GatewayServerSpec): Protocol | null {
  const name = spec.port.protocol.toUpperCase()
  return Object.hasOwn(PROTOCOLS, name) ? (name as Protocol) : null
}

/** A host of a server: who may bind to it (`*`: every namespace) and the pattern. null: malformed. */
export function parseServerHost(
  text: string,
  gatewayNamespace: string,
): { readonly namespace: string; readonly host: string } | null {
  const slash = text.indexOf('/')
  const namespace = slash === -1 ? '*' : text.slice(0, slash)
  const host = canonicalHostPattern(text.slice(slash + 1))
  if (host === null || !/^(?:\.|\*|[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)$/.test(namespace)) return null
  return { namespace: namespace === '.' ? gatewayNamespace : namespace, host }
}

function check(resource: Resource<GatewaySpec>, report: Report): void {
  if (resource.name.includes('.'))
    report('SP4000', resource.at('metadata', 'name'), `the name of a Gateway has no dots: ${resource.name}`)
  const names = new Set<string>()
  resource.spec.servers.forEach((spec, index) => {
    const at = (...path: readonly (string | number)[]) => resource.at('spec', 'servers', index, ...path)
    if (names.has(spec.port.name)) {
      report('SP4000', at('port', 'name'), `port name ${spec.port.name} stands twice in this Gateway`)
    }
    names.add(spec.port.name)
    if (spec.port.targetPort !== undefined)
      report('SP4000', at('port', 'targetPort'), 'targetPort does nothing on a Gateway (Istio refuses it)', {
        fix: 'the port to bind is set in spec.ports of the bootstrap file',
      })
    // It becomes part of the name of the route table, between dots.
    if (!/^[A-Za-z0-9][A-Za-z0-9_-]*$/.test(spec.port.name))
      report(
        'SP4000',
        at('port', 'name'),
        `port name ${JSON.stringify(spec.port.name)}: letters, digits and hyphens only`,
      )
    spec.hosts.forEach((host, position) => {
      if (parseServerHost(host, resource.namespace) === null)
        report('SP4004', at('hosts', position), `${JSON.stringify(host)} is not a host of a Gateway server`)
    })
    const protocol = protocolOf(spec)
    if (protocol === null) {
      const message = `unknown protocol ${JSON.stringify(spec.port.protocol)}; known are ${Object.keys(PROTOCOLS).join(', ')}`
      report('SP4000', at('port', 'protocol'), message)
      return
    }
    checkTls(spec, protocol, (path) => at('tls', ...path), report)
  })
}

type At = (path: readonly (string | number)[]) => ReturnType<Resource['at']>

function checkTls(spec: GatewayServerSpec, protocol: Protocol, at: At, report: Report): void {
  const tls = spec.tls
  if (tls === undefined) {
    if (PROTOCOLS[protocol].tls)
      report('SP4001', at([]), `a server of protocol ${protocol} needs a tls block`, {
        fix: 'tls: { mode: ISTIO_MUTUAL }',
      })
    return
  }
  if (!PROTOCOLS[protocol].tls) {
    // `mode: PASSTHROUGH` is protobuf's zero, the same as not written.
    const others = Object.entries(tls).filter(([key, value]) => key !== 'httpsRedirect' && value !== 'PASSTHROUGH')
    if (others.length > 0 || PROTOCOLS[protocol].family === 'tcp') {
      const what = PROTOCOLS[protocol].family === 'tcp' ? 'no tls block' : 'only tls.httpsRedirect'
      const fix = `protocol: ${PROTOCOLS[protocol].family === 'tcp' ? 'TLS' : 'HTTPS'} if the server is to speak TLS`
      report('SP4001', at([]), `a server of protocol ${protocol} may have ${what}`, { fix })
    }
    return
  }
  if (tls.httpsRedirect === true) report('SP4011', at(['httpsRedirect']), `httpsRedirect does nothing on ${protocol}`)
  checkMode(tls, at, report)
  checkPins(tls, at, report)
}

const CERTIFICATE_FIELDS = [
  'serverCertificate',
  'privateKey',
  'caCertificates',
  'credentialName',
  'credentialNames',
  'caCertCredentialName',
  'tlsCertificates',
] as const satisfies readonly (keyof GatewayTlsSpec)[]

/** Which client certificates a server takes. */
const CLIENT_FIELDS = [
  'subjectAltNames',
  'verifyCertificateSpki',
  'verifyCertificateHash',
] as const satisfies readonly (keyof GatewayTlsSpec)[]

function checkMode(tls: GatewayTlsSpec, at: At, report: Report): void {
  const given = CERTIFICATE_FIELDS.filter((field) => tls[field] !== undefined)
  const mode = tls.mode ?? 'PASSTHROUGH'
  switch (mode) {
    case 'AUTO_PASSTHROUGH':
      report('SP4003', at(['mode']), 'AUTO_PASSTHROUGH would let the caller choose any cluster by SNI', {
        fix: 'mode: PASSTHROUGH',
      })
      return
    case 'PASSTHROUGH':
      for (const field of given)
        report('SP4011', at([field]), `${field} does nothing with tls.mode PASSTHROUGH (the default mode)`)
      return
    case 'ISTIO_MUTUAL':
      for (const field of given)
        report('SP4002', at([field]), `ISTIO_MUTUAL uses the gateway's own SVID; ${field} is not allowed with it`)
      return
    case 'SIMPLE':
      // They say which client certificates may connect, and SIMPLE asks for none: dropped, anyone could.
      for (const field of CLIENT_FIELDS)
        if (tls[field] !== undefined)
          report('SP4002', at([field]), `mode SIMPLE asks for no client certificate; ${field} could not be enforced`, {
            fix: 'mode: MUTUAL with caCertificates',
          })
      if (tls.caCertificates !== undefined || tls.caCertCredentialName !== undefined)
        report('SP4011', at(['mode']), 'mode SIMPLE asks for no client certificate; the CA does nothing', {
          fix: 'mode: MUTUAL if callers are meant to show one',
        })
      checkSources(tls, mode, at, report)
      return
    case 'MUTUAL':
    case 'OPTIONAL_MUTUAL':
      checkSources(tls, mode, at, report)
      return
    default:
      mode satisfies never
  }
}

function checkSources(tls: GatewayTlsSpec, mode: string, at: At, report: Report): void {
  const pair = tls.serverCertificate !== undefined || tls.privateKey !== undefined
  const sources = [
    pair ? 'serverCertificate/privateKey' : null,
    tls.tlsCertificates === undefined ? null : 'tlsCertificates',
    tls.credentialName === undefined ? null : 'credentialName',
    tls.credentialNames === undefined ? null : 'credentialNames',
  ].filter((source) => source !== null)
  if (sources.length !== 1) {
    const found = sources.length === 0 ? 'none is given' : `given are ${sources.join(', ')}`
    report('SP4002', at(['mode']), `mode ${mode} needs exactly one source of certificates; ${found}`)
  }
  if (pair && (tls.serverCertificate === undefined || tls.privateKey === undefined))
    report('SP4002', at(['mode']), 'serverCertificate and privateKey go together; one of them is missing')
  if (tls.credentialNames?.length === 0 || tls.tlsCertificates?.length === 0)
    report('SP4002', at(['mode']), 'the list of certificates is empty')
  if (mode === 'SIMPLE') return
  const credential = tls.credentialName ?? tls.credentialNames?.[0]
  const inPairs = tls.tlsCertificates?.some((each) => each.caCertificates !== undefined) === true
  if (
    tls.caCertificates === undefined &&
    tls.caCertCredentialName === undefined &&
    credential === undefined &&
    !inPairs
  )
    report('SP4002', at(['mode']), `mode ${mode} needs a CA to verify client certificates against`, {
      fix: 'caCertificates: /path/to/ca.pem',
    })
}

function checkPins(tls: GatewayTlsSpec, at: At, report: Report): void {
  for (const field of CLIENT_FIELDS)
    if (tls[field]?.length === 0)
      report('SP4002', at([field]), `${field} is empty: every certificate of the CA would do`, {
        fix: 'leave it out, or fill it',
      })
  tls.verifyCertificateSpki?.forEach((pin, index) => {
    if (!/^[A-Za-z0-9+/]{43}=$/.test(pin))
      report('SP4000', at(['verifyCertificateSpki', index]), 'not the base64 text of a SHA-256 hash (44 characters)')
  })
  tls.verifyCertificateHash?.forEach((pin, index) => {
    if (!/^[0-9a-f]{64}$/i.test(pin.replaceAll(':', '')))
      report('SP4000', at(['verifyCertificateHash', index]), 'not the hex text of a SHA-256 hash (64 digits)')
  })
  const { minProtocolVersion: min = 'TLS_AUTO', maxProtocolVersion: max = 'TLS_AUTO' } = tls
  if ((min === 'TLSV1_0' || min === 'TLSV1_1') && (tls.cipherSuites ?? []).length === 0)
    report('SP4011', at(['minProtocolVersion']), `${min} needs cipherSuites: the default ones are not for it`)
  if (max !== 'TLS_AUTO' && TLS_VERSIONS.indexOf(min) > TLS_VERSIONS.indexOf(max))
    report('SP4000', at(['minProtocolVersion']), `minProtocolVersion ${min} is above maxProtocolVersion ${max}`)
}

export const gateway: KindModule<GatewaySpec> = {
  kind: 'Gateway',
  group: 'networking.istio.io',
  versions: ['v1', 'v1beta1', 'v1alpha3'],
  unknownKeys: 'warning',
  schema,
  specOptional: false,
  unsupported: [
    {
      path: 'spec.servers[].tls.caCrl',
      severity: 'error',
      why: 'revocation lists are not built yet; a revoked client certificate would be let in',
    },
    {
      path: 'spec.servers[].tls.insecureSkipVerify',
      severity: 'warning',
      why: 'client certificates are always verified',
    },
    { path: 'spec.servers[].defaultEndpoint', severity: 'warning', why: 'Istio does not use it either' },
  ],
  notes: GATEWAY_NOTES,
  check,
}
