/** ClientTLSSettings of a DestinationRule → how a cluster speaks TLS (behaviour §5.3). Verification is on by default. */
import { isAbsolute } from 'node:path'
import type { SourceRef } from '../core/attributes.ts'
import type { UpstreamTlsModel } from '../model/cluster.ts'
import type { ClientTlsSettings } from './kinds/destination-rule-schema.ts'
import type { Report } from './resource.ts'
import { type SecretFiles, secretFiles } from './secret-files.ts'

export type UpstreamTlsInput = {
  readonly tls: ClientTlsSettings
  /** Positions below the `tls` block. */
  readonly at: (...path: readonly (string | number)[]) => SourceRef
  readonly key: { readonly host: string; readonly port: number; readonly subset: string }
  readonly external: boolean
  /** `ServiceEntry.subjectAltNames`: used when the rule has none. */
  readonly subjectAltNames: readonly string[]
  /** SPIFFE IDs of the endpoints' service accounts: what ISTIO_MUTUAL expects when nobody says otherwise. */
  readonly meshIdentities: readonly string[]
  readonly secretsDirectory: string
}

/** TLS as `httpsUpgrade` means it without a DestinationRule: SIMPLE, system CAs, the host is sent and verified. */
export function upgradeTls(host: string, subjectAltNames: readonly string[]): UpstreamTlsModel {
  return {
    mode: 'SIMPLE',
    sni: host.startsWith('*') ? null : host,
    subjectAltNames,
    ca: 'system',
    clientCertificate: null,
    insecureSkipVerify: false,
    crl: null,
  }
}

/**
 * Null for DISABLE. A block that cannot be honoured is an error and lowers to the strictest reading, never to plain
 * text. Where we differ from Istio: with `sni` but no names given Istio checks only the chain, we check the SNI as a
 * host name; with ISTIO_MUTUAL and no names the same. Both refuse more, never less.
 */
export function lowerUpstreamTls(input: UpstreamTlsInput, report: Report): UpstreamTlsModel | null {
  const { tls, at, key } = input
  const { host } = key
  const mode = tls.mode ?? 'DISABLE'
  if (mode === 'DISABLE') return null
  const given = tls.subjectAltNames ?? []
  const subjectAltNames = given.length > 0 ? given : input.subjectAltNames
  const insecureSkipVerify = tls.insecureSkipVerify ?? false
  if (insecureSkipVerify)
    report('SP7009', at('insecureSkipVerify'), `the certificate of ${host} is not verified: anyone may answer for it`, {
      fix: 'name its CA in caCertificates instead',
    })
  const sni = tls.sni === undefined || tls.sni === '' ? null : tls.sni

  if (mode === 'ISTIO_MUTUAL') {
    if (input.external)
      report('SP7008', at('mode'), `ISTIO_MUTUAL is for hosts inside the mesh; ${host} is MESH_EXTERNAL`, {
        fix: 'write mode: SIMPLE or MUTUAL, or location: MESH_INTERNAL in the ServiceEntry',
      })
    const names = subjectAltNames.length > 0 ? subjectAltNames : input.meshIdentities
    if (names.length === 0 && !insecureSkipVerify)
      report('SP7016', at(), `nothing says which mesh identity ${host} has; a certificate without its DNS name fails`, {
        fix: 'list its SPIFFE ID in subjectAltNames, or give the endpoints a serviceAccount',
      })
    return {
      mode,
      // Istio's automatic SNI between proxies (BuildDNSSrvSubsetKey).
      sni: sni ?? (names.length > 0 ? `outbound_.${key.port}_.${key.subset}_.${host}` : null),
      subjectAltNames: names,
      ca: 'mesh',
      clientCertificate: 'mesh',
      insecureSkipVerify,
      crl: null,
    }
  }

  const file = (field: 'clientCertificate' | 'privateKey' | 'caCertificates' | 'caCrl'): string => {
    const value = tls[field] ?? ''
    if (!isAbsolute(value)) report('SP7015', at(field), `${field}: "${value}" is not an absolute path`)
    return value
  }
  const secret = secretOf(input, report)
  const namesCa = !['', 'system', undefined].includes(tls.caCertificates)
  const own =
    mode === 'SIMPLE'
      ? null
      : (secret?.pair ?? { certificateChain: file('clientCertificate'), privateKey: file('privateKey') })
  const namesCrl = (tls.caCrl ?? '') !== ''
  const verified =
    secret !== null && !insecureSkipVerify
      ? { ca: secret.ca, crl: secret.crl }
      : { ca: namesCa ? file('caCertificates') : 'system', crl: namesCrl ? file('caCrl') : null }
  const { ca, crl } = verified
  return { mode, sni, subjectAltNames, ca, clientCertificate: own, insecureSkipVerify, crl }
}

/** Files of `credentialName`; null when none is given. The name must stay inside the secrets directory. */
function secretOf({ tls, at, secretsDirectory }: UpstreamTlsInput, report: Report): SecretFiles | null {
  const name = (tls.credentialName ?? '').replace(/^(?:kubernetes|configmap):\/\//, '')
  if (name === '') return null
  if (!/^[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?$/.test(name) || name.includes('..')) {
    report('SP7015', at('credentialName'), `credentialName: "${name}" is not the name of a secret`)
    return null
  }
  return secretFiles(secretsDirectory, name)
}
