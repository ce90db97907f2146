/** What to do with a kind: read it, pass over it, or refuse it because it may be a restriction we misread. */
import { nearest } from './nearest.ts'
import type { KindModule } from './resource.ts'

export type KindClass =
  | { readonly type: 'known'; readonly module: KindModule }
  /** `mesh`: a kind of the mesh that may have restricted traffic. */
  | { readonly type: 'passed-over'; readonly mesh: boolean }
  | { readonly type: 'error'; readonly message: string; readonly fix: string | null }

/** Groups whose kinds decide about traffic. */
function isMeshGroup(group: string): boolean {
  return group === 'istio.io' || group.endsWith('.istio.io') || group === 'istio.alibabacloud.com'
}

export function classifyKind(
  resource: { readonly apiVersion: string; readonly group: string; readonly kind: string },
  kinds: readonly KindModule[],
): KindClass {
  const { apiVersion, group, kind } = resource
  const version = apiVersion.slice(group === '' ? 0 : group.length + 1)
  const same = kinds.find((module) => module.kind === kind && module.group === group)
  if (same !== undefined) {
    if (same.versions.includes(version)) return { type: 'known', module: same }
    const versions = same.versions.map((each) => (group === '' ? each : `${group}/${each}`)).join(' or ')
    return { type: 'error', message: `${kind} is not read in apiVersion ${apiVersion}`, fix: `write ${versions}` }
  }
  const ours = group === 'sallyport.dev'
  if (ours && kind === 'EgressGateway') return { type: 'passed-over', mesh: false }
  // A known kind in another group: a wrong group, unless that group has such a kind of its own (Gateway API, Volcano's
  // Job …). Core Kubernetes and the mesh's other groups have none: there it is the kind we know, and it may restrict.
  const elsewhere = kinds.find((module) => module.kind === kind)
  const wrong = group === '' || isMeshGroup(group)
  if (elsewhere !== undefined && (wrong || nearest(group, [elsewhere.group], 3) !== null)) {
    const fix = `did you mean ${elsewhere.group}/${elsewhere.versions[0] ?? ''}?`
    return { type: 'error', message: `${kind} is not known in API group ${JSON.stringify(group)}`, fix }
  }
  const inGroup = kinds.filter((module) => module.group === group).map((module) => module.kind)
  // The beginning of a known kind is what a half-written file ends with; passed over, its restriction would be gone.
  const guess =
    isMeshGroup(group) || ours
      ? (nearest(kind, inGroup, 2) ?? inGroup.find((known) => known.startsWith(kind)) ?? null)
      : null
  if (guess !== null || ours) {
    const fix = guess === null ? null : `did you mean ${guess}?`
    return { type: 'error', message: `${apiVersion} has no kind ${kind}`, fix }
  }
  return { type: 'passed-over', mesh: isMeshGroup(group) }
}
