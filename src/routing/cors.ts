/**
 * Cross-origin requests (Envoy cors filter; behaviour §4.5): which preflights are answered here, and what an ordinary
 * answer carries. It restricts browsers, not callers: no request is refused for its origin.
 */
import { type HttpAttributes, headerValue } from '../core/attributes.ts'
import type { CorsModel } from '../model/route.ts'
import { compileStringMatch } from './match.ts'

/** A route's policy, compiled with the route table. */
export type Cors = { readonly model: CorsModel; readonly allows: (origin: string) => boolean }

/** Throws RegexError for a pattern that config should have refused. */
export function compileCors(model: CorsModel): Cors {
  const matchers = model.allowOrigins.map(compileStringMatch)
  // As Envoy: what matches a star allows every origin.
  const everyone = matchers.some((matches) => matches('*'))
  return { model, allows: (origin) => everyone || matchers.some((matches) => matches(origin)) }
}

/**
 * The answer to a preflight (OPTIONS with Origin and Access-Control-Request-Method); null: this is none, or it goes to the
 * upstream. Response code details: `cors_response`. Headers are flat, without framing.
 */
export function corsAnswer(
  cors: Cors | null,
  http: HttpAttributes,
): { readonly status: 200; readonly headers: readonly string[] } | null {
  if (cors === null || http.method !== 'OPTIONS') return null
  const origin = headerValue(http.headers, 'origin')
  if (origin === null || origin === '') return null
  if ((headerValue(http.headers, 'access-control-request-method') ?? '') === '') return null
  const { model } = cors
  if (!cors.allows(origin)) return model.forwardUnmatchedPreflights ? null : { status: 200, headers: [] }
  const headers = allowed(model, origin)
  if (model.allowMethods !== null) headers.push('access-control-allow-methods', model.allowMethods)
  if (model.allowHeaders !== null) headers.push('access-control-allow-headers', model.allowHeaders)
  if (model.maxAgeSeconds !== null) headers.push('access-control-max-age', String(model.maxAgeSeconds))
  return { status: 200, headers }
}

/**
 * What any other answer to a cross-origin request carries, the gateway's own included; empty for the rest. Takes the place
 * of fields of the same name.
 */
export function corsResponseHeaders(cors: Cors | null, http: HttpAttributes): readonly string[] {
  if (cors === null) return NONE
  const origin = headerValue(http.headers, 'origin')
  if (origin === null || origin === '' || !cors.allows(origin)) return NONE
  const headers = allowed(cors.model, origin)
  if (cors.model.exposeHeaders !== null) headers.push('access-control-expose-headers', cors.model.exposeHeaders)
  return headers
}

const NONE: readonly string[] = []

function allowed(model: CorsModel, origin: string): string[] {
  const headers = ['access-control-allow-origin', origin]
  if (model.allowCredentials) headers.push('access-control-allow-credentials', 'true')
  return headers
}
