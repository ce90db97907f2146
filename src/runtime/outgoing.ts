/**
 * What a judged request turns into: the complete upstream request, or an answer of the route's own; and what becomes of
 * the answer's fields. Pure; the listeners carry out what is decided here.
 */
import type { HeaderList, HttpAttributes } from '../core/attributes.ts'
import { outgoingHeaders } from '../core/headers.ts'
import { targetText } from '../core/request-target.ts'
import type { HeaderEdit } from '../model/route.ts'
import type { HeaderFacts } from '../routing/header-values.ts'
import { redirectLocation } from '../routing/redirect.ts'
import { editHeaders, rewriteAuthority } from '../routing/rewrite.ts'
import type { Judgement } from './judge.ts'

/** An answer without an upstream: a redirect or a direct response. Headers are flat, lower case, framing included. */
export type RouteAnswer = { readonly status: number; readonly headers: HeaderList; readonly body: Buffer }

/** What the operators in header edits may look at. Asked only where a route edits headers. */
export type FactsSource = {
  /** `response`: the one that is edited; null: the request is. */
  factsFor(response: { readonly status: number; readonly headers: HeaderList } | null): HeaderFacts
}

/** The route's own answer, or null when it forwards. `gatewayPort` is what FROM_REQUEST_PORT means. */
export function routeAnswer(
  judgement: Judgement,
  http: HttpAttributes,
  gatewayPort: number,
  source: FactsSource,
): RouteAnswer | null {
  const { match } = judgement
  if (match === null) return null
  const { action, headers: edits } = match.route.model
  if (action.kind === 'forward') return null
  const edit = [edits?.response ?? null]
  if (action.kind === 'redirect') {
    const location = redirectLocation(action, http, gatewayPort, match.matched)
    const headers = ['location', location, 'content-length', '0']
    return {
      status: action.code,
      headers: edited(headers, edit, () => source.factsFor({ status: action.code, headers })),
      body: Buffer.alloc(0),
    }
  }
  const { status } = action
  const body = Buffer.from(action.body, 'base64')
  const headers =
    body.length === 0 ? ['content-length', '0'] : ['content-length', String(body.length), 'content-type', 'text/plain']
  return { status, headers: edited(headers, edit, () => source.factsFor({ status, headers })), body }
}

/** What the exchange knows besides the judgement. */
export type OutgoingFacts = {
  /** Names that the caller's `Connection` field lists. */
  readonly nominated: ReadonlySet<string>
  readonly external: boolean
  readonly propagateTrace: boolean
  readonly requestId: string
  readonly xForwardedFor: string
  /** See OutgoingRules. */
  readonly te: boolean
  readonly via: string | null
}

export type OutgoingParts = {
  readonly target: string
  readonly authority: string
  readonly headers: HeaderList
  readonly requestEdits: readonly (HeaderEdit | null)[]
  readonly responseEdits: readonly (HeaderEdit | null)[]
  readonly timeoutMs: number | null
  /** True when `target` is not what the caller asked for. */
  readonly rewritten: boolean
}

const NO_EDITS: readonly null[] = []

/** Target, authority and fields exactly as they are to be sent. null: the rewrite would send a path nobody judged. */
export function outgoingParts(
  judgement: Judgement,
  http: HttpAttributes,
  facts: OutgoingFacts,
  source: FactsSource,
): OutgoingParts | null {
  const { match, destination } = judgement
  const route = match?.route.model ?? null
  const forward = route?.action.kind === 'forward' ? route.action : null
  const rewritePath = match?.route.rewritePath ?? null
  let target = targetText(http)
  if (rewritePath !== null) {
    const path = rewritePath(http.path, match?.matched ?? null)
    if (path === null) return null
    target = targetText({ path, query: http.query })
  }
  const routeEdits = route?.headers ?? null
  const destinationEdits = destination?.headers ?? null
  const authority = rewriteAuthority(http.authority.text, forward?.rewrite ?? null, routeEdits, destinationEdits)
  const headers = outgoingHeaders(http.headers, {
    authority,
    scheme: http.scheme,
    nominated: facts.nominated,
    external: facts.external,
    propagateTrace: facts.propagateTrace,
    requestId: facts.requestId,
    xForwardedFor: facts.xForwardedFor,
    te: facts.te,
    via: facts.via,
  })
  // Nearly always there are none: then nothing is made for them.
  const edits = destinationEdits !== null || routeEdits !== null
  const requestEdits = edits ? [destinationEdits?.request ?? null, routeEdits?.request ?? null] : NO_EDITS
  return {
    target,
    authority,
    headers: edits ? edited(headers, requestEdits, () => source.factsFor(null)) : headers,
    requestEdits,
    responseEdits: edits ? [destinationEdits?.response ?? null, routeEdits?.response ?? null] : NO_EDITS,
    timeoutMs: forward?.timeoutMs ?? null,
    rewritten: rewritePath !== null,
  }
}

function edited(headers: HeaderList, edits: readonly (HeaderEdit | null)[], facts: () => HeaderFacts): HeaderList {
  return edits.every((edit) => edit === null) ? headers : editHeaders(headers, edits, facts())
}

/** How an upstream's answer is dressed for the caller, in Envoy's order: the route's edits, our cookie, CORS. */
export type Dressing = {
  readonly edits: readonly (HeaderEdit | null)[]
  /** A Set-Cookie that keeps the caller at its endpoint; null: none. */
  readonly setCookie: string | null
  /** These replace the upstream's. */
  readonly corsFields: HeaderList
}

/** The fields of an upstream's answer as the caller gets them. Takes `headers`, which may be what it returns, for its own. */
export function dressedFields(
  status: number,
  headers: string[],
  { edits, setCookie, corsFields }: Dressing,
  source: FactsSource,
): string[] {
  const changes = edits.some((edit) => edit !== null)
  const fields = changes ? [...editHeaders(headers, edits, source.factsFor({ status, headers }))] : headers
  if (setCookie !== null) fields.push('set-cookie', setCookie)
  return corsFields.length === 0 ? fields : [...replaceFields(fields, corsFields)]
}

/** `headers` with `fields` in place of those of the same names; cookies are added to cookies. Returns `headers` itself when there are none. */
export function replaceFields(headers: HeaderList, fields: HeaderList): HeaderList {
  if (fields.length === 0) return headers
  const out: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name === 'set-cookie' || !fields.some((field, at) => at % 2 === 0 && field === name))
      out.push(name, headers[i + 1] as string)
  }
  out.push(...fields)
  return out
}

/** A mirror's Host says that it is one (Envoy shadow policy): `site.example:8080` → `site.example-shadow:8080`. */
export function withShadowHost(headers: HeaderList): HeaderList {
  const [, authority = ''] = headers
  return ['host', shadowAuthority(authority), ...headers.slice(2)]
}

function shadowAuthority(authority: string): string {
  // An IPv6 literal has no room for a suffix: behind the bracket it would be no authority at all.
  if (authority.startsWith('[')) return authority
  const colon = authority.lastIndexOf(':')
  return colon === -1 ? `${authority}-shadow` : `${authority.slice(0, colon)}-shadow${authority.slice(colon)}`
}

/** True for names that edits set, add or remove: trailers of these names stay behind. */
export function isEdited(edits: readonly (HeaderEdit | null)[], name: string): boolean {
  return edits.some(
    (edit) =>
      edit !== null &&
      (edit.remove.includes(name) ||
        edit.set.some(([each]) => each === name) ||
        edit.add.some(([each]) => each === name)),
  )
}
