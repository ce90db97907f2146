/**
 * Does the mesh trust bundle vouch for a certificate that another CA's bundle already let in? OpenSSL answers that for
 * the CAs a server was built with; on MUTUAL servers with a CA of their own, a URI SAN is an identity only if the chain
 * *also* leads to the bundle of its trust domain (contract §4, Identity), and that is worked out here.
 * Stricter than RFC 5280 where it would be work to be exact: name constraints or unknown critical extensions in a CA
 * mean "not vouched for". As in OpenSSL, an anchor is a self-signed certificate of the bundle.
 */
import { X509Certificate } from 'node:crypto'
import { readCertificate } from './certificate.ts'

type Link = { readonly certificate: X509Certificate; readonly anchor: boolean }

export type TrustBundle = {
  readonly links: readonly Link[]
  /** SHA-256 of every certificate, as X509Certificate.fingerprint256 prints it. */
  readonly fingerprints: ReadonlySet<string>
}

/** Deeper chains than this are refused; Istio's have two or three. */
const MAX_DEPTH = 6
/** Signature checks one certificate may cost us: presented chains are the caller's to choose. */
const MAX_CHECKS = 24

/** Done at reload. */
export function compileTrustBundle(certificates: readonly X509Certificate[]): TrustBundle {
  return {
    links: certificates.map((certificate) => ({ certificate, anchor: issued(certificate, certificate) })),
    fingerprints: new Set(certificates.map((certificate) => certificate.fingerprint256)),
  }
}

/** DERs, for use as `untrusted` with another bundle. */
export function certificatesOf(bundle: TrustBundle): readonly Uint8Array[] {
  return bundle.links.map(({ certificate }) => certificate.raw)
}

/** True when every one of `certificates` is in the bundle: what OpenSSL verified against them, it verified against it. */
export function coveredBy(certificates: readonly X509Certificate[], bundle: TrustBundle): boolean {
  return certificates.every((certificate) => bundle.fingerprints.has(certificate.fingerprint256))
}

/**
 * Until when (milliseconds since the epoch) the bundle vouches for `leaf`: the earliest notAfter on the path found;
 * 0: it does not. `untrusted` are certificates that may stand between leaf and anchor, in any order: what the caller sent,
 * and what else is at hand.
 */
export function vouchedUntil(
  leaf: Uint8Array,
  untrusted: readonly Uint8Array[],
  bundle: TrustBundle,
  now: number,
): number {
  const start = parse(leaf)
  if (start === null) return 0
  const candidates: Link[] = [...bundle.links]
  for (const der of untrusted) {
    const certificate = parse(der)
    // A certificate that is also in the bundle is already a candidate, with its trust.
    if (certificate !== null && !bundle.fingerprints.has(certificate.fingerprint256))
      candidates.push({ certificate, anchor: false })
  }
  const budget = { checks: MAX_CHECKS }
  const climb = (below: X509Certificate, depth: number): number => {
    const until = validUntil(below, now)
    if (until === 0 || depth > MAX_DEPTH) return 0
    for (const { certificate, anchor } of candidates) {
      if (!below.checkIssued(certificate) || !maySign(certificate, depth, now)) continue
      if (budget.checks-- <= 0) return 0
      if (!verifies(below, certificate)) continue
      const above = anchor ? validUntil(certificate, now) : climb(certificate, depth + 1)
      if (above > 0) return Math.min(until, above)
    }
    return 0
  }
  return climb(start, 0)
}

/** `casBelow`: CA certificates between this one and the leaf. */
function maySign(certificate: X509Certificate, casBelow: number, now: number): boolean {
  const reading = readCertificate(certificate.raw)
  return (
    reading.kind === 'read' &&
    reading.ambiguities.length === 0 &&
    reading.issuerViolations.length === 0 &&
    (reading.pathLength === null || casBelow <= reading.pathLength) &&
    validUntil(certificate, now) > 0
  )
}

function validUntil(certificate: X509Certificate, now: number): number {
  const reading = readCertificate(certificate.raw)
  if (reading.kind !== 'read') return 0
  const { notBefore, notAfter } = reading.facts
  return now >= notBefore && now <= notAfter ? notAfter : 0
}

/** The signature of `below` by `issuer`. SHA-1 and MD5 are refused, as by OpenSSL's security level 1. */
function verifies(below: X509Certificate, issuer: X509Certificate): boolean {
  const reading = readCertificate(below.raw)
  return reading.kind === 'read' && reading.strongSignature && below.verify(issuer.publicKey)
}

function issued(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)
}

function parse(der: Uint8Array): X509Certificate | null {
  try {
    return new X509Certificate(der)
  } catch {
    return null
  }
}
