/**
 * Which workload a security policy is for: `selector` and `targetRefs` of AuthorizationPolicy and RequestAuthentication,
 * and whether that is this gateway (behaviour §1.7; istio pilot/pkg/model/{authorization,policyattachment}.go).
 */
import { z } from 'zod'
import type { Settings } from '../model/settings.ts'
import type { Report, Resource } from './resource.ts'
import { stringMap, text } from './schema.ts'

const GATEWAY_NAME = 'gateway.networking.k8s.io/gateway-name'
const GATEWAY_CLASS = 'gateway.networking.k8s.io/gateway-class-name'

const targetRef = z.object({
  group: text.optional(),
  kind: text.optional(),
  name: text.optional(),
  namespace: text.optional(),
})

/** Fields shared by the security kinds; spread into their schema. */
export const targetFields = {
  selector: z.object({ matchLabels: stringMap.optional() }).optional(),
  targetRef: targetRef.optional(),
  targetRefs: z.array(targetRef).optional(),
}

type TargetRef = z.infer<typeof targetRef>
export type TargetSpec = {
  readonly selector?: { readonly matchLabels?: Readonly<Record<string, string>> | undefined } | undefined
  readonly targetRef?: TargetRef | undefined
  readonly targetRefs?: readonly TargetRef[] | undefined
}

/** TABLE of what targetRefs may name: `group/kind` (core group: empty). */
const TARGET_KINDS: readonly string[] = [
  'gateway.networking.k8s.io/Gateway',
  'gateway.networking.k8s.io/GatewayClass',
  '/Service',
  'core/Service',
  'networking.istio.io/ServiceEntry',
]

const MAX_TARGET_REFS = 16

/** Istio's validation of selector and targetRefs (val/validation.go), reported as SP5009. */
export function checkTarget(resource: Resource<TargetSpec>, report: Report): void {
  const { selector, targetRef: single, targetRefs = [] } = resource.spec
  if ([selector, single, targetRefs[0]].filter((part) => part !== undefined).length > 1)
    report('SP5009', resource.at('spec', 'selector'), 'only one of selector, targetRef and targetRefs may be set')
  for (const [key, value] of Object.entries(selector?.matchLabels ?? {})) {
    const at = resource.at('spec', 'selector', 'matchLabels', key)
    if (key === '') report('SP5009', at, 'a label of the selector has an empty name')
    if (key.includes('*') || value.includes('*'))
      report('SP5009', at, `the selector ${key}=${value} contains a wildcard, which labels do not know`)
  }
  if (targetRefs.length > MAX_TARGET_REFS)
    report('SP5009', resource.at('spec', 'targetRefs'), `more than ${MAX_TARGET_REFS} targetRefs`)
  if (single !== undefined) checkRef(resource, single, ['spec', 'targetRef'], report)
  for (const [i, ref] of targetRefs.entries()) checkRef(resource, ref, ['spec', 'targetRefs', i], report)
}

function checkRef(
  resource: Resource<TargetSpec>,
  ref: TargetRef,
  path: readonly (string | number)[],
  report: Report,
): void {
  const at = resource.at(...path)
  if ((ref.name ?? '') === '') report('SP5009', at, 'a targetRef needs a name')
  if (!TARGET_KINDS.includes(`${ref.group ?? ''}/${ref.kind ?? ''}`))
    report('SP5009', at, `a targetRef cannot name ${JSON.stringify(`${ref.group ?? ''}/${ref.kind ?? ''}`)}`, {
      fix: `one of ${TARGET_KINDS.map((kind) => kind.replace(/^\//, 'core ')).join(', ')}`,
    })
  if (ref.namespace !== undefined && ref.namespace !== '' && ref.namespace !== resource.namespace)
    report('SP5009', at, `a targetRef cannot reach into the namespace ${ref.namespace}`)
}

/**
 * Whether a policy is for this gateway. Reported when it is left out because of its targetRefs (SP5024), its labels, or
 * its namespace although it selects our labels (SP5028). Silent about other namespaces' policies for other workloads.
 */
export function selectsGateway(resource: Resource<TargetSpec>, settings: Settings, report: Report): boolean {
  const { rootNamespace } = settings.mesh
  const { selector, targetRef: single, targetRefs = [] } = resource.spec
  const refs = single === undefined ? targetRefs : [single, ...targetRefs]
  const wanted = Object.entries(selector?.matchLabels ?? {})
  const other = wanted.find(([key, value]) => !(Object.hasOwn(settings.labels, key) && settings.labels[key] === value))
  if (resource.namespace !== settings.namespace && resource.namespace !== rootNamespace) {
    if (wanted.length > 0 && other === undefined) reportNamespace(resource, settings, report)
    return false
  }
  if (refs.length === 0) {
    if (other !== undefined) reportLabel(resource, other, settings, report)
    return other === undefined
  }
  if (refs.some((ref) => refersTo(ref, resource, settings))) return true
  const at = resource.at('spec', single === undefined ? 'targetRefs' : 'targetRef')
  const what = refs.map((ref) => `${ref.kind ?? ''} ${ref.name ?? ''}`).join(', ')
  report('SP5024', at, `${resource.kind} ${resource.namespace}/${resource.name} is for ${what}, not for this gateway`, {
    fix: 'use spec.selector.matchLabels with the labels of the gateway if it is meant for it',
  })
  return false
}

/** Trap no. 6 of behaviour §11: a policy in the caller's namespace does nothing at the gateway. */
function reportNamespace(resource: Resource<TargetSpec>, settings: Settings, report: Report): void {
  const name = `${resource.kind} ${resource.namespace}/${resource.name}`
  const what = `${name} selects labels of this gateway, but only for workloads of namespace ${resource.namespace}`
  report('SP5028', resource.at('metadata', 'namespace'), what, {
    fix: `write namespace: ${settings.namespace} if it is meant for this gateway`,
  })
}

function reportLabel(
  resource: Resource<TargetSpec>,
  [key, value]: readonly [string, string],
  settings: Settings,
  report: Report,
): void {
  const at = resource.at('spec', 'selector', 'matchLabels', key)
  const ours = Object.hasOwn(settings.labels, key) ? settings.labels[key] : undefined
  const has = ours === undefined ? 'has no such label' : `has ${key}: ${ours}`
  const what = `${resource.kind} ${resource.namespace}/${resource.name} selects ${key}: ${value}; this gateway ${has}`
  report('SP5028', at, what)
}

function refersTo(ref: TargetRef, resource: Resource, settings: Settings): boolean {
  if (ref.group !== 'gateway.networking.k8s.io') return false
  if (ref.kind === 'Gateway')
    return resource.namespace === settings.namespace && settings.labels[GATEWAY_NAME] === ref.name
  if (ref.kind === 'GatewayClass')
    return resource.namespace === settings.mesh.rootNamespace && settings.labels[GATEWAY_CLASS] === ref.name
  return false
}
