/**
 * Is the server the one that configuration names? Chain and dates are OpenSSL's business; this is the name check,
 * which stock Istio leaves out when `sni` is set without `subjectAltNames` and we never do (behaviour §5.3 REC).
 */
import { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { readCertificate } from '../identity/certificate.ts'

/**
 * null when `der` carries one of `names`; else an error with the code that `node:tls` uses for this.
 * A name with a scheme is compared with the URI SANs, an IP literal with the IP SANs, both exactly; any other with the
 * DNS SANs, where a certificate's own wildcard counts as in Envoy's exact SAN matcher (RFC 6125 §6.4.3). The common
 * name is never looked at.
 */
export function verifyServerName(der: Buffer, names: readonly string[]): Error | undefined {
  const certificate = new X509Certificate(der)
  for (const name of names) if (carries(certificate, der, name)) return undefined
  return Object.assign(new Error(`the server's certificate names none of ${names.join(', ')}`), {
    code: 'ERR_TLS_CERT_ALTNAME_INVALID',
  })
}

function carries(certificate: X509Certificate, der: Buffer, name: string): boolean {
  if (isIP(name) !== 0) return certificate.checkIP(name) !== undefined
  if (name.includes('://')) {
    const reading = readCertificate(der)
    return reading.kind === 'read' && reading.facts.uriSans.includes(name)
  }
  if (name.startsWith('*.')) {
    // `subjectAltNames: ["*.example.com"]` asks for that very text, not for any name below it.
    const reading = readCertificate(der)
    return reading.kind === 'read' && reading.facts.dnsSans.some((san) => san.toLowerCase() === name.toLowerCase())
  }
  return certificate.checkHost(name, { subject: 'never', partialWildcards: false }) !== undefined
}
