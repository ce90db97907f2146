/** A program that carries tunnels: a port for SNI passthrough, and one for TLS in mTLS where it can do that. */
export type TunnelContender = {
  readonly name: string
  readonly pid: number
  readonly ports: { readonly passthrough: number; readonly mtls?: number }
  stop(): void
}
