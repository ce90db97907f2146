/** The http rules of one VirtualService → RouteModels for one server (behaviour §4.2, 4.3, 4.5). */
import type { SourceRef } from '../core/attributes.ts'
import { parseAuthority } from '../core/authority.ts'
import type { DirectResponseAction, ForwardAction, MatchModel, RedirectAction, RouteModel } from '../model/route.ts'
import { lowerHeaders } from './header-edits.ts'
import type { HttpMatch, HttpRule, VirtualServiceSpec } from './kinds/virtual-service-schema.ts'
import type { Report, Resource } from './resource.ts'
import type { Services } from './services.ts'
import { entryApplies, isCatchAll, lowerMatch, type RuleTarget } from './virtual-service-match.ts'

export type RouteContext = RuleTarget & { readonly services: Services; readonly report: Report }

/** A route and whether it goes to the end of its host once all VirtualServices are in (Istio SortVHostRoutes). */
export type OrderedRoute = { readonly route: RouteModel; readonly catchAll: boolean }

type At = (...path: readonly (string | number)[]) => SourceRef

/** In list order. Empty when no rule concerns the server; rules behind one that matches everything are left out. */
export function lowerRules(resource: Resource<VirtualServiceSpec>, context: RouteContext): readonly OrderedRoute[] {
  const routes: OrderedRoute[] = []
  for (const [index, rule] of (resource.spec.http ?? []).entries()) {
    const at: At = (...path) => resource.at('spec', 'http', index, ...path)
    if (rule.match === undefined || rule.match.length === 0) {
      routes.push({ route: routeOf(rule, [], at, context), catchAll: true })
      return routes
    }
    const applicable = applicableMatches(rule.match, at, context)
    if (applicable.length === 0) continue
    // Behind an explicit match for everything Istio generates nothing more for this VirtualService.
    const last = applicable.findIndex((match) => match.uri !== null && isCatchAll(match))
    const matches = last === -1 ? applicable : applicable.slice(0, last + 1)
    const some = matches.filter((match) => !isCatchAll(match))
    const all = matches.filter(isCatchAll)
    if (some.length > 0) routes.push({ route: routeOf(rule, some, at, context), catchAll: false })
    if (all.length > 0) routes.push({ route: routeOf(rule, all, at, context), catchAll: true })
    if (last !== -1) return routes
  }
  return routes
}

function applicableMatches(entries: readonly HttpMatch[], at: At, context: RouteContext): readonly MatchModel[] {
  const matches: MatchModel[] = []
  for (const [index, entry] of entries.entries()) {
    const named = Object.keys(entry.sourceLabels ?? {}).length > 0 || Boolean(entry.sourceNamespace)
    const elsewhere = entry.gateways?.length && !entryApplies({ gateways: entry.gateways }, context)
    if (named && !elsewhere) {
      const field = entry.sourceNamespace ? 'sourceNamespace' : 'sourceLabels'
      context.report('SP4028', at('match', index, field), `${field} does not tell callers apart at a gateway`, {
        fix: 'use an AuthorizationPolicy with source.namespaces or source.principals',
      })
    }
    if (entryApplies(entry, context)) matches.push(lowerMatch(entry, at('match', index)))
  }
  return matches
}

function routeOf(rule: HttpRule, matches: readonly MatchModel[], at: At, context: RouteContext): RouteModel {
  return {
    name: rule.name === undefined || rule.name === '' ? null : rule.name,
    source: at(),
    matches,
    action: actionOf(rule, at, context),
    headers: lowerHeaders(rule.headers),
    fault: null,
    cors: null,
  }
}

function actionOf(rule: HttpRule, at: At, context: RouteContext): RouteModel['action'] {
  const aborted = abortOf(rule, at, context.report)
  if (aborted !== null) return aborted
  if (rule.redirect !== undefined) return redirectOf(rule.redirect)
  if (rule.directResponse !== undefined) {
    const { status, body } = rule.directResponse
    return { kind: 'direct', status, body: body?.bytes ?? base64(body?.string ?? '') }
  }
  if (rule.delegate !== undefined) {
    const { namespace = context.namespace, name = '' } = rule.delegate
    context.report('SP4026', at('delegate'), `delegation to VirtualService ${namespace}/${name} answers 404`)
    return { kind: 'direct', status: 404, body: '' }
  }
  return forwardOf(rule, at, context)
}

function forwardOf(rule: HttpRule, at: At, context: RouteContext): ForwardAction {
  const { namespace, gatewayPort, services, report } = context
  const routes = [...(rule.route ?? []).entries()]
  const destinations = routes
    // The weight of an only destination means nothing; of several, 0 is never chosen.
    .filter(([, { weight = 0 }]) => routes.length === 1 || weight > 0)
    .map(([index, { destination, weight, headers }]) => ({
      cluster: services.clusterFor({
        host: destination.host,
        port: destination.port?.number ?? null,
        subset: destination.subset === undefined || destination.subset === '' ? null : destination.subset,
        namespace,
        listenerPort: gatewayPort,
        at: at('route', index, 'destination'),
      }),
      weight: routes.length === 1 ? 1 : (weight ?? 0),
      headers: lowerHeaders(headers),
    }))
  const { uri = '', authority = '', uriRegexRewrite } = rule.rewrite ?? {}
  if (uriRegexRewrite !== undefined)
    report('SP4033', at('rewrite', 'uriRegexRewrite'), 'uriRegexRewrite is not built yet', {
      fix: 'use rewrite.uri with a prefix match',
    })
  return {
    kind: 'forward',
    destinations,
    // 0 turns the timeout off, which is Istio's default.
    timeoutMs: rule.timeout === undefined || rule.timeout === 0 ? null : Math.ceil(rule.timeout),
    rewrite:
      uri === '' && authority === ''
        ? null
        : {
            uri: uri === '' ? null : uri,
            authority: authority === '' ? null : canonicalAuthority(authority),
            uriRegex: null,
          },
    retry: null,
    mirrors: [],
  }
}

function redirectOf(redirect: NonNullable<HttpRule['redirect']>): RedirectAction {
  const { uri = '', authority = '', scheme = '', port = 0, derivePort, redirectCode = 0 } = redirect
  return {
    kind: 'redirect',
    code: redirectCode === 0 ? 301 : redirectCode,
    uri: uri === '' ? null : uri,
    replacesPrefix: false,
    authority: authority === '' ? null : canonicalAuthority(authority),
    scheme: scheme === '' ? null : scheme,
    port: derivePort ?? (port === 0 ? null : port),
  }
}

/**
 * Faults are not built, but an abort of every request is how operators block a route: left out it would open one.
 * Istio: an absent percentage is 0. A gRPC status has no HTTP status of its own; 503 refuses as well.
 */
function abortOf(rule: HttpRule, at: At, report: Report): DirectResponseAction | null {
  if (rule.fault === undefined) return null
  const { abort, delay } = rule.fault
  const always = abort?.percentage?.value === 100
  if (delay !== undefined) report('SP4032', at('fault', 'delay'), 'requests are not delayed')
  if (abort !== undefined && !always)
    report('SP4032', at('fault', 'abort'), 'requests are not aborted: only an abort of 100 percent is honoured')
  return always ? { kind: 'direct', status: abort.httpStatus ?? 503, body: base64('fault filter abort') } : null
}

/** The check of the kind has refused what does not parse. */
function canonicalAuthority(text: string): string {
  return parseAuthority(text)?.text ?? text
}

function base64(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64')
}
