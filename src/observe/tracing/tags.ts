/**
 * What a span says of a request: Envoy's tags under Envoy's names (source/common/tracing/http_tracer_impl.cc), Istio's
 * `istio.*` (pilot/pkg/networking/core/tracing.go), two of our own, and the operator's. All are text, as there.
 */
import { headerValue } from '../../core/attributes.ts'
import { formatFlags } from '../../core/flags.ts'
import type { CustomTag } from '../../model/tracing.ts'
import type { ExchangeRecord } from '../record.ts'

export type Tag = readonly [name: string, value: string]

/** Of the gateway: the same on every span. */
export type SpanIdentity = {
  readonly name: string
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  /** Istio's mesh id is the trust domain where nothing else is said. */
  readonly trustDomain: string
  readonly hostname: string
}

export type TagOptions = {
  readonly identity: SpanIdentity
  readonly istioTags: boolean
  readonly customTags: readonly CustomTag[]
  /** Characters of `http.url` behind the authority. */
  readonly maxPathLength: number
}

/** As Istio calls a traced workload (APP_LABEL_AND_NAMESPACE). */
export function serviceName({ labels, name, namespace }: SpanIdentity): string {
  return `${labels['app'] ?? name}.${namespace}`
}

/** Compiles what does not change from one request to the next. */
export function compileTags(options: TagOptions): (record: ExchangeRecord) => Tag[] {
  const { customTags, identity, istioTags, maxPathLength } = options
  const { hostname, labels, name, namespace, trustDomain } = identity
  const fixed: readonly Tag[] = [
    ['component', 'proxy'],
    ...(istioTags
      ? ([
          ['istio.canonical_service', labels['service.istio.io/canonical-name'] ?? labels['app'] ?? name],
          ['istio.canonical_revision', labels['service.istio.io/canonical-revision'] ?? labels['version'] ?? 'latest'],
          ['istio.mesh_id', trustDomain],
          ['istio.namespace', namespace],
          ['istio.cluster_id', 'Kubernetes'],
        ] as const)
      : []),
  ]
  const nodeOf = (address: string) => `router~${address}~${hostname}.${namespace}~${namespace}.svc.cluster.local`
  return (record) => {
    const { connection, requestHeaders: headers } = record
    const tags: Tag[] = [
      ['node_id', nodeOf(connection.localAddress)],
      ['guid:x-request-id', record.requestId ?? ''],
      ['http.url', urlOf(record, maxPathLength)],
      ['http.method', record.method ?? ''],
      ['downstream_cluster', '-'],
      ['user_agent', headerValue(headers, 'user-agent') ?? '-'],
      ['http.protocol', record.protocol ?? '-'],
      ['peer.address', connection.remoteAddress],
      ['request_size', String(record.bytesReceived)],
      ['response_size', String(record.bytesSent)],
      ['http.status_code', String(record.responseCode)],
      ['response_flags', formatFlags(record.flags)],
      ...fixed,
    ]
    if (record.upstreamCluster !== null)
      tags.push(['upstream_cluster', record.upstreamCluster], ['upstream_cluster.name', record.upstreamCluster])
    if (record.upstreamHost !== null) tags.push(['upstream_address', record.upstreamHost])
    if (record.isGrpc) tags.push(['grpc.authority', record.authority ?? ''], ['grpc.path', record.path ?? ''])
    if (record.grpcStatus !== null) tags.push(['grpc.status_code', String(record.grpcStatus)])
    if (isError(record)) tags.push(['error', 'true'])
    if (record.reason !== null) tags.push(['sallyport.reason', record.reason])
    const { peer } = connection
    if (peer.kind === 'spiffe') tags.push(['sallyport.source_principal', peer.id.uri])
    for (const { header, name: tag, value } of customTags) {
      const found = header === null ? value : (headerValue(headers, header) ?? value)
      if (found !== null) tags.push([tag, found])
    }
    return tags
  }
}

/** As Envoy: a 5xx, or no answer at all; what was refused with a 4xx is none of the gateway's mistakes. */
export function isError({ responseCode, grpcStatus, flags }: ExchangeRecord): boolean {
  if (grpcStatus !== null && GRPC_ERRORS.has(grpcStatus)) return true
  return responseCode >= 500 || (responseCode === 0 && !flags.includes('DC'))
}

/** UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS (Envoy, addGrpcResponseTags). */
const GRPC_ERRORS: ReadonlySet<number> = new Set([2, 4, 12, 13, 14, 15])

function urlOf(record: ExchangeRecord, maxPathLength: number): string {
  const scheme = record.connection.tls === null ? 'http' : 'https'
  const path = record.originalPath ?? record.path ?? ''
  return `${scheme}://${record.authority ?? ''}${path.slice(0, maxPathLength)}`
}

/** Istio's route decorator without its path: whither it goes, `edition.cnn.com:443/*`; else Envoy's name for egress. */
export function spanName({ authority, upstreamCluster }: ExchangeRecord): string {
  const [direction, port, , host] = (upstreamCluster ?? '').split('|')
  return direction === 'outbound' && host !== undefined ? `${host}:${port}/*` : `egress ${authority ?? ''}`
}
