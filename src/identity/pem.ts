/** PEM files: which certificate and revocation list blocks they hold. Text around the blocks (`openssl x509 -text` output) is legal and ignored. */
import { X509Certificate } from 'node:crypto'

const BLOCK = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g

/**
 * Every certificate of a PEM text, in order.
 * @throws Error when there is none, one of them does not parse, or a block is cut short.
 */
export function parseCertificates(pem: string): X509Certificate[] {
  const blocks = pem.match(BLOCK) ?? []
  const begun = pem.split('-----BEGIN CERTIFICATE-----').length - 1
  if (begun !== blocks.length) throw new Error('a certificate block is cut short')
  if (blocks.length === 0) throw new Error('holds no certificate (no "-----BEGIN CERTIFICATE-----" block)')
  return blocks.map((block, index) => {
    try {
      return new X509Certificate(block)
    } catch (cause) {
      throw new Error(`certificate ${index + 1} does not parse`, { cause })
    }
  })
}

/** One PEM text with nothing but the given certificates. */
export function printCertificates(certificates: readonly X509Certificate[]): string {
  return certificates.map((certificate) => certificate.toString()).join('')
}

const CRL_BLOCK = /-----BEGIN X509 CRL-----[^-]*-----END X509 CRL-----/g

/**
 * Every revocation list of a PEM text, one text each: OpenSSL's loader reads the first block of a text and no more.
 * @throws Error when there is none, or a block is cut short. Contents are checked when a TLS context is made of them.
 */
export function splitRevocationLists(pem: string): readonly string[] {
  const blocks = pem.match(CRL_BLOCK) ?? []
  const begun = pem.split('-----BEGIN X509 CRL-----').length - 1
  if (begun !== blocks.length) throw new Error('a revocation list block is cut short')
  if (blocks.length === 0) throw new Error('holds no revocation list (no "-----BEGIN X509 CRL-----" block)')
  return blocks
}
