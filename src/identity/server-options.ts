/**
 * Options of `tls.createServer` for a server of the model. Kept in one place because two of Node's defaults are traps:
 * no `ca` means "every public CA", and one session id context is shared by all servers of a process.
 */
import { createHash } from 'node:crypto'
import type { TlsOptions } from 'node:tls'
import type { ServerTls } from '../model/listener.ts'
import type { TlsMaterial } from './credentials.ts'

/** ALPN is the listener's business. The peer must be judged (peer.ts) in `secureConnection`, before a byte is read. */
export function serverTlsOptions(tls: ServerTls, material: TlsMaterial): TlsOptions {
  return {
    cert: material.pairs.map((pair) => pair.cert),
    key: material.pairs.map((pair) => pair.key),
    ca: [...(material.ca ?? [])],
    requestCert: tls.mode !== 'SIMPLE' && tls.mode !== 'PASSTHROUGH',
    // The verdict needs a name in the log; an alert from OpenSSL would leave none (threats H9).
    rejectUnauthorized: false,
    minVersion: tls.minVersion ?? 'TLSv1.2',
    maxVersion: tls.maxVersion ?? 'TLSv1.3',
    ...(tls.ciphers === null ? {} : { ciphers: tls.ciphers }),
    // A session made on one server must not be resumed on another that trusts other CAs (the class of CVE-2025-23419).
    sessionIdContext: createHash('sha256')
      .update(JSON.stringify([tls, material.hash]))
      .digest('hex')
      .slice(0, 32),
  }
}
