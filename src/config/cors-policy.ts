/** `corsPolicy` of a VirtualService rule → CorsModel (behaviour §4.5; Istio TranslateCORSPolicy). */
import type { CorsModel, StringMatch } from '../model/route.ts'
import type { HttpRule } from './kinds/virtual-service-schema.ts'
import { lowerString } from './virtual-service-match.ts'

export function lowerCors(cors: HttpRule['corsPolicy']): CorsModel | null {
  if (cors === undefined) return null
  // As Istio: the deprecated list of exact origins counts where the other is absent.
  const allowOrigins =
    cors.allowOrigins === undefined
      ? (cors.allowOrigin ?? []).map((value): StringMatch => ({ kind: 'exact', value }))
      : cors.allowOrigins.map(lowerString).filter((match) => match !== null)
  return {
    allowOrigins,
    allowMethods: joined(cors.allowMethods),
    allowHeaders: joined(cors.allowHeaders),
    exposeHeaders: joined(cors.exposeHeaders),
    maxAgeSeconds: cors.maxAge === undefined ? null : Math.floor(cors.maxAge / 1000),
    allowCredentials: cors.allowCredentials ?? false,
    forwardUnmatchedPreflights: cors.unmatchedPreflights !== 'IGNORE',
  }
}

function joined(list: readonly string[] | undefined): string | null {
  return list === undefined || list.length === 0 ? null : list.join(',')
}
