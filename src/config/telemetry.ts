/** Telemetry resources and meshConfig's defaults → TelemetryModel. A gateway is a CLIENT in Istio's words. */
import type { Settings } from '../model/settings.ts'
import type { TelemetryModel } from '../model/telemetry.ts'
import type { Report, Resource } from './resource.ts'
import { lowerAccessLogging } from './telemetry-logging.ts'
import { lowerMetrics } from './telemetry-metrics.ts'
import { telemetryScopes } from './telemetry-scope.ts'

export function lowerTelemetry(settings: Settings, resources: readonly Resource[], report: Report): TelemetryModel {
  const scopes = telemetryScopes(settings, resources, report)
  return {
    accessLogs: lowerAccessLogging(settings, scopes, report),
    metrics: lowerMetrics(settings, scopes, report),
  }
}
