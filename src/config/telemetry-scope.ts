/**
 * Which Telemetry resources speak for this gateway, outermost first (istio pilot/pkg/model/telemetry.go,
 * applicableTelemetries): the root namespace's, the gateway's namespace's, and one that selects the gateway. One of each.
 */
import type { Settings } from '../model/settings.ts'
import { type TelemetrySpec, telemetry } from './kinds/telemetry.ts'
import { ofKind } from './of-kind.ts'
import { selectsGateway } from './policy-target.ts'
import type { Report, Resource } from './resource.ts'

export type TelemetryResource = Resource<TelemetrySpec>

/** Reported: one that is passed over because another already speaks for its scope (SP8400). */
export function telemetryScopes(
  settings: Settings,
  resources: readonly Resource[],
  report: Report,
): readonly TelemetryResource[] {
  const all = ofKind(resources, telemetry)
  const { rootNamespace } = settings.mesh
  const wide = (namespace: string) => all.filter((each) => each.namespace === namespace && !isForWorkloads(each))
  const chosen = all.filter((each) => isForWorkloads(each) && selects(each, settings, report))
  const scopes = [
    wide(rootNamespace),
    ...(settings.namespace === rootNamespace ? [] : [wide(settings.namespace)]),
    chosen,
  ]
  return scopes.flatMap(([first, ...others]) => {
    if (first === undefined) return []
    for (const other of others) reportSecond(other, first, report)
    return [first]
  })
}

function isForWorkloads({ spec }: TelemetryResource): boolean {
  return (
    Object.keys(spec.selector?.matchLabels ?? {}).length > 0 ||
    spec.targetRef !== undefined ||
    (spec.targetRefs ?? []).length > 0
  )
}

/** A selector reaches only workloads of its own namespace, that of the root namespace too (unlike a policy's). */
function selects(resource: TelemetryResource, settings: Settings, report: Report): boolean {
  if (!selectsGateway(resource, settings, report)) return false
  if (resource.namespace === settings.namespace) return true
  const what = `Telemetry ${resource.namespace}/${resource.name} selects this gateway, but only workloads of its own namespace`
  report('SP5028', resource.at('metadata', 'namespace'), what, {
    fix: `write namespace: ${settings.namespace} if it is meant for this gateway, or leave the selector out`,
  })
  return false
}

function reportSecond(second: TelemetryResource, first: TelemetryResource, report: Report): void {
  const name = ({ namespace, name: own }: TelemetryResource) => `${namespace}/${own}`
  const what = `Telemetry ${name(second)} is passed over: ${name(first)} already speaks for the same workloads`
  report('SP8400', second.at('metadata', 'name'), what, { fix: 'put everything into one of them' })
}
