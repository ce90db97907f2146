/**
 * Whether a resource concerns this gateway, as far as that decides between error and warning for a field we do not
 * implement. Errs towards "yes": a refused configuration narrows, an ignored restriction widens.
 */
import type { Settings } from '../model/settings.ts'
import type { Resource } from './resource.ts'
import { isExportedTo } from './visibility.ts'

type Labels = Readonly<Record<string, string>>

/** The parts of the specs that say whom a resource is for; every kind's schema has checked its own. */
type Scope = {
  readonly selector?: Labels | { readonly matchLabels?: Labels }
  readonly workloadSelector?: { readonly matchLabels?: Labels; readonly labels?: Labels }
  readonly exportTo?: readonly string[]
  readonly byEgressGateway?: { readonly name?: string }
}

export function appliesToGateway(resource: Resource, settings: Settings): boolean {
  const spec = resource.spec as Scope
  switch (resource.kind) {
    case 'AuthorizationPolicy':
    case 'RequestAuthentication':
    case 'Telemetry':
    case 'EgressRateLimit': {
      // Own namespace and root namespace only (behaviour §1.7). targetRefs are left to those who lower the kind.
      const near = [settings.namespace, settings.mesh.rootNamespace].includes(resource.namespace)
      const { matchLabels } = (spec.selector ?? {}) as { readonly matchLabels?: Labels }
      return near && isSubset(matchLabels, settings.labels)
    }
    case 'Gateway':
      return isSubset(spec.selector as Labels | undefined, settings.labels)
    case 'DestinationRule': {
      if (!isExportedTo(spec.exportTo, resource.namespace, settings.namespace)) return false
      const { matchLabels } = spec.workloadSelector ?? {}
      // A selector reaches only workloads of its own namespace.
      return (
        matchLabels === undefined ||
        (resource.namespace === settings.namespace && isSubset(matchLabels, settings.labels))
      )
    }
    case 'ServiceEntry':
    case 'VirtualService':
      return isExportedTo(spec.exportTo, resource.namespace, settings.namespace)
    case 'ASMEgressTrafficPolicy': {
      const name = spec.byEgressGateway?.name
      return name === undefined || [settings.name, settings.labels['istio'], settings.labels['app']].includes(name)
    }
    default:
      return true
  }
}

function isSubset(wanted: Labels | undefined, labels: Labels): boolean {
  return Object.entries(wanted ?? {}).every(([key, value]) => labels[key] === value)
}
