/**
 * Makes CAs, intermediates and leaves, as Istio's CA does: ECDSA P-256, NotBefore two minutes ago, SVIDs with an empty
 * subject and a critical SAN. For `sallyport certs`, tests and the demo; the gateway itself never signs anything.
 * Every rule a certificate can break is an option, because hostile certificates have to come from somewhere.
 */
import 'reflect-metadata'
import { createPrivateKey, KeyObject, webcrypto } from 'node:crypto'
import * as x509 from '@peculiar/x509'

/** PEM texts. */
export type Minted = {
  readonly certificate: string
  readonly privateKey: string
  /** The certificate, then the intermediates up to, but without, the root: what `cert-chain.pem` holds. */
  readonly chain: string
}

/** A CA that can issue. */
export type MintedAuthority = Minted & {
  /** The root certificate: what `root-cert.pem` holds. */
  readonly root: string
}

/** Milliseconds since the epoch. */
type Validity = { readonly notBefore?: number; readonly notAfter?: number }

export type AuthorityOptions = Validity & {
  readonly commonName?: string
  readonly organization?: string
  /** URI SANs; SPIFFE puts the trust domain's own ID (`spiffe://td`) into a signing certificate. */
  readonly uris?: readonly string[]
  readonly pathLength?: number
  /** Makes a "CA" that may not sign: CA:false. */
  readonly ca?: boolean
  /** DNS suffix a critical name constraint permits. */
  readonly permittedDns?: string
}

type KeyUsageName = 'digitalSignature' | 'keyEncipherment' | 'keyCertSign' | 'cRLSign'

export type LeafOptions = Validity & {
  readonly uris?: readonly string[]
  readonly dns?: readonly string[]
  readonly ips?: readonly string[]
  /** Default: no subject at all. */
  readonly commonName?: string
  /** Default: digitalSignature, critical. null: no key usage extension. */
  readonly keyUsage?: readonly KeyUsageName[] | null
  readonly keyUsageCritical?: boolean
  /** Default: both. null: no extended key usage extension. */
  readonly extendedKeyUsage?: readonly ('serverAuth' | 'clientAuth')[] | null
  readonly ca?: boolean
  /** Default: critical exactly when the subject is empty (RFC 5280 §4.2.1.6). */
  readonly sanCritical?: boolean
  /** A second SAN extension with these URIs: forbidden by RFC 5280, and a way to show two faces. */
  readonly secondSan?: readonly string[]
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const ISTIO_BACKDATE_MS = 2 * 60_000
const DAY_MS = 24 * 3_600_000
const ROOT_LIFETIME_MS = 3650 * DAY_MS

x509.cryptoProvider.set(webcrypto)

/** A self-signed root, valid for ten years from `now` unless told otherwise. */
export async function mintRoot(now: number, options: AuthorityOptions = {}): Promise<MintedAuthority> {
  const keys = await generateKeys()
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: authorityName(options),
    keys,
    ...validity(now, ROOT_LIFETIME_MS, options),
    signingAlgorithm: ALGORITHM,
    extensions: await authorityExtensions(keys.publicKey, options),
  })
  const pem = certificate.toString('pem')
  return { certificate: lined(pem), privateKey: exportKey(keys.privateKey), chain: '', root: lined(pem) }
}

/** A CA below `issuer`. */
export async function mintIntermediate(
  issuer: MintedAuthority,
  now: number,
  options: AuthorityOptions = {},
): Promise<MintedAuthority> {
  const keys = await generateKeys()
  const name = authorityName({ commonName: 'intermediate', ...options })
  const extensions = await authorityExtensions(keys.publicKey, options)
  const certificate = await sign(
    issuer,
    now,
    ROOT_LIFETIME_MS / 2,
    { name, publicKey: keys.publicKey, extensions },
    options,
  )
  return {
    certificate,
    privateKey: exportKey(keys.privateKey),
    chain: certificate + issuer.chain,
    root: issuer.root,
  }
}

/** A leaf, valid for a day from `now` unless told otherwise. */
export async function mintLeaf(issuer: MintedAuthority, now: number, options: LeafOptions = {}): Promise<Minted> {
  const keys = await generateKeys()
  const name = options.commonName === undefined ? '' : [{ CN: [options.commonName] }]
  const leaf = { name, publicKey: keys.publicKey, extensions: leafExtensions(options) }
  const certificate = await sign(issuer, now, DAY_MS, leaf, options)
  return { certificate, privateKey: exportKey(keys.privateKey), chain: certificate + issuer.chain }
}

/**
 * A revocation list of `issuer`, PEM. `revoked`: certificates (PEM, the first block counts). Valid for a day from `now`
 * unless told otherwise.
 */
export async function mintRevocationList(
  issuer: MintedAuthority,
  now: number,
  revoked: readonly string[],
  options: Validity = {},
): Promise<string> {
  const { notBefore, notAfter } = validity(now, DAY_MS, options)
  const parent = new x509.X509Certificate(issuer.certificate)
  const list = await x509.X509CrlGenerator.create({
    issuer: parent.subjectName.toJSON(),
    thisUpdate: notBefore,
    nextUpdate: notAfter,
    entries: revoked.map((pem) => ({
      serialNumber: new x509.X509Certificate(pem).serialNumber,
      revocationDate: notBefore,
    })),
    extensions: [await x509.AuthorityKeyIdentifierExtension.create(parent.publicKey)],
    signingAlgorithm: ALGORITHM,
    signingKey: importKey(issuer.privateKey),
  })
  // The label of RFC 7468 §6, which OpenSSL wants; the library writes another.
  return lined(list.toString('pem')).replaceAll(' CRL-----', ' X509 CRL-----')
}

type Subject = {
  readonly name: string | x509.JsonName
  readonly publicKey: webcrypto.CryptoKey
  readonly extensions: x509.Extension[]
}

async function sign(
  issuer: MintedAuthority,
  now: number,
  lifetimeMs: number,
  subject: Subject,
  options: Validity,
): Promise<string> {
  const parent = new x509.X509Certificate(issuer.certificate)
  const certificate = await x509.X509CertificateGenerator.create({
    subject: subject.name,
    issuer: parent.subjectName.toJSON(),
    publicKey: subject.publicKey,
    signingKey: importKey(issuer.privateKey),
    ...validity(now, lifetimeMs, options),
    signingAlgorithm: ALGORITHM,
    extensions: [...subject.extensions, await x509.AuthorityKeyIdentifierExtension.create(parent.publicKey)],
  })
  return lined(certificate.toString('pem'))
}

function validity(now: number, lifetimeMs: number, options: Validity): { notBefore: Date; notAfter: Date } {
  return {
    notBefore: new Date(options.notBefore ?? now - ISTIO_BACKDATE_MS),
    notAfter: new Date(options.notAfter ?? now + lifetimeMs),
  }
}

function authorityName({
  commonName = 'root',
  organization = 'sallyport development',
}: AuthorityOptions): x509.JsonName {
  return [{ O: [organization] }, { CN: [commonName] }]
}

async function authorityExtensions(key: webcrypto.CryptoKey, options: AuthorityOptions): Promise<x509.Extension[]> {
  const extensions: x509.Extension[] = [
    new x509.BasicConstraintsExtension(options.ca ?? true, options.pathLength, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    await x509.SubjectKeyIdentifierExtension.create(key),
  ]
  const { uris = [], permittedDns } = options
  if (uris.length > 0) extensions.push(new x509.SubjectAlternativeNameExtension(generalNames('url', uris), false))
  if (permittedDns !== undefined)
    extensions.push(new x509.Extension('2.5.29.30', true, permittedDnsSubtree(permittedDns)))
  return extensions
}

function leafExtensions(options: LeafOptions): x509.Extension[] {
  const {
    uris = [],
    dns = [],
    ips = [],
    keyUsage = ['digitalSignature'],
    extendedKeyUsage = ['serverAuth', 'clientAuth'],
  } = options
  const extensions: x509.Extension[] = [new x509.BasicConstraintsExtension(options.ca ?? false, undefined, true)]
  if (keyUsage !== null) {
    const flags = keyUsage.reduce((sum, name) => sum | x509.KeyUsageFlags[name], 0)
    extensions.push(new x509.KeyUsagesExtension(flags, options.keyUsageCritical ?? true))
  }
  if (extendedKeyUsage !== null)
    extensions.push(new x509.ExtendedKeyUsageExtension(extendedKeyUsage.map((name) => x509.ExtendedKeyUsage[name])))
  const names = [...generalNames('url', uris), ...generalNames('dns', dns), ...generalNames('ip', ips)]
  const critical = options.sanCritical ?? options.commonName === undefined
  if (names.length > 0) extensions.push(new x509.SubjectAlternativeNameExtension(names, critical))
  if (options.secondSan !== undefined)
    extensions.push(new x509.SubjectAlternativeNameExtension(generalNames('url', options.secondSan), critical))
  return extensions
}

function generalNames(type: 'url' | 'dns' | 'ip', values: readonly string[]): x509.JsonGeneralName[] {
  return values.map((value) => ({ type, value }))
}

/** NameConstraints ::= SEQUENCE { permittedSubtrees [0] { SEQUENCE { dNSName [2] } } } (RFC 5280 §4.2.1.10). */
function permittedDnsSubtree(suffix: string): Uint8Array<ArrayBuffer> {
  const wrap = (tag: number, content: Buffer) => Buffer.concat([Buffer.from([tag, content.length]), content])
  return Uint8Array.from(wrap(0x30, wrap(0xa0, wrap(0x30, wrap(0x82, Buffer.from(suffix, 'latin1'))))))
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
}

function importKey(pem: string): webcrypto.CryptoKey {
  return createPrivateKey(pem).toCryptoKey(ALGORITHM, true, ['sign'])
}

function exportKey(key: webcrypto.CryptoKey): string {
  return KeyObject.from(key).export({ type: 'pkcs8', format: 'pem' }).toString()
}

/** PEM blocks are concatenated into files: each must end its line. */
function lined(pem: string): string {
  return pem.endsWith('\n') ? pem : `${pem}\n`
}
