/** Virtual hosts and routes of one server, and the registry of hosts. */
import type { SourceRef } from '../core/attributes.ts'

export type StringMatch =
  | { readonly kind: 'exact'; readonly value: string }
  | { readonly kind: 'prefix'; readonly value: string }
  | { readonly kind: 'regex'; readonly value: string }
  | { readonly kind: 'present' }

export type NamedMatch = { readonly name: string; readonly match: StringMatch }

/** One HTTPMatchRequest; what depends on gateway and port was decided when the table was built. All fields are ANDed. */
export type MatchModel = {
  readonly source: SourceRef
  readonly name: string | null
  readonly uri: StringMatch | null
  readonly ignoreUriCase: boolean
  readonly scheme: StringMatch | null
  readonly method: StringMatch | null
  readonly authority: StringMatch | null
  /** Header names are lower case. */
  readonly headers: readonly NamedMatch[]
  readonly withoutHeaders: readonly NamedMatch[]
  readonly queryParams: readonly NamedMatch[]
}

/** Text, or text and command operators (rows of core/header-operators.ts) to be evaluated for each message. */
export type HeaderValue = string | readonly HeaderPart[]
export type HeaderPart = string | OperatorModel
/** `%NAME(ARGUMENT?ALTERNATIVE):MAX%`. */
export type OperatorModel = {
  readonly operator: string
  readonly argument: string | null
  readonly alternative: string | null
  readonly maxLength: number | null
}

export type HeaderEdit = {
  readonly set: readonly (readonly [name: string, value: HeaderValue])[]
  readonly add: readonly (readonly [name: string, value: HeaderValue])[]
  readonly remove: readonly string[]
}
export type HeaderEdits = { readonly request: HeaderEdit; readonly response: HeaderEdit }

export type ForwardAction = {
  readonly kind: 'forward'
  /** `cluster` is a ClusterModel name; an unknown one answers 503 NC. Weights are relative; none is 0. */
  readonly destinations: readonly {
    readonly cluster: string
    readonly weight: number
    readonly headers: HeaderEdits | null
  }[]
  /** null: no limit (Istio's default). */
  readonly timeoutMs: number | null
  readonly rewrite: RewriteModel | null
  /** null: never again (`attempts: 0`). */
  readonly retry: RetryModel | null
  readonly mirrors: readonly MirrorModel[]
}

export type RewriteModel = {
  readonly uri: string | null
  readonly authority: string | null
  /** RE2 pattern (searched, every match replaced) and substitution with `\\1`. */
  readonly uriRegex: { readonly pattern: string; readonly substitution: string } | null
}

/** TABLE key: rows of forward/retry-conditions.ts. */
export type RetryModel = {
  /** Tries after the first; at least 1. */
  readonly attempts: number
  /** Names of `retryOn`, lower case, without the numbers. */
  readonly on: readonly string[]
  readonly statusCodes: readonly number[]
  /** null: the route's timeout alone. */
  readonly perTryTimeoutMs: number | null
  /** Base of the exponential back-off; at most ten times as long. */
  readonly backoffMs: number
  /** Prefer endpoints that have not been tried. */
  readonly ignorePreviousHosts: boolean
  readonly remoteLocalities: boolean
}

/** What Istio does where `retries` is not set (behaviour §4.6), and for hosts that only ALLOW_ANY lets out. */
export const DEFAULT_RETRY: RetryModel = {
  attempts: 2,
  on: ['connect-failure', 'refused-stream', 'unavailable', 'cancelled', 'retriable-status-codes'],
  statusCodes: [],
  perTryTimeoutMs: null,
  backoffMs: 25,
  ignorePreviousHosts: true,
  remoteLocalities: false,
}

/** Fire and forget; `percent` of requests, 0 to 100. */
export type MirrorModel = { readonly cluster: string; readonly percent: number }

/** Percentages from 0 to 100. Of `httpStatus` and `grpcStatus` exactly one is set. */
export type FaultModel = {
  readonly delay: { readonly ms: number; readonly percent: number } | null
  readonly abort: {
    readonly httpStatus: number | null
    readonly grpcStatus: number | null
    readonly percent: number
  } | null
}

/** Lists joined as they are sent; null: not sent. */
export type CorsModel = {
  readonly allowOrigins: readonly StringMatch[]
  readonly allowMethods: string | null
  readonly allowHeaders: string | null
  readonly exposeHeaders: string | null
  readonly maxAgeSeconds: number | null
  readonly allowCredentials: boolean
  /** True: a preflight whose origin is not allowed goes to the upstream; false: it is answered here. */
  readonly forwardUnmatchedPreflights: boolean
}
export type RedirectAction = {
  readonly kind: 'redirect'
  readonly code: number
  readonly uri: string | null
  /** `uri` of the form `%PREFIX()%/x`: takes the place of the matched prefix alone. */
  readonly replacesPrefix: boolean
  readonly authority: string | null
  readonly scheme: string | null
  readonly port: number | 'FROM_PROTOCOL_DEFAULT' | 'FROM_REQUEST_PORT' | null
}
export type DirectResponseAction = {
  readonly kind: 'direct'
  readonly status: number /** base64 */
  readonly body: string
}

export type RouteModel = {
  readonly name: string | null
  readonly source: SourceRef
  /** Alternatives; empty: always. */
  readonly matches: readonly MatchModel[]
  readonly action: ForwardAction | RedirectAction | DirectResponseAction
  readonly headers: HeaderEdits | null
  readonly fault: FaultModel | null
  readonly cors: CorsModel | null
}

/** One `from` entry. `serviceAccounts: null` is the whole namespace; a list comes from workloadSelector (contract §3). */
export type CallerModel = {
  readonly namespace: string
  readonly serviceAccounts: readonly string[] | null
  readonly source: SourceRef
}

/** One `to` of an ASMEgressTrafficPolicy for one host: who may use it, and its own route. */
export type GrantModel = {
  readonly name: string
  readonly source: SourceRef
  readonly callers: readonly CallerModel[]
  readonly route: RouteModel
}

export type VirtualHostModel = {
  /** `*`, `*.suffix` or exact; lower case. */
  readonly host: string
  readonly source: SourceRef
  /**
   * null: no egress policy speaks for this host. Else the first grant whose callers hold the peer decides, in both
   * outbound traffic modes; none: as an unregistered host.
   */
  readonly grants: readonly GrantModel[] | null
  /** From VirtualServices, in match order. null: none is bound, so the grant's own route is used. */
  readonly routes: readonly RouteModel[] | null
  /** `httpsRedirect` of the Gateway server: 301 to https for everything. */
  readonly httpsRedirect: boolean
}

export type RouteTableModel = { readonly name: string; readonly virtualHosts: readonly VirtualHostModel[] }

/** A host a visible ServiceEntry (or egress policy) names: exact or `*.suffix`, lower case. */
export type RegisteredHost = { readonly host: string; readonly source: SourceRef }
