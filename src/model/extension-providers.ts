/**
 * `meshConfig.extensionProviders` after parsing: services of the operator's own that policies and Telemetry name. One
 * member of the union per provider type; config/extension-providers.ts holds the table that reads them.
 */
import type { SourceRef } from '../core/attributes.ts'

/** What every provider has. */
export type ProviderHead = {
  /** Unique among the providers. */
  readonly name: string
  readonly source: SourceRef
}

/** A service as Istio writes it: `[namespace/]hostname`, and its port. */
export type ProviderService = {
  /** Of the service in the registry; null: any. Only for looking it up. */
  readonly namespace: string | null
  /** Lower case, or an IP address. */
  readonly host: string
  readonly port: number
}

/** What of a request's body an authorizer is given. */
export type CheckedBody = {
  readonly maxBytes: number
  /** False: a request with a longer body is refused (413). */
  readonly allowPartial: boolean
  /** Of a gRPC authorizer: `raw_body` (bytes) in place of `body` (text). */
  readonly packAsBytes: boolean
}

type ExtAuthz = ProviderHead & {
  readonly service: ProviderService
  /** For the whole check: resolving, connecting, answering. */
  readonly timeoutMs: number
  /** True: an authorizer that cannot be asked lets everything through. */
  readonly failOpen: boolean
  /** What the caller gets when the authorizer cannot be asked. */
  readonly statusOnError: number
  /** null: it is not given the body. */
  readonly body: CheckedBody | null
}

/** Header names as Istio's string patterns: exact, `prefix*`, `*suffix`; lower case. */
export type HeaderPatterns = readonly string[]

export type ExtAuthzHttpProvider = ExtAuthz & {
  readonly type: 'envoyExtAuthzHttp'
  /** Before the path of the request; '' or begins with `/`. */
  readonly pathPrefix: string
  /** Of the request's fields, besides Envoy's own (host, method, path, content-length, authorization). */
  readonly headersInCheck: HeaderPatterns
  /** In every check, in place of the request's fields of these names. Pairs: dumps know secrets by the name before them. */
  readonly additionalHeadersInCheck: readonly (readonly [name: string, value: string])[]
  /** Of the authorizer's answer, into the request. */
  readonly headersToUpstreamOnAllow: HeaderPatterns
  /** Of the authorizer's answer, into a refusal. Empty: all but `host` and hop-by-hop ones, as Envoy. */
  readonly headersToDownstreamOnDeny: HeaderPatterns
  /** Of the authorizer's answer, into the upstream's. */
  readonly headersToDownstreamOnAllow: HeaderPatterns
}

export type ExtAuthzGrpcProvider = ExtAuthz & { readonly type: 'envoyExtAuthzGrpc' }

/** What a CUSTOM policy may name. */
export type ExtAuthzProvider = ExtAuthzHttpProvider | ExtAuthzGrpcProvider

/** Whom the CUSTOM policies of this gateway ask. */
export type AuthorizerModel = {
  /** As the policies name it. */
  readonly name: string
  /** null: there is no such provider, so that nothing is let through (as Istio). */
  readonly provider: ExtAuthzProvider | null
  /** Of the model's clusters; '' without a provider. */
  readonly cluster: string
}

/** Access-log lines into a file. */
export type FileLogProvider = ProviderHead & {
  readonly type: 'envoyFileAccessLog'
  /** `/dev/stdout`, `/dev/stderr` or an absolute path. */
  readonly path: string
  /** null: Istio's built-in `envoy`, which has the encoding and the format of meshConfig. */
  readonly encoding: 'JSON' | 'TEXT' | null
  /** JSON: the text of an object. '' is the default format of the encoding. */
  readonly format: string
  readonly omitEmptyValues: boolean
}

/** The metrics that Prometheus scrapes. */
export type PrometheusProvider = ProviderHead & { readonly type: 'prometheus' }

/** Where spans are sent. */
type TraceProvider = ProviderHead & {
  readonly service: ProviderService
  /** Of one batch: connecting, sending, the answer. */
  readonly timeoutMs: number
  /** Of the collector's API. */
  readonly path: string
  /** `http.url` is cut here; characters. */
  readonly maxTagLength: number
}

/** OTLP over HTTP, in JSON. */
export type OpenTelemetryProvider = TraceProvider & {
  readonly type: 'opentelemetry'
  /** In every request. `env`: the value is that of this variable of the gateway's. (The name keeps the value out of dumps.) */
  readonly headers: readonly {
    readonly name: string
    readonly valueSecret: string | null
    readonly env: string | null
  }[]
  /** Attributes of the resource, from `OTEL_RESOURCE_ATTRIBUTES` where `resourceDetectors.environment` asks for it. */
  readonly resource: readonly (readonly [name: string, value: string])[]
}

/** Zipkin's JSON, version 2. */
export type ZipkinProvider = TraceProvider & { readonly type: 'zipkin'; readonly ids64: boolean }

/** What Telemetry's `tracing` may name. */
export type TracingProvider = OpenTelemetryProvider | ZipkinProvider

export type ExtensionProvider = ExtAuthzProvider | FileLogProvider | PrometheusProvider | TracingProvider

/** `envoyExtAuthzHttp` … */
export type ProviderType = ExtensionProvider['type']
