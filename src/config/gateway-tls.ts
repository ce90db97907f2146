/**
 * tls block of a Gateway server → ServerTls: which files, which CA, which limits (behaviour §3.2, 3.3). Names files only;
 * identity/credentials.ts reads them. What Istio leaves out for ISTIO_MUTUAL (versions, ciphers) is applied here too:
 * that can only narrow.
 */
import { existsSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import type { SourceRef } from '../core/attributes.ts'
import type { CertificateFiles, ServerTls, ServerTlsMode } from '../model/listener.ts'
import type { Settings } from '../model/settings.ts'
import type { GatewayTlsSpec } from './kinds/gateway.ts'
import type { Report } from './resource.ts'

/** Where the block stands and who may be told about it. */
export type TlsContext = {
  readonly settings: Settings
  readonly at: (...path: readonly (string | number)[]) => SourceRef
  readonly report: Report
}

const VERSIONS = {
  TLS_AUTO: null,
  TLSV1_0: 'TLSv1',
  TLSV1_1: 'TLSv1.1',
  TLSV1_2: 'TLSv1.2',
  TLSV1_3: 'TLSv1.3',
} as const

/** TABLE of the cipher names Istio accepts (pkg/config/security); they are OpenSSL's. */
const CIPHERS: ReadonlySet<string> = new Set([
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
  'ECDHE-ECDSA-AES128-SHA',
  'ECDHE-RSA-AES128-SHA',
  'ECDHE-ECDSA-AES256-SHA',
  'ECDHE-RSA-AES256-SHA',
  'AES128-GCM-SHA256',
  'AES256-GCM-SHA384',
  'AES128-SHA',
  'AES256-SHA',
  'DES-CBC3-SHA',
])

/** The block as a model; null after a diagnostic, or where kinds/gateway.ts has already reported one. */
export function lowerServerTls(tls: GatewayTlsSpec, context: TlsContext): ServerTls | null {
  const mode = tls.mode ?? 'PASSTHROUGH'
  if (mode === 'AUTO_PASSTHROUGH') return null
  const certificates = mode === 'ISTIO_MUTUAL' ? 'mesh' : mode === 'PASSTHROUGH' ? [] : certificateFiles(tls, context)
  const clientCa = clientCaOf(tls, mode, context)
  if (certificates === null || clientCa === undefined) return null
  return {
    mode,
    certificates,
    clientCa,
    subjectAltNames: tls.subjectAltNames ?? [],
    spkiPins: tls.verifyCertificateSpki ?? [],
    certificatePins: (tls.verifyCertificateHash ?? []).map((pin) => pin.replaceAll(':', '').toLowerCase()),
    minVersion: VERSIONS[tls.minProtocolVersion ?? 'TLS_AUTO'],
    maxVersion: VERSIONS[tls.maxProtocolVersion ?? 'TLS_AUTO'],
    ciphers: ciphersOf(tls, context),
  }
}

function certificateFiles(tls: GatewayTlsSpec, context: TlsContext): readonly CertificateFiles[] | null {
  if (tls.serverCertificate !== undefined && tls.privateKey !== undefined) {
    const at = (field: string) => context.at(field)
    return [
      {
        certificateChain: filePath(tls.serverCertificate, at('serverCertificate'), context),
        privateKey: filePath(tls.privateKey, at('privateKey'), context),
      },
    ]
  }
  if (tls.tlsCertificates !== undefined) {
    return tls.tlsCertificates.map((each, index) => {
      const at = (field: string) => context.at('tlsCertificates', index, field)
      return {
        certificateChain: filePath(each.serverCertificate, at('serverCertificate'), context),
        privateKey: filePath(each.privateKey, at('privateKey'), context),
      }
    })
  }
  const names = tls.credentialNames ?? (tls.credentialName === undefined ? [] : [tls.credentialName])
  const directories = names.map((name) => credentialDirectory(name, context))
  if (directories.length === 0 || directories.includes(null)) return null
  return directories
    .filter((directory) => directory !== null)
    .map((directory) => ({ certificateChain: join(directory, 'tls.crt'), privateKey: join(directory, 'tls.key') }))
}

/** Absolute, as in Istio: what a relative path is relative to would be a guess. */
function filePath(path: string, at: SourceRef, { report }: TlsContext): string {
  if (!isAbsolute(path)) report('SP4002', at, `${JSON.stringify(path)} is not an absolute path`)
  return path
}

/** undefined: no usable CA, reported. */
function clientCaOf(tls: GatewayTlsSpec, mode: ServerTlsMode, context: TlsContext): ServerTls['clientCa'] | undefined {
  if (mode === 'ISTIO_MUTUAL') return 'mesh'
  if (mode === 'SIMPLE' || mode === 'PASSTHROUGH') return null
  if (tls.caCertificates !== undefined) return filePath(tls.caCertificates, context.at('caCertificates'), context)
  if (tls.caCertCredentialName !== undefined) {
    const directory = credentialDirectory(tls.caCertCredentialName.replace(/^configmap:\/\//, ''), context)
    return directory === null ? undefined : join(directory, 'ca.crt')
  }
  const inPairs = new Set(tls.tlsCertificates?.flatMap((each) => each.caCertificates ?? []))
  const [only] = inPairs
  if (only !== undefined && inPairs.size === 1) return filePath(only, context.at('tlsCertificates'), context)
  const name = tls.credentialName ?? tls.credentialNames?.[0]
  const directory = name === undefined ? null : credentialDirectory(name, context)
  if (directory === null) {
    // Where there is none at all, or no such secret, that has been said.
    if (inPairs.size > 1)
      context.report('SP4002', context.at('mode'), `mode ${mode} needs one CA to verify client certificates against`)
    return undefined
  }
  // Istio looks for the secret NAME-cacert before the key ca.crt of NAME itself.
  const apart = join(`${directory}-cacert`, 'ca.crt')
  return existsSync(apart) ? apart : join(directory, 'ca.crt')
}

/** `[ns/]NAME`, also `kubernetes://NAME`, → directory of the secret; null after a diagnostic. */
function credentialDirectory(credential: string, { settings, at, report }: TlsContext): string | null {
  const text = credential.replace(/^kubernetes:\/\//, '')
  const slash = text.indexOf('/')
  const name = text.slice(slash + 1)
  // The name becomes part of a path: nothing but a Kubernetes object name will do.
  if (!/^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/.test(name) || name.includes('..')) {
    report('SP4002', at('credentialName'), `${JSON.stringify(credential)} is not the name of a secret`)
    return null
  }
  const namespace = slash === -1 ? settings.namespace : text.slice(0, slash)
  if (namespace !== settings.namespace) {
    const message = `secret ${text} is not in the gateway's namespace ${settings.namespace}`
    report('SP4002', at('credentialName'), message, { fix: `mount it in secretsDirectory and write ${name}` })
    return null
  }
  return join(settings.secretsDirectory, name)
}

function ciphersOf(tls: GatewayTlsSpec, { at, report }: TlsContext): string | null {
  const known: string[] = []
  tls.cipherSuites?.forEach((cipher, index) => {
    if (known.includes(cipher)) report('SP4011', at('cipherSuites', index), `${cipher} stands twice`)
    else if (CIPHERS.has(cipher)) known.push(cipher)
    else report('SP4011', at('cipherSuites', index), `unknown cipher suite ${JSON.stringify(cipher)} is left out`)
  })
  return known.length === 0 ? null : known.join(':')
}
