/**
 * What a certificate says, read from its DER with `@peculiar/x509`, once per certificate: parsing costs about a
 * millisecond, the hash that finds the cached reading about two microseconds (models.md finding 8).
 * Node's `subjectaltname` text is never used: it is one flat string that a hostile name can forge (CVE-2021-44531/2).
 * Reading is not verifying: OpenSSL (and chain.ts) decide whether to believe any of it.
 */
import 'reflect-metadata'
import { createHash } from 'node:crypto'
import * as x509 from '@peculiar/x509'
import type { CertificateFacts, SpiffeId } from '../core/attributes.ts'
import { BoundedCache } from './bounded-cache.ts'
import { isTrustDomainId, parseSpiffeId } from './spiffe.ts'

export type ReadCertificate = {
  readonly kind: 'read'
  readonly facts: CertificateFacts
  readonly ipSans: readonly string[]
  /** base64 SHA-256 of the SubjectPublicKeyInfo: what `verifyCertificateSpki` lists. */
  readonly spkiSha256: string
  /** The SPIFFE ID when the certificate has exactly one URI SAN and that is a well-formed one. Not yet believed. */
  readonly id: SpiffeId | null
  /** Ambiguities for which a certificate is refused on every server, whatever it is used for. */
  readonly ambiguities: readonly string[]
  /** Rules of X.509-SVID for a client's leaf (behaviour §7.5) that this certificate breaks; empty: a valid SVID. */
  readonly svidViolations: readonly string[]
  /** Why it must not sign other certificates in a chain that we build ourselves; empty: it may. */
  readonly issuerViolations: readonly string[]
  /** How many further CA certificates may follow below this one; null: no limit. */
  readonly pathLength: number | null
  /** Signed with SHA-2 or EdDSA; anything else (SHA-1, MD5, algorithms the reader does not know) is false. */
  readonly strongSignature: boolean
}

/** `unreadable`: our reader cannot make sense of it (OpenSSL may); it must be refused. */
export type CertificateReading = ReadCertificate | { readonly kind: 'unreadable'; readonly error: string }

const OID = {
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  anyExtendedKeyUsage: '2.5.29.37.0',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  subjectKeyIdentifier: '2.5.29.14',
  authorityKeyIdentifier: '2.5.29.35',
} as const

/** Critical extensions that chain.ts honours; any other critical one (name constraints, policies) makes a CA unusable there. */
const UNDERSTOOD_CRITICAL: ReadonlySet<string> = new Set([
  OID.subjectAltName,
  OID.basicConstraints,
  OID.keyUsage,
  OID.extendedKeyUsage,
  OID.subjectKeyIdentifier,
  OID.authorityKeyIdentifier,
])
const STRONG: ReadonlySet<string> = new Set(['SHA-256', 'SHA-384', 'SHA-512', 'Ed25519', 'EdDSA'])
const NAME_CONSTRAINTS = '2.5.29.30'

/** What a DNS name may hold. A "DNS SAN" with `/`, `:` or `,` in it is dressed up as something else (threats 29). */
const DNS_NAME = /^[A-Za-z0-9*_.-]{1,255}$/

const MAX_CERTIFICATE_BYTES = 64 * 1024
const readings = new BoundedCache<string, CertificateReading>(4096)

/** SHA-256 of a DER, hex, lower case: the certificate's name in caches, logs and pins. */
function fingerprint(der: Uint8Array): string {
  return createHash('sha256').update(der).digest('hex')
}

/** Reads one DER certificate; cached by the SHA-256 of the DER. Never throws. */
export function readCertificate(der: Uint8Array): CertificateReading {
  const sha256 = fingerprint(der)
  const known = readings.get(sha256)
  if (known !== undefined) return known
  const reading = read(der, sha256)
  readings.set(sha256, reading)
  return reading
}

function read(der: Uint8Array, sha256: string): CertificateReading {
  if (der.length > MAX_CERTIFICATE_BYTES) return unreadable(`larger than ${MAX_CERTIFICATE_BYTES} bytes`)
  try {
    return interpret(new x509.X509Certificate(Uint8Array.from(der)), sha256)
  } catch (error) {
    // The reader also throws on SAN types it has no text for (otherName of unknown kind, X.400): refused, documented.
    return unreadable(error instanceof Error ? error.message : String(error))
  }
}

function unreadable(error: string): CertificateReading {
  return { kind: 'unreadable', error }
}

function interpret(certificate: x509.X509Certificate, sha256: string): ReadCertificate {
  const { extensions } = certificate
  const names = certificate.getExtension(x509.SubjectAlternativeNameExtension)?.names.items ?? []
  const valuesOf = (type: string) => names.filter((name) => name.type === type).map((name) => name.value)
  const uriSans = valuesOf('url')
  const dnsSans = valuesOf('dns')
  const ambiguities: string[] = []
  // RFC 5280 §4.2: not more than one of a kind. Two SAN extensions would let two readers see two identities.
  const oids = extensions.map((extension) => extension.type)
  for (const oid of new Set(oids.filter((value, index) => oids.indexOf(value) !== index)))
    ambiguities.push(`extension ${oid} occurs more than once`)
  if (uriSans.length > 1) ambiguities.push(`${uriSans.length} URI SANs: an SVID has exactly one`)
  const oddName = dnsSans.find((name) => !DNS_NAME.test(name))
  if (oddName !== undefined) ambiguities.push(`DNS SAN ${JSON.stringify(oddName.slice(0, 80))} is not a DNS name`)

  const parsed = uriSans.length === 1 ? parseSpiffeId(uriSans[0] as string) : null
  const id = parsed !== null && 'id' in parsed ? parsed.id : null
  const constraints = certificate.getExtension(x509.BasicConstraintsExtension)
  const facts: CertificateFacts = {
    sha256,
    subject: printName(certificate.subjectName),
    issuer: printName(certificate.issuerName),
    serial: certificate.serialNumber.toLowerCase(),
    uriSans,
    dnsSans,
    notBefore: certificate.notBefore.getTime(),
    notAfter: certificate.notAfter.getTime(),
  }
  return {
    kind: 'read',
    facts,
    ipSans: valuesOf('ip'),
    spkiSha256: createHash('sha256').update(new Uint8Array(certificate.publicKey.rawData)).digest('base64'),
    id,
    ambiguities,
    svidViolations: svidViolations(certificate, facts, parsed),
    issuerViolations: issuerViolations(certificate),
    pathLength: constraints?.pathLength ?? null,
    strongSignature: isStrong(certificate),
  }
}

function isStrong(certificate: x509.X509Certificate): boolean {
  // The package types this with the DOM's `Algorithm`, which a Node program does not have.
  const algorithm = certificate.signatureAlgorithm as {
    readonly name?: string
    readonly hash?: { readonly name: string }
  }
  return STRONG.has(algorithm.hash?.name ?? algorithm.name ?? '')
}

/** X.509-SVID §3 to §5 for a leaf that a client presents. */
function svidViolations(
  certificate: x509.X509Certificate,
  facts: CertificateFacts,
  parsed: ReturnType<typeof parseSpiffeId> | null,
): string[] {
  const found: string[] = []
  if (parsed === null) found.push(facts.uriSans.length === 0 ? 'no URI SAN' : 'more than one URI SAN')
  else if ('error' in parsed) found.push(`URI SAN is not a SPIFFE ID: ${parsed.error}`)
  else if (isTrustDomainId(parsed.id)) found.push('the SPIFFE ID names a trust domain, not a workload (no path)')
  if (certificate.getExtension(x509.BasicConstraintsExtension)?.ca === true) found.push('it is a CA certificate')
  const usage = certificate.getExtension(x509.KeyUsagesExtension)
  if (usage === null) found.push('no key usage')
  else {
    if (!usage.critical) found.push('key usage is not critical')
    if ((usage.usages & x509.KeyUsageFlags.digitalSignature) === 0) found.push('key usage lacks digitalSignature')
    if ((usage.usages & x509.KeyUsageFlags.keyCertSign) !== 0) found.push('key usage has keyCertSign')
    if ((usage.usages & x509.KeyUsageFlags.cRLSign) !== 0) found.push('key usage has cRLSign')
  }
  // The specification wants serverAuth as well; for a client's certificate that is not ours to insist on.
  if (!allowsClientAuth(certificate)) found.push('extended key usage lacks clientAuth')
  const san = certificate.getExtension(x509.SubjectAlternativeNameExtension)
  if (facts.subject === '' && san !== null && !san.critical) found.push('empty subject, but the SAN is not critical')
  return found
}

function issuerViolations(certificate: x509.X509Certificate): string[] {
  const found: string[] = []
  if (certificate.getExtension(x509.BasicConstraintsExtension)?.ca !== true) found.push('not a CA')
  const usage = certificate.getExtension(x509.KeyUsagesExtension)
  if (usage !== null && (usage.usages & x509.KeyUsageFlags.keyCertSign) === 0) found.push('key usage lacks keyCertSign')
  if (!allowsClientAuth(certificate)) found.push('extended key usage lacks clientAuth')
  for (const extension of certificate.extensions) {
    const limits =
      extension.type === NAME_CONSTRAINTS || (extension.critical && !UNDERSTOOD_CRITICAL.has(extension.type))
    if (limits) found.push(`extension ${extension.type} limits it in a way this gateway does not evaluate`)
  }
  return found
}

function allowsClientAuth(certificate: x509.X509Certificate): boolean {
  const usages = certificate.getExtension(x509.ExtendedKeyUsageExtension)?.usages.map(String)
  return usages === undefined || usages.includes(OID.clientAuth) || usages.includes(OID.anyExtendedKeyUsage)
}

/** RFC 2253: last RDN first, joined by commas, as Envoy's `%DOWNSTREAM_PEER_SUBJECT%`. */
function printName(name: x509.Name): string {
  const rdns = name.toJSON().map((rdn) =>
    Object.entries(rdn)
      .flatMap(([type, values]) => values.map((value) => `${type}=${escapeName(value)}`))
      .join('+'),
  )
  return rdns.toReversed().join(',')
}

function escapeName(value: string): string {
  return value
    .replace(/[\\,+"<>;]/g, '\\$&')
    .replace(/^[ #]/, '\\$&')
    .replace(/ $/, '\\ ')
    .replace(/\p{Cc}/gu, (char) => `\\${char.charCodeAt(0).toString(16).padStart(2, '0').toUpperCase()}`)
}
