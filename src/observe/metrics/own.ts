/**
 * Our own families (contract §7): who called what and what was decided, refusals by reason, and the gateway's state.
 */
import type { Registry } from 'prom-client'
import type { Decision } from '../../core/decision.ts'
import { formatFlags } from '../../core/flags.ts'
import { REASONS, type Reason } from '../../core/reasons.ts'
import type { ExchangeRecord } from '../record.ts'
import { addFamily, type LabelSet, labelSet, type MetricRow, type Sample } from './family.ts'
import { destinationOf } from './istio-labels.ts'
import { Admission, labelValue, OTHER, Recent, SeriesMap } from './series.ts'

const REQUEST_LABELS = [
  'source_principal',
  'source_namespace',
  'destination_host',
  'decision',
  'policy',
  'response_code',
  'response_flags',
] as const

const REFUSED_LABELS = ['source_principal', 'source_namespace', 'reason'] as const

/** TABLE of `sallyport_*` families that count requests. */
export const REQUEST_METRICS = {
  sallyport_requests_total: {
    type: 'counter',
    help: 'Requests and tunnels that were judged, by caller, host and decision (allow, deny, or none: no policy applied).',
    labels: REQUEST_LABELS,
  },
  sallyport_refused_requests_total: {
    type: 'counter',
    help: 'Requests and tunnels that the gateway itself refused, by reason code.',
    labels: ['reason'],
  },
  sallyport_refused_by_identity_total: {
    type: 'counter',
    help: 'Requests and tunnels that the gateway itself refused, by caller and reason code: who meets a wall, and which.',
    labels: REFUSED_LABELS,
  },
  sallyport_refused_connections_total: {
    type: 'counter',
    help: 'Connections closed before a request was read, by reason code.',
    labels: ['reason'],
  },
} as const satisfies Record<string, MetricRow>

/** Caps of label values (threats 53). Hosts that the configuration names exactly are never `other`. */
const MAX_PRINCIPALS = 1000
const MAX_HOSTS = 500
const MAX_REFUSED_HOSTS = 500
const MAX_SERIES = 10_000

type Seen = {
  readonly code: number
  readonly flags: string
  readonly cluster: string | null
  readonly outcome: Decision['outcome'] | undefined
  readonly policy: string | null | undefined
  readonly series: RequestSeries
}
type RequestSeries = { readonly labels: LabelSet; total: number; refused: number }
type RefusedSeries = { readonly labels: LabelSet; total: number }

/** Requests and tunnels of one caller to one host; `refused` of them by the gateway itself. */
export type CallerCount = {
  readonly principal: string
  readonly host: string
  readonly total: number
  readonly refused: number
}

export class RequestMetrics {
  readonly #principals = new Admission(MAX_PRINCIPALS)
  /** Names below wildcards … */
  readonly #hosts = new Admission(MAX_HOSTS)
  /** … and names that went nowhere, apart, so that a flood of refused names cannot hide the allowed ones. */
  readonly #refusedHosts = new Admission(MAX_REFUSED_HOSTS)
  readonly #requests = new SeriesMap<RequestSeries>(
    MAX_SERIES,
    (labels) => ({ labels: labelSet(REQUEST_LABELS, labels), total: 0, refused: 0 }),
    ([, , , decision = '', , code = '', flags = '']) => [OTHER, OTHER, OTHER, decision, OTHER, code, flags],
  )
  readonly #recent = new Recent<Seen>(MAX_SERIES * 2)
  readonly #refusedCallers = new SeriesMap<RefusedSeries>(
    MAX_SERIES,
    (labels) => ({ labels: labelSet(REFUSED_LABELS, labels), total: 0 }),
    ([, , reason = '']) => [OTHER, OTHER, reason],
  )
  readonly #refusedRequests = byReason()
  readonly #refusedConnections = byReason()

  record(r: ExchangeRecord): void {
    const { decision, reason } = r
    // A connection without a request (a refused handshake) is counted by `connectionRefused`.
    if (r.kind === 'tcp' && decision === null) return
    const { peer } = r.connection
    const principal = peer.kind === 'spiffe' ? peer.id.uri : ''
    if (reason !== null) this.#refused(principal, reason, r)
    const host = r.authority ?? r.innerServerName ?? r.connection.tls?.sni ?? ''
    const flags = r.flags.length === 0 ? '-' : formatFlags(r.flags)
    const series = this.#find(principal, host, flags, r) ?? this.#resolve(principal, host, flags, r)
    series.total += 1
    if (reason !== null) series.refused += 1
  }

  /** Not for the request path. */
  callers(): readonly CallerCount[] {
    const counts = new Map<string, { principal: string; host: string; total: number; refused: number }>()
    for (const { labels, total, refused } of this.#requests.values()) {
      const { source_principal: principal = '', destination_host: host = '' } = labels
      const key = `${principal} ${host}`
      const count = counts.get(key) ?? { principal, host, total: 0, refused: 0 }
      count.total += total
      count.refused += refused
      counts.set(key, count)
    }
    return [...counts.values()]
  }

  #refused(principal: string, reason: Reason, r: ExchangeRecord): void {
    count(this.#refusedRequests, reason)
    const caller = principal === '' ? 'none' : this.#principals.admit(principal)
    this.#refusedCallers.resolve([caller, this.#namespace(r, caller), reason]).total += 1
  }

  #find(principal: string, host: string, flags: string, r: ExchangeRecord): RequestSeries | null {
    const { decision, responseCode, upstreamCluster } = r
    for (const seen of this.#recent.get(principal, host)) {
      if (
        seen.code === responseCode &&
        seen.flags === flags &&
        seen.cluster === upstreamCluster &&
        seen.outcome === decision?.outcome &&
        seen.policy === decision?.policy
      ) {
        return seen.series
      }
    }
    return null
  }

  #resolve(principal: string, host: string, flags: string, r: ExchangeRecord): RequestSeries {
    const { decision, responseCode: code, upstreamCluster: cluster } = r
    const admittedPrincipal = principal === '' ? 'none' : this.#principals.admit(principal)
    const admittedHost = this.#host(host, r)
    const series = this.#requests.resolve([
      admittedPrincipal,
      this.#namespace(r, admittedPrincipal),
      admittedHost,
      decision?.outcome ?? 'none',
      labelValue(decision?.policy ?? 'none'),
      String(code),
      flags,
    ])
    // What became `other` is not remembered: those names never end.
    if (admittedPrincipal !== OTHER && admittedHost !== OTHER) {
      const seen = { code, flags, cluster, outcome: decision?.outcome, policy: decision?.policy, series }
      this.#recent.add(principal, host, seen)
    }
    return series
  }

  connectionRefused(reason: Reason): void {
    count(this.#refusedConnections, reason)
  }

  #namespace(r: ExchangeRecord, admittedPrincipal: string): string {
    const { peer } = r.connection
    if (admittedPrincipal === OTHER) return OTHER
    return labelValue((peer.kind === 'spiffe' ? peer.id.namespace : null) ?? 'none')
  }

  #host(text: string, r: ExchangeRecord): string {
    const host = hostOf(text)
    if (host === '') return 'none'
    const { upstreamCluster } = r
    if (upstreamCluster !== null && upstreamCluster.includes('|') && destinationOf(upstreamCluster) === host)
      return labelValue(host)
    return (r.upstreamHost === null ? this.#refusedHosts : this.#hosts).admit(host)
  }

  register(registry: Registry): void {
    addFamily(registry, 'sallyport_requests_total', REQUEST_METRICS.sallyport_requests_total, () =>
      [...this.#requests.values()].map(({ labels, total }) => ({ labels, value: total })),
    )
    registerReasons(registry, 'sallyport_refused_requests_total', this.#refusedRequests)
    addFamily(
      registry,
      'sallyport_refused_by_identity_total',
      REQUEST_METRICS.sallyport_refused_by_identity_total,
      () => [...this.#refusedCallers.values()].map(({ labels, total }) => ({ labels, value: total })),
    )
    registerReasons(registry, 'sallyport_refused_connections_total', this.#refusedConnections)
  }
}

/** The host of an authority: without port, IPv6 without brackets. */
function hostOf(authority: string): string {
  if (authority.startsWith('[')) return authority.slice(1, authority.indexOf(']'))
  const colon = authority.indexOf(':')
  // An IPv6 address without brackets has several colons and no port.
  return colon === -1 || authority.indexOf(':', colon + 1) !== -1 ? authority : authority.slice(0, colon)
}

type ReasonCounts = Record<Reason, number>

/** All reasons from the start at 0, so that a rate over a reason exists before its first event. */
function byReason(): ReasonCounts {
  return Object.fromEntries(Object.keys(REASONS).map((reason) => [reason, 0])) as ReasonCounts
}

function count(counts: ReasonCounts, reason: Reason): void {
  counts[reason] += 1
}

function registerReasons(registry: Registry, name: keyof typeof REQUEST_METRICS, counts: ReasonCounts): void {
  const labels = Object.fromEntries(Object.keys(counts).map((reason) => [reason, { reason }]))
  addFamily(registry, name, REQUEST_METRICS[name], () =>
    Object.entries(counts).map(([reason, value]): Sample => ({ labels: labels[reason] ?? {}, value })),
  )
}
