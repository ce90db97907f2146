/** What the metrics read from a running gateway, at scrape. */
import type { ListenerStats } from '../core/stats.ts'
import { VERSION } from '../core/version.ts'
import type { KeyStore } from '../gates/jwt/key-store.ts'
import type { LimitSources } from '../observe/metrics/limits.ts'
import { createMetrics, type Metrics } from '../observe/metrics.ts'
import type { Snapshot } from '../runtime/snapshot.ts'
import type { SharedState } from './shared-state.ts'

/** The gauges a gateway offers; functions, because they are read long after they are handed over. */
export type Gauges = {
  readonly active: () => Snapshot
  readonly listeners: () => Iterable<ListenerStats>
  readonly accessLogDropped: () => number
  readonly auditFailed: () => boolean
  readonly spans: { readonly exported: number; readonly dropped: number }
  readonly limits: LimitSources
  readonly openConnections: () => number
  readonly openTunnels: () => number
  readonly shared: SharedState
  readonly keys: KeyStore
  readonly lastReload: () => { readonly successful: boolean; readonly at: number }
}

/** The metrics of one gateway; its name and namespace do not change while it runs. */
export function measure(gauges: Gauges): Metrics {
  const {
    active,
    listeners,
    accessLogDropped,
    auditFailed,
    limits,
    openConnections,
    openTunnels,
    lastReload,
    shared,
    keys,
    spans,
  } = gauges
  const { name, namespace } = active().settings
  return createMetrics({
    clusters: () => active().clusters.stats(),
    listeners,
    certificates: () => active().credentials.inventory,
    accessLogDropped,
    auditFailed,
    spans,
    limits,
    tokenKeys: () => keys.states(),
    insecureClusters: () => active().model.clusters.filter(({ tls }) => tls?.insecureSkipVerify === true).length,
    openConnections,
    openTunnels,
    dns: () => active().clusters.dns,
    config: () => ({
      generation: active().generation,
      lastReloadSuccessful: lastReload().successful,
      lastReloadAt: lastReload().at,
      version: active().model.version,
    }),
    shared: {
      blocksActive: () => shared.blocks.size,
      blocked: () => shared.blocks.refused,
      store: () => shared.storeState(),
    },
    gatewayName: name,
    gatewayNamespace: namespace,
    buildVersion: VERSION,
  })
}
