/** The http rules of one VirtualService → RouteModels for one server (behaviour §4.2, 4.3). */
import type { MatchModel, RouteModel } from '../model/route.ts'
import { lowerCors } from './cors-policy.ts'
import { lowerFault } from './fault-injection.ts'
import { lowerHeaders } from './header-edits.ts'
import type { VirtualServiceSpec } from './kinds/virtual-service-schema.ts'
import type { Resource } from './resource.ts'
import { actionOf, type RouteContext } from './virtual-service-actions.ts'
import {
  type Delegates,
  type EffectiveMatch,
  type EffectiveRule,
  effectiveRules,
  lowerEffectiveMatch,
} from './virtual-service-delegates.ts'
import { entryApplies, isCatchAll } from './virtual-service-match.ts'

/** A route and whether it goes to the end of its host once all VirtualServices are in (Istio SortVHostRoutes). */
export type OrderedRoute = { readonly route: RouteModel; readonly catchAll: boolean }

const NO_MATCHES: readonly MatchModel[] = []

/** In list order. Empty when no rule concerns the server; rules behind one that matches everything are left out. */
export function lowerRules(
  resource: Resource<VirtualServiceSpec>,
  delegates: Delegates,
  context: RouteContext,
): readonly OrderedRoute[] {
  const routes: OrderedRoute[] = []
  for (const rule of effectiveRules(resource, delegates, context.report)) {
    if (rule.matches === null) {
      routes.push({ route: routeOf(rule, NO_MATCHES, context), catchAll: true })
      return routes
    }
    const applicable = applicableMatches(rule.matches, context)
    if (applicable.length === 0) continue
    // Behind an explicit match for everything Istio generates nothing more for this VirtualService.
    const last = applicable.findIndex((match) => match.uri !== null && isCatchAll(match))
    const matches = last === -1 ? applicable : applicable.slice(0, last + 1)
    const some = matches.filter((match) => !isCatchAll(match))
    const all = matches.filter(isCatchAll)
    if (some.length > 0) routes.push({ route: routeOf(rule, some, context), catchAll: false })
    if (all.length > 0) routes.push({ route: routeOf(rule, all, context), catchAll: true })
    if (last !== -1) return routes
  }
  return routes
}

function applicableMatches(matches: readonly EffectiveMatch[], context: RouteContext): readonly MatchModel[] {
  const found: MatchModel[] = []
  for (const parts of matches) {
    for (const part of parts) tellAboutSources(part, context)
    if (parts.every(({ value, namespace }) => entryApplies(value, { ...context, namespace })))
      found.push(lowerEffectiveMatch(parts))
  }
  return found
}

function tellAboutSources({ value, at, namespace }: EffectiveMatch[number], context: RouteContext): void {
  const { sourceLabels = {}, sourceNamespace = '', gateways = [] } = value
  if (Object.keys(sourceLabels).length === 0 && sourceNamespace === '') return
  if (gateways.length > 0 && !entryApplies({ gateways }, { ...context, namespace })) return
  const field = sourceNamespace === '' ? 'sourceLabels' : 'sourceNamespace'
  context.report('SP4028', at(field), `${field} does not tell callers apart at a gateway`, {
    fix: 'use an AuthorizationPolicy with source.namespaces or source.principals',
  })
}

function routeOf(rule: EffectiveRule, matches: readonly MatchModel[], context: RouteContext): RouteModel {
  return {
    name: rule.name,
    source: rule.at(),
    matches,
    action: actionOf(rule, context),
    headers: lowerHeaders(rule.field('headers')?.value),
    fault: lowerFault(rule.field('fault')?.value),
    cors: lowerCors(rule.field('corsPolicy')?.value),
  }
}
