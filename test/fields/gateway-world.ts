/** A gateway whose `tls` block changes, callers with certificates of two CAs, and what either side saw of the other. */
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import tls from 'node:tls'
import type { Harness } from '../../src/testing/harness.ts'
import { rawExchange } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
import { createTestPki, type PkiFiles, type TestCertificate, type TestPki } from '../../src/testing/pki.ts'
import { documents, gateway, serviceEntry, to, virtualService } from '../integration/manifests.ts'
import { started, writeSecret } from '../integration/started.ts'

export const HOST = 'site.example'

export type Authorities = { readonly mesh: TestPki; readonly partner: TestPki }

export async function createAuthorities(): Promise<Authorities> {
  const [mesh, partner] = await Promise.all([createTestPki(), createTestPki()])
  return { mesh, partner }
}

/** How a connection went: what the gateway showed and negotiated, and the status of one request; null: refused. */
export type Met = {
  readonly status: number | null
  readonly serial: string
  readonly protocol: string | null
  readonly cipher: string
}

export type GatewayWorld = {
  readonly harness: Harness
  /** Certificates for HOST from the partner's CA, and from the mesh's, and where their files are. */
  readonly server: readonly { readonly certificate: TestCertificate; readonly files: PkiFiles }[]
  /** Writes a text beside the certificates; answers its path. */
  readonly write: (name: string, text: string) => string
  readonly writeSecret: (name: string, certificate: TestCertificate) => void
  /** Errors of loading the server with this block; none: it is active. */
  readonly become: (tls: object) => Promise<readonly string[]>
  readonly meet: (svid: TestCertificate | null, options?: tls.ConnectionOptions) => Promise<Met>
}

/** One HTTPS server on Gateway port 443 in front of one plain site. */
export async function gatewayWorld(t: TestContext, { mesh, partner }: Authorities): Promise<GatewayWorld> {
  const origin = await startEchoOrigin()
  t.after(() => origin.close())
  const route = [serviceEntry('site', HOST, origin.port), virtualService('site', [HOST], [{ route: to(HOST) }])]
  const harness = await started(t, { pki: mesh, resources: { 'site.yaml': documents(...route) } })
  t.after(() => harness.stop())
  const folder = join(harness.paths.dir, 'server')
  mkdirSync(folder)
  const mint = async (pki: TestPki, name: string) => {
    const certificate = await pki.serverCert(HOST)
    return { certificate, files: certificate.writeTo(join(folder, name)) }
  }
  return {
    harness,
    server: [await mint(partner, 'partner'), await mint(mesh, 'mesh')],
    write: (name, text) => {
      writeFileSync(join(folder, name), text)
      return join(folder, name)
    },
    writeSecret: (name, certificate) => writeSecret(harness, name, certificate),
    become: async (block) =>
      (await harness.change({ 'gateway.yaml': documents(gateway({ number: 443, hosts: [HOST], tls: block })) })).errors,
    meet: (svid, options = {}) =>
      meet({
        host: '127.0.0.1',
        port: harness.gateway.port(443),
        servername: HOST,
        ca: [mesh.root, partner.root],
        ALPNProtocols: ['http/1.1'],
        // With ISTIO_MUTUAL it is the gateway's SVID, which names no host.
        checkServerIdentity: () => undefined,
        ...(svid === null ? {} : { cert: svid.cert, key: svid.key }),
        ...options,
      }),
  }
}

const REFUSED: Met = { status: null, serial: '', protocol: null, cipher: '' }

async function meet(options: tls.ConnectionOptions): Promise<Met> {
  const socket = tls.connect(options)
  try {
    await once(socket, 'secureConnect')
  } catch {
    return REFUSED
  }
  socket.on('error', () => {})
  const serial = socket.getPeerCertificate().serialNumber
  const protocol = socket.getProtocol()
  const cipher = socket.getCipher().name
  const answer = await rawExchange(socket, `GET / HTTP/1.1\r\nhost: ${HOST}\r\nconnection: close\r\n\r\n`)
  const [, status] = /^HTTP\/1\.1 (\d{3}) /.exec(answer) ?? []
  return { status: status === undefined ? null : Number(status), serial, protocol, cipher }
}

/** As peers see it. */
export function serialOf({ cert }: TestCertificate): string {
  return new X509Certificate(cert).serialNumber
}
