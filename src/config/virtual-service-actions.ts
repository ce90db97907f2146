/** What a rule of a VirtualService does with a request: forward, redirect or answer (behaviour §4.5). */
import { parseAuthority } from '../core/authority.ts'
import type { ForwardAction, MirrorModel, RedirectAction, RewriteModel, RouteModel } from '../model/route.ts'
import { lowerHeaders } from './header-edits.ts'
import { type HttpRule, PREFIX, type RouteDestination } from './kinds/virtual-service-schema.ts'
import type { Report } from './resource.ts'
import { lowerRetries } from './retries.ts'
import type { Services } from './services.ts'
import type { EffectiveRule, Placed } from './virtual-service-delegates.ts'
import type { RuleTarget } from './virtual-service-match.ts'

/** The server that rules are lowered for, and what they may ask. */
export type RouteContext = Omit<RuleTarget, 'namespace'> & { readonly services: Services; readonly report: Report }

const NO_MIRRORS: readonly MirrorModel[] = []

export function actionOf(rule: EffectiveRule, context: RouteContext): RouteModel['action'] {
  if (!rule.delivered) return { kind: 'direct', status: 404, body: '' }
  const redirect = rule.field('redirect')
  if (redirect !== null) return redirectOf(redirect.value)
  const direct = rule.field('directResponse')
  if (direct !== null) {
    const { status, body } = direct.value
    return { kind: 'direct', status, body: body?.bytes ?? base64(body?.string ?? '') }
  }
  return forwardOf(rule, context)
}

function forwardOf(rule: EffectiveRule, context: RouteContext): ForwardAction {
  const route = rule.field('route')
  const routes = [...(route?.value ?? []).entries()]
  const destinations =
    route === null
      ? []
      : routes
          // The weight of an only destination means nothing; of several, 0 is never chosen.
          .filter(([, { weight = 0 }]) => routes.length === 1 || weight > 0)
          .map(([index, { destination, weight, headers }]) => ({
            cluster: clusterOf({ ...route, value: destination, at: () => route.at(index, 'destination') }, context),
            weight: routes.length === 1 ? 1 : (weight ?? 0),
            headers: lowerHeaders(headers),
          }))
  const timeout = rule.field('timeout')?.value ?? 0
  const hashed = destinations.some(({ cluster }) => context.services.isHashed(cluster))
  return {
    kind: 'forward',
    destinations,
    // 0 turns the timeout off, which is Istio's default.
    timeoutMs: timeout === 0 ? null : Math.ceil(timeout),
    rewrite: rewriteOf(rule.field('rewrite')?.value),
    retry: lowerRetries(rule.field('retries')?.value, hashed),
    mirrors: mirrorsOf(rule, context),
  }
}

function clusterOf({ value, at, namespace }: Placed<RouteDestination>, context: RouteContext): string {
  const { host, port, subset = '' } = value
  return context.services.clusterFor({
    host,
    port: port?.number ?? null,
    subset: subset === '' ? null : subset,
    namespace,
    listenerPort: context.gatewayPort,
    at: at(),
  })
}

/** A percentage of 0 mirrors nothing, an absent one everything (Istio MirrorPercent). */
function mirrorsOf(rule: EffectiveRule, context: RouteContext): readonly MirrorModel[] {
  const found: MirrorModel[] = []
  const mirror = rule.field('mirror')
  if (mirror !== null) {
    const percentage = rule.field('mirrorPercentage')?.value
    const percent = percentage === undefined ? (rule.field('mirrorPercent')?.value ?? 100) : (percentage.value ?? 0)
    if (percent > 0) found.push({ cluster: clusterOf(mirror, context), percent })
  }
  const mirrors = rule.field('mirrors')
  if (mirrors !== null) {
    for (const [index, { destination, percentage }] of mirrors.value.entries()) {
      const percent = percentage === undefined ? 100 : (percentage.value ?? 0)
      const placed = { ...mirrors, value: destination, at: () => mirrors.at(index, 'destination') }
      if (percent > 0) found.push({ cluster: clusterOf(placed, context), percent })
    }
  }
  return found.length === 0 ? NO_MIRRORS : found
}

function rewriteOf(rewrite: HttpRule['rewrite']): RewriteModel | null {
  const { uri = '', authority = '', uriRegexRewrite } = rewrite ?? {}
  if (uri === '' && authority === '' && uriRegexRewrite === undefined) return null
  const { match: pattern = '', rewrite: substitution = '' } = uriRegexRewrite ?? {}
  return {
    uri: uri === '' ? null : uri,
    authority: authority === '' ? null : canonicalAuthority(authority),
    uriRegex: uriRegexRewrite === undefined ? null : { pattern, substitution },
  }
}

function redirectOf(redirect: NonNullable<HttpRule['redirect']>): RedirectAction {
  const { uri = '', authority = '', scheme = '', port = 0, derivePort, redirectCode = 0 } = redirect
  const replacesPrefix = uri.startsWith(PREFIX)
  return {
    kind: 'redirect',
    code: redirectCode === 0 ? 301 : redirectCode,
    uri: replacesPrefix ? uri.slice(PREFIX.length) : uri === '' ? null : uri,
    replacesPrefix,
    authority: authority === '' ? null : canonicalAuthority(authority),
    scheme: scheme === '' ? null : scheme,
    port: derivePort ?? (port === 0 ? null : port),
  }
}

/** The check of the kind has refused what does not parse. */
function canonicalAuthority(text: string): string {
  return parseAuthority(text)?.text ?? text
}

function base64(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64')
}
