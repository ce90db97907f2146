/** Ports and the servers behind them. */
import type { SourceRef } from '../core/attributes.ts'

export type ServerTlsMode = 'SIMPLE' | 'MUTUAL' | 'OPTIONAL_MUTUAL' | 'ISTIO_MUTUAL' | 'PASSTHROUGH'

/** PEM files, absolute paths. */
export type CertificateFiles = { readonly certificateChain: string; readonly privateKey: string }

export type ServerTls = {
  readonly mode: ServerTlsMode
  /** `mesh`: the gateway's own SVID and trust bundle (ISTIO_MUTUAL). Empty only for PASSTHROUGH. */
  readonly certificates: 'mesh' | readonly CertificateFiles[]
  /** CA bundle that client certificates must chain to; `mesh` is the mesh trust bundle, null: none is asked for. */
  readonly clientCa: 'mesh' | string | null
  /** Exact URI or DNS SANs, one of which the client certificate must carry; empty: any. */
  readonly subjectAltNames: readonly string[]
  /** base64 SHA-256 of the client's SPKI, or hex SHA-256 of its certificate; either suffices; empty: any. */
  readonly spkiPins: readonly string[]
  readonly certificatePins: readonly string[]
  /** Node's names: 'TLSv1.2' … null: the default (1.2 to 1.3). */
  readonly minVersion: 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3' | null
  readonly maxVersion: 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3' | null
  /** OpenSSL cipher list for TLS 1.2 and below; null: the default. */
  readonly ciphers: string | null
}

/**
 * One Gateway server (or the gateway port of an egress policy, or a declared port nobody speaks for).
 * `application: 'tunnel'` servers carry opaque bytes only. An `http` server with a tunnel table carries both: requests,
 * judged by the route table, and the application's own TLS inside the mTLS.
 */
export type ServerModel = {
  /** `NS/GATEWAY/PORTNAME`, `asm:PORT`, `asm-passthrough:PORT` or `unclaimed:PORT`. */
  readonly name: string
  readonly source: SourceRef | null
  /** What the SNI may be: `*`, `*.suffix` or exact; lower case, namespace part removed. */
  readonly sniHosts: readonly string[]
  readonly application: 'http' | 'tunnel'
  readonly tls: ServerTls | null
  /** Name of a RouteTableModel; without virtual hosts for `tunnel`. */
  readonly routeTable: string
  /** Name of a TunnelTableModel; null: it carries no tunnels. Never null for `tunnel`. */
  readonly tunnelTable: string | null
}

export type ListenerModel = {
  readonly gatewayPort: number
  /** 0: pick a free one. */
  readonly bindPort: number
  readonly servers: readonly ServerModel[]
}
