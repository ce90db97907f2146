/** The bootstrap file after parsing, defaults and path resolution. Durations are milliseconds, sizes bytes, paths absolute. */
import type { PathNormalization } from '../core/request-target.ts'

export type Endpoint = { readonly address: string; readonly port: number }

/** What carries HTTP/1.1 (contract §10). */
export type HttpEngine = 'wire' | 'http-proxy'

export type Settings = {
  readonly name: string
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  readonly mesh: {
    readonly rootNamespace: string
    readonly trustDomain: string
    readonly trustDomainAliases: readonly string[]
    readonly outboundTrafficPolicy: 'REGISTRY_ONLY' | 'ALLOW_ANY'
    /** '' turns the access log off. */
    readonly accessLogFile: string
    readonly accessLogEncoding: 'JSON' | 'TEXT'
    /** '' means the default format of the encoding. */
    readonly accessLogFormat: string
    readonly pathNormalization: PathNormalization
    readonly connectTimeoutMs: number
  }
  readonly identity: { readonly certificateChain: string; readonly privateKey: string; readonly trustBundle: string }
  readonly secretsDirectory: string
  readonly bindAddress: string
  readonly unauthenticatedPassthrough: 'deny' | 'allow'
  /** Gateway port → port really bound (0: pick a free one). Every one of them is bound from the start. */
  readonly ports: readonly { readonly gatewayPort: number; readonly bindPort: number }[]
  readonly drainDurationMs: number
  readonly admin: Endpoint
  readonly metrics: Endpoint
  readonly health: Endpoint
  readonly tracing: { readonly propagate: boolean }
  /** `idleTimeoutMs`: no byte either way; `maxDurationMs`: since it began. 0: no limit. */
  readonly tunnels: { readonly idleTimeoutMs: number; readonly maxDurationMs: number }
  readonly dns: {
    readonly servers: readonly string[]
    readonly minTtlMs: number
    readonly maxTtlMs: number
    readonly staleForMs: number
  }
  readonly addressGuard: { readonly allow: readonly string[] }
  readonly http: {
    readonly engine: HttpEngine
    readonly maxHeaderBytes: number
    readonly maxHeaders: number
    readonly headersTimeoutMs: number
    readonly idleTimeoutMs: number
    /** Open downstream connections; 0: no limit. */
    readonly maxConnections: number
  }
}
