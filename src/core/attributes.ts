/**
 * The words policy and routing speak: who is calling, over which connection, asking for what.
 * Plain values only. Nothing here may hold a socket, a timer or anything that can do I/O.
 */

/** A place in a configuration file; lines and columns count from 1. */
export type SourceRef = { readonly file: string; readonly line: number; readonly col: number }

/** A SPIFFE ID. `namespace` and `serviceAccount` are null unless the path is `/ns/NS/sa/SA` (contract §4, Identity). */
export type SpiffeId = {
  readonly uri: string
  readonly trustDomain: string
  readonly namespace: string | null
  readonly serviceAccount: string | null
}

/** What log and policy may know of a verified certificate. Times are milliseconds since the epoch. */
export type CertificateFacts = {
  readonly sha256: string
  readonly subject: string
  readonly issuer: string
  readonly serial: string
  readonly uriSans: readonly string[]
  readonly dnsSans: readonly string[]
  readonly notBefore: number
  readonly notAfter: number
}

/** Who is on the other end, and why we believe it. `none` is a fact, not a missing value. */
export type Peer =
  | { readonly kind: 'spiffe'; readonly id: SpiffeId; readonly certificate: CertificateFacts }
  | { readonly kind: 'certificate'; readonly certificate: CertificateFacts }
  | { readonly kind: 'none' }

export const NO_PEER: Peer = { kind: 'none' }

/** One accepted TCP connection after its outermost layers have been peeled. */
export type Connection = {
  readonly id: number
  /** Wall clock, milliseconds since the epoch. */
  readonly openedAt: number
  readonly remoteAddress: string
  readonly remotePort: number
  readonly localAddress: string
  /** The port really bound: what `ports` and `destination.port` in policies mean. */
  readonly localPort: number
  /** The Gateway (Service) port number this connection belongs to. */
  readonly gatewayPort: number
  readonly peer: Peer
  readonly tls: {
    readonly sni: string | null
    readonly alpn: string | null
    readonly version: string
    readonly cipher: string
  } | null
}

/** A parsed, canonical authority: lower case, one trailing dot off, no leading zeros in the port. */
export type Authority = {
  /** Name or IP literal (IPv6 without brackets). */
  readonly host: string
  /** As the caller gave it; null when absent. */
  readonly port: number | null
  /** The canonical text, brackets and port included: what is judged, logged and sent. */
  readonly text: string
  readonly isIp: boolean
}

/** Header fields in arrival order, flattened: name, value, name, value … Names are lower case. */
export type HeaderList = readonly string[]

export type HttpAttributes = {
  readonly method: string
  /** Normalised path without query: what policy and routing judge. */
  readonly path: string
  /** Query without `?`; null when the target had none. */
  readonly query: string | null
  readonly scheme: 'http' | 'https'
  readonly authority: Authority
  readonly headers: HeaderList
}

/**
 * What a verified token says (RequestAuthentication). There is one only after its signature, issuer, audience and times
 * have been found good; a request without a token has none.
 */
export type TokenFacts = {
  /** `iss/sub`; null where the token lacks one of the two. */
  readonly principal: string | null
  /** `aud`, as a list. */
  readonly audiences: readonly string[]
  /** `azp`. */
  readonly presenter: string | null
  /** The payload, a JSON object as it was parsed. */
  readonly claims: Readonly<Record<string, unknown>>
}

/** All a policy or a route may look at. `http: null` is a tunnel: HTTP-only conditions cannot hold there. */
export type Attributes = {
  readonly peer: Peer
  readonly sourceIp: string
  readonly remoteIp: string
  readonly destinationIp: string
  /** The port really bound. */
  readonly destinationPort: number
  readonly gatewayPort: number
  readonly sni: string | null
  /** null: no token, or nobody has verified one. */
  readonly token: TokenFacts | null
  readonly http: HttpAttributes | null
}

/** The values of one header field, in order. `name` must be lower case. */
export function headerValues(headers: HeaderList, name: string): string[] {
  const values: string[] = []
  for (let i = 0; i < headers.length; i += 2) if (headers[i] === name) values.push(headers[i + 1] as string)
  return values
}

/** The first value of one header field, or null. `name` must be lower case. */
export function headerValue(headers: HeaderList, name: string): string | null {
  for (let i = 0; i < headers.length; i += 2) if (headers[i] === name) return headers[i + 1] as string
  return null
}
