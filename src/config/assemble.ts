/**
 * Settings and resources → GatewayModel: the order in which the parts of configuration build on each other, and nothing
 * else. Equal input gives an equal model, byte for byte, so that its hash is its version.
 */
import { createHash } from 'node:crypto'
import type { GatewayModel } from '../model/gateway.ts'
import type { Settings } from '../model/settings.ts'
import { lowerAuthorizer } from './authorizer.ts'
import { DIAGNOSTICS } from './diagnostics.ts'
import { adviseOnEgress } from './egress-advice.ts'
import { lowerEgressPolicies } from './egress-policies.ts'
import { bindGateways } from './gateways.ts'
import { buildListeners } from './listeners.ts'
import { lowerPolicies } from './policies.ts'
import { lowerRateLimits } from './rate-limits.ts'
import type { Report, Resource } from './resource.ts'
import { buildServices } from './services.ts'
import { lowerTelemetry } from './telemetry.ts'
import { lowerTracing } from './telemetry-tracing.ts'
import { lowerTokenRules } from './token-rules.ts'
import { bindTunnels } from './virtual-service-tunnels.ts'
import { bindVirtualServices } from './virtual-services.ts'

/** null when anything reported here is an error; every part runs, so that all findings come in one go. */
export function assemble(settings: Settings, resources: readonly Resource[], report: Report): GatewayModel | null {
  let errors = 0
  const counting: Report = (code, at, message, options) => {
    if ((options?.severity ?? DIAGNOSTICS[code].severity) === 'error') errors += 1
    report(code, at, message, options)
  }
  const services = buildServices(settings, resources, counting)
  const egress = lowerEgressPolicies(settings, resources, services, counting)
  const gateways = bindGateways(settings, resources, counting)
  const requests = bindVirtualServices(settings, resources, gateways, services, counting)
  const tunnels = bindTunnels(settings, resources, gateways, egress, services, counting)
  const built = buildListeners(settings, gateways, { requests, tunnels }, egress, counting)
  const { listeners, routeTables, tunnelTables } = built
  adviseOnEgress(egress, built, counting)
  const tokenRules = lowerTokenRules(settings, resources, counting)
  const policies = lowerPolicies(settings, resources, counting, listeners, tokenRules)
  const limits = lowerRateLimits(settings, resources, counting)
  const authorizer = lowerAuthorizer(settings, policies, listeners, services, counting)
  const telemetry = lowerTelemetry(settings, resources, counting)
  const tracing = lowerTracing(settings, resources, services, counting)
  if (errors > 0) return null
  // Last: routes and grants have asked for their clusters by now.
  const clusters = services.clusters()
  const content = {
    settings,
    listeners,
    policies,
    authorizer,
    tokenRules,
    limits,
    routeTables,
    tunnelTables,
    registry: services.registry,
    clusters,
    telemetry,
    tracing,
  }
  return { version: createHash('sha256').update(JSON.stringify(content)).digest('hex'), ...content }
}
