/** Clusters of the operator's own services (extension providers), beside those that requests are routed to. */
import { isIP } from 'node:net'
import type { SourceRef } from '../core/attributes.ts'
import { type ClusterModel, UNLIMITED_POOL } from '../model/cluster.ts'
import type { Settings } from '../model/settings.ts'

/**
 * The same service under a name that no route knows: a request of a caller's must not get past the address guard because
 * the gateway itself may. Counted as what it is a variant of.
 */
export function ownCluster(cluster: ClusterModel, http2: boolean): ClusterModel {
  const protocol = http2 || cluster.protocol === 'http2' ? 'http2' : 'http1'
  const name = cluster.name.replace(/^outbound/, 'own')
  return { ...cluster, name, own: true, protocol, external: false, tunnel: null }
}

/** A service that no resource describes: its name in DNS (an address: that address), in plain text. */
export function unregistered(
  name: string,
  host: string,
  port: number,
  { mesh }: Settings,
  source: SourceRef,
): ClusterModel {
  return {
    name,
    statName: name,
    host,
    port,
    discovery: isIP(host) === 0 ? 'dns' : 'static',
    endpoints: [{ address: host, port, weight: 1, locality: '', priority: 0 }],
    dynamicPort: port,
    external: false,
    tls: null,
    protocol: 'http1',
    loadBalancer: { kind: 'LEAST_REQUEST', warmup: null },
    connectTimeoutMs: mesh.connectTimeoutMs,
    pool: UNLIMITED_POOL,
    outlierDetection: null,
    proxyProtocol: null,
    tunnel: null,
    source,
  }
}
