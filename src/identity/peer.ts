/**
 * From a finished TLS handshake to the Peer that policy judges, or to the reason why there is none (contract §4,
 * Identity). Servers ask for the certificate but let the handshake succeed (`requestCert: true,
 * rejectUnauthorized: false`) and are judged here before a byte of the request is read, so that the refusal has a name.
 * Everything is worked out again on resumed sessions: a ticket proves who the caller was, not that it still is.
 */
import type { X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import { NO_PEER, type Peer } from '../core/attributes.ts'
import type { Reason } from '../core/reasons.ts'
import type { ListenerStats } from '../core/stats.ts'
import type { ServerTls, ServerTlsMode } from '../model/listener.ts'
import type { Settings } from '../model/settings.ts'
import { BoundedCache } from './bounded-cache.ts'
import { type ReadCertificate, readCertificate } from './certificate.ts'
import { certificatesOf, compileTrustBundle, coveredBy, type TrustBundle, vouchedUntil } from './chain.ts'
import type { Credentials } from './credentials.ts'
import { parseCertificates } from './pem.ts'
import { claimsSpiffe } from './spiffe.ts'
import { verifyError } from './verify-errors.ts'

/** What one server demands of its callers; compiled at reload, immutable but for the memory of vouched chains. */
export type PeerRules = {
  readonly mode: ServerTlsMode
  /** Ours and its aliases, lower case: the trust domains the mesh bundle vouches for, and no other. */
  readonly trustDomains: readonly string[]
  /** True: the CAs OpenSSL verified against are all of the mesh bundle, so `authorized` says it vouches. */
  readonly meshVerified: boolean
  /** For servers with a CA bundle of their own; null: there is no mesh bundle, so no URI SAN can become an identity. */
  readonly meshBundle: TrustBundle | null
  /** What OpenSSL verified against. */
  readonly clientBundle: TrustBundle
  readonly subjectAltNames: readonly string[]
  readonly spkiPins: readonly string[]
  readonly certificatePins: readonly string[]
  /**
   * Certificate hash → until when the mesh bundle vouches. A resumed session no longer carries the intermediate
   * certificates, so the answer of the full handshake is kept.
   */
  readonly vouched: BoundedCache<string, number>
}

/** What the handshake left behind. */
export type Handshake = {
  /** DER of the caller's certificate; null: none was sent. */
  readonly der: Uint8Array | null
  /** OpenSSL's verdict against the server's CA bundle. True without a certificate proves nothing. */
  readonly authorized: boolean
  /** Node's name of OpenSSL's error: `CERT_HAS_EXPIRED` … */
  readonly authorizationError: string | null
  /** DERs of the further certificates the caller sent, as far as the runtime tells. Called only where they matter. */
  readonly presented: () => readonly Uint8Array[]
}

export type PeerVerdict =
  | { readonly peer: Peer }
  | {
      readonly refuse: Reason
      /** A sentence for the log; may quote the certificate, never key material. */
      readonly detail: string
      /** The Envoy counter of the listener to bump (behaviour §9.2). */
      readonly counter: keyof ListenerStats & `ssl_fail_verify_${string}`
    }

const REMEMBERED_CHAINS = 8192
const MAX_PRESENTED = 8

/**
 * @throws Error when `tls` was not in the model the credentials were loaded for.
 */
export function compilePeerRules(tls: ServerTls, credentials: Credentials, mesh: Settings['mesh']): PeerRules {
  const bundle =
    credentials.trustBundle === null ? null : compileTrustBundle(credentials.trustBundle.flatMap(parseCertificates))
  const clientCas = (tls.mode === 'PASSTHROUGH' ? [] : (credentials.server(tls).ca ?? [])).flatMap(parseCertificates)
  return {
    mode: tls.mode,
    trustDomains: [mesh.trustDomain, ...mesh.trustDomainAliases].map((domain) => domain.toLowerCase()),
    meshVerified: bundle !== null && clientCas.length > 0 && coveredBy(clientCas, bundle),
    meshBundle: bundle,
    clientBundle: compileTrustBundle(clientCas),
    subjectAltNames: tls.subjectAltNames,
    spkiPins: tls.spkiPins,
    certificatePins: tls.certificatePins.map((pin) => pin.replaceAll(':', '').toLowerCase()),
    vouched: new BoundedCache(REMEMBERED_CHAINS),
  }
}

/**
 * True when a verdict reached under `old` still holds under `next`: the same demands, and every CA that vouched then
 * vouches now. A CA that was only added takes nothing away from a connection that is open.
 */
export function stillHolds(old: PeerRules, next: PeerRules): boolean {
  const demands = ({ mode, subjectAltNames, spkiPins, certificatePins }: PeerRules) =>
    JSON.stringify([mode, subjectAltNames, spkiPins, certificatePins])
  const within = (small: TrustBundle | null, large: TrustBundle | null) =>
    small === null || (large !== null && [...small.fingerprints].every((print) => large.fingerprints.has(print)))
  return (
    demands(old) === demands(next) &&
    old.trustDomains.every((domain) => next.trustDomains.includes(domain)) &&
    within(old.clientBundle, next.clientBundle) &&
    within(old.meshBundle, next.meshBundle)
  )
}

/** Judges one handshake. `now`: milliseconds since the epoch. Pure but for the memory in `rules.vouched`; never throws. */
export function identifyPeer(handshake: Handshake, rules: PeerRules, now: number): PeerVerdict {
  // SIMPLE and PASSTHROUGH ask for no certificate; whatever else the socket says about one is not evidence.
  if (rules.mode === 'SIMPLE' || rules.mode === 'PASSTHROUGH') return { peer: NO_PEER }
  if (handshake.der === null)
    return rules.mode === 'OPTIONAL_MUTUAL'
      ? { peer: NO_PEER }
      : refuse('no_client_certificate', 'the caller sent no certificate', 'ssl_fail_verify_no_cert')
  if (!handshake.authorized) {
    const { reason, text } = verifyError(handshake.authorizationError)
    return refuse(reason, `${text} (${handshake.authorizationError ?? 'no error code'})`)
  }
  const certificate = readCertificate(handshake.der)
  if (certificate.kind === 'unreadable')
    return refuse('invalid_svid', `the certificate cannot be read: ${certificate.error}`)
  // OpenSSL judged the dates at the full handshake; a resumed session may be past them.
  const { facts } = certificate
  if (now < facts.notBefore) return refuse('expired_certificate', `it is not valid before ${isoDate(facts.notBefore)}`)
  if (now > facts.notAfter) return refuse('expired_certificate', `it was valid until ${isoDate(facts.notAfter)}`)
  if (certificate.ambiguities.length > 0) return refuse('invalid_svid', certificate.ambiguities.join('; '))
  return pinned(certificate, rules) ?? identity(certificate, handshake, rules, now)
}

/** Judges the handshake of a socket that has emitted `secureConnection`. */
export function peerOf(socket: TLSSocket, rules: PeerRules, now: number): PeerVerdict {
  const certificate = socket.getPeerX509Certificate()
  const error: unknown = socket.authorizationError
  return identifyPeer(
    {
      der: certificate?.raw ?? null,
      authorized: socket.authorized,
      authorizationError: typeof error === 'string' ? error : error instanceof Error ? error.message : null,
      presented: () => (certificate === undefined ? [] : issuersOf(certificate)),
    },
    rules,
    now,
  )
}

/** Exact names and pins of the Gateway server (behaviour §3.2); null: satisfied. */
function pinned(certificate: ReadCertificate, rules: PeerRules): PeerVerdict | null {
  const { uriSans, dnsSans, sha256 } = certificate.facts
  const { subjectAltNames, spkiPins, certificatePins } = rules
  if (subjectAltNames.length > 0 && !subjectAltNames.some((name) => uriSans.includes(name) || dnsSans.includes(name)))
    return refuse(
      'untrusted_certificate',
      'none of its names is in subjectAltNames of the server',
      'ssl_fail_verify_san',
    )
  // Either list suffices, as in Envoy.
  if (spkiPins.length + certificatePins.length === 0) return null
  if (spkiPins.includes(certificate.spkiSha256) || certificatePins.includes(sha256)) return null
  return refuse('untrusted_certificate', 'neither its hash nor that of its key is pinned by the server')
}

function identity(certificate: ReadCertificate, handshake: Handshake, rules: PeerRules, now: number): PeerVerdict {
  const { facts, id, svidViolations } = certificate
  const ours = id !== null && rules.trustDomains.includes(id.trustDomain)
  if (rules.mode === 'ISTIO_MUTUAL') {
    if (id === null || svidViolations.length > 0) return refuse('invalid_svid', svidViolations.join('; '))
    if (!ours) return refuse('foreign_trust_domain', `no bundle vouches for trust domain ${id.trustDomain}`)
    // The model gives ISTIO_MUTUAL the mesh bundle; without it, chain to it or be refused.
    if (rules.meshVerified) return { peer: { kind: 'spiffe', id, certificate: facts } }
    return vouches(facts.sha256, handshake, rules, now) === 'yes'
      ? { peer: { kind: 'spiffe', id, certificate: facts } }
      : refuse('untrusted_certificate', 'the mesh trust bundle does not vouch for it')
  }
  const [uri] = facts.uriSans
  if (uri === undefined) return { peer: { kind: 'certificate', certificate: facts } }
  // A malformed claim to an identity is refused on every server: what one reader drops, another may take for a name.
  if (id === null && claimsSpiffe(uri)) return refuse('invalid_svid', svidViolations.join('; '))
  if (id === null || !ours) return { peer: { kind: 'certificate', certificate: facts } }
  const vouched = rules.meshVerified ? 'yes' : vouches(facts.sha256, handshake, rules, now)
  // Neither the mesh's nor provably another CA's: as "nobody" it would slip past a DENY that names it.
  if (vouched === 'unknown') return refuse('untrusted_certificate', UNPROVEN)
  // A partner CA may write any name it likes; only the mesh bundle turns one of ours into an identity.
  if (vouched === 'no') return { peer: { kind: 'certificate', certificate: facts } }
  if (svidViolations.length > 0) return refuse('invalid_svid', svidViolations.join('; '))
  return { peer: { kind: 'spiffe', id, certificate: facts } }
}

const UNPROVEN =
  'it claims an identity of this mesh, but the certificates between it and a root are not at hand; add the intermediate CA to the trust bundle'

/**
 * Whether the mesh bundle vouches. `no`: the certificate leads to another root of the server's bundle. `unknown`: it
 * leads nowhere we can see, because OpenSSL verified it with intermediates that are gone: on resumed sessions, and on
 * runtimes that lose them (nodejs/node#65579; our Node 24.21 does).
 */
function vouches(sha256: string, handshake: Handshake, rules: PeerRules, now: number): 'yes' | 'no' | 'unknown' {
  if (rules.meshBundle === null || handshake.der === null) return 'no'
  if ((rules.vouched.get(sha256) ?? 0) > now) return 'yes'
  const untrusted = [
    ...handshake.presented(),
    ...certificatesOf(rules.clientBundle),
    ...certificatesOf(rules.meshBundle),
  ]
  const until = vouchedUntil(handshake.der, untrusted, rules.meshBundle, now)
  if (until > now) {
    rules.vouched.set(sha256, until)
    return 'yes'
  }
  return vouchedUntil(handshake.der, untrusted, rules.clientBundle, now) > now ? 'no' : 'unknown'
}

/** `issuerCertificate` is what the caller sent; it ends where the caller's list does, or is undefined from the start. */
function issuersOf(leaf: X509Certificate): readonly Uint8Array[] {
  const chain: Uint8Array[] = []
  let current = leaf.issuerCertificate
  while (current !== undefined && chain.length < MAX_PRESENTED) {
    chain.push(current.raw)
    current = current.issuerCertificate
  }
  return chain
}

function refuse(
  reason: Reason,
  detail: string,
  counter: 'ssl_fail_verify_no_cert' | 'ssl_fail_verify_error' | 'ssl_fail_verify_san' = 'ssl_fail_verify_error',
): PeerVerdict {
  return { refuse: reason, detail, counter }
}

function isoDate(time: number): string {
  return new Date(time).toISOString()
}
