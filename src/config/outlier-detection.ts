/** outlierDetection of a traffic policy → when a cluster ejects endpoints (behaviour §5.5). */
import type { OutlierDetectionModel } from '../model/cluster.ts'
import type { OutlierDetectionSpec } from './kinds/destination-rule-schema.ts'

/** Envoy's defaults where Istio leaves them. */
const DEFAULTS = {
  consecutive5xx: 5,
  localOriginFailures: 5,
  intervalMs: 10_000,
  baseEjectionMs: 30_000,
  maxEjectionPercent: 10,
} as const

/**
 * Null for an absent block: endpoints are never ejected. An empty block ejects with the defaults. The deprecated
 * `consecutiveErrors` counts gateway errors and nothing else, as in the releases of Istio that had it; what says the same
 * in today's fields goes before it.
 */
export function lowerOutlierDetection(spec: OutlierDetectionSpec | undefined): OutlierDetectionModel | null {
  if (spec === undefined) return null
  const old = spec.consecutiveErrors ?? 0
  const split = spec.splitExternalLocalOriginErrors ?? false
  return {
    consecutive5xx: spec.consecutive5xxErrors ?? (old > 0 ? 0 : DEFAULTS.consecutive5xx),
    consecutiveGatewayErrors: spec.consecutiveGatewayErrors ?? old,
    splitLocalOriginErrors: split,
    // 0 is "not set" here (istio applyOutlierDetection), unlike in the two counts above.
    consecutiveLocalOriginFailures: spec.consecutiveLocalOriginFailures || DEFAULTS.localOriginFailures,
    intervalMs: spec.interval ?? DEFAULTS.intervalMs,
    baseEjectionMs: spec.baseEjectionTime ?? DEFAULTS.baseEjectionMs,
    maxEjectionPercent: spec.maxEjectionPercent || DEFAULTS.maxEjectionPercent,
    minHealthPercent: spec.minHealthPercent ?? 0,
  }
}
