/**
 * What the status page shows, as plain data (`/status.json`): who called what and what was decided, where names lead, what is
 * about to expire, and how the last reload went. Of a request only names and numbers: no query, no header but the host.
 */
import type { SourceRef } from '../core/attributes.ts'
import { formatFlags } from '../core/flags.ts'
import type { CertificateStatus } from './admin-views.ts'
import type { Metrics } from './metrics.ts'
import type { ExchangeRecord } from './record.ts'

/** One name on one Gateway port, and where it leads. */
export type RouteStatus = {
  readonly gatewayPort: number
  readonly host: string
  readonly kind: 'http' | 'tunnel'
  /** Cluster names, or what a route answers itself. */
  readonly leadsTo: readonly string[]
  /** Who may, where an egress policy says so: `NS` or `NS/SA`; null: whoever AuthorizationPolicies let. */
  readonly callers: readonly string[] | null
  readonly source: SourceRef
}

export type PolicyStatus = {
  readonly name: string
  readonly namespace: string
  readonly action: string
  readonly dryRun: boolean
  readonly rules: number
  readonly source: SourceRef
}

type LastReload = { readonly successful: boolean; readonly at: number; readonly errors: readonly string[] }

export type StatusSources = {
  readonly state: () => string
  readonly serverInfo: () => Readonly<Record<string, unknown>>
  readonly certs: () => readonly CertificateStatus[]
  readonly routes: () => readonly RouteStatus[]
  readonly policies: () => readonly PolicyStatus[]
  /** `at` in milliseconds since the epoch. */
  readonly lastReload: () => LastReload
  readonly metrics: Pick<Metrics, 'recent' | 'callers' | 'open'>
}

export type DecisionStatus = {
  readonly at: string
  /** `connection`: refused before anything was asked. */
  readonly kind: 'http' | 'tunnel' | 'connection'
  /** SPIFFE ID; null: without identity. */
  readonly principal: string | null
  readonly method: string | null
  readonly host: string | null
  /** Without query: that may hold secrets. */
  readonly path: string | null
  /** 0: no answer, or not HTTP. */
  readonly code: number
  readonly flags: string
  /** `refused`: by the gateway itself, whoever decided it. */
  readonly outcome: 'let through' | 'refused'
  readonly reason: string | null
  readonly policy: string | null
  readonly shadow: string | null
  readonly upstream: string | null
  readonly durationMs: number
}

export type StatusReport = {
  readonly state: string
  readonly server: Readonly<Record<string, unknown>>
  readonly totals: {
    readonly requests: number
    readonly refused: number
    readonly connections: number
    readonly tunnels: number
  }
  readonly lastReload: { readonly successful: boolean; readonly at: string; readonly errors: readonly string[] }
  /** The newest first. */
  readonly decisions: readonly DecisionStatus[]
  /** The busiest first. */
  readonly callers: ReturnType<Metrics['callers']>
  readonly routes: readonly RouteStatus[]
  readonly policies: readonly PolicyStatus[]
  /** The one that expires first, first. Times are ISO 8601. */
  readonly certificates: readonly {
    readonly credential: string
    readonly kind: 'certificate' | 'ca'
    readonly sans: readonly string[]
    readonly notBefore: string
    readonly notAfter: string
  }[]
}

/** Reads everything once. */
export function statusReport(sources: StatusSources): StatusReport {
  const { metrics } = sources
  const callers = metrics.callers().toSorted((a, b) => b.total - a.total)
  const { successful, at, errors } = sources.lastReload()
  const time = (ms: number) => new Date(ms).toISOString()
  return {
    state: sources.state(),
    server: sources.serverInfo(),
    totals: {
      requests: callers.reduce((sum, { total }) => sum + total, 0),
      refused: callers.reduce((sum, { refused }) => sum + refused, 0),
      ...metrics.open(),
    },
    lastReload: { successful, at: time(at), errors },
    decisions: metrics.recent().map(decisionStatus),
    callers,
    routes: sources.routes(),
    policies: sources.policies(),
    certificates: sources
      .certs()
      .toSorted((a, b) => a.notAfter - b.notAfter)
      .map(({ credential, kind, sans, notBefore, notAfter }) => ({
        credential,
        kind,
        sans,
        notBefore: time(notBefore),
        notAfter: time(notAfter),
      })),
  }
}

function decisionStatus(r: ExchangeRecord): DecisionStatus {
  const { connection, decision } = r
  const { peer } = connection
  return {
    at: new Date(r.startedAt).toISOString(),
    kind: r.kind === 'http' ? 'http' : decision === null ? 'connection' : 'tunnel',
    principal: peer.kind === 'spiffe' ? peer.id.uri : null,
    method: r.method,
    host: r.authority ?? r.innerServerName ?? connection.tls?.sni ?? null,
    path: r.path === null ? null : (r.path.split('?', 1)[0] ?? ''),
    code: r.responseCode,
    flags: r.flags.length === 0 ? '-' : formatFlags(r.flags),
    outcome: r.reason === null ? 'let through' : 'refused',
    reason: r.reason,
    policy: decision?.policy ?? null,
    shadow: decision?.shadow ?? null,
    upstream: r.upstreamHost,
    durationMs: Math.round(r.durationMs),
  }
}
