/** An upstream: who answers, how to find it, how to speak to it. */
import type { SourceRef } from '../core/attributes.ts'
import type { CertificateFiles } from './listener.ts'

export type UpstreamTlsModel = {
  readonly mode: 'SIMPLE' | 'MUTUAL' | 'ISTIO_MUTUAL'
  /** Sent and, without subjectAltNames, verified. null: the cluster's host (wildcard cluster: the requested name). */
  readonly sni: string | null
  /** Exact DNS, IP or URI SANs of which the server must carry one; empty: verify the SNI as a host name. */
  readonly subjectAltNames: readonly string[]
  /** `system`: the bundle of the runtime's root store. `mesh`: the trust bundle. Else an absolute path. */
  readonly ca: 'system' | 'mesh' | string
  readonly clientCertificate: 'mesh' | CertificateFiles | null
  readonly insecureSkipVerify: boolean
}

/** `address`: an IP, or a DNS name when the cluster resolves. Weight ≥ 1. */
export type EndpointModel = { readonly address: string; readonly port: number; readonly weight: number }

export type ClusterModel = {
  /** `outbound|PORT|SUBSET|HOST` with the service port number (not targetPort). */
  readonly name: string
  /** Exact, or `*.suffix` for a wildcard entry. */
  readonly host: string
  /** Service port number. */
  readonly port: number
  /**
   * static: dial the listed addresses (the operator's own words). dns: every answer of every endpoint name is an
   * endpoint. dns-first: the first current answer only. dynamic: resolve the name the request asked for.
   */
  readonly discovery: 'static' | 'dns' | 'dns-first' | 'dynamic'
  /** Empty for `dynamic`; then `dynamicPort` is dialled. */
  readonly endpoints: readonly EndpointModel[]
  readonly dynamicPort: number
  readonly external: boolean
  readonly tls: UpstreamTlsModel | null
  readonly loadBalancer: 'LEAST_REQUEST' | 'ROUND_ROBIN' | 'RANDOM'
  readonly connectTimeoutMs: number
  readonly source: SourceRef
}
