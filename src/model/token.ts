/** How tokens are verified (RequestAuthentication), reduced to rules: whose, signed by which keys, found where, and what of them goes on. */
import type { SourceRef } from '../core/attributes.ts'

/** Names of header fields are lower case. `prefix`: what stands before the token, as written; empty: nothing. */
export type TokenLocation =
  | { readonly in: 'header'; readonly name: string; readonly prefix: string }
  | { readonly in: 'param'; readonly name: string }
  | { readonly in: 'cookie'; readonly name: string }

/** `discovery`: OpenID Connect says where the keys are. URIs are absolute, http or https, without user and fragment. */
export type KeySourceModel =
  | { readonly kind: 'inline'; readonly jwks: string }
  | { readonly kind: 'uri'; readonly uri: string }
  | { readonly kind: 'discovery'; readonly uri: string; readonly issuer: string }

export type TokenRuleModel = {
  /** `namespace/name`, for logs. */
  readonly name: string
  /** null: any. */
  readonly issuer: string | null
  /** Empty: any. */
  readonly audiences: readonly string[]
  readonly keys: KeySourceModel
  readonly locations: readonly TokenLocation[]
  /** false: the token is taken out of the request before it is judged. */
  readonly forward: boolean
  /** Gets the payload, base64url as it came. Lower case, like the names below. */
  readonly payloadHeader: string | null
  /** `claim`: a name, or a path with dots. */
  readonly claimHeaders: readonly { readonly header: string; readonly claim: string }[]
  /** Claims that are lists when they are strings: their words. */
  readonly wordClaims: readonly string[]
  /** How long keys may take to come. */
  readonly timeoutMs: number
  readonly source: SourceRef
}
