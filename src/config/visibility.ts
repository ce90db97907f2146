/** `exportTo`: which namespaces see a resource (istio pilot/pkg/config/validation `validateExportTo`). */
import { isLabel } from './hostname.ts'

/**
 * What is wrong with an `exportTo` list of a resource of namespace `own`, or null. `none`: `~` is allowed, which only
 * makes sense for services.
 */
export function exportProblem(exportTo: readonly string[], own: string, none = false): string | null {
  const seen = new Set<string>()
  for (const entry of exportTo) {
    if (entry === '~' && !none) return '"~" (nobody) is for a ServiceEntry only'
    if (entry !== '.' && entry !== '*' && entry !== '~' && !isLabel(entry))
      return `"${entry}" is none of ".", "*"${none ? ', "~"' : ''} or a namespace`
    const namespace = entry === '.' ? own : entry
    if (seen.has(namespace)) return `"${entry}" is listed twice`
    seen.add(namespace)
  }
  if (exportTo.length > 1 && (seen.has('*') || seen.has('~'))) return '"*" and "~" must stand alone'
  return null
}

/** True when a resource of namespace `own` is exported to `namespace`. An absent list is `*`, Istio's mesh default. */
export function isExportedTo(exportTo: readonly string[] | undefined, own: string, namespace: string): boolean {
  if (exportTo === undefined || exportTo.length === 0) return true
  return exportTo.some((entry) => entry === '*' || entry === namespace || (entry === '.' && own === namespace))
}

/** True when only the resource's own namespace sees it. */
export function isPrivate(exportTo: readonly string[] | undefined, own: string): boolean {
  return exportTo !== undefined && exportTo.length > 0 && exportTo.every((entry) => entry === '.' || entry === own)
}
