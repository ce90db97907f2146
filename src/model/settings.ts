/** The bootstrap file after parsing, defaults and path resolution. Durations are milliseconds, sizes bytes, paths absolute. */
import type { PathNormalization } from '../core/request-target.ts'
import type { ExtensionProvider } from './extension-providers.ts'
import type { RedisSettings } from './redis.ts'
import type { CustomTag } from './tracing.ts'

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
    /** Services that policies and Telemetry name. */
    readonly extensionProviders: readonly ExtensionProvider[]
    /** Names of providers that hold where Telemetry names none. */
    readonly defaultProviders: {
      readonly accessLogging: readonly string[]
      readonly metrics: readonly string[]
      readonly tracing: readonly string[]
    }
    /** False: no request has a span, whoever asks for it. */
    readonly enableTracing: boolean
    /** `defaultConfig.tracing`: what holds where Telemetry says nothing; null: Istio's default. */
    readonly defaultTracing: {
      readonly sampling: number | null
      readonly customTags: readonly CustomTag[]
      readonly enableIstioTags: boolean | null
    }
  }
  readonly identity: { readonly certificateChain: string; readonly privateKey: string; readonly trustBundle: string }
  readonly secretsDirectory: string
  /** Where what has to outlive a restart is written (local budgets); null: nowhere. */
  readonly stateDirectory: string | null
  readonly bindAddress: string
  readonly unauthenticatedPassthrough: 'deny' | 'allow'
  /** Gateway port → port really bound (0: pick a free one). Every one of them is bound from the start. */
  readonly ports: readonly { readonly gatewayPort: number; readonly bindPort: number }[]
  readonly drainDurationMs: number
  readonly admin: Endpoint
  readonly metrics: Endpoint
  readonly health: Endpoint
  /** Of every JSON log: values with their types, or all of them text, as in older Istio. */
  readonly accessLog: { readonly jsonStyle: 'typed' | 'strings' }
  readonly tracing: { readonly propagate: boolean }
  /** Where refusals and changes of policy are written besides; null: nowhere. `/dev/stdout` or a file. */
  readonly audit: { readonly path: string } | null
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
  /** What several gateways share limits and blocks through; null: nothing is shared. */
  readonly redis: RedisSettings | null
}
