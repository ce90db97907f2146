/** An application that makes its own TLS connections, behind a sidecar that wraps them in mTLS, or without one. */
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import tls from 'node:tls'
import type { Harness } from '../../src/testing/harness.ts'
import { type Answer, meshConnect, plainConnect, type RequestOptions, request } from '../../src/testing/mesh-client.ts'

/** What sidecars offer for TCP (behaviour §7.2). */
export const SIDECAR_TCP_ALPN = ['istio-peer-exchange', 'istio'] as const

/** The SNI of a sidecar whose DestinationRule names none (behaviour §7.1). */
export function outboundSni(gatewayPort: number): string {
  return `outbound_.${gatewayPort}_._.istio-egressgateway.istio-system.svc.cluster.local`
}

/** One request of an application over its own TLS, and the certificate it was shown. */
export type TlsAnswer = Answer & { readonly certificate: tls.PeerCertificate }

export type TunnelOptions = {
  readonly gatewayPort: number
  /** What the sidecar says outside; default: Istio's `outbound_…`. */
  readonly outerSni?: string
  readonly request?: RequestOptions
}

/** https://HOST from the workload `identity`, as its sidecar sends it: mTLS around the application's TLS. */
export async function httpsInMesh(
  harness: Harness,
  identity: string,
  host: string,
  { gatewayPort, outerSni = outboundSni(gatewayPort), request: options }: TunnelOptions,
): Promise<TlsAnswer> {
  const outer = await meshConnect({
    port: harness.gateway.port(gatewayPort),
    svid: await harness.pki.svid(identity),
    ca: harness.pki.root,
    servername: outerSni,
    alpn: SIDECAR_TCP_ALPN,
  })
  return httpsOver(outer, host, harness.pki.root, options)
}

/** https://HOST straight at a Gateway port: what arrives when the sidecar adds no mTLS. */
export async function httpsDirect(
  harness: Harness,
  host: string,
  { gatewayPort, request: options }: Omit<TunnelOptions, 'outerSni'>,
): Promise<TlsAnswer> {
  return httpsOver(await plainConnect(harness.gateway.port(gatewayPort)), host, harness.pki.root, options)
}

/**
 * One request over the application's TLS on a connection to whatever carries it; `below` is closed when done.
 * @throws the handshake's error, which is all an application sees of a refusal
 */
export async function httpsOver(below: Duplex, host: string, ca: string, options?: RequestOptions): Promise<TlsAnswer> {
  const socket = tls.connect({ socket: below, servername: host, ca, ALPNProtocols: ['http/1.1'] })
  try {
    await once(socket, 'secureConnect')
    const certificate = socket.getPeerCertificate()
    return { ...(await request(socket, host, options)), certificate }
  } finally {
    socket.on('error', () => {})
    socket.destroy()
    below.destroy()
  }
}
