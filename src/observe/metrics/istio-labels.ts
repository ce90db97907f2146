/** Labels of Istio's families as an egress gateway reports them (behaviour §9.1): most are the same for every record. */
import { formatFlags } from '../../core/flags.ts'
import type { ExchangeRecord } from '../record.ts'
import { labelValue } from './series.ts'

export const COMMON_LABELS = [
  'reporter',
  'source_workload',
  'source_workload_namespace',
  'source_principal',
  'source_app',
  'source_version',
  'source_cluster',
  'source_canonical_service',
  'source_canonical_revision',
  'destination_workload',
  'destination_workload_namespace',
  'destination_principal',
  'destination_app',
  'destination_version',
  'destination_service',
  'destination_service_name',
  'destination_service_namespace',
  'destination_cluster',
  'destination_canonical_service',
  'destination_canonical_revision',
  'request_protocol',
  'response_flags',
  'connection_security_policy',
] as const
export const HTTP_LABELS = [...COMMON_LABELS, 'response_code', 'grpc_response_status'] as const

export type IstioLabel = (typeof HTTP_LABELS)[number]
type Varying = keyof typeof VARYING

export type IstioSource = { readonly gatewayName: string; readonly gatewayNamespace: string; readonly version: string }

/** TABLE of the labels that differ from record to record. */
export const VARYING = {
  destination_service: (r: ExchangeRecord) => destinationOf(r.upstreamCluster),
  destination_service_name: (r: ExchangeRecord) => destinationOf(r.upstreamCluster),
  request_protocol: (r: ExchangeRecord) => (r.kind === 'tcp' ? 'tcp' : protocolOf(r)),
  response_flags: (r: ExchangeRecord) => formatFlags(r.flags),
  response_code: (r: ExchangeRecord) => String(r.responseCode),
  grpc_response_status: (r: ExchangeRecord) => (r.isGrpc ? String(r.grpcStatus ?? '') : ''),
} as const satisfies Partial<Record<IstioLabel, (record: ExchangeRecord) => string>>

/** The others. */
export function fixedLabels(source: IstioSource): Readonly<Record<Exclude<IstioLabel, Varying>, string>> {
  const { gatewayName, gatewayNamespace } = source
  const unknown = 'unknown'
  return {
    reporter: 'source',
    source_workload: gatewayName,
    source_workload_namespace: gatewayNamespace,
    source_principal: unknown,
    source_app: gatewayName,
    source_version: unknown,
    source_cluster: unknown,
    source_canonical_service: gatewayName,
    source_canonical_revision: 'latest',
    destination_workload: unknown,
    destination_workload_namespace: unknown,
    destination_principal: unknown,
    destination_app: unknown,
    destination_version: unknown,
    destination_service_namespace: unknown,
    destination_cluster: unknown,
    destination_canonical_service: unknown,
    destination_canonical_revision: 'latest',
    connection_security_policy: unknown,
  }
}

export function protocolOf(r: ExchangeRecord): 'grpc' | 'http' {
  return r.isGrpc ? 'grpc' : 'http'
}

/** `outbound|443||edition.cnn.com` → the host; BlackHoleCluster and PassthroughCluster are themselves; none: unknown. */
export function destinationOf(cluster: string | null): string {
  if (cluster === null || cluster === '') return 'unknown'
  return labelValue(cluster.slice(cluster.lastIndexOf('|') + 1))
}
