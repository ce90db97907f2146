/** TABLE of the kinds that are read (contract §3). A new kind is a file here and a row. */
import type { KindModule } from '../resource.ts'
import { asmEgressTrafficPolicy } from './asm-egress-traffic-policy.ts'
import { authorizationPolicy } from './authorization-policy.ts'
import { destinationRule } from './destination-rule.ts'
import { egressRateLimit } from './egress-rate-limit.ts'
import { gateway } from './gateway.ts'
import { requestAuthentication } from './request-authentication.ts'
import { serviceEntry } from './service-entry.ts'
import { telemetry } from './telemetry.ts'
import { virtualService } from './virtual-service.ts'
import { workloads } from './workload.ts'
import { workloadEntry } from './workload-entry.ts'

/** `check` takes the module's own spec; the reader only ever hands it what the module's own schema returned. */
function row<Spec>(module: KindModule<Spec>): KindModule {
  return module as unknown as KindModule
}

export const KINDS: readonly KindModule[] = [
  row(gateway),
  row(virtualService),
  row(destinationRule),
  row(serviceEntry),
  row(workloadEntry),
  row(authorizationPolicy),
  row(requestAuthentication),
  row(telemetry),
  row(asmEgressTrafficPolicy),
  row(egressRateLimit),
  ...workloads,
]
