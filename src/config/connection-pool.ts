/**
 * connectionPool and retryBudget of a traffic policy → limits of a cluster (behaviour §5.4). As in Istio 0 is "not set",
 * and what is not set has no limit.
 */
import { type ClusterModel, type ConnectionPoolModel, UNLIMITED_POOL } from '../model/cluster.ts'
import type { ConnectionPoolSpec } from './kinds/destination-rule-schema.ts'
import { SERVICE_PROTOCOLS, type ServiceProtocol } from './service-protocol.ts'
import type { Policy } from './traffic-policy.ts'

/** Envoy's defaults, which Istio's API repeats. */
const BUDGET = { percent: 20, minConcurrency: 3 }

export function lowerConnectionPool({ connectionPool, retryBudget }: Policy): ConnectionPoolModel {
  // One object for all clusters of which nothing is said: there may be thousands.
  if (connectionPool === undefined && retryBudget === undefined) return UNLIMITED_POOL
  const { tcp, http } = connectionPool ?? {}
  return {
    ...UNLIMITED_POOL,
    maxConnections: limit(tcp?.maxConnections),
    maxPendingRequests: limit(http?.http1MaxPendingRequests),
    maxRequests: limit(http?.http2MaxRequests),
    maxRetries: limit(http?.maxRetries),
    retryBudget:
      retryBudget === undefined
        ? null
        : {
            percent: retryBudget.percent ?? BUDGET.percent,
            minConcurrency: retryBudget.minRetryConcurrency || BUDGET.minConcurrency,
          },
    maxRequestsPerConnection: limit(http?.maxRequestsPerConnection),
    maxConcurrentStreams: limit(http?.maxConcurrentStreams),
    // istio cluster_traffic_policy.go `applyConnectionPool`: HTTP falls back on TCP.
    httpIdleTimeoutMs: http?.idleTimeout ?? tcp?.idleTimeout ?? null,
    tcpIdleTimeoutMs: tcp?.idleTimeout ?? null,
    maxConnectionDurationMs: tcp?.maxConnectionDuration ?? null,
    keepAlive: keepAlive(tcp?.tcpKeepalive),
    http2KeepAlive: http2KeepAlive(http?.http2KeepAlive),
  }
}

/**
 * What is spoken to the upstream: `useClientProtocol`, else an upgrade, else what the port says. `DO_NOT_UPGRADE` keeps a
 * mesh-wide upgrade away, which this gateway does not have; it does not take HTTP/2 from an HTTP/2 port.
 */
export function upstreamProtocol(policy: Policy | null, port: ServiceProtocol | null): ClusterModel['protocol'] {
  const { useClientProtocol = false, h2UpgradePolicy } = policy?.connectionPool?.http ?? {}
  if (useClientProtocol) return 'client'
  return h2UpgradePolicy === 'UPGRADE' || (port !== null && SERVICE_PROTOCOLS[port].http2) ? 'http2' : 'http1'
}

function limit(value: number | undefined): number | null {
  return value === undefined || value === 0 ? null : value
}

function keepAlive(spec: NonNullable<ConnectionPoolSpec['tcp']>['tcpKeepalive']): ConnectionPoolModel['keepAlive'] {
  if (spec === undefined) return null
  return { probes: limit(spec.probes), timeMs: spec.time ?? null, intervalMs: spec.interval ?? null }
}

/** Both times are required (kinds/destination-rule-checks.ts). */
function http2KeepAlive(
  spec: NonNullable<ConnectionPoolSpec['http']>['http2KeepAlive'],
): ConnectionPoolModel['http2KeepAlive'] {
  if (spec?.interval === undefined || spec.timeout === undefined) return null
  return { intervalMs: spec.interval, timeoutMs: spec.timeout }
}
