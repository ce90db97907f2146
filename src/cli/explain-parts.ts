/** What explanations of requests and of tunnels have in common. */
import { NO_PEER, type Peer, type SourceRef } from '../core/attributes.ts'
import { parseSpiffeId } from '../identity/spiffe.ts'
import type { GatewayModel } from '../model/gateway.ts'
import type { ServerModel } from '../model/listener.ts'
import type { PolicyExplanation } from '../policy/explain.ts'
import type { LimitExplanation } from './explain-limits.ts'
import { UsageError } from './io.ts'

/** What is asked. */
export type Question = {
  readonly method: string
  /** As asked, for display. */
  readonly url: string
  /** Request target, exactly as written in the URL. */
  readonly target: string
  readonly headers: readonly string[]
  readonly from: string | null
  readonly port: number
  readonly sourceIp: string
  readonly sni: string | null
  /** `--claim`: what a token says, whose signature is taken to be good; null: no token. */
  readonly claims: Readonly<Record<string, unknown>> | null
}

/** What is printed; `-o json` prints just this. */
export type Explanation = {
  readonly allowed: boolean
  readonly status: number | null
  readonly reason: string | null
  readonly details: string | null
  readonly server: string | null
  /** False: refused before any policy was consulted. */
  readonly judged: boolean
  readonly policies: readonly PolicyExplanation[]
  readonly decidedBy: string | null
  /** The external authorizer that would be asked before the policies are judged, and for which rule; null: none. */
  readonly asks: string | null
  readonly virtualHost: { readonly host: string; readonly source: SourceRef } | null
  readonly grant: { readonly name: string; readonly source: SourceRef } | null
  readonly routes: readonly { readonly matched: boolean; readonly why: string; readonly source: SourceRef }[]
  readonly routeName: string | null
  /** What the route does besides: timeout, retries, faults, mirrors, CORS. */
  readonly does: readonly string[]
  /** Asked after all that, of what is let through. */
  readonly limits: readonly LimitExplanation[]
  readonly cluster: string | null
  readonly upstream: string | null
  readonly conclusion: string
}

export const EMPTY: Explanation = {
  allowed: false,
  status: null,
  reason: null,
  details: null,
  server: null,
  judged: false,
  policies: [],
  decidedBy: null,
  asks: null,
  virtualHost: null,
  grant: null,
  routes: [],
  routeName: null,
  does: [],
  limits: [],
  cluster: null,
  upstream: null,
  conclusion: '',
}

export function refusedEarly(reason: string, server: ServerModel | null, conclusion: string): Explanation {
  return { ...EMPTY, reason, server: server?.name ?? null, conclusion: `refused: ${conclusion} (${reason})` }
}

/** @throws UsageError when it is no SPIFFE ID */
export function readPeer(from: string | null): Peer {
  if (from === null) return NO_PEER
  const parsed = parseSpiffeId(from)
  if ('error' in parsed) throw new UsageError(`--from: ${parsed.error}`)
  const certificate = {
    sha256: '',
    subject: '',
    issuer: '',
    serial: '',
    uriSans: [parsed.id.uri],
    dnsSans: [],
    notBefore: 0,
    notAfter: 0,
  }
  return { kind: 'spiffe', id: parsed.id, certificate }
}

/**
 * Who the caller is to this server (identity/peer.ts): nobody where no certificate is asked for; only the mesh's own
 * trust domains are vouched for. The certificate is taken to be valid and to chain to the right CA.
 */
export function proven(
  claimed: Peer,
  { tls }: ServerModel,
  { mesh }: GatewayModel['settings'],
): Peer | { readonly refuse: string; readonly why: string } {
  if (tls === null || tls.clientCa === null) return NO_PEER
  if (claimed.kind !== 'spiffe')
    return tls.mode === 'ISTIO_MUTUAL'
      ? { refuse: 'no_client_certificate', why: 'closed: this server needs a mesh identity (--from)' }
      : claimed
  const { uri, trustDomain } = claimed.id
  if (tls.subjectAltNames.length > 0 && !tls.subjectAltNames.includes(uri))
    return { refuse: 'untrusted_certificate', why: 'closed: subjectAltNames of the server do not hold the caller' }
  if ([mesh.trustDomain, ...mesh.trustDomainAliases].includes(trustDomain)) return claimed
  return tls.mode === 'ISTIO_MUTUAL'
    ? { refuse: 'foreign_trust_domain', why: `closed: no bundle vouches for trust domain ${trustDomain}` }
    : { kind: 'certificate', certificate: claimed.certificate }
}

export function describeUpstream(model: GatewayModel, cluster: string): string | null {
  const found = model.clusters.find(({ name }) => name === cluster)
  if (found === undefined) return null
  const tls =
    found.tls === null
      ? 'plaintext'
      : `TLS ${found.tls.mode}, SNI ${found.tls.sni ?? found.host}${found.tls.insecureSkipVerify ? ', NOT VERIFIED' : ''}`
  const where =
    found.discovery === 'dynamic'
      ? `the requested name, port ${found.dynamicPort}`
      : found.endpoints.map(({ address, port }) => `${address}:${port}`).join(', ')
  return `${found.discovery}: ${where} (${tls}); ${place(found.source)}`
}

/** `file:line:col` */
export function place({ file, line, col }: SourceRef): string {
  return `${file}:${line}:${col}`
}
