/** HTTPMatchRequest → MatchModel, and whether an entry concerns one of our servers at all (behaviour §4.2, 4.4). */
import type { SourceRef } from '../core/attributes.ts'
import type { MatchModel, NamedMatch, StringMatch } from '../model/route.ts'
import type { Settings } from '../model/settings.ts'
import type { HttpMatch, StringMatchSpec } from './kinds/virtual-service-schema.ts'

/** The server a rule is lowered for. `gateway`: `NS/NAME`; `namespace` is the VirtualService's. */
export type RuleTarget = {
  readonly settings: Settings
  readonly namespace: string
  readonly gateway: string
  readonly gatewayPort: number
}

/**
 * `NS/NAME` of an entry of `gateways`: `ns/name`, `./name`, a bare name (the VirtualService's namespace), or the
 * legacy `name.ns[.svc…]` (Istio resolveGatewayName). `mesh` stays as it is.
 */
export function gatewayName(entry: string, namespace: string): string {
  if (entry === 'mesh') return entry
  const slash = entry.indexOf('/')
  if (slash !== -1) return entry.startsWith('./') ? `${namespace}/${entry.slice(2)}` : entry
  const [name = '', legacyNamespace] = entry.split('.')
  return `${legacyNamespace ?? namespace}/${name}`
}

/**
 * Istio's sourceMatchHTTP plus the port test. `sourceLabels` and `sourceNamespace` are compared with the gateway itself,
 * and not at all when the entry names `gateways`: here as in Istio they say nothing about the caller.
 */
export function entryApplies(match: HttpMatch, target: RuleTarget): boolean {
  if (match.port !== undefined && match.port !== 0 && match.port !== target.gatewayPort) return false
  if (match.gateways !== undefined && match.gateways.length > 0)
    return match.gateways.some((entry) => gatewayName(entry, target.namespace) === target.gateway)
  const { labels, namespace } = target.settings
  const labelled = Object.entries(match.sourceLabels ?? {}).every(
    ([key, value]) => Object.hasOwn(labels, key) && labels[key] === value,
  )
  return labelled && (!match.sourceNamespace || match.sourceNamespace === namespace)
}

export function lowerMatch(match: HttpMatch, source: SourceRef): MatchModel {
  return {
    source,
    name: match.name === undefined || match.name === '' ? null : match.name,
    uri: lowerString(match.uri),
    ignoreUriCase: match.ignoreUriCase ?? false,
    scheme: lowerString(match.scheme),
    method: lowerString(match.method),
    authority: lowerString(match.authority),
    headers: lowerHeaders(match.headers),
    withoutHeaders: lowerHeaders(match.withoutHeaders),
    queryParams: lowerNamed(match.queryParams),
  }
}

/** Keys that Istio passes over in `headers`: they have fields of their own (a warning was given). */
const IGNORED: readonly string[] = ['uri', 'scheme', 'method', 'authority']

function lowerHeaders(named: HttpMatch['headers']): readonly NamedMatch[] {
  const kept = Object.entries(named ?? {}).filter(([name]) => !IGNORED.includes(name))
  return kept.map(([name, match]) => ({ name: name.toLowerCase(), match: lowerPresence(match) }))
}

function lowerNamed(named: HttpMatch['queryParams']): readonly NamedMatch[] {
  return Object.entries(named ?? {}).map(([name, match]) => ({ name, match: lowerPresence(match) }))
}

/** `{}`, null and the regex `*` ask for presence (Istio canBeConvertedToPresentMatch). */
function lowerPresence(match: StringMatchSpec | null): StringMatch {
  if (match === null || match.regex === '*') return { kind: 'present' }
  return lowerString(match) ?? { kind: 'present' }
}

export function lowerString(match: StringMatchSpec | undefined): StringMatch | null {
  if (match === undefined) return null
  if (match.exact !== undefined) return { kind: 'exact', value: match.exact }
  if (match.prefix !== undefined) return { kind: 'prefix', value: match.prefix }
  return match.regex === undefined ? null : { kind: 'regex', value: match.regex }
}

/** True when the match holds for every request whose path begins with `/`: what Istio sorts to the end of a host. */
export function isCatchAll(match: MatchModel): boolean {
  const { uri, scheme, method, authority, headers, withoutHeaders, queryParams } = match
  const everyPath =
    uri === null ||
    (uri.kind === 'prefix' && uri.value === '/') ||
    (uri.kind === 'regex' && (uri.value === '.*' || uri.value === '*'))
  return (
    everyPath &&
    scheme === null &&
    method === null &&
    authority === null &&
    headers.length + withoutHeaders.length + queryParams.length === 0
  )
}
