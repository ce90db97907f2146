/** The `location` of a redirect (behaviour §4.5; Envoy RouteEntryImplBase::newUri, Istio applyRedirect). */
import type { HttpAttributes } from '../core/attributes.ts'
import type { MatchModel, RedirectAction } from '../model/route.ts'

const DEFAULT_PORTS: Readonly<Record<string, number>> = { http: 80, https: 443 }

/**
 * Absolute URL to redirect to. `gatewayPort`: the Gateway (Service) port the request arrived on, which is what
 * FROM_REQUEST_PORT means. `matched` tells which prefix a `uri` of the form `%PREFIX()%…` takes the place of (in Istio that
 * form works in routes made from the Gateway API only). The caller's query is kept unless `uri` brings its own. Ports mean
 * what Istio documents: FROM_PROTOCOL_DEFAULT and an explicit default port drop the port of Host, where Istio's
 * configuration in fact leaves it.
 */
export function redirectLocation(
  action: RedirectAction,
  http: HttpAttributes,
  gatewayPort: number,
  matched: MatchModel | null,
): string {
  const scheme = action.scheme ?? http.scheme
  const path = redirectPath(action, http, matched)
  const query = http.query === null || path.includes('?') ? '' : `?${http.query}`
  return `${scheme}://${redirectAuthority(action, http, scheme, gatewayPort)}${path}${query}`
}

function redirectPath(
  { uri, replacesPrefix }: RedirectAction,
  http: HttpAttributes,
  matched: MatchModel | null,
): string {
  if (uri === null) return http.path
  if (!replacesPrefix) return uri
  const match = matched?.uri ?? null
  // As rewrite.uri: an exact or regex match has no rest. Where the caller goes with it is judged when it comes back.
  const rest = match !== null && match.kind !== 'prefix' ? '' : http.path.slice((match?.value ?? '/').length)
  const path = `${uri}${rest}`
  return path.startsWith('/') ? path : `/${path}`
}

function redirectAuthority(action: RedirectAction, http: HttpAttributes, scheme: string, gatewayPort: number): string {
  const port = action.port === 'FROM_REQUEST_PORT' ? gatewayPort : action.port
  if (typeof port === 'number') {
    const host = action.authority === null ? hostOnly(http) : withoutPort(action.authority)
    return port === DEFAULT_PORTS[scheme] ? host : `${host}:${port}`
  }
  if (action.authority !== null) return action.authority
  if (port === 'FROM_PROTOCOL_DEFAULT') return hostOnly(http)
  // As Envoy: when the scheme changes, the default port of the old one would be wrong; any other port stays.
  const stale = scheme !== http.scheme && http.authority.port === DEFAULT_PORTS[http.scheme]
  return stale ? hostOnly(http) : http.authority.text
}

function hostOnly({ authority }: HttpAttributes): string {
  return authority.isIp && authority.host.includes(':') ? `[${authority.host}]` : authority.host
}

function withoutPort(authority: string): string {
  return authority.replace(/:\d+$/, '')
}
