/** A gateway in front of one TLS site that remembers what it was shown, for tests of `tls` blocks. */
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { TLSSocket, TlsOptions } from 'node:tls'
import { createTestPki, type TestCertificate, type TestPki } from '../../src/testing/pki.ts'
import { destinationRule, type Manifest, serviceEntry } from '../integration/manifests.ts'
import { type Outside, routeTo, startOutside } from './outside.ts'

export const HOST = 'site.example'

/** One handshake as the site saw it. `client`: SANs of the certificate it was shown; null: none. */
export type Handshake = { readonly sni: string | false | null; readonly client: string | null }

export type TlsWorld = {
  readonly outside: Outside
  /** Path of a file with the CA that vouches for the site. */
  readonly ca: string
  readonly handshakes: readonly Handshake[]
  /** Everything but the DestinationRule, for tests that write resources themselves. */
  readonly manifests: readonly Manifest[]
  /** Loads a rule with this `tls` and tries it: 200, what the transport failed with, or the status. */
  readonly under: (tls: object) => Promise<number | string>
  /** Tries what is loaded. */
  readonly outcome: () => Promise<number | string>
}

export type TlsWorldOptions = {
  /** Default: one for HOST. */
  readonly certificate?: TestCertificate
  /** PEM of the CA that the site demands client certificates from. */
  readonly clientCa?: string
  /** More of the ServiceEntry's `spec`, and of its endpoint. */
  readonly spec?: object
  readonly endpoint?: object
  readonly watch?: boolean
}

/** CAs of the mesh and of the outside; they vouch for nothing of each other. */
export type Authorities = { readonly mesh: TestPki; readonly outside: TestPki }

export async function createAuthorities(): Promise<Authorities> {
  const [mesh, outside] = await Promise.all([createTestPki(), createTestPki()])
  return { mesh, outside }
}

export async function tlsWorld(
  t: TestContext,
  { mesh, outside: authority }: Authorities,
  options: TlsWorldOptions = {},
): Promise<TlsWorld> {
  const { cert, key } = options.certificate ?? (await authority.serverCert(HOST))
  const handshakes: Handshake[] = []
  const port = await startTlsSite(t, handshakes, {
    cert,
    key,
    ...(options.clientCa === undefined ? {} : { ca: options.clientCa, requestCert: true, rejectUnauthorized: true }),
  })
  const spec = { endpoints: [{ address: '127.0.0.1', ports: { p: port }, ...options.endpoint }], ...options.spec }
  const manifests = [serviceEntry('site', HOST, 80, { spec }), routeTo(HOST)]
  const outside = await startOutside(t, manifests, { pki: mesh, watch: options.watch ?? false })
  const outcome = async () => {
    const { status, line } = await outside.call(HOST)
    const failure = line['upstream_transport_failure_reason']
    return status !== 200 && typeof failure === 'string' ? failure : status
  }
  return {
    outside,
    handshakes,
    manifests,
    ca: authority.writeTo(join(outside.harness.paths.dir, 'outside')),
    outcome,
    under: async (tls) => {
      await outside.become([...manifests, destinationRule('site', HOST, { tls })])
      return outcome()
    },
  }
}

async function startTlsSite(t: TestContext, handshakes: Handshake[], options: TlsOptions): Promise<number> {
  const server = createServer(options, (_request, response) => response.end('<title>site</title>'))
  server.on('tlsClientError', () => undefined)
  server.on('secureConnection', (socket: TLSSocket) => {
    const certificate = socket.getPeerCertificate()
    const client = 'subjectaltname' in certificate ? (certificate.subjectaltname ?? null) : null
    handshakes.push({ sni: socket.servername ?? null, client })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(async () => {
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  })
  return (server.address() as AddressInfo).port
}
