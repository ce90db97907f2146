/**
 * What a judged request turns into: the complete upstream request, or an answer of the route's own. Pure; the listeners
 * carry out what is decided here.
 */
import type { HttpAttributes } from '../core/attributes.ts'
import { outgoingHeaders } from '../core/headers.ts'
import { targetText } from '../core/request-target.ts'
import type { HeaderEdit } from '../model/route.ts'
import { redirectLocation } from '../routing/redirect.ts'
import { editHeaders, rewriteAuthority, rewritePath } from '../routing/rewrite.ts'
import type { Judgement } from './judge.ts'

/** An answer without an upstream: a redirect or a direct response. Headers are flat, lower case, framing included. */
export type RouteAnswer = { readonly status: number; readonly headers: readonly string[]; readonly body: Buffer }

/** The route's own answer, or null when it forwards. `gatewayPort` is what FROM_REQUEST_PORT means. */
export function routeAnswer(judgement: Judgement, http: HttpAttributes, gatewayPort: number): RouteAnswer | null {
  const action = judgement.match?.route.model.action ?? null
  if (action?.kind === 'redirect') {
    const headers = ['location', redirectLocation(action, http, gatewayPort), 'content-length', '0']
    return { status: action.code, headers: answerHeaders(judgement, headers), body: Buffer.alloc(0) }
  }
  if (action?.kind === 'direct') {
    const body = Buffer.from(action.body, 'base64')
    const headers =
      body.length === 0
        ? ['content-length', '0']
        : ['content-length', String(body.length), 'content-type', 'text/plain']
    return { status: action.status, headers: answerHeaders(judgement, headers), body }
  }
  return null
}

function answerHeaders(judgement: Judgement, headers: readonly string[]): readonly string[] {
  return editHeaders(headers, [judgement.match?.route.model.headers?.response ?? null])
}

/** What the exchange knows besides the judgement. */
export type OutgoingFacts = {
  /** Names that the caller's `Connection` field lists. */
  readonly nominated: ReadonlySet<string>
  readonly external: boolean
  readonly propagateTrace: boolean
  readonly requestId: string
  readonly xForwardedFor: string
  /** See OutgoingRules.via. */
  readonly via: string | null
}

export type OutgoingParts = {
  readonly target: string
  readonly authority: string
  readonly headers: readonly string[]
  readonly responseEdits: readonly (HeaderEdit | null)[]
  readonly timeoutMs: number | null
  /** True when `target` is not what the caller asked for. */
  readonly rewritten: boolean
}

/** Target, authority and fields exactly as they are to be sent. null: the rewrite would send a path nobody judged. */
export function outgoingParts(judgement: Judgement, http: HttpAttributes, facts: OutgoingFacts): OutgoingParts | null {
  const { match, destination } = judgement
  const route = match?.route.model ?? null
  const forward = route?.action.kind === 'forward' ? route.action : null
  const rewrite = forward?.rewrite ?? null
  let target = targetText(http)
  if (rewrite !== null && rewrite.uri !== null) {
    const path = rewritePath(http.path, match?.matched ?? null, rewrite.uri)
    if (path === null) return null
    target = targetText({ path, query: http.query })
  }
  const routeEdits = route?.headers ?? null
  const destinationEdits = destination?.headers ?? null
  const authority = rewriteAuthority(http.authority.text, rewrite, routeEdits, destinationEdits)
  const headers = outgoingHeaders(http.headers, { ...facts, authority, scheme: http.scheme })
  return {
    target,
    authority,
    headers: editHeaders(headers, [
      destinationEdits?.request ?? null,
      routeEdits?.request ?? null,
    ]) as readonly string[],
    responseEdits: [destinationEdits?.response ?? null, routeEdits?.response ?? null],
    timeoutMs: forward?.timeoutMs ?? null,
    rewritten: rewrite?.uri !== null && rewrite?.uri !== undefined,
  }
}

/** Response fields after the route's edits. */
export function editedResponse(headers: readonly string[], edits: readonly (HeaderEdit | null)[]): readonly string[] {
  return editHeaders(headers, edits)
}
